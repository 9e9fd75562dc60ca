/** Base weights in 8 and 4 bits: embeddings stay near, adapters train on them, and what depends on nothing else keeps its bits. */
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import {
  command,
  cosineDistance,
  embedRows,
  floats,
  fromFloats,
  golden,
  largestDifference,
  metricsOf,
  norm,
  readJsonl,
  readTensors,
  temporaryFolder,
  writeTensors
} from './golden.js'

const folder = temporaryFolder()
const items = readJsonl<{ id: string }>(golden('items.jsonl'))

interface Job {
  model?: string
  input?: string
  more?: string[]
}

function embed(quantize: string, { model = golden('model'), input, more = [] }: Job = {}): Promise<Float32Array[]> {
  const options = ['--model', model, '--device', 'cpu', '--quantize', quantize, '--prompt', 'raw', ...more]
  return embedRows(folder, ...options, '--input', input ?? golden('items.jsonl'), '--image-root', golden('pictures'))
}

// The levels of bitsandbytes.
const LEVELS = [
  -1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
  -0.09105003625154495, 0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
  0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1
]

/** Rounded to 4 bits, 64 numbers by their largest. */
function nf4(values: Float32Array): Float32Array {
  const result = new Float32Array(values.length)
  for (let first = 0; first < values.length; first += 64) {
    const block = values.subarray(first, first + 64)
    const largest = block.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
    const nearest = (x: number): number => LEVELS.reduce((a, b) => (Math.abs(b - x) < Math.abs(a - x) ? b : a))
    block.forEach((value, i) => (result[first + i] = largest * nearest(value / largest)))
  }
  return result
}

describe('embeddings', () => {
  let exact: Float32Array[]
  beforeAll(async () => {
    exact = await embed('none')
  })

  // The golden model's weights are random and large, so that rounding shows more than in a trained model.
  it('of int8 are near those of f32, and not the same', async () => {
    const distances = (await embed('int8')).map((each, i) => cosineDistance(each, exact[i]!))
    expect(Math.max(...distances)).toBeLessThan(0.01)
    expect(Math.min(...distances)).toBeGreaterThan(1e-7)
  })

  it('of nf4 are those of a checkpoint whose linear layers were rounded before', async () => {
    const rounded = join(folder, 'rounded')
    mkdirSync(rounded)
    for (const name of readdirSync(golden('model')))
      if (name !== 'model.safetensors') cpSync(golden('model', name), join(rounded, name))
    const tensors = [...readTensors(golden('model', 'model.safetensors'))].map(([name, tensor]) => {
      const linear = tensor.shape.length === 2 && !name.includes('embed_tokens')
      return [name, linear ? fromFloats(nf4(floats(tensor)), tensor.shape, 'F32') : tensor] as const
    })
    writeTensors(join(rounded, 'model.safetensors'), new Map(tensors))
    const theirs = await embed('none', { model: rounded })
    const ours = await embed('nf4')
    expect(Math.max(...ours.map((each, i) => largestDifference(each, theirs[i]!)))).toBeLessThan(2e-5)
    expect(Math.min(...ours.map((each, i) => cosineDistance(each, exact[i]!)))).toBeGreaterThan(1e-3)
  })

  it.each(['int8', 'nf4'])('of %s have the same bits alone and in a batch', async (quantize) => {
    const together = await embed(quantize)
    for (const index of [0, items.length - 1]) {
      const one = join(folder, 'one.jsonl')
      writeFileSync(one, JSON.stringify(items[index]))
      expect(await embed(quantize, { input: one })).toEqual([together[index]])
    }
    expect(await embed(quantize, { more: ['--threads', '1'] })).toEqual(together)
  })
})

describe('training', () => {
  const rows = items.slice(0, 4).map((item, i) => ({ query: item, target: { text: `target ${i}` } }))

  async function train(
    quantize: string,
    changes: { tune?: object; train?: object; dir?: string } = {}
  ): Promise<string> {
    const run = changes.dir ?? join(mkdtempSync(join(folder, 'run-')), 'run')
    const data = join(folder, 'rows.jsonl')
    writeFileSync(data, rows.map((row) => JSON.stringify(row)).join('\n'))
    const config = {
      model: { path: golden('model'), device: 'cpu', quantize },
      tune: { mode: 'lora', rank: 4, alpha: 8, target_modules: ['q_proj', 'down_proj', 'fc1'], ...changes.tune },
      data: [{ path: data, image_root: golden('pictures') }],
      train: { batch_size: 4, chunk_size: 2, max_steps: 3, learning_rate: 1e-3, shuffle: false, ...changes.train },
      prompt: { style: 'raw' },
      output: { dir: run, save_every: 2, dump_gradients: [1] }
    }
    const file = join(folder, 'train.yaml')
    writeFileSync(file, JSON.stringify(config))
    await command('train', '--config', file, '--quiet')
    return run
  }

  const gradients = (run: string): Float32Array =>
    Float32Array.from(
      [...readTensors(join(run, 'gradients-1.safetensors')).values()].flatMap((each) => [...floats(each)])
    )
  const losses = (run: string): number[] => metricsOf(run).map(({ loss }) => loss)

  it.each([
    { quantize: 'int8', bound: 0.1 },
    { quantize: 'nf4', bound: 0.9 }
  ])('on $quantize pushes gradients through the rounded weights', async ({ quantize, bound }) => {
    const exact = gradients(await train('none'))
    const run = await train(quantize)
    const rounded = gradients(run)
    const difference = norm(rounded.map((value, i) => value - exact[i]!)) / norm(exact)
    expect(difference).toBeLessThan(bound)
    expect(difference).toBeGreaterThan(1e-5)
    expect(losses(run)[2]).toBeLessThan(losses(run)[0]!)
    expect(existsSync(join(run, 'final', 'adapter_model.safetensors'))).toBe(true)
  })

  it('with DoRA begins where the rounded base is', async () => {
    const plain = await train('nf4', { train: { max_steps: 1 } })
    const dora = await train('nf4', { tune: { dora: true }, train: { max_steps: 1 } })
    expect(Math.abs(losses(dora)[0]! / losses(plain)[0]! - 1)).toBeLessThan(1e-5)
  })

  it('goes on from a checkpoint with the same bits', async () => {
    const straight = await train('nf4', { train: { schedule: 'constant' } })
    const cut = await train('nf4', { train: { schedule: 'constant', max_steps: 2 } })
    await train('nf4', { train: { schedule: 'constant' }, dir: cut })
    const written = (run: string): Buffer => readFileSync(join(run, 'final', 'adapter_model.safetensors'))
    expect(written(cut).equals(written(straight))).toBe(true)
  })

  it('of the weights themselves is refused', async () => {
    await expect(train('int8', { tune: { mode: 'full' } })).rejects.toThrow(/tune\.mode: lora/)
  })
})
