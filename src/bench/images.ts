/** Encoded pictures to patches: what `embed` and `train` do before a tower computes, read ahead as they do. */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import sharp from 'sharp'
import { Vlm2VecError } from '../errors.js'
import { mapOrdered, PREPARED_AHEAD } from '../model/pipeline.js'
import { native } from '../native.js'
import { integer, modelPath, nullable, option, path } from '../options.js'
import { PictureCache } from '../preprocess/picture-cache.js'
import { inputRules } from '../preprocess/rules.js'
import { preparationOf, prepareVisual, readVisual, sizeVisual } from '../preprocess/visuals.js'
import { randomFloats } from './inputs.js'
import { defineKind } from './kinds.js'
import { timed } from './measure.js'
import { openConfig } from './model.js'

export const images = defineKind({
  options: {
    items: option(integer(1), 64, 'pictures; a folder of fewer is gone through again'),
    path: option(nullable(path), null, 'folder of pictures; default: random ones of 640 x 480'),
    model: option(nullable(modelPath), null, "directory whose preprocessor_config.json holds; default: Qwen2-VL's"),
    max_pixels: option(nullable(integer(1)), null, 'pictures are reduced to this')
  },
  cases: [{}],
  open: async ({ items: count, path: folder, model, max_pixels: maxPixels }) => {
    const { config, settings } = await openConfig(model)
    if (maxPixels !== null) settings.image = { minPixels: Math.min(settings.image.minPixels, maxPixels), maxPixels }
    const encoded = folder === null ? await randomPictures() : await picturesIn(folder)
    const pictures = new PictureCache(0)
    const preparation = preparationOf(config.vision!, settings)
    let bytes = 0
    const prepare = async (index: number): Promise<number> => {
      const place = { imageRoot: '.', where: `picture ${index}`, index: 0 }
      const visual = await readVisual(encoded[index % encoded.length]!, place)
      const sized = await sizeVisual(visual, { rules: inputRules(config), settings, pictures }, place)
      const patches = await native().patchify(await prepareVisual(sized, preparation))
      return patches.byteLength + sized.frames.reduce((sum, { data }) => sum + data.length, 0)
    }
    const all = async (): Promise<void> => {
      bytes = 0
      for await (const each of mapOrdered(Array(count).keys(), prepare, PREPARED_AHEAD)) bytes += each
    }
    await all()
    return {
      flops: 0,
      bytes,
      done: { count, unit: 'pictures' },
      run: (times) => timed(times, all),
      close: () => Promise.resolve()
    }
  }
})

async function picturesIn(folder: string): Promise<Uint8Array[]> {
  const names = (await readdir(folder).catch((): string[] => []))
    .filter((name) => /\.(jpe?g|png|webp)$/i.test(name))
    .sort()
  if (names.length === 0) throw new Vlm2VecError('E_DATA', `${folder} holds no pictures (.jpg, .png, .webp).`)
  return Promise.all(names.map((name) => readFile(join(folder, name))))
}

/** Smooth random colours, which JPEG encodes about as tightly as a photograph. */
async function randomPictures(): Promise<Uint8Array[]> {
  const [width, height, cells] = [640, 480, 24]
  return Promise.all(
    Array.from({ length: 8 }, (_, seed) => {
      const colours = Uint8Array.from(randomFloats(cells * cells * 3, seed + 1), (x) => 128 + 70 * x)
      const noise = Uint8Array.from(randomFloats(width * height * 3, seed + 9), (x) => 128 + 12 * x)
      return sharp(colours, { raw: { width: cells, height: cells, channels: 3 } })
        .resize(width, height, { fit: 'fill' })
        .composite([{ input: Buffer.from(noise), raw: { width, height, channels: 3 }, blend: 'soft-light' }])
        .jpeg({ quality: 90 })
        .toBuffer()
    })
  )
}
