/** Ten steps of training against transformers and peft (f32): losses, gradients of the first step, final adapters. */
import { existsSync, mkdtempSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import type { StepMetrics } from '../../src/train/metrics-log.js'
import {
  command,
  deviation,
  floats,
  golden,
  metricsOf,
  norm,
  offGradients,
  readJson,
  readTensors,
  renamed,
  temporaryFolder,
  totalNorm,
  type StoredTensor
} from './golden.js'

interface Expected {
  options: Record<string, unknown> & { positions?: string; learning_rate: number }
  losses: number[]
  grad_norms: number[]
  learning_rates: number[]
}

const folder = temporaryFolder()

/** Trains a recorded case; returns the run directory. */
async function train(name: string, changes: Record<string, unknown> = {}): Promise<string> {
  const { options } = readJson<Expected>(golden('training', name, 'expected.json'))
  const { positions = 'mrope', ...train } = options
  const adapter = golden('training', name, 'adapter')
  const run = mkdtempSync(join(folder, `${name}-`))
  const config = {
    model: {
      path: golden('model'),
      adapter: existsSync(adapter) ? adapter : null,
      dtype: 'f32',
      device: 'cpu'
    },
    tune: { mode: existsSync(adapter) ? 'lora' : 'full' },
    data: [{ name: 'rows', path: golden('training', name, 'rows.jsonl'), image_root: golden('pictures') }],
    train: { chunk_size: 3, shuffle: false, ...train, ...changes },
    prompt: { style: 'raw', positions },
    output: { dir: join(run, 'run'), dump_gradients: [1] }
  }
  const file = join(run, 'config.yaml')
  writeFileSync(file, JSON.stringify(config)) // JSON is YAML
  await command('train', '--config', file, '--quiet')
  return config.output.dir
}

describe.each([
  { name: 'lora', lossBound: 2e-4 },
  { name: 'dora', lossBound: 2e-4 },
  { name: 'negatives', lossBound: 2e-4 },
  { name: 'full', lossBound: 1e-3 }
])('training "$name"', ({ name, lossBound }) => {
  const want = readJson<Expected>(golden('training', name, 'expected.json'))
  const theirs = readTensors(golden('training', name, 'gradients.safetensors'))
  let run: string
  let metrics: StepMetrics[]
  beforeAll(async () => {
    run = await train(name)
    metrics = metricsOf(run)
  })

  it('has the losses of the reference at each of ten steps', () => {
    expect(metrics.map(({ step }) => step)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    for (const [i, { loss }] of metrics.entries())
      expect(Math.abs(loss / want.losses[i]! - 1), `step ${i + 1}`).toBeLessThanOrEqual(lossBound)
  })

  it('has its learning rates and gradient norms', () => {
    for (const [i, each] of metrics.entries()) {
      expect(each.learning_rate).toBeCloseTo(want.learning_rates[i]!, 12)
      expect(Math.abs(each.grad_norm / want.grad_norms[i]! - 1), `step ${i + 1}`).toBeLessThanOrEqual(1e-2)
    }
  })

  it('has every gradient of the first step, by name', () => {
    const ours = renamed(readTensors(join(run, 'gradients-1.safetensors')))
    expect([...ours.keys()].sort()).toEqual([...theirs.keys()].sort())
    for (const [tensor, { shape }] of theirs) expect(ours.get(tensor)!.shape, tensor).toEqual(shape)
    expect(offGradients(ours, theirs)).toEqual([])
  })

  const adapted = name === 'full' ? [] : [name]
  it.each(adapted)('ends with the adapter of the reference', () => {
    const final = readTensors(golden('training', name, 'final.safetensors'))
    const ours = readTensors(join(run, 'final', 'adapter_model.safetensors'))
    const start = readTensors(golden('training', name, 'adapter', 'adapter_model.safetensors'))
    expect([...ours.keys()].sort()).toEqual([...final.keys()].sort())
    const minus = (a: StoredTensor, b: StoredTensor): number[] => {
      const other = floats(b)
      return Array.from(floats(a), (value, i) => value - other[i]!)
    }
    const names = [...final.keys()]
    const moved = norm(names.map((each) => norm(minus(final.get(each)!, start.get(each)!))))
    const off = norm(names.map((each) => norm(minus(ours.get(each)!, final.get(each)!))))
    expect(off / moved).toBeLessThanOrEqual(5e-3)
  })

  it('would notice a temperature that is off by one per cent', async () => {
    const { options } = want
    const wrong = await train(name, { temperature: Number(options['temperature']) * 1.01, max_steps: 1 })
    const [first] = metricsOf(wrong)
    expect(Math.abs(first!.loss / want.losses[0]! - 1)).toBeGreaterThan(lossBound)
    const ours = renamed(readTensors(join(wrong, 'gradients-1.safetensors')))
    expect(offGradients(ours, theirs).length).toBeGreaterThan(theirs.size / 2)
  })
})

describe('the chunk size', () => {
  it.each(['dora', 'negatives', 'full'])('does not change the gradients of "%s"', async (name) => {
    const [whole, ...parts] = await Promise.all(
      [1000, 1, 4].map(async (chunk_size) =>
        readTensors(join(await train(name, { chunk_size, max_steps: 1 }), 'gradients-1.safetensors'))
      )
    )
    const all = totalNorm(whole!)
    for (const part of parts)
      for (const [tensor, value] of whole!) {
        const { own, ofAll } = deviation(floats(part.get(tensor)!), floats(value), all)
        expect(Math.min(own, ofAll), tensor).toBeLessThanOrEqual(1e-6)
      }
  })
})
