/**
 * Prepared pictures at the boundary between TypeScript and the addon: what they become, and that malformed ones are errors
 * that say what is wrong.
 */
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { writeTinyModel } from '../../scripts/tiny-model.mjs'
import { readModelConfig, type ModelConfig } from '../../src/model/config.js'
import { native, type Batch, type NativeModel, type NativeTrainer, type PreparedPicture } from '../../src/native.js'
import { codeOf } from './code-of.js'
import { temporaryFolder } from './golden.js'

const directory = join(temporaryFolder(), 'model')
const place = { step: 1, chunk: 0, firstToken: 0, firstPatch: 0, stepTokens: 0 }
let config: ModelConfig
let model: NativeModel
let trainer: NativeTrainer

beforeAll(async () => {
  writeTinyModel(directory)
  config = await readModelConfig(directory)
  const files = [join(directory, 'model.safetensors')]
  const load = { device: 'cpu', threads: 1, config, files, dtype: 'f32' as const }
  model = await native().loadModel(load)
  const other = { dropout: 0, initialization: 'kaiming' as const, seed: 1, activationMemory: 0 }
  trainer = await native().createTrainer({ ...load, ...other, mode: 'full', freeze: [] })
})
afterAll(async () => {
  await model.close()
  await trainer.close()
})

const layout = {
  patchSize: 14,
  temporalPatchSize: 2,
  mergeSize: 2,
  mean: [0.5, 0.5, 0.5],
  std: [0.2, 0.2, 0.2]
} as const

/** 2 x 2 patches, which become one token. */
function picture(change: Partial<Record<keyof PreparedPicture, unknown>> = {}): PreparedPicture {
  return { grid: [1, 2, 2], pixels: new Uint8Array(28 * 28 * 3).fill(200), layout, ...change } as PreparedPicture
}

const cut = (change: object) => picture({ layout: { ...layout, ...change } })
const BYTES = 28 * 28 * 3
/** No pictures at all, and pictures that no model can be given. */
const BROKEN_PICTURES: [string, () => unknown][] = [
  ['nothing', () => undefined],
  ['bytes alone', () => new Uint8Array(BYTES)],
  ['a byte too few', () => picture({ pixels: new Uint8Array(BYTES - 1) })],
  ['no bytes', () => picture({ pixels: new Uint8Array(0) })],
  ['more frames than its grid', () => picture({ pixels: new Uint8Array(3 * BYTES) })],
  ['fewer frames than its grid', () => picture({ grid: [2, 2, 2] })],
  ['pixels of another type', () => picture({ pixels: new Float32Array(BYTES) })],
  ['pixels as a plain array', () => picture({ pixels: Array(BYTES).fill(0) })],
  ['no pixels', () => picture({ pixels: undefined })],
  ['a grid of two numbers', () => picture({ grid: [1, 2] })],
  ['a grid of text', () => picture({ grid: ['1', '2', '2'] })],
  ['no grid', () => picture({ grid: undefined })],
  ['a grid below 0', () => picture({ grid: [1, -2, -2] })],
  ['a grid that cannot be merged', () => picture({ grid: [1, 1, 4] })],
  ['a grid of halves', () => picture({ grid: [1.5, 2, 2] })],
  ['a grid beyond whole numbers of 32 bits', () => picture({ grid: [2 ** 32 + 1, 2, 2] })],
  ['a grid whose size overflows', () => picture({ grid: [2 ** 30, 2 ** 30, 2 ** 30] })],
  ['no layout', () => picture({ layout: undefined })],
  ['patches of no size', () => cut({ patchSize: 0 })],
  ['patches of half a pixel more', () => cut({ patchSize: 14.5 })],
  ['patches of any size', () => cut({ patchSize: 'large' })],
  ['groups of -1 frames', () => cut({ temporalPatchSize: -1 })],
  ['blocks of no size', () => cut({ mergeSize: undefined })],
  ['a mean of two channels', () => cut({ mean: [0, 0] })],
  ['a mean that is no number', () => cut({ mean: [0, NaN, 0] })],
  ['a mean beyond f32', () => cut({ mean: [1e39, 0, 0] })],
  ['a deviation of 0', () => cut({ std: [1, 0, 1] })],
  ['no deviation', () => cut({ std: undefined })],
  ['tiles of groups of frames', () => picture({ tiles: { across: 1, overview: 'resized' } })],
  ['rows of no tiles', () => picture({ tiles: { across: 0, overview: 'resized' } })],
  ['an unknown overview', () => picture({ tiles: { across: 1, overview: 'none' } })],
  ['tiles that are none', () => picture({ tiles: 3 })]
]

/** Pictures that are whole, but of other models. */
const OTHER_PICTURES: [string, () => unknown][] = [
  ['patches of another size', () => picture({ grid: [1, 4, 4], layout: { ...layout, patchSize: 7 } })],
  ['other blocks', () => cut({ mergeSize: 1 })],
  ['other groups of frames', () => cut({ temporalPatchSize: 1 })]
]

/** One sequence, of a token for each of the pictures. */
function batch(...pictures: unknown[]): Batch {
  return {
    tokens: new Int32Array(pictures.length).fill(config.tokens.image),
    seqStarts: Int32Array.of(0, pictures.length),
    positions: new Int32Array(3 * pictures.length),
    pictures: pictures as PreparedPicture[]
  }
}

describe('a prepared picture', () => {
  it('becomes patches by itself, each byte as the processor normalises it', async () => {
    const value = Math.fround(Math.fround(Math.fround(200 / 255) - 0.5) / Math.fround(0.2))
    expect(await native().patchify(picture())).toEqual(new Float32Array(4 * 1176).fill(value))
  })

  it.each([...BROKEN_PICTURES, ...OTHER_PICTURES])('of %s is refused by model and trainer', async (_, broken) => {
    for (const call of [
      () => model.embed(batch(broken())),
      () => trainer.embed(batch(broken()), place),
      () => trainer.backward(batch(broken()), new Float32Array(64), place)
    ])
      expect(['E_BATCH', 'E_SHAPE']).toContain(await codeOf(call))
    expect((await model.embed(batch(picture()))).embeddings).toHaveLength(64)
  })

  it.each(BROKEN_PICTURES)('of %s becomes no patches', async (_, broken) => {
    expect(['E_BATCH', 'E_SHAPE']).toContain(await codeOf(() => native().patchify(broken() as PreparedPicture)))
  })

  it('that does not fit its batch or itself is named, and what is wrong with it', async () => {
    const messageOf = async (wrong: PreparedPicture): Promise<string> => {
      try {
        await model.embed(batch(picture(), wrong))
        return ''
      } catch (error) {
        return (error as Error).message
      }
    }
    expect(await messageOf(picture({ pixels: new Uint8Array(BYTES - 1) }))).toBe(
      `picture 1 of the batch holds ${BYTES - 1} bytes; its grid of 1 x 2 x 2 patches of 14 takes 1 x 2 frames of ${BYTES}`
    )
    expect(await messageOf(cut({ patchSize: 16 }))).toMatch(
      /picture 1 of the batch .* patches of 16 .* takes 2, 14 and 2/
    )
  })
})
