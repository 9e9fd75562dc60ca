/** `export`: adapters merged, dimensions cut, directories that other libraries load. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import {
  command,
  embedRows,
  floats,
  largestDifference,
  norm,
  readJson,
  readTensors,
  temporaryFolder
} from './golden.js'
import { runCli } from './run-cli.js'
import { writeAdapted, writeAdapter } from './tiny.js'

const folder = temporaryFolder()
const path = (...names: string[]): string => join(folder, ...names)

const embed = (model: string, ...flags: string[]): Promise<Float32Array[]> =>
  embedRows(folder, '--model', model, '--input', path('items.jsonl'), '--quiet', ...flags)

async function exported(name: string, ...flags: string[]): Promise<string> {
  await command('export', '--output', path(name), ...flags)
  return path(name)
}

const difference = (a: Float32Array[], b: Float32Array[]): number =>
  Math.max(...a.map((vector, i) => largestDifference(vector, b[i]!)))

beforeAll(() => writeAdapted(folder))

describe('export', () => {
  it('merges an adapter: the directory gives the same vectors without it', async () => {
    const [base, adapted] = [await embed(path('base')), await embed(path('base'), '--adapter', path('adapter'))]
    expect(difference(base, adapted)).toBeGreaterThan(0.01)
    const merged = await exported('merged', '--model', path('base'), '--adapter', path('adapter'))
    expect(difference(await embed(merged), adapted)).toBeLessThan(5e-6)
    expect(readFileSync(join(merged, 'README.md'), 'utf8')).toContain('An adapter is merged')
    expect(readdirSync(merged).sort()).toEqual([
      'README.md',
      'chat_template.json',
      'config.json',
      'model.safetensors',
      'preprocessor_config.json',
      'tokenizer.json',
      'tokenizer_config.json',
      'vlm2vec.json'
    ])
  })

  it('writes files of sentence-transformers that say all that vlm2vec.json says', async () => {
    const flags = ['--model', path('base'), '--format', 'sentence-transformers']
    for (const [name, more] of [
      ['raw', ['--instruction', 'By default:', '--suffix', '!']],
      ['mean', ['--prompt', 'chat', '--pooling', 'mean', '--no-normalize', '--suffix', '!']]
    ] as const) {
      const directory = await exported(`sentence-${name}`, ...flags, ...more)
      const ours = await embed(directory)
      expect(difference(ours, await embed(path('base'), ...more))).toBe(0)
      expect(difference(ours, await embed(path('base')))).toBeGreaterThan(0.01)
      rmSync(join(directory, 'vlm2vec.json'))
      expect(difference(ours, await embed(directory))).toBe(0)
    }
    const sequential = await exported('sentence-sequential', ...flags, '--prompt', 'vlm2vec')
    rmSync(join(sequential, 'vlm2vec.json'))
    const { code, stderr } = await runCli(['inspect', '--model', sequential, '--input', path('items.jsonl')])
    expect([code, stderr]).toEqual([4, expect.stringContaining('does not have its positions of pictures')])
  })

  it('writes every tensor of the base by its name and type, and lm_head as it was', async () => {
    const base = readTensors(path('base', 'model.safetensors'))
    const merged = readTensors(
      join(await exported('names', '--model', path('base'), '--adapter', path('adapter')), 'model.safetensors')
    )
    expect([...merged.keys()].sort()).toEqual([...base.keys()].sort())
    for (const [name, { dtype, shape, bytes }] of merged) {
      expect([dtype, shape]).toEqual([base.get(name)!.dtype, base.get(name)!.shape])
      expect(Buffer.compare(bytes, base.get(name)!.bytes) !== 0, name).toBe(/q_proj\.weight|qkv\.weight/.test(name))
    }
    const halfDirectory = await exported('half', '--model', path('base'), '--dtype', 'bf16')
    const half = readTensors(join(halfDirectory, 'model.safetensors'))
    for (const [name, { dtype }] of half) expect(dtype, name).toBe(name === 'lm_head.weight' ? 'F32' : 'BF16')
    expect(readJson(join(halfDirectory, 'config.json'))).toMatchObject({ torch_dtype: 'bfloat16' })
    const name = 'model.layers.0.mlp.up_proj.weight'
    expect(largestDifference(floats(half.get(name)!), floats(base.get(name)!))).toBeLessThan(2e-3)
  })

  it('remembers prompt, positions and dimension', async () => {
    const flags = [
      '--prompt',
      'chat',
      '--positions',
      'sequential',
      '--instruction',
      'Represent it.',
      '--dimension',
      '8'
    ]
    const said = await embed(path('base'), ...flags)
    const remembered = await embed(await exported('remembered', '--model', path('base'), ...flags))
    expect(remembered).toEqual(said)
    expect(remembered[0]).toHaveLength(8)
    expect(norm(remembered[0]!)).toBeCloseTo(1, 6)
    expect(readJson(path('remembered', 'vlm2vec.json'))).toEqual({
      prompt: 'chat',
      positions: 'sequential',
      instruction: 'Represent it.',
      dimension: 8
    })
  })

  it('writes what sentence-transformers needs: last-token pooling, a cut, normalisation', async () => {
    const directory = await exported(
      'st',
      '--model',
      path('base'),
      '--format',
      'sentence-transformers',
      '--dimension',
      '8'
    )
    const modules = readJson<{ path: string; type: string }[]>(join(directory, 'modules.json'))
    expect(modules.map(({ type, path }) => [type.split('.').at(-1), path])).toEqual([
      ['Transformer', ''],
      ['Pooling', '1_Pooling'],
      ['Dense', '2_Dense'],
      ['Normalize', '3_Normalize']
    ])
    expect(readJson(join(directory, '1_Pooling', 'config.json'))).toMatchObject({
      word_embedding_dimension: 64,
      pooling_mode_lasttoken: true,
      pooling_mode_mean_tokens: false
    })
    const weight = readTensors(join(directory, '2_Dense', 'model.safetensors')).get('linear.weight')!
    expect(weight.shape).toEqual([8, 64])
    floats(weight).forEach((value, i) => expect(value).toBe(i % 64 === Math.floor(i / 64) ? 1 : 0))
    // also where only these files say so, and not where they are left alone
    const ours = await embed(directory)
    rmSync(join(directory, 'vlm2vec.json'))
    expect(await embed(directory)).toEqual(ours)
    expect(ours[0]).toHaveLength(8)
    expect((await embed(directory, '--preset', 'plain'))[0]).toHaveLength(64)
  })

  it('refuses a directory that holds something, and leaves nothing half written', async () => {
    mkdirSync(path('full'))
    writeFileSync(path('full', 'file'), 'mine')
    const { code, stderr } = await runCli(['export', '--model', path('base'), '--output', path('full')])
    expect([code, stderr]).toEqual([2, expect.stringContaining('is not empty')])
    expect(readdirSync(path('full'))).toEqual(['file'])

    writeAdapter(path('wrong'), path('base'), { target_modules: ['k_proj'] })
    const failed = await runCli([
      'export',
      '--model',
      path('base'),
      '--adapter',
      path('wrong'),
      '--output',
      path('none')
    ])
    expect(failed.code).toBe(4)
    expect(existsSync(path('none'))).toBe(false)
  })
})
