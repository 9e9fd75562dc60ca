/** `inspect --compare`: the first stage in which recorded states differ from ours. */
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { writeTinyModel } from '../../scripts/tiny-model.mjs'
import { Embedder } from '../../src/index.js'
import { native } from '../../src/native.js'
import { fromFloats, golden, temporaryFolder, writeTensors, type StoredTensor } from './golden.js'
import { jsonLines, runCli } from './run-cli.js'
import { ONE_THREAD, writeRows } from './tiny.js'

const folder = temporaryFolder()
const model = join(folder, 'model')
const input = join(folder, 'items.jsonl')
const file = join(folder, 'states.safetensors')
const ITEM = { id: 'one', text: 'a red circle', images: [golden('pictures', 'scene0.png')] }
const states = new Map<string, StoredTensor>()

const integers = (values: ArrayLike<number>): StoredTensor => ({
  dtype: 'I64',
  shape: [values.length],
  bytes: new Uint8Array(BigInt64Array.from(Array.from(values, BigInt)).buffer)
})
const numbers = (values: Float32Array): StoredTensor => fromFloats(Float32Array.from(values), [values.length], 'F32')
const text = (value: string): StoredTensor => {
  const bytes = new Uint8Array(Buffer.from(value))
  return { dtype: 'U8', shape: [bytes.length], bytes }
}

beforeAll(async () => {
  writeTinyModel(model)
  writeRows(input, [ITEM, { id: 'two', text: 'not recorded' }])
  const embedder = await Embedder.load(model, { threads: 1, device: 'cpu' })
  try {
    const prepared = await embedder.processor.prepare(ITEM, { imageRoot: '.', label: 'one' })
    const result = await embedder.embedPrepared(prepared, { states: true })
    expect(result.states!.map(({ name }) => name)).toEqual(['layer.0', 'layer.1', 'layer.2'])
    states.set('one.prompt', text(prepared.prompt))
    states.set('one.input_ids', integers(prepared.tokens))
    states.set('one.positions', integers(prepared.positions))
    states.set('one.pixel_values', numbers(await native().patchify(prepared.visuals[0]!)))
    for (const { name, data } of result.states!) states.set(`one.${name}`, numbers(data))
    states.set('one.last_hidden', numbers(result.lastHidden))
    states.set('one.embedding', numbers(result.embeddings))
  } finally {
    await embedder.close()
  }
})

interface Line {
  id: string
  stages: { stage: string; differs: boolean }[]
  first: { stage: string; detail: string; difference: number } | null
}

function compare(changes: Record<string, StoredTensor | undefined> = {}, ...flags: string[]) {
  const changed = new Map([...states, ...Object.entries(changes)])
  for (const [name, tensor] of changed) if (!tensor) changed.delete(name)
  writeTensors(file, changed as Map<string, StoredTensor>)
  return runCli(['inspect', '--model', model, '--input', input, '--compare', file, ...ONE_THREAD, ...flags])
}

/** One number of a stage moved by a tenth of the largest. */
function moved(name: string, at: number): Record<string, StoredTensor> {
  const values = new Float32Array(states.get(name)!.bytes.slice().buffer)
  values[at]! += 0.1 * values.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
  return { [name]: numbers(values) }
}

describe('inspect --compare', () => {
  it('finds nothing where nothing differs, and compares every stage', async () => {
    const result = await compare({}, '--json')
    expect(result.code, result.stderr).toBe(0)
    const [line, ...others] = jsonLines<Line>(result)
    expect(others).toEqual([])
    expect(line).toMatchObject({ id: 'one', first: null })
    expect(line!.stages.map(({ stage }) => stage)).toEqual([
      'prompt',
      'ids',
      'positions',
      'pixels',
      'vision features',
      'token embeddings',
      'layer 1',
      'layer 2',
      'last hidden state',
      'embedding'
    ])
    expect((await compare()).stdout).toMatch(/^one: no difference in 10 stages/)
  })

  it.each<[string, () => Record<string, StoredTensor | undefined>, RegExp]>([
    ['prompt', () => ({ 'one.prompt': text('<|image_pad|> a red square') }), /from character 20 on.*square" recorded/],
    ['ids', () => ({ 'one.input_ids': integers([1, 2, 3]) }), /tokens here, 3 recorded/],
    [
      'positions',
      () => ({ 'one.positions': integers(new Array(states.get('one.positions')!.shape[0]!).fill(7)) }),
      /position 0 is 0 here, 7/
    ],
    ['pixels', () => moved('one.pixel_values', 5), /most at number 5/],
    ['vision features', () => moved('one.layer.0', 3), /row 0, number 3/],
    ['token embeddings', () => moved('one.layer.0', states.get('one.layer.0')!.shape[0]! - 1), /number 63/],
    ['layer 1', () => moved('one.layer.1', 70), /row 1, number 6/],
    ['last hidden state', () => moved('one.last_hidden', 0), /row 0, number 0/],
    ['embedding', () => moved('one.embedding', 2), /number 2/]
  ])('names the first stage that differs: %s', async (stage, change, detail) => {
    const result = await compare({ ...moved('one.embedding', 2), ...change() }, '--json')
    expect(result.code).toBe(1)
    expect(result.stderr).toContain('1 of 1 items differ')
    const [line] = jsonLines<Line>(result)
    expect(line!.first!.stage).toBe(stage)
    expect(line!.first!.detail).toMatch(detail)
  })

  it('says how much, and takes a tolerance', async () => {
    const result = await compare(moved('one.layer.2', 0))
    expect(result.stdout).toMatch(/^one: the first difference is in layer 2: \d\.\de-[12], most at row 0, number 0: /)
    expect((await compare(moved('one.layer.2', 0), '--tolerance', '0.5')).code).toBe(0)
  })

  it('takes what was recorded, in any of the usual number types', async () => {
    const zero = { dtype: 'BF16', shape: [64], bytes: new Uint8Array(128) }
    const result = await compare({ 'one.layer.1': undefined, 'one.embedding': zero }, '--json')
    expect(jsonLines<Line>(result)[0]!.first!.stage).toBe('embedding')
    expect(jsonLines<Line>(result)[0]!.stages).toHaveLength(9)
  })

  it.each<[string, string[], number, RegExp]>([
    ['no items', ['--model', model, '--compare', file], 2, /needs the items/],
    [
      'a dump at the same time',
      ['--model', model, '--input', input, '--compare', file, '--dump', 'x'],
      2,
      /without --dump/
    ],
    ['a file that is not there', ['--model', model, '--input', input, '--compare', 'none.safetensors'], 4, /ENOENT/],
    [
      'a file of something else',
      ['--model', model, '--input', input, '--compare', join(model, 'model.safetensors')],
      4,
      /record-states/
    ]
  ])('refuses %s', async (_, argv, code, message) => {
    const result = await runCli(['inspect', ...argv])
    expect([result.code, result.stderr]).toEqual([code, expect.stringMatching(message)])
  })

  it('says where no item was recorded', async () => {
    const others = new Map([...states].map(([name, tensor]) => [name.replace('one.', 'other.'), tensor]))
    writeTensors(file, others)
    const result = await runCli(['inspect', '--model', model, '--input', input, '--compare', file])
    expect([result.code, result.stderr]).toEqual([4, expect.stringContaining('none of the input has such an id')])
  })
})
