/** LLaVA-NeXT against transformers and peft (f32): ids, vectors, six steps of training. */
import { existsSync, mkdtempSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import {
  command,
  cosineDistance,
  floats,
  golden,
  largestDifference,
  norm,
  readJson,
  readJsonl,
  readNpy,
  readTensors,
  temporaryFolder,
  writeTensors,
  type StoredTensor
} from './golden.js'
import { cpSync } from 'node:fs'

const BOUND = 5e-5
const here = (...path: string[]): string => golden('llava_next', ...path)
const folder = temporaryFolder()
const inputs = readJsonl<{ id: string; prompt: string; input_ids: number[]; image_sizes: number[][] }>(
  here('inputs.jsonl')
)
const recorded = readTensors(here('embeddings.safetensors'))

function rowsOf(name: string): Float32Array[] {
  const tensor = recorded.get(name)!
  const dimension = tensor.shape[1]!
  return inputs.map((_, i) => floats(tensor).subarray(i * dimension, (i + 1) * dimension))
}

async function embed(model: string, ...more: string[]): Promise<Float32Array[]> {
  const output = join(folder, 'embeddings.npy')
  const input = ['--input', here('items.jsonl'), '--image-root', golden('pictures'), '--output', output]
  await command('embed', '--model', model, '--device', 'cpu', '--prompt', 'raw', ...input, ...more)
  return readNpy(output)
}

describe('LLaVA-NeXT', () => {
  let ours: Float32Array[]
  beforeAll(async () => {
    ours = await embed(here('model'))
  })

  it.each(inputs.map(({ id }, index) => ({ id, index })))('has the vector of transformers for "$id"', ({ index }) => {
    const theirs = rowsOf('embeddings')[index]!
    expect(largestDifference(ours[index]!, theirs)).toBeLessThanOrEqual(BOUND)
    expect(cosineDistance(ours[index]!, theirs)).toBeLessThanOrEqual(1e-6)
  })

  it('has the prompts and ids of its processor', async () => {
    const input = ['--input', here('items.jsonl'), '--image-root', golden('pictures')]
    const lines = await command('inspect', '--model', here('model'), '--prompt', 'raw', ...input, '--json')
    const inspected = lines.map((line) => JSON.parse(line) as (typeof inputs)[number])
    for (const [i, { input_ids }] of inputs.entries()) expect(inspected[i]!.input_ids).toEqual(input_ids)
  })

  it.each([
    { error: 'turned', spares: ['text', 'unicode', 'dot'] },
    { error: 'without_vision_layer', spares: ['text', 'unicode'] },
    { error: 'without_text_layer', spares: [] as string[] }
  ])('is told from what transformers gives with the error "$error"', ({ error, spares }) => {
    const wrong = rowsOf(error)
    const passing = inputs.filter((_, i) => largestDifference(ours[i]!, wrong[i]!) <= BOUND).map(({ id }) => id)
    expect(passing.filter((id) => !spares.includes(id))).toEqual([])
  })

  it('embeds to the same bits alone, and close to them in bf16', async () => {
    expect(await embed(here('model'), '--batch-tokens', '1')).toEqual(ours)
    const narrow = await embed(here('model'), '--dtype', 'bf16')
    for (const [i, vector] of narrow.entries()) expect(cosineDistance(vector, ours[i]!)).toBeLessThanOrEqual(1e-2)
  })

  const memory = (name: string): string =>
    name
      .replace(/^language_model\.model\./, 'model.language_model.')
      .replace(/^language_model\.lm_head\./, 'lm_head.')
      .replace(/^(vision_tower|multi_modal_projector|image_newline)/, 'model.$1')
  const saved = (name: string): string => name.replace('vision_tower.vision_model.', 'vision_tower.')
  it.each([
    { naming: 'of transformers 4.52', rename: memory },
    { naming: 'that transformers 5 saves', rename: saved },
    { naming: 'of transformers 5 in memory', rename: (name: string) => saved(memory(name)) }
  ])('embeds to the same bits with the names $naming', async ({ rename }) => {
    const model = mkdtempSync(join(folder, 'named-'))
    cpSync(here('model'), model, { recursive: true })
    const weights = [...readTensors(here('model', 'model.safetensors'))]
    writeTensors(join(model, 'model.safetensors'), new Map(weights.map(([name, tensor]) => [rename(name), tensor])))
    expect(await embed(model)).toEqual(ours)
  })
})

describe('an adapter of LLaVA-NeXT', () => {
  const adapter = here('training', 'dora', 'adapter')
  const hub = (name: string): string =>
    name
      .replace('model.model.language_model.', 'model.language_model.model.')
      .replace('model.model.vision_tower.', 'model.vision_tower.vision_model.')
      .replace('model.model.multi_modal', 'model.multi_modal')

  it('embeds to the same bits with the module names of transformers 4', async () => {
    const old = mkdtempSync(join(folder, 'adapter-'))
    cpSync(adapter, old, { recursive: true })
    const tensors = [...readTensors(join(adapter, 'adapter_model.safetensors'))]
    expect(tensors.every(([name]) => hub(name) !== name)).toBe(true)
    writeTensors(join(old, 'adapter_model.safetensors'), new Map(tensors.map(([name, tensor]) => [hub(name), tensor])))
    const adapted = await embed(here('model'), '--adapter', adapter)
    expect(await embed(here('model'), '--adapter', old)).toEqual(adapted)
    expect(adapted).not.toEqual(await embed(here('model')))
  })
})

// ---- training --------------------------------------------------------------------------------------------------------

interface Expected {
  options: Record<string, unknown>
  losses: number[]
  grad_norms: number[]
}

async function train(
  name: string,
  changes: Record<string, unknown> = {},
  tune: Record<string, unknown> = {}
): Promise<string> {
  const { options } = readJson<Expected>(here('training', name, 'expected.json'))
  const adapter = here('training', name, 'adapter')
  const run = mkdtempSync(join(folder, `${name}-`))
  const config = {
    model: { path: here('model'), adapter: existsSync(adapter) ? adapter : null, dtype: 'f32', device: 'cpu' },
    tune: { mode: existsSync(adapter) ? 'lora' : 'full', ...tune },
    data: [{ name: 'rows', path: here('training', name, 'rows.jsonl'), image_root: golden('pictures') }],
    train: { chunk_size: 3, shuffle: false, ...options, ...changes },
    prompt: { style: 'raw' },
    output: { dir: join(run, 'run'), dump_gradients: [1] }
  }
  writeFileSync(join(run, 'config.yaml'), JSON.stringify(config)) // JSON is YAML
  await command('train', '--config', join(run, 'config.yaml'), '--quiet')
  return config.output.dir
}

const totalNorm = (tensors: Iterable<StoredTensor>): number =>
  norm(Array.from(tensors, (tensor) => norm(floats(tensor))))

describe.each([
  { name: 'lora', bound: 2e-4 },
  { name: 'dora', bound: 2e-4 },
  { name: 'full', bound: 1e-3 }
])('training "$name" of LLaVA-NeXT', ({ name, bound }) => {
  const want = readJson<Expected>(here('training', name, 'expected.json'))
  const theirs = readTensors(here('training', name, 'gradients.safetensors'))
  let run: string
  beforeAll(async () => {
    run = await train(name)
  })

  it('has the losses of the reference at each of six steps', () => {
    const metrics = readJsonl<{ loss: number; grad_norm: number }>(join(run, 'metrics.jsonl'))
    expect(metrics).toHaveLength(6)
    for (const [i, { loss, grad_norm }] of metrics.entries()) {
      expect(Math.abs(loss / want.losses[i]! - 1), `step ${i + 1}`).toBeLessThanOrEqual(bound)
      expect(Math.abs(grad_norm / want.grad_norms[i]! - 1), `step ${i + 1}`).toBeLessThanOrEqual(1e-2)
    }
  })

  it('has every gradient of the first step, by name', () => {
    const ours = readTensors(join(run, 'gradients-1.safetensors'))
    expect([...ours.keys()].sort()).toEqual([...theirs.keys()].sort())
    const all = totalNorm(theirs.values())
    const off = [...theirs].flatMap(([tensor, value]) => {
      const [a, b] = [floats(ours.get(tensor)!), floats(value)]
      const difference = norm(Float32Array.from(a, (each, i) => each - b[i]!))
      // the gradient of a key's bias is zero but for rounding
      return difference <= 1e-4 * norm(b) || difference <= 1e-6 * all ? [] : [`${tensor}: ${difference / norm(b)}`]
    })
    expect(off).toEqual([])
  })

  it('does not depend on the chunk size, with dropout neither', async () => {
    const gradients = async (chunk_size: number): Promise<Map<string, StoredTensor>> => {
      const tune = name === 'full' ? {} : { dropout: 0.2 }
      return readTensors(join(await train(name, { chunk_size, max_steps: 1 }, tune), 'gradients-1.safetensors'))
    }
    const [whole, parts] = [await gradients(100), await gradients(1)]
    const all = totalNorm(whole.values())
    for (const [tensor, value] of whole) {
      const b = floats(parts.get(tensor)!)
      expect(norm(Float32Array.from(floats(value), (each, i) => each - b[i]!)) / all, tensor).toBeLessThanOrEqual(1e-6)
    }
  })
})
