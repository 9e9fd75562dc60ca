/** Ten steps of training against transformers and peft (f32): losses, gradients of the first step, final adapters. */
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import {
  deviation,
  floats,
  metricsOf,
  norm,
  offGradients,
  readTensors,
  renamed,
  temporaryFolder,
  totalNorm,
  type StoredTensor
} from './golden.js'
import { RecordedTraining } from './recorded-training.js'

const folder = temporaryFolder()

describe.each([
  { name: 'lora', lossBound: 2e-4 },
  { name: 'dora', lossBound: 2e-4 },
  { name: 'negatives', lossBound: 2e-4 },
  { name: 'full', lossBound: 1e-3 }
])('training "$name"', ({ name, lossBound }) => {
  const recorded = new RecordedTraining('', name, folder)
  const theirs = recorded.gradients()
  let run: string
  beforeAll(async () => {
    run = await recorded.run()
  })

  it('has the losses and gradient norms of the reference at each of ten steps', () => {
    expect(recorded.want.losses).toHaveLength(10)
    recorded.expectSteps(run, lossBound)
  })

  it('has its learning rates', () => {
    for (const [i, { learning_rate }] of metricsOf(run).entries())
      expect(learning_rate).toBeCloseTo(recorded.want.learning_rates[i]!, 12)
  })

  it('has every gradient of the first step, by name', () => {
    const ours = renamed(readTensors(join(run, 'gradients-1.safetensors')))
    expect([...ours.keys()].sort()).toEqual([...theirs.keys()].sort())
    for (const [tensor, { shape }] of theirs) expect(ours.get(tensor)!.shape, tensor).toEqual(shape)
    expect(offGradients(ours, theirs)).toEqual([])
  })

  const adapted = name === 'full' ? [] : [name]
  it.each(adapted)('ends with the adapter of the reference', () => {
    const final = readTensors(recorded.path('final.safetensors'))
    const ours = readTensors(join(run, 'final', 'adapter_model.safetensors'))
    const start = readTensors(recorded.path('adapter', 'adapter_model.safetensors'))
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
    const { options, losses } = recorded.want
    const wrong = await recorded.run({ temperature: Number(options['temperature']) * 1.01, max_steps: 1 })
    const [first] = metricsOf(wrong)
    expect(Math.abs(first!.loss / losses[0]! - 1)).toBeGreaterThan(lossBound)
    const ours = renamed(readTensors(join(wrong, 'gradients-1.safetensors')))
    expect(offGradients(ours, theirs).length).toBeGreaterThan(theirs.size / 2)
  })
})

describe('the chunk size', () => {
  it.each(['dora', 'negatives', 'full'])('does not change the gradients of "%s"', async (name) => {
    const recorded = new RecordedTraining('', name, folder)
    const [whole, ...parts] = await Promise.all(
      [1000, 1, 4].map(async (chunk_size) =>
        readTensors(join(await recorded.run({ chunk_size, max_steps: 1 }), 'gradients-1.safetensors'))
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
