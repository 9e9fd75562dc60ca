/**
 * The boundary between TypeScript and the addon: whatever is passed, the answer is a result or an error with a code; never
 * a crash, and never silence.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { writeTinyModel } from '../../scripts/tiny-model.mjs'
import { Vlm2VecError } from '../../src/index.js'
import { readModelConfig, type ModelConfig } from '../../src/model/config.js'
import { native, type Batch, type NativeModel, type NativeTrainer, type PreparedPicture } from '../../src/native.js'
import { codeOf } from './code-of.js'
import { golden, temporaryFolder } from './golden.js'

const folder = temporaryFolder()
const directory = join(folder, 'model')
const device = { device: 'cpu', threads: 1 }
const place = { step: 1, chunk: 0, firstToken: 0, firstPatch: 0, stepTokens: 0 }

let config: ModelConfig
let load: Parameters<ReturnType<typeof native>['loadModel']>[0]
let model: NativeModel
let trainer: NativeTrainer
const trainerOptions = () => ({
  ...load,
  adapters: [{ module: 'model.language_model.layers.0.self_attn.q_proj', rank: 2, scale: 1, dora: false }],
  mode: 'lora' as const,
  freeze: [],
  dropout: 0,
  initialization: 'kaiming' as const,
  seed: 1,
  activationMemory: 0
})

beforeAll(async () => {
  writeTinyModel(directory)
  config = await readModelConfig(directory)
  load = { ...device, config, files: [join(directory, 'model.safetensors')], dtype: 'f32' }
  model = await native().loadModel(load)
  trainer = await native().createTrainer(trainerOptions())
})
afterAll(async () => {
  await model.close()
  await trainer.close()
})

/** 2 x 2 patches, which become one token. */
const picture = (): PreparedPicture => ({
  grid: [1, 2, 2],
  pixels: new Uint8Array(28 * 28 * 3).fill(200),
  layout: { patchSize: 14, temporalPatchSize: 2, mergeSize: 2, mean: [0.5, 0.5, 0.5], std: [0.2, 0.2, 0.2] }
})

/** Two sequences, of three tokens and of one picture. */
function batch(change: Partial<Record<keyof Batch, unknown>> = {}): Batch {
  return {
    tokens: new Int32Array([1, 2, 3, config.tokens.image]),
    seqStarts: new Int32Array([0, 3, 4]),
    positions: new Int32Array([0, 1, 2, 0, 0, 1, 2, 0, 0, 1, 2, 0]),
    pictures: [picture()],
    ...change
  } as Batch
}

const BROKEN_BATCHES: [string, () => unknown][] = [
  ['nothing', () => undefined],
  ['a number', () => 3],
  ['no tokens', () => batch({ tokens: undefined })],
  ['tokens as a plain array', () => batch({ tokens: [1, 2, 3, 4] })],
  ['tokens of another type', () => batch({ tokens: new Float32Array(4) })],
  ['a token below 0', () => batch({ tokens: new Int32Array([-1, 2, 3, config.tokens.image]) })],
  [
    'a token beyond the vocabulary',
    () => batch({ tokens: new Int32Array([1, 2, config.text.vocabSize, config.tokens.image]) })
  ],
  ['no starts', () => batch({ seqStarts: new Int32Array(0) })],
  ['starts that do not begin at 0', () => batch({ seqStarts: new Int32Array([1, 3, 4]) })],
  ['starts that fall', () => batch({ seqStarts: new Int32Array([0, 5, 4]) })],
  ['starts that end early', () => batch({ seqStarts: new Int32Array([0, 2, 3]) })],
  ['starts beyond the tokens', () => batch({ seqStarts: new Int32Array([0, 3, 1000000]) })],
  ['an empty sequence', () => batch({ seqStarts: new Int32Array([0, 0, 4]) })],
  ['too few positions', () => batch({ positions: new Int32Array(11) })],
  ['no pictures', () => batch({ pictures: undefined })],
  ['a picture by itself', () => batch({ pictures: picture() })],
  ['fewer pictures', () => batch({ pictures: [] })],
  ['more pictures', () => batch({ pictures: [picture(), picture()] })],
  ['a picture without its token', () => batch({ tokens: new Int32Array([1, 2, 3, 4]) })],
  ['a token without its picture', () => batch({ pictures: [] })]
]

describe('a batch', () => {
  it('is embedded where it is whole', async () => {
    const { embeddings, lastHidden } = await model.embed(batch(), { lastHidden: true })
    expect([embeddings.length, lastHidden!.length]).toEqual([2 * 64, 4 * 64])
    expect((await model.embed(batch())).lastHidden).toBeUndefined()
    expect(embeddings.every(Number.isFinite)).toBe(true)
  })

  it.each(BROKEN_BATCHES)('of %s is refused by model and trainer', async (_, broken) => {
    for (const call of [
      () => model.embed(broken() as Batch),
      () => trainer.embed(broken() as Batch, place),
      () => trainer.backward(broken() as Batch, new Float32Array(128), place)
    ])
      expect(['E_BATCH', 'E_SHAPE']).toContain(await codeOf(call))
  })

  it('leaves the model as it was after an error', async () => {
    const before = await model.embed(batch())
    await codeOf(() => model.embed(batch({ seqStarts: new Int32Array([0, 5, 4]) })))
    expect(await model.embed(batch())).toEqual(before)
  })
})

describe('a trainer', () => {
  it('refuses gradients and options that do not fit', async () => {
    for (const wrong of [new Float32Array(127), new Float64Array(128), undefined])
      expect(['E_SHAPE', 'E_BATCH']).toContain(
        await codeOf(() => trainer.backward(batch(), wrong as Float32Array, place))
      )
    expect(await codeOf(() => trainer.embed(batch(), {} as typeof place))).toBe('E_OPTION')
    expect(await codeOf(() => trainer.update({ learningRate: 'fast' } as never))).toBe('E_OPTION')
    expect(await codeOf(() => trainer.saveState(3 as never))).toBe('E_OPTION')
    expect(await codeOf(() => trainer.saveState(join(folder, 'none', 'state')))).toBe('E_IO')
    expect(await codeOf(() => trainer.restoreState(join(directory, 'config.json')))).toBe('E_CHECKPOINT')
    expect(existsSync(join(folder, 'none'))).toBe(false)
  })

  it.each<[string, object, string[]]>([
    ['an unknown mode', { mode: 'half' }, ['E_OPTION']],
    ['a dropout of 1', { dropout: 1 }, ['E_OPTION']],
    ['an unknown part', { mode: 'full', freeze: ['head'] }, ['E_OPTION']],
    [
      'an adapter on no module',
      { adapters: [{ module: 'none', rank: 1, scale: 1, dora: false }] },
      ['E_MODEL', 'E_OPTION']
    ],
    [
      'an adapter of rank 0',
      { adapters: [{ module: 'model.language_model.layers.0.self_attn.q_proj', rank: 0, scale: 1, dora: false }] },
      ['E_MODEL', 'E_OPTION']
    ],
    [
      'an adapter without a rank',
      { adapters: [{ module: 'model.language_model.layers.0.self_attn.q_proj' }] },
      ['E_OPTION']
    ]
  ])('is not made with %s', async (_, change, codes) => {
    expect(codes).toContain(await codeOf(() => native().createTrainer({ ...trainerOptions(), ...change } as never)))
  })
})

describe('loading', () => {
  it.each<[string, () => object, string[]]>([
    ['a file that is not there', () => ({ files: [join(folder, 'none.safetensors')] }), ['E_CHECKPOINT', 'E_IO']],
    ['a file that is none of weights', () => ({ files: [golden('items.jsonl')] }), ['E_CHECKPOINT']],
    ['no files', () => ({ files: [] }), ['E_CHECKPOINT', 'E_OPTION']],
    ['files of another kind', () => ({ files: 'x' }), ['E_OPTION']],
    ['an unknown number type', () => ({ dtype: 'f64' }), ['E_OPTION']],
    ['an unknown device', () => ({ device: 'gpu' }), ['E_OPTION']],
    ['a device that is not there', () => ({ device: 'cuda:99' }), ['E_CUDA']],
    ['threads below 0', () => ({ threads: -1 }), ['E_OPTION']],
    ['a configuration without sizes', () => ({ config: { family: 'qwen2_vl' } }), ['E_OPTION', 'E_MODEL']],
    ['an unknown family', () => ({ config: { ...config, family: 'x' } }), ['E_OPTION', 'E_MODEL']],
    ['sizes below 1', () => ({ config: { ...config, text: { ...config.text, heads: 0 } } }), ['E_OPTION', 'E_MODEL']]
  ])('refuses %s', async (_, change, codes) => {
    expect(codes).toContain(await codeOf(() => native().loadModel({ ...load, ...change() } as never)))
  })

  it('lists the linear modules of a configuration by their names in transformers 5', () => {
    const modules = native().linearModules(config)
    expect(modules).toContainEqual({
      name: 'model.language_model.layers.1.mlp.down_proj',
      part: 'text',
      inFeatures: 96,
      outFeatures: 64,
      spellings: {
        'transformers-5': 'model.language_model.layers.1.mlp.down_proj',
        'transformers-4': 'model.layers.1.mlp.down_proj',
        bare: 'language_model.layers.1.mlp.down_proj'
      }
    })
    expect(modules).toContainEqual({
      name: 'model.visual.merger.mlp.2',
      part: 'merger',
      inFeatures: 128,
      outFeatures: 64,
      spellings: {
        'transformers-5': 'model.visual.merger.mlp.2',
        'transformers-4': 'visual.merger.mlp.2',
        bare: 'visual.merger.mlp.2'
      }
    })
    expect(() => native().linearModules(undefined as never)).toThrow(Vlm2VecError)
  })
})

describe('a handle', () => {
  it('runs calls in the order in which they are made, also while others run', async () => {
    const order: number[] = []
    const calls = [batch(), batch({ seqStarts: new Int32Array([0, 4]), tokens: batch().tokens }), batch()].map(
      (each, i) =>
        model.embed(each).then(({ embeddings }) => {
          order.push(i)
          return embeddings.length
        })
    )
    expect(await Promise.all(calls)).toEqual([128, 64, 128])
    expect(order).toEqual([0, 1, 2])
  })

  it('ends what is under way when it is closed, and then refuses everything', async () => {
    const own = await native().loadModel(load)
    const running = own.embed(batch())
    const closing = own.close()
    expect((await running).embeddings).toHaveLength(128)
    await closing
    for (const call of [() => own.embed(batch()), () => own.save({ path: join(folder, 'x'), dtype: 'base' })])
      expect(await codeOf(call)).toBe('E_CLOSED')
    await own.close()
    const another = await native().createTrainer(trainerOptions())
    await another.close()
    for (const call of [
      () => another.embed(batch(), place),
      () => another.update({ learningRate: 1, weightDecay: 0, maxGradNorm: 0 }),
      () => another.saveState(join(folder, 'x'))
    ])
      expect(await codeOf(call)).toBe('E_CLOSED')
  })

  it('has methods that need no receiver', async () => {
    const { embed } = model
    expect((await Reflect.apply(embed, trainer, [batch()])).embeddings).toHaveLength(128)
  })
})
