import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { Fields } from '../../../src/json-fields.js'
import type { VisionConfig } from '../../../src/model/config.js'
import { fitPicture, placePicture, readFit, type Fit } from '../../../src/preprocess/fit.js'
import type { RgbImage } from '../../../src/native.js'
import { decodePicture } from '../../../src/preprocess/image.js'

interface Case {
  name: string
  size: { shortest_edge: number } | { height: number; width: number }
  crop: number | null
  pictures: { width: number; height: number; sha256: string }[]
  photos_sha256?: string
}

/** made by scripts/record-fit.py with transformers 5.18 and Pillow 12.3 */
const recorded = JSON.parse(await readFile(new URL('fit.json', import.meta.url), 'utf8')) as Case[]

/** scripts/golden/pictures.py: pattern(width, height, 3) */
function pattern(width: number, height: number): RgbImage {
  const data = new Uint8Array(width * height * 3)
  const radius = (Math.min(width, height) * (0.2 + 0.03 * 3)) ** 2
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const inside = (x - width * 0.4) ** 2 + (y - height * 0.6) ** 2 < radius
      const rgb = [
        (x * 6 + y * 5) % 256,
        ((Math.floor(x / 10) ^ Math.floor(y / 5)) * 37) % 256,
        (inside ? 200 : 0) + Math.floor((y * 55) / height)
      ]
      data.set(rgb, (y * width + x) * 3)
    }
  return { width, height, data }
}

const sha256 = (data: Uint8Array | string): string => createHash('sha256').update(data).digest('hex')

const fitOf = ({ size, crop }: Case): Fit => ({
  resize: 'shortest_edge' in size ? { shortestEdge: size.shortest_edge } : size,
  ...(crop !== null && { crop })
})

async function squareOf(image: RgbImage, each: Case): Promise<Uint8Array> {
  const fit = fitOf(each)
  const side = each.crop ?? (each.size as { height: number }).height
  return fitPicture(image, placePicture(image, fit), { width: side, height: side, filter: 'bicubic' })
}

describe.each(recorded)('pictures fitted as for "$name"', (each) => {
  it.each(each.pictures)(
    'have the bytes of Pillow and numpy at $width x $height',
    async ({ width, height, sha256: want }) => {
      expect(sha256(await squareOf(pattern(width, height), each))).toBe(want)
    }
  )
})

const data = process.env['VLM2VEC_TEST_DATA']
describe.skipIf(!data)('real photographs (VLM2VEC_TEST_DATA)', () => {
  it.each(recorded.filter(({ photos_sha256 }) => photos_sha256))('all have them for "$name"', async (each) => {
    const folder = join(data!, 'data/photos')
    let joined = ''
    for (const name of (await readdir(folder)).sort())
      joined += sha256(await squareOf(await decodePicture(await readFile(join(folder, name)), { name }), each))
    expect(sha256(joined)).toBe(each.photos_sha256)
  })
})

describe('readFit', () => {
  const vision = { imageSize: 224, resolutions: [[224, 448]] } as unknown as VisionConfig
  const read = (json: Record<string, unknown>, defaults = { crop: true, tiles: false }): Fit =>
    readFit(new Fields('preprocessor_config.json', json), defaults, vision)

  it('reads every spelling of sizes', () => {
    const want = { resize: { shortestEdge: 224 }, crop: 224 }
    expect(read({ size: 224, crop_size: 224 })).toEqual(want)
    expect(read({ size: { shortest_edge: 224 }, crop_size: { height: 224, width: 224 } })).toEqual(want)
    expect(read({ size: { height: 224, width: 224 } }, { crop: false, tiles: false })).toEqual({
      resize: { height: 224, width: 224 }
    })
  })

  it.each([
    [{ size: 224, crop_size: 336 }, true, false, /crop_size/],
    [{ size: { shortest_edge: 224 } }, false, false, /"size"/],
    [{ size: 336 }, true, true, /shortest_edge of 224/],
    [{ size: 224, image_grid_pinpoints: [[448, 224]] }, true, true, /image_grid_pinpoints/]
  ])('refuses %j', (json, crop, tiles, message) => {
    expect(() => read(json, { crop, tiles })).toThrow(message)
  })
})
