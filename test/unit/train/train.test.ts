import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { writeTinyModel } from '../../../scripts/tiny-model.mjs'
import { train, type TrainEvent } from '../../../src/train/train.js'
import type { TrainConfig } from '../../../src/train/options.js'
import { fakeEngine, type FakeEngine } from './fake-engine.js'

let engine: FakeEngine
vi.mock('../../../src/native.js', () => ({ native: () => engine }))

let folder = ''
beforeEach(async () => {
  engine = fakeEngine()
  folder = await mkdtemp(join(tmpdir(), 'vlm2vec-train-'))
  writeTinyModel(join(folder, 'base'))
  const rows = Array.from({ length: 10 }, (_, i) => ({
    query: { text: `query ${i}` },
    target: { text: `target ${i * i}` }
  }))
  await writeFile(join(folder, 'rows.jsonl'), rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const config = (
  changes: { train?: TrainConfig['train']; output?: Partial<TrainConfig['output']>; tune?: TrainConfig['tune'] } = {}
): TrainConfig => ({
  model: { path: join(folder, 'base') },
  tune: { target_modules: ['q_proj'], ...changes.tune },
  data: [{ path: join(folder, 'rows.jsonl') }],
  train: { batch_size: 3, chunk_size: 2, max_steps: 6, learning_rate: 1e-3, warmup_steps: 2, ...changes.train },
  output: { dir: join(folder, 'run'), save_every: 2, keep_last: 2, ...changes.output }
})

async function run(
  given: TrainConfig,
  options: { signal?: AbortSignal; until?: (event: TrainEvent) => void } = {}
): Promise<TrainEvent[]> {
  const events: TrainEvent[] = []
  for await (const event of train(given, { signal: options.signal })) {
    events.push(event)
    options.until?.(event)
  }
  return events
}

const read = (...path: string[]): Promise<string> => readFile(join(folder, 'run', ...path), 'utf8')
const losses = async (): Promise<number[]> =>
  (await read('metrics.jsonl'))
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as { loss: number }).loss)

describe('train', () => {
  it('yields start, each step, each checkpoint, and done', async () => {
    const events = await run(config())
    expect(events.map(({ type, step }) => `${type} ${step}`)).toEqual([
      'start 0',
      ...[
        'step 1',
        'step 2',
        'checkpoint 2',
        'step 3',
        'step 4',
        'checkpoint 4',
        'step 5',
        'step 6',
        'checkpoint 6',
        'done 6'
      ]
    ])
    expect(engine.updates.map(({ learningRate }) => learningRate * 1e3)).toEqual(
      [0, 0.5, 1, 0.75, 0.5, 0.25].map((rate) => expect.closeTo(rate, 12))
    )
    expect(engine.closed).toBe(1)
  })

  it('leaves metrics, configuration, the last checkpoints and the model', async () => {
    await run(config())
    expect((await readdir(join(folder, 'run'))).sort()).toEqual([
      'checkpoint-4',
      'checkpoint-6',
      'config.resolved.yaml',
      'final',
      'metrics.jsonl'
    ])
    expect((await readdir(join(folder, 'run', 'final'))).sort()).toEqual([
      'README.md',
      'adapter_config.json',
      'adapter_model.safetensors',
      'vlm2vec.json'
    ])
    expect(await losses()).toHaveLength(6)
    expect(await read('config.resolved.yaml')).toContain('duplicates: mask')
  })

  it('in mode full writes a whole model directory', async () => {
    await run(config({ tune: { mode: 'full', freeze: ['vision'] } }))
    const names = await readdir(join(folder, 'run', 'final'))
    for (const name of [
      'config.json',
      'tokenizer.json',
      'preprocessor_config.json',
      'model.safetensors',
      'vlm2vec.json'
    ])
      expect(names).toContain(name)
    expect(engine.created[0]).toMatchObject({ mode: 'full', freeze: ['vision'] })
    expect(engine.created[0]).not.toHaveProperty('adapters')
  })

  it('stops where it is asked to, and goes on to the same losses and weights', async () => {
    await run(config())
    const whole = { losses: await losses(), weights: await read('final', 'adapter_model.safetensors') }
    await rm(join(folder, 'run'), { recursive: true })

    const controller = new AbortController()
    const stopped = run(config(), { signal: controller.signal, until: ({ step }) => step === 3 && controller.abort() })
    await expect(stopped).rejects.toMatchObject({ code: 'E_ABORTED' })
    expect((await readdir(join(folder, 'run'))).sort()).toEqual([
      'checkpoint-2',
      'checkpoint-3',
      'config.resolved.yaml',
      'metrics.jsonl'
    ])

    const [start] = await run(config())
    expect(start).toMatchObject({ type: 'start', step: 3, resumed_from: join(folder, 'run', 'checkpoint-3') })
    expect({ losses: await losses(), weights: await read('final', 'adapter_model.safetensors') }).toEqual(whole)
  })

  it('goes on from the last checkpoint when it ended without warning', async () => {
    await run(config())
    const whole = { losses: await losses(), weights: await read('final', 'adapter_model.safetensors') }
    await rm(join(folder, 'run'), { recursive: true })
    for await (const event of train(config())) if (event.type === 'step' && event.step === 3) break
    expect((await losses()).length).toBe(3)
    const [start] = await run(config())
    expect(start).toMatchObject({ step: 2 })
    expect({ losses: await losses(), weights: await read('final', 'adapter_model.safetensors') }).toEqual(whole)
  })

  it('does nothing more to a run that is done, and makes it longer when asked to', async () => {
    await run(config())
    expect((await run(config())).map(({ type }) => type)).toEqual(['start', 'done'])
    const longer = await run(config({ train: { max_steps: 8 } }))
    expect(longer.filter(({ type }) => type === 'step').map(({ step }) => step)).toEqual([7, 8])
    await expect(run(config({ train: { max_steps: 5 } }))).rejects.toMatchObject({ code: 'E_OUTPUT' })
  })

  it('refuses to go on with other data', async () => {
    await run(config({ train: { max_steps: 2 } }))
    await writeFile(join(folder, 'rows.jsonl'), '{"query": {"text": "q"}, "target": {"text": "t"}}\n', { flag: 'a' })
    await expect(run(config())).rejects.toMatchObject({ code: 'E_OUTPUT', message: expect.stringContaining('10 rows') })
  })

  it('stops at a loss that is not finite; nothing is updated or overwritten', async () => {
    engine.brokenLossAt = 4
    await expect(run(config())).rejects.toMatchObject({ code: 'E_NUMERIC', message: expect.stringContaining('step 4') })
    expect(engine.updates).toHaveLength(3)
    expect(await losses()).toHaveLength(3)
    expect((await readdir(join(folder, 'run'))).filter((name) => /checkpoint|final|tmp|lock/.test(name))).toEqual([
      'checkpoint-2'
    ])
    expect(engine.closed).toBe(1)
  })

  it('writes gradients of the steps asked for', async () => {
    await run(config({ output: { dump_gradients: [1, 3] } }))
    expect((await readdir(join(folder, 'run'))).filter((name) => name.startsWith('gradients')).sort()).toEqual([
      'gradients-1.safetensors',
      'gradients-3.safetensors'
    ])
  })

  it('runs for whole passes over the data where max_steps is not given', async () => {
    const events = await run(config({ train: { max_steps: null, epochs: 2 } }))
    expect(events.at(-1)).toMatchObject({ type: 'done', step: 7 }) // 20 rows in batches of 3
  })

  it('refuses a batch that is larger than the data', async () => {
    await expect(run(config({ train: { batch_size: 11 } }))).rejects.toMatchObject({
      code: 'E_OPTION',
      message: expect.stringContaining('only 10 rows')
    })
  })

  it('refuses unknown keys, and names the known ones', async () => {
    const wrong = { ...config(), train: { batchsize: 3 } } as unknown as TrainConfig
    await expect(run(wrong)).rejects.toMatchObject({
      code: 'E_OPTION',
      message: expect.stringContaining('train.batch_size')
    })
  })

  it('says which target modules match nothing', async () => {
    const [start] = await run(config({ tune: { target_modules: ['q_proj', 'gate_proj'] } }))
    expect(start).toMatchObject({ warnings: [expect.stringContaining('gate_proj')] })
  })
})
