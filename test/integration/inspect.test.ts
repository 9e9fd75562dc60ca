/** `inspect`: what a model directory is, what an item becomes, and what is wrong with a directory that cannot be used. */
import { cpSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { writeTinyModel } from '../../scripts/tiny-model.mjs'
import { floats, fromFloats, golden, readJson, readNpy, readTensors, temporaryFolder, writeTensors } from './golden.js'
import { jsonLines, runCli } from './run-cli.js'
import { writeRows } from './tiny.js'

const folder = temporaryFolder()
const model = join(folder, 'model')
const input = join(folder, 'items.jsonl')

const ITEMS = [
  { id: 'words', text: 'a red circle' },
  { id: 'two', text: 'a', images: ['scene0.png', 'dot.png'].map((name) => golden('pictures', name)) },
  { id: 'video', videos: [{ frames: [0, 1, 2].map((i) => golden('pictures', `frame${i}.png`)) }] }
]

beforeAll(() => {
  writeTinyModel(model)
  writeRows(input, ITEMS)
})

const inspect = (...flags: string[]) => runCli(['inspect', '--model', model, ...flags])

interface Line {
  id: string
  prompt: string
  input_ids: number[]
  positions: number[][]
  grids: number[][]
}

describe('inspect', () => {
  it('says what a directory is, and where each setting comes from', async () => {
    const [said] = jsonLines<Record<string, any>>(await inspect('--json', '--max-pixels', '9999'))
    expect(said).toMatchObject({ family: 'qwen2_vl', preset: 'plain', adapter: null })
    expect(said!['text']).toMatchObject({ hiddenSize: 64, layers: 2 })
    expect(said!['settings']).toMatchObject({ prompt: 'raw', positions: 'mrope', image: { maxPixels: 9999 } })
    expect(said!['settings_from']).toMatchObject({ prompt: 'default', maxPixels: 'option' })
  })

  it('says which preset a directory needs, and why', async () => {
    const other = join(folder, 'v2')
    writeTinyModel(other)
    writeFileSync(join(other, 'README.md'), '# VLM2Vec-V2.0')
    const [said] = jsonLines<Record<string, any>>(await runCli(['inspect', '--model', other, '--json']))
    expect(said).toMatchObject({
      preset: 'vlm2vec-v2',
      preset_reason: `${join(other, 'README.md')} calls the model VLM2Vec-V2.0`,
      settings: { prompt: 'vlm2vec', positions: 'sequential', firstSize: 'vlm2vec' },
      settings_from: { prompt: 'preset vlm2vec-v2' }
    })
    const [plain] = jsonLines<Record<string, any>>(
      await runCli(['inspect', '--model', other, '--json', '--preset', 'plain', '--no-normalize', '--pooling', 'mean'])
    )
    expect(plain).toMatchObject({ preset: 'plain', settings: { prompt: 'raw', pooling: 'mean', normalize: false } })
  })

  it('prints what each item becomes', async () => {
    const lines = jsonLines<Line>(await inspect('--input', input, '--json'))
    expect(lines.map(({ id }) => id)).toEqual(['words', 'two', 'video'])
    const pad = readJson<{ image_token_id: number }>(join(model, 'config.json')).image_token_id
    const [words, two, video] = lines
    expect(words!.positions).toEqual(Array(3).fill(words!.input_ids.map((_, i) => i)))
    expect(two!.prompt).toBe('<|image_pad|> <|image_pad|> a')
    const patches = two!.grids.map(([t, h, w]) => t! * h! * w!)
    expect(two!.input_ids.filter((id) => id === pad)).toHaveLength((patches[0]! + patches[1]!) / 4)
    expect(video!.grids[0]![0]).toBe(2)
    for (const { input_ids, positions } of lines)
      expect(positions.map((axis) => axis.length)).toEqual(Array(3).fill(input_ids.length))
    expect((await inspect('--input', input)).stdout).toMatch(/^words: \d+ tokens\n {2}"a red circle"\n/)
  })

  it('--dump writes pixels, patches, hidden states and the vector that embed gives', async () => {
    const file = join(folder, 'dump.safetensors')
    expect((await inspect('--input', input, '--dump', file, '--json')).code).toBe(0)
    expect(existsSync(`${file}.data`)).toBe(false)
    const output = join(folder, 'vectors.npy')
    await runCli(['embed', '--model', model, '--input', input, '--output', output])
    const dump = readTensors(file)
    const vectors = readNpy(output)
    const lines = jsonLines<Line>(await inspect('--input', input, '--json'))
    lines.forEach(({ id, input_ids, grids }, i) => {
      const hidden = dump.get(`${id}.last_hidden`)!
      expect(hidden.shape).toEqual([input_ids.length, 64])
      expect(floats(dump.get(`${id}.embedding`)!)).toEqual(vectors[i])
      const last = floats(hidden).subarray(-64)
      const length = Math.hypot(...last)
      last.forEach((value, d) => expect(value / length).toBeCloseTo(vectors[i]![d]!, 5))
      const patches = grids.reduce((sum, [t, h, w]) => sum + t! * h! * w!, 0)
      expect(dump.get(`${id}.pixel_values`)?.shape).toEqual(patches > 0 ? [patches, 1176] : undefined)
    })
    const [, height, width] = lines[1]!.grids[0]!
    expect(dump.get('two.resized')).toMatchObject({ dtype: 'U8', shape: [14 * height!, 14 * width!, 3] })
    expect(dump.get('two.resized.1')!.dtype).toBe('U8')
    expect(dump.get('video.resized')!.shape.length).toBe(4)
    expect(dump.has('words.resized')).toBe(false)
  })

  it('assembles prompts by style, and places pictures by rule', async () => {
    const shown = async (...flags: string[]): Promise<Line> =>
      jsonLines<Line>(await inspect('--input', input, '--json', ...flags))[1]!
    const chat = await shown('--prompt', 'chat', '--instruction', 'Represent it.')
    expect(chat.prompt).toContain('<|im_start|>system\nRepresent it.<|im_end|>')
    const sequential = await shown('--positions', 'sequential')
    expect(sequential.positions[1]).toEqual(sequential.input_ids.map((_, i) => i))
    expect((await shown('--positions', 'mrope')).positions[1]).not.toEqual(sequential.positions[1])
  })
})

describe('a model directory that cannot be used', () => {
  /** A copy of the model that `change` breaks; what `embed` says of it. */
  async function broken(change: (directory: string) => void) {
    const directory = join(folder, 'broken')
    rmSync(directory, { recursive: true, force: true })
    cpSync(model, directory, { recursive: true })
    change(directory)
    return runCli(['embed', '--model', directory, '--input', input, '--output', '-'])
  }

  const weights = (directory: string): string => join(directory, 'model.safetensors')
  const setConfig = (directory: string, change: object): void => {
    const path = join(directory, 'config.json')
    writeFileSync(path, JSON.stringify({ ...readJson<object>(path), ...change }))
  }
  const NAME = 'model.layers.0.self_attn.q_proj.weight'
  const changeTensor = (directory: string, change: (tensors: ReturnType<typeof readTensors>) => void): void => {
    const tensors = readTensors(weights(directory))
    change(tensors)
    writeTensors(weights(directory), tensors)
  }
  const setHeaderLength = (directory: string, length: bigint): void => {
    const bytes = readFileSync(weights(directory))
    bytes.writeBigUInt64LE(length)
    writeFileSync(weights(directory), bytes)
  }

  it.each<[string, (directory: string) => void, string]>([
    [
      'weights that are cut off',
      (d) => writeFileSync(weights(d), readFileSync(weights(d)).subarray(0, 5000)),
      'model.safetensors'
    ],
    ['weights without a header', (d) => writeFileSync(weights(d), 'abc'), 'model.safetensors'],
    ['a header that claims more than there is', (d) => setHeaderLength(d, 1n << 40n), 'model.safetensors'],
    ['a header that ends within its text', (d) => setHeaderLength(d, 100n), 'model.safetensors'],
    [
      'a tensor of another shape',
      (d) => changeTensor(d, (t) => t.set(NAME, { ...t.get(NAME)!, shape: [32, 128] })),
      'q_proj'
    ],
    ['a tensor that is missing', (d) => changeTensor(d, (t) => t.delete(NAME)), 'q_proj'],
    ['a tensor that nobody knows', (d) => changeTensor(d, (t) => t.set('model.extra', t.get(NAME)!)), 'model.extra'],
    [
      'weights that are not numbers',
      (d) => changeTensor(d, (t) => t.set(NAME, fromFloats(new Float32Array(4096).fill(NaN), [64, 64], 'F32'))),
      'q_proj'
    ],
    ['no weights', (d) => rmSync(weights(d)), 'holds no weights'],
    ['no tokenizer', (d) => rmSync(join(d, 'tokenizer.json')), 'no tokenizer'],
    ['a tokenizer that is none', (d) => writeFileSync(join(d, 'tokenizer.json'), '{}'), 'tokenizer.json'],
    ['no config.json', (d) => rmSync(join(d, 'config.json')), 'config.json'],
    ['an architecture that is not known', (d) => setConfig(d, { model_type: 'llama' }), 'qwen2_vl'],
    ['sizes that do not fit each other', (d) => setConfig(d, { num_attention_heads: 7 }), 'config.json'],
    [
      'a setting in vlm2vec.json that nobody knows',
      (d) => writeFileSync(join(d, 'vlm2vec.json'), '{"promt": "raw"}'),
      'promt'
    ]
  ])('for %s ends with exit code 4 and says why', async (_, change, message) => {
    const { code, stdout, stderr } = await broken(change)
    expect([code, stdout, stderr]).toEqual([4, '', expect.stringContaining(message)])
    expect(stderr.trimEnd().split('\n')).toHaveLength(1)
  })

  it('is not one that is sharded, untied, in bf16, or named and spelled otherwise', async () => {
    for (const naming of ['hub', 'transformers-5', 'bare'])
      for (const form of ['flat', 'nested', 'rope-parameters']) {
        const directory = join(folder, `${naming}-${form}`)
        writeTinyModel(directory, {
          naming,
          form,
          shards: 3,
          tied: form === 'nested',
          dtype: form === 'flat' ? 'f32' : 'bf16'
        })
        const result = await runCli(['embed', '--model', directory, '--input', input, '--output', '-', '--quiet'])
        expect(result, `${naming}, ${form}`).toMatchObject({ code: 0, stderr: '' })
      }
  })
})
