import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { readModelConfig } from '../../../src/model/config.js'
import { presetValues } from '../../../src/model/presets.js'
import { resolveSettings, type ProcessorOptions, type ProcessorSettings } from '../../../src/preprocess/settings.js'

const config = await readModelConfig(fileURLToPath(new URL('../../golden/model', import.meta.url)))

let model: string
let adapter: string
beforeEach(async () => {
  model = await mkdtemp(join(tmpdir(), 'settings-'))
  adapter = join(model, 'adapter')
  await mkdir(adapter)
})
afterEach(() => rm(model, { recursive: true }))

const write = (directory: string, name: string, value: unknown): Promise<void> =>
  writeFile(join(directory, name), JSON.stringify(value))
const settings = (options: ProcessorOptions = {}): Promise<ProcessorSettings> => resolveSettings(model, config, options)

describe('resolveSettings: prompt and positions', () => {
  it('defaults to raw and mrope, of vlm2vec to sequential', async () => {
    expect(await settings()).toMatchObject({ prompt: 'raw', positions: 'mrope', maxLength: config.text.maxPositions })
    expect(await settings({ prompt: 'vlm2vec', positions: 'auto' })).toMatchObject({ positions: 'sequential' })
    expect(await settings({ prompt: 'vlm2vec', positions: 'mrope' })).toMatchObject({ positions: 'mrope' })
    expect(await settings({ positions: 'sequential' })).toMatchObject({ prompt: 'raw', positions: 'sequential' })
  })

  it('takes what the model directory remembers, and says so', async () => {
    await write(model, 'vlm2vec.json', { prompt: 'vlm2vec', instruction: 'Model:', max_length: 77 })
    expect(await settings()).toMatchObject({
      prompt: 'vlm2vec',
      positions: 'sequential',
      instruction: 'Model:',
      maxLength: 77,
      sources: { prompt: `${model}/vlm2vec.json`, positions: 'default of the prompt vlm2vec' }
    })
  })

  it('lets the adapter directory win over the model directory, and options over both', async () => {
    await write(model, 'vlm2vec.json', { prompt: 'vlm2vec', positions: 'sequential', instruction: 'Model:' })
    await write(adapter, 'vlm2vec.json', { prompt: 'raw', positions: 'mrope' })
    expect(await settings({ adapterDirectory: adapter })).toMatchObject({
      prompt: 'raw',
      positions: 'mrope',
      instruction: 'Model:',
      sources: { prompt: `${adapter}/vlm2vec.json` }
    })
    const options = { adapterDirectory: adapter, prompt: 'chat', positions: 'sequential', instruction: 'Own:' } as const
    expect(await settings(options)).toMatchObject({
      prompt: 'chat',
      positions: 'sequential',
      instruction: 'Own:',
      sources: { prompt: 'option' }
    })
  })
})

describe('resolveSettings: presets', () => {
  it('take a preset that is recognised, below what the directory remembers and options', async () => {
    await writeFile(join(model, 'README.md'), '# VLM2Vec-V2.0')
    await write(adapter, 'vlm2vec.json', { preset: 'vlm2vec-v2', max_pixels: 5000, pooling: 'mean' })
    expect(await settings({ minPixels: 784 })).toMatchObject({
      preset: { name: 'vlm2vec-v2' },
      prompt: 'vlm2vec',
      positions: 'sequential',
      firstSize: 'vlm2vec',
      image: { minPixels: 784, maxPixels: 1003520 },
      video: { minPixels: 784, maxPixels: 1003520 },
      sources: { prompt: 'preset vlm2vec-v2', minPixels: 'option', maxPixels: 'preset vlm2vec-v2' }
    })
    expect(await settings({ adapterDirectory: adapter })).toMatchObject({
      image: { maxPixels: 5000 },
      pooling: 'mean',
      sources: { pooling: `${adapter}/vlm2vec.json` }
    })
  })

  it('take one that is asked for before what the directory remembers', async () => {
    await write(model, 'vlm2vec.json', { prompt: 'vlm2vec', normalize: false, num_crops: 7 })
    expect(await settings({ preset: 'gme' })).toMatchObject({
      preset: { name: 'gme', reason: 'it was asked for' },
      prompt: 'chat',
      positions: 'mrope',
      suffix: '<|endoftext|>',
      instruction: 'You are a helpful assistant.',
      firstSize: 'qwen',
      normalize: true,
      numCrops: 7,
      image: { minPixels: 200704, maxPixels: 1003520 }
    })
    expect(await settings({ preset: 'plain' })).toMatchObject({ prompt: 'raw', normalize: true })
  })

  it('vlm2vec-v1 differs between families', () => {
    const of = (family: string) => presetValues('vlm2vec-v1', family as typeof config.family)
    const common = { prompt: 'vlm2vec', positions: 'sequential', pooling: 'last', normalize: true }
    expect(of('qwen2_vl')).toEqual({ ...common, firstSize: 1344, minPixels: 200704, maxPixels: 1003520 })
    expect(of('llava_next')).toEqual({ ...common, firstSize: 1344 })
    expect(of('phi3_v')).toEqual({ ...common, numCrops: 4 })
  })

  it("leave a video's own budget alone where the preset is about pictures", async () => {
    await write(model, 'video_preprocessor_config.json', { min_pixels: 1568, max_pixels: 15680 })
    expect(await settings({ preset: 'qwen3-vl-embedding' })).toMatchObject({
      maxLength: 8192,
      image: { minPixels: 4096, maxPixels: 1843200 },
      video: { minPixels: 1568, maxPixels: 15680 }
    })
  })
})

describe('resolveSettings: pictures', () => {
  it("takes transformers' defaults where no file says otherwise", async () => {
    expect(await settings()).toMatchObject({
      image: { minPixels: 3136, maxPixels: 1003520 },
      video: { minPixels: 3136, maxPixels: 1003520 },
      filter: 'bicubic',
      mean: [0.48145466, 0.4578275, 0.40821073],
      std: [0.26862954, 0.26130258, 0.27577711],
      pixelLimit: 256_000_000
    })
  })

  it.each([
    ['min_pixels and max_pixels', { min_pixels: 784, max_pixels: 7840 }],
    ['edges that count pixels', { size: { shortest_edge: 784, longest_edge: 7840 } }],
    [
      'both, of which the first hold',
      { min_pixels: 784, max_pixels: 7840, size: { shortest_edge: 1, longest_edge: 99999 } }
    ],
    ['pixels within size', { size: { min_pixels: 784, max_pixels: 7840 } }]
  ])('reads %s from preprocessor_config.json, for videos too', async (_, file) => {
    await write(model, 'preprocessor_config.json', {
      ...file,
      image_mean: [0.5, 0.4, 0.3],
      image_std: [0.5, 0.6, 0.7],
      resample: 2
    })
    const budget = { minPixels: 784, maxPixels: 7840 }
    expect(await settings()).toMatchObject({
      image: budget,
      video: budget,
      mean: [0.5, 0.4, 0.3],
      std: [0.5, 0.6, 0.7],
      filter: 'bilinear'
    })
  })

  it('prefers the nested form of transformers 5, with sizes of its own for videos', async () => {
    await write(model, 'preprocessor_config.json', { min_pixels: 1, max_pixels: 2 })
    await write(model, 'processor_config.json', {
      image_processor: { size: { shortest_edge: 784, longest_edge: 7840 } },
      video_processor: { cap_pixels_per_frame: true, size: { shortest_edge: 1568, longest_edge: 15680 } }
    })
    expect(await settings()).toMatchObject({
      image: { minPixels: 784, maxPixels: 7840 },
      video: { minPixels: 1568, maxPixels: 15680, maxVideoTokens: 128000 }
    })
  })

  it('reads video_preprocessor_config.json, where silent with defaults of videos', async () => {
    await write(model, 'preprocessor_config.json', { min_pixels: 784, max_pixels: 7840 })
    await write(model, 'video_preprocessor_config.json', { max_pixels: 200704 })
    expect(await settings()).toMatchObject({
      image: { maxPixels: 7840 },
      video: { minPixels: 100352, maxPixels: 200704 }
    })
  })

  it('lets options hold for pictures and frames alike', async () => {
    await write(model, 'video_preprocessor_config.json', { min_pixels: 1568, max_pixels: 15680 })
    expect(await settings({ maxPixels: 7840 })).toMatchObject({
      image: { minPixels: 3136, maxPixels: 7840 },
      video: { minPixels: 1568, maxPixels: 7840 },
      sources: { maxPixels: 'option' }
    })
    expect(await settings({ minPixels: 1, maxPixels: 784 })).toMatchObject({ video: { minPixels: 1, maxPixels: 784 } })
    expect(await settings({ minPixels: 784, maxPixels: 1000 })).toMatchObject({
      video: { minPixels: 784, maxPixels: 1000 }
    })
  })

  it('keeps the least pixels of frames below the most', async () => {
    await write(model, 'preprocessor_config.json', { min_pixels: 784, max_pixels: 7840 })
    await write(model, 'video_preprocessor_config.json', {})
    expect(await settings({ maxPixels: 5000 })).toMatchObject({ video: { minPixels: 5000, maxPixels: 5000 } })
  })

  it.each([
    ['patch_size', { patch_size: 16 }, /14, as in config\.json/],
    ['merge_size', { merge_size: 1 }, /2, as in config\.json/],
    ['do_resize', { do_resize: false }, /true/],
    ['rescale_factor', { rescale_factor: 1 }, /1 \/ 255/],
    ['resample', { resample: 0 }, /bicubic/],
    ['image_std', { image_std: [0, 1, 1] }, /positive/],
    ['image_mean', { image_mean: [0.5] }, /3 numbers/],
    ['min_pixels', { min_pixels: 10, max_pixels: 5 }, /no more pixels/]
  ])('refuses an unsupported "%s"', async (key, file, message) => {
    await write(model, 'preprocessor_config.json', file)
    await expect(settings()).rejects.toMatchObject({ code: 'E_MODEL', message: expect.stringMatching(message) })
    await expect(settings()).rejects.toThrow(`"${key}"`)
  })

  it.each<[string, ProcessorOptions]>([
    ['minPixels above maxPixels', { minPixels: 10_000_000 }],
    ['a limit that is not whole', { maxPixels: 1.5 }],
    ['a length of zero', { maxLength: 0 }],
    ['a pixel limit of zero', { pixelLimit: 0 }],
    ['no crops at all', { numCrops: 0 }],
    ['crops of a model that does not cut pictures', { numCrops: 4 }],
    ['a first size of zero', { firstSize: 0 }]
  ])('refuses %s', async (_, options) => {
    await expect(settings(options)).rejects.toMatchObject({ code: 'E_OPTION' })
  })
})
