/** Vectors of CLIP and SigLIP against transformers (f32): texts, pictures, both; ids and pixels; both forms of a vocabulary. */
import { cpSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import {
  command,
  cosineDistance,
  embedRows,
  floats,
  golden,
  largestDifference,
  readJson,
  readJsonl,
  readTensors,
  temporaryFolder,
  type StoredTensor
} from './golden.js'

interface Input {
  id: string
  input_ids: number[]
  /** of each picture, evenly spaced */
  pixel_values: number[][]
}

const folder = temporaryFolder()

function embed(family: string, model: string, ...more: string[]): Promise<Float32Array[]> {
  const input = ['--input', golden(family, 'items.jsonl'), '--image-root', golden('pictures')]
  return embedRows(folder, '--model', model, '--device', 'cpu', ...input, ...more)
}

const similarity = (a: ArrayLike<number>, b: ArrayLike<number>): number => 1 - cosineDistance(a, b)

describe.each(['clip', 'siglip'])('%s', (family) => {
  const inputs = readJsonl<Input>(golden(family, 'inputs.jsonl'))
  const recorded = readTensors(golden(family, 'embeddings.safetensors')).get('embeddings')!
  const [count, dimension] = recorded.shape as [number, number]
  const theirs = Array.from({ length: count }, (_, i) => floats(recorded).subarray(i * dimension, (i + 1) * dimension))
  let ours: Float32Array[]
  let dumped: Map<string, StoredTensor>
  let inspected: { id: string; input_ids: number[] }[]
  beforeAll(async () => {
    ours = await embed(family, golden(family, 'model'))
    const dump = join(folder, `${family}.safetensors`)
    const input = ['--input', golden(family, 'items.jsonl'), '--image-root', golden('pictures')]
    const lines = await command('inspect', '--model', golden(family, 'model'), ...input, '--json', '--dump', dump)
    inspected = lines.map((line) => JSON.parse(line) as { id: string; input_ids: number[] })
    dumped = readTensors(dump)
  })

  it.each(inputs.map(({ id }, index) => ({ id, index })))('has the vector of transformers for "$id"', ({ index }) => {
    expect(similarity(ours[index]!, theirs[index]!)).toBeGreaterThanOrEqual(1 - 1e-6)
    expect(largestDifference(ours[index]!, theirs[index]!)).toBeLessThanOrEqual(2e-5)
  })

  it('would tell the items apart', () => {
    for (const [i, one] of ours.entries())
      for (const other of theirs.filter((_, j) => j !== i)) expect(similarity(one, other)).toBeLessThan(1 - 1e-4)
  })

  it.each(inputs.map((input, index) => ({ ...input, index })))(
    'has the ids of "$id"',
    ({ input_ids, index, pixel_values }) => {
      const placeholders = Array<number>(pixel_values.length).fill(
        readJson<{ text_config: { vocab_size: number } }>(golden(family, 'model', 'config.json')).text_config.vocab_size
      )
      expect(inspected[index]!.input_ids).toEqual([...input_ids, ...placeholders])
    }
  )

  it.each(inputs.filter(({ pixel_values }) => pixel_values.length > 0))(
    'has the pixels of "$id"',
    ({ id, pixel_values }) => {
      const all = floats(dumped.get(`${id}.pixel_values`)!)
      expect(all.length).toBe(pixel_values.length * 9 * 192)
      for (const [picture, wanted] of pixel_values.entries()) {
        const patches = all.subarray(picture * 9 * 192)
        // theirs: (3, 30, 30), of which a convolution with patches of 8 sees 24 x 24
        const step = Math.floor((3 * 30 * 30) / 12)
        for (const [k, value] of wanted.entries()) {
          const [channel, y, x] = [Math.floor((k * step) / 900), Math.floor(((k * step) % 900) / 30), (k * step) % 30]
          if (y >= 24 || x >= 24) continue
          const patch = Math.floor(y / 8) * 3 + Math.floor(x / 8)
          expect(patches[patch * 192 + channel * 64 + (y % 8) * 8 + (x % 8)]!).toBeCloseTo(value, 6)
        }
      }
    }
  )

  it('embeds to the same bits alone, and close to them in bf16', async () => {
    const alone = await embed(family, golden(family, 'model'), '--batch-tokens', '1')
    expect(alone).toEqual(ours)
    const narrow = await embed(family, golden(family, 'model'), '--dtype', 'bf16')
    for (const [i, vector] of narrow.entries()) expect(similarity(vector, ours[i]!)).toBeGreaterThanOrEqual(0.999)
  })

  it('refuses to be trained', async () => {
    const config = join(folder, `${family}.yaml`)
    const rows = join(folder, 'rows.jsonl')
    writeFileSync(rows, `${JSON.stringify({ query: { text: 'a' }, target: { text: 'b' } })}\n`.repeat(4))
    const run = {
      model: { path: golden(family, 'model') },
      data: [{ path: rows }],
      output: { dir: join(folder, 'run') }
    }
    writeFileSync(config, JSON.stringify({ ...run, train: { batch_size: 2, max_steps: 1 } }))
    await expect(command('train', '--config', config)).rejects.toThrow(/for `embed` and `evaluate` only/)
  })
})

describe('CLIP', () => {
  const copy = (name: string): string => {
    const model = join(folder, name)
    cpSync(golden('clip', 'model'), model, { recursive: true })
    return model
  }

  it('embeds to the same bits with vocab.json and merges.txt', async () => {
    const model = copy('vocabulary')
    const path = join(model, 'tokenizer.json')
    const { vocab, merges } = readJson<{ model: { vocab: object; merges: [string, string][] } }>(path).model
    writeFileSync(join(model, 'vocab.json'), JSON.stringify(vocab))
    writeFileSync(join(model, 'merges.txt'), `#version: 0.2\n${merges.map((pair) => pair.join(' ')).join('\n')}\n`)
    rmSync(path)
    expect(readdirSync(model)).not.toContain('tokenizer.json')
    expect(await embed('clip', model)).toEqual(await embed('clip', golden('clip', 'model')))
  })

  it('embeds to the same bits with the id of the end token in config.json', async () => {
    const model = copy('eos')
    const config = readJson<{ text_config: { vocab_size: number; eos_token_id: number } }>(join(model, 'config.json'))
    config.text_config.eos_token_id = config.text_config.vocab_size - 1
    writeFileSync(join(model, 'config.json'), JSON.stringify(config))
    const right = await embed('clip', golden('clip', 'model'))
    expect(await embed('clip', model)).toEqual(right)
    // an id that no text has: the first token's state, as transformers takes it
    config.text_config.eos_token_id = 7
    writeFileSync(join(model, 'config.json'), JSON.stringify(config))
    expect((await embed('clip', model))[0]).not.toEqual(right[0])
  })
})
