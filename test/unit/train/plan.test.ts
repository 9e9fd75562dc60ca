import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import sharp from 'sharp'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { writeTinyModel } from '../../../scripts/tiny-model.mjs'
import { Vlm2VecError } from '../../../src/errors.js'
import type { Addon } from '../../../src/native.js'
import { validate } from '../../../src/options.js'
import { trainOptions, type TrainConfig } from '../../../src/train/options.js'
import { planRun, type Plan } from '../../../src/train/plan.js'
import { fakeEngine, type FakeEngine } from './fake-engine.js'

const MIB = 2 ** 20
let engine: FakeEngine
let asked: Parameters<Addon['trainingMemory']>[0]
vi.mock('../../../src/native.js', () => ({ native: () => engine }))

let folder = ''
beforeEach(async () => {
  engine = fakeEngine()
  engine.trainingMemory = (options) => {
    asked = options
    return { weights: 4 * MIB, packed: 0, gradients: MIB, optimizer: 2 * MIB, activations: 3 * MIB }
  }
  folder = await mkdtemp(join(tmpdir(), 'vlm2vec-plan-'))
  writeTinyModel(join(folder, 'base'))
  // Ten rows, five targets that come twice each, and a negative in every other row.
  await rows(
    Array.from({ length: 10 }, (_, i) => ({
      query: { text: `query ${i}` },
      target: { text: `target ${i % 5}` },
      ...(i % 2 === 0 && { negatives: [{ text: `negative ${i}` }] })
    }))
  )
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const rows = (values: object[]) =>
  writeFile(join(folder, 'rows.jsonl'), values.map((value) => `${JSON.stringify(value)}\n`).join(''))

function plan(changes: TrainConfig['train'] = {}, measure = false): Promise<Plan> {
  const config = {
    model: { path: join(folder, 'base') },
    tune: { target_modules: ['q_proj'] },
    data: [{ path: join(folder, 'rows.jsonl') }],
    train: { batch_size: 10, chunk_size: 4, max_steps: 20, shuffle: false, ...changes },
    output: { dir: join(folder, 'run'), save_every: 6 }
  }
  return planRun(validate(trainOptions, config, 'test'), { threads: 0, measure })
}

describe('planRun', () => {
  it('counts steps, candidates, negatives and chunks', async () => {
    expect(await plan()).toMatchObject({
      mode: 'lora',
      adapted_modules: 1,
      rows: 10,
      steps: 20,
      epochs: 20,
      checkpoints: 4,
      effective_batch: 10,
      candidates: 15,
      negatives_per_query: 14,
      masked_per_query: 1,
      chunks_per_step: 7,
      sampled_items: 25
    })
  })

  it('counts nothing as left out where duplicates are kept', async () => {
    expect((await plan({ duplicates: 'keep' })).masked_per_query).toBe(0)
  })

  it('asks for the memory of the largest chunk, and adds inputs and embeddings', async () => {
    const { memory_mib: memory, tokens_per_item } = await plan()
    expect(asked).toMatchObject({ mode: 'lora', sequences: 4, patches: 0 })
    expect(asked.tokens).toBeLessThanOrEqual(4 * tokens_per_item.most)
    expect(asked.tokens).toBeGreaterThan(0)
    expect(memory).toMatchObject({ weights: 4, gradients: 1, optimizer: 2, activations: 3, inputs: 0 })
    expect(memory.embeddings).toBeCloseTo((2 * 4 * 25 * 64) / MIB, 9)
    expect(memory.total).toBeCloseTo(10 + memory.embeddings, 9)
  })

  it('counts the bytes of pictures in the batches that wait', async () => {
    const picture = sharp({ create: { width: 56, height: 84, channels: 3, background: 'teal' } })
    await picture.png().toFile(join(folder, 'picture.png'))
    await rows(Array.from({ length: 10 }, () => ({ query: { images: ['picture.png'] }, target: { text: 't' } })))
    const { memory_mib, patches_per_step } = await plan({ prefetch: 1 })
    expect(patches_per_step).toBe(10 * 4 * 6)
    expect(memory_mib.inputs * MIB).toBeCloseTo(2 * 10 * 3 * 56 * 84, 3)
  })

  it('times a chunk where asked to, and says why where it cannot', async () => {
    const measured = await plan({}, true)
    expect(measured.seconds).toBeCloseTo(measured.seconds_per_step! * 20, 9)
    expect(engine.closed).toBe(1)
    engine.createTrainer = () => Promise.reject(new Vlm2VecError('E_MEMORY', 'not enough'))
    const without = await plan({}, true)
    expect(without.seconds).toBeUndefined()
    expect(without.warnings).toEqual([expect.stringContaining('not enough')])
  })

  it('finds a wrong row anywhere in the data, and a picture that is not there', async () => {
    const good = { query: { text: 'q' }, target: { text: 't' } }
    await rows([...Array.from({ length: 100 }, () => good), { query: { text: 'q' } }])
    await expect(plan()).rejects.toMatchObject({ code: 'E_DATA', message: expect.stringContaining('record 101') })
    await rows([
      ...Array.from({ length: 100 }, () => good),
      { query: { images: ['missing.png'] }, target: { text: 't' } }
    ])
    await expect(plan()).rejects.toMatchObject({ code: 'E_DATA', message: expect.stringContaining('missing.png') })
  })
})
