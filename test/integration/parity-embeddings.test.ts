/** Embeddings against transformers (f32): all kinds of items, both position rules, every form of a checkpoint. */
import { cpSync, linkSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
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
  readJson,
  readJsonl,
  readTensors,
  temporaryFolder,
  writeTensors,
  type StoredTensor
} from './golden.js'

const BOUND = 2e-5
const items = readJsonl<{ id: string; images?: unknown; videos?: unknown }>(golden('items.jsonl'))
const recorded = readTensors(golden('embeddings.safetensors'))
const folder = temporaryFolder()

/** Rows of a recorded (items, dimension) tensor. */
function rowsOf(name: string): Float32Array[] {
  const tensor = recorded.get(name)!
  const dimension = tensor.shape[1]!
  const values = floats(tensor)
  return Array.from({ length: tensor.shape[0]! }, (_, i) => values.subarray(i * dimension, (i + 1) * dimension))
}

function embed(model: string, rule: string, ...more: string[]): Promise<Float32Array[]> {
  const options = ['--model', model, '--device', 'cpu', '--dtype', 'f32', '--prompt', 'raw', '--positions', rule]
  const input = ['--input', golden('items.jsonl'), '--image-root', golden('pictures')]
  return embedRows(folder, ...options, ...input, ...more)
}

const within = (ours: Float32Array, theirs: Float32Array): boolean =>
  largestDifference(ours, theirs) <= BOUND && cosineDistance(ours, theirs) <= 1e-6

describe.each(['mrope', 'sequential'])('embeddings with --positions %s', (rule) => {
  let ours: Float32Array[]
  beforeAll(async () => {
    ours = await embed(golden('model'), rule)
  })

  it.each(items.map(({ id }, index) => ({ id, index })))('are those of transformers for "$id"', ({ index }) => {
    const theirs = rowsOf(rule)[index]!
    expect(largestDifference(ours[index]!, theirs)).toBeLessThanOrEqual(BOUND)
    expect(cosineDistance(ours[index]!, theirs)).toBeLessThanOrEqual(1e-6)
  })
})

describe('the bound', () => {
  let ours: Float32Array[]
  beforeAll(async () => {
    ours = await embed(golden('model'), 'mrope')
  })

  // A constant picture has no order of patches, one of a single token no positions of its own.
  it.each([
    { error: 'sequential', spares: ['text', 'unicode'] },
    { error: 'shuffled', spares: ['text', 'unicode', 'dot'] },
    { error: 'without_vision_layer', spares: ['text', 'unicode'] },
    { error: 'without_text_layer', spares: [] as string[] }
  ])('tells every item from what transformers gives with the error "$error"', ({ error, spares }) => {
    const wrong = rowsOf(error)
    const passing = items.filter((_, index) => within(ours[index]!, wrong[index]!)).map(({ id }) => id)
    expect(passing).toEqual(spares)
  })
})

describe('hidden states', () => {
  it.each([1, 2])('are those of transformers after %i text layers', async (layers) => {
    const model = join(folder, `layers-${layers}`)
    const kept = [...readTensors(golden('model', 'model.safetensors'))].filter(([name]) => {
      const index = /^model\.layers\.(\d+)\./.exec(name)?.[1]
      return index === undefined || Number(index) < layers
    })
    writeModel(model, { config: { num_hidden_layers: layers }, files: { 'model.safetensors': new Map(kept) } })
    const dump = join(folder, `layers-${layers}.safetensors`)
    const options = ['--model', model, '--device', 'cpu', '--dtype', 'f32', '--prompt', 'raw', '--positions', 'mrope']
    const input = join(folder, 'one.jsonl')
    writeFileSync(input, JSON.stringify(items.find(({ id }) => id === 'wrapped')))
    await command('inspect', ...options, '--input', input, '--image-root', golden('pictures'), '--json', '--dump', dump)
    const theirs = recorded.get(`hidden_${layers}`)!
    const ours = readTensors(dump).get('wrapped.last_hidden')!
    expect(ours.shape).toEqual(theirs.shape)
    expect(largestDifference(floats(ours), floats(theirs))).toBeLessThanOrEqual(2e-4)
  })
})

describe('the same model', () => {
  let ours: Float32Array[]
  beforeAll(async () => {
    ours = await embed(golden('model'), 'mrope')
  })

  const weights = readTensors(golden('model', 'model.safetensors'))
  const renamed = (rename: (name: string) => string): Map<string, StoredTensor> =>
    new Map([...weights].map(([name, tensor]) => [rename(name), tensor]))
  const retyped = (dtype: 'F32' | 'F16'): Map<string, StoredTensor> =>
    new Map([...weights].map(([name, tensor]) => [name, fromFloats(floats(tensor), tensor.shape, dtype)]))
  const bare = (name: string): string => name.replace(/^model\./, 'language_model.')
  const inMemory = (name: string): string =>
    name.startsWith('visual.') ? `model.${name}` : name.replace(/^model\./, 'model.language_model.')

  const flat = readJson<Record<string, unknown>>(golden('model', 'config.json'))
  const isOuter = (key: string): boolean => /^(vision_config|architectures|model_type|.*_token_id)$/.test(key)
  const part = (outer: boolean): Record<string, unknown> =>
    Object.fromEntries(Object.entries(flat).filter(([key]) => isOuter(key) === outer))
  const text = part(false)
  const nested = { ...part(true), text_config: text }
  const { rope_scaling, rope_theta, ...rest } = text
  const { mrope_section } = rope_scaling as { mrope_section: number[] }
  const parameters = { rope_type: 'default', rope_theta, mrope_section }

  const lmHead = { dtype: 'BF16', shape: [400, 64], bytes: new Uint8Array(2 * 400 * 64) }
  const shards = Array.from({ length: 3 }, (_, i) => new Map([...weights].filter((_, index) => index % 3 === i)))
  const shardName = (index: number): string => `model-0000${index + 1}-of-00003.safetensors`
  const index = {
    metadata: { total_size: 0 },
    weight_map: Object.fromEntries(shards.flatMap((shard, i) => [...shard.keys()].map((name) => [name, shardName(i)])))
  }

  const forms: Record<string, Form> = {
    'in f32': { files: { 'model.safetensors': retyped('F32') } },
    'in f16': { files: { 'model.safetensors': retyped('F16') } },
    'with the names of transformers in memory': { files: { 'model.safetensors': renamed(inMemory) } },
    'with the names of the bare model': { files: { 'model.safetensors': renamed(bare) } },
    'in three shards': {
      files: Object.fromEntries(shards.map((shard, i) => [shardName(i), shard])),
      json: { 'model.safetensors.index.json': index }
    },
    'with an lm_head of its own': {
      config: { tie_word_embeddings: false },
      files: { 'model.safetensors': new Map([...weights, ['lm_head.weight', lmHead]]) }
    },
    'with the nested config of transformers 4.52': { json: { 'config.json': nested } },
    'with the rope_parameters of transformers 5': {
      json: { 'config.json': { ...nested, text_config: { ...rest, rope_parameters: parameters } } }
    },
    'with pixel limits by the names of transformers 5': {
      json: {
        'preprocessor_config.json': {
          ...readJson<Record<string, unknown>>(golden('model', 'preprocessor_config.json')),
          min_pixels: undefined,
          max_pixels: undefined,
          size: { shortest_edge: 3136, longest_edge: 28 * 28 * 20 }
        }
      }
    },
    'with the tokenizer as vocab.json and merges.txt': vocabularyFiles()
  }

  it.each(Object.keys(forms))('embeds to the same bits %s', async (name) => {
    const model = join(folder, name.replaceAll(' ', '-'))
    writeModel(model, forms[name]!)
    expect(await embed(model, 'mrope')).toEqual(ours)
  })
})

interface Form {
  /** changes of config.json */
  config?: Record<string, unknown>
  /** instead of model.safetensors */
  files?: Record<string, Map<string, StoredTensor>>
  json?: Record<string, unknown>
  texts?: Record<string, string>
  without?: string[]
}

/** A copy of the golden model in another form. */
function writeModel(directory: string, { config, files, json = {}, texts = {}, without = [] }: Form): void {
  mkdirSync(directory)
  for (const name of readdirSync(golden('model'))) {
    if (name === 'model.safetensors' && !files) linkOrCopy(golden('model', name), join(directory, name))
    else if (name !== 'model.safetensors' && !without.includes(name))
      cpSync(golden('model', name), join(directory, name))
  }
  for (const [name, tensors] of Object.entries(files ?? {})) writeTensors(join(directory, name), tensors)
  const own = config
    ? { 'config.json': { ...readJson<Record<string, unknown>>(golden('model', 'config.json')), ...config } }
    : {}
  for (const [name, value] of Object.entries({ ...json, ...own })) {
    rmSync(join(directory, name), { force: true })
    writeFileSync(join(directory, name), JSON.stringify(value))
  }
  for (const [name, value] of Object.entries(texts)) writeFileSync(join(directory, name), value)
}

function linkOrCopy(from: string, to: string): void {
  try {
    linkSync(from, to)
  } catch {
    cpSync(from, to)
  }
}

/** The golden tokenizer as vocab.json and merges.txt; its added tokens are in tokenizer_config.json. */
function vocabularyFiles(): Form {
  const { model } = readJson<{ model: { vocab: Record<string, number>; merges: [string, string][] } }>(
    golden('model', 'tokenizer.json')
  )
  const merges = ['#version: 0.2', ...model.merges.map((pair) => pair.join(' '))].join('\n')
  return {
    json: { 'vocab.json': model.vocab },
    texts: { 'merges.txt': `${merges}\n` },
    without: ['tokenizer.json']
  }
}
