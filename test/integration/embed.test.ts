/** `embed` as a user runs it, on a tiny random model. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parquetReadObjects } from 'hyparquet'
import sharp from 'sharp'
import { beforeAll, describe, expect, it } from 'vitest'
import { writeTinyModel } from '../../scripts/tiny-model.mjs'
import { golden, norm, readNpy, temporaryFolder } from './golden.js'
import { jsonLines, runCli } from './run-cli.js'
import { writeRows } from './tiny.js'

const folder = temporaryFolder()
const model = join(folder, 'model')
const picture = (name: string): string => golden('pictures', name)

const ITEMS = [
  { id: 'words', text: 'a red circle' },
  { id: 'instructed', instruction: 'Represent the picture:', text: 'a dog', images: [picture('scene0.png')] },
  { text: 'no id' },
  { id: 'two', images: [picture('scene1.png'), picture('dot.png')] },
  { id: 'video', videos: [{ frames: [picture('frame0.png'), picture('frame1.png')], fps: 2 }] }
]

function rows(name: string, items: object[]): string {
  const path = join(folder, name)
  writeRows(path, items)
  return path
}

let input: string
beforeAll(() => {
  writeTinyModel(model)
  input = rows('items.jsonl', ITEMS)
})

const embed = (...flags: string[]) => runCli(['embed', '--model', model, '--device', 'cpu', ...flags])

async function vectors(name: string, ...flags: string[]): Promise<Float32Array[]> {
  const output = join(folder, name)
  const { code, stderr } = await embed('--output', output, ...flags)
  expect(stderr.includes('Warning') || code === 0, stderr).toBe(true)
  expect(code, stderr).toBe(0)
  return readNpy(output)
}

describe('embed', () => {
  it('writes a unit vector an item, in the order of the input', async () => {
    const all = await vectors('all.npy', '--input', input)
    expect(all).toHaveLength(ITEMS.length)
    for (const vector of all) expect(norm(vector)).toBeCloseTo(1, 5)
    const reversed = await vectors('reversed.npy', '--input', rows('reversed.jsonl', [...ITEMS].reverse()))
    expect(reversed.reverse()).toEqual(all)
  })

  it('gives the same bits whatever is computed together, and by however many threads', async () => {
    const all = await vectors('all.npy', '--input', input)
    expect(await vectors('one.npy', '--input', input, '--batch-tokens', '1')).toEqual(all)
    expect(await vectors('threads.npy', '--input', input, '--threads', '1')).toEqual(all)
  })

  it('writes the same numbers as .npy, .jsonl, .parquet and to standard output', async () => {
    const all = await vectors('all.npy', '--input', input)
    const ids = ['words', 'instructed', '2', 'two', 'video']
    const jsonl = join(folder, 'all.jsonl')
    const parquet = join(folder, 'all.parquet')
    for (const output of [jsonl, parquet]) expect((await embed('--input', input, '--output', output)).code).toBe(0)
    const printed = await embed('--input', input, '--output', '-')
    type Line = { id: string; embedding: number[] }
    const lines = jsonLines<Line>(printed)
    expect(lines.map(({ id }) => id)).toEqual(ids)
    expect(lines.map(({ embedding }) => Float32Array.from(embedding))).toEqual(all)
    expect(readFileSync(jsonl, 'utf8')).toBe(printed.stdout)
    const bytes = readFileSync(parquet)
    const file = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) as ArrayBuffer
    const table = (await parquetReadObjects({ file })) as Line[]
    expect(table.map(({ id }) => id)).toEqual(ids)
    expect(table.map(({ embedding }) => Float32Array.from(embedding))).toEqual(all)
  })

  it('reads standard input', async () => {
    const result = await runCli(
      ['embed', '--model', model, '--input', '-', '--output', '-', '--image-root', golden('pictures')],
      {
        stdin: '{"images": ["scene0.png"]}\n\n{"id": 7, "text": "x"}'
      }
    )
    expect(jsonLines<{ id: string }>(result).map(({ id }) => id)).toEqual(['0', '7'])
    expect((await runCli(['embed', '--model', model, '--input', '-', '--output', '-'])).code).toBe(4)
  })

  it('splits a file into shards that put together are the whole', async () => {
    const all = await vectors('all.npy', '--input', input)
    const shards = await Promise.all([0, 1].map((i) => vectors(`${i}.npy`, '--input', input, '--shard', `${i}/2`)))
    expect(shards.flat()).toEqual(all)
    expect(shards.map((each) => each.length)).toEqual([2, 3])
    expect(await embed('--input', input, '--output', '-', '--shard', '2/2')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('shards count from 0 to 1')
    })
  })

  it('cuts vectors to a dimension and normalises again', async () => {
    const all = await vectors('all.npy', '--input', input)
    const cut = await vectors('cut.npy', '--input', input, '--dimension', '7')
    cut.forEach((vector, i) => {
      expect(vector).toHaveLength(7)
      expect(norm(vector)).toBeCloseTo(1, 6)
      const factor = norm(all[i]!.subarray(0, 7))
      for (let d = 0; d < 7; d++) expect(vector[d]! * factor).toBeCloseTo(all[i]![d]!, 6)
    })
    expect((await embed('--input', input, '--output', '-', '--dimension', '65')).code).toBe(2)
  })

  it('reads paths from the folder of the file or from --image-root, and data: URLs', async () => {
    const bytes = readFileSync(picture('scene0.png')).toString('base64')
    const variants = [
      await vectors('a.npy', '--input', rows('a.jsonl', [{ images: [picture('scene0.png')] }])),
      await vectors(
        'b.npy',
        '--input',
        rows('b.jsonl', [{ images: ['scene0.png'] }]),
        '--image-root',
        golden('pictures')
      ),
      await vectors('c.npy', '--input', rows('c.jsonl', [{ images: [`data:image/png;base64,${bytes}`] }]))
    ]
    expect(variants[1]).toEqual(variants[0])
    expect(variants[2]).toEqual(variants[0])
  })

  it('computes in bf16 close to f32', async () => {
    const all = await vectors('all.npy', '--input', input)
    const half = await vectors('half.npy', '--input', input, '--dtype', 'bf16')
    half.forEach((vector, i) => {
      const cosine = vector.reduce((sum, value, d) => sum + value * all[i]![d]!, 0)
      expect(cosine).toBeGreaterThan(0.98)
      expect(cosine).toBeLessThan(1)
    })
  })

  it('with --json says what it did', async () => {
    const output = join(folder, 'said.npy')
    const [said] = jsonLines(await embed('--input', input, '--output', output, '--json'))
    expect(said).toMatchObject({ output, items: 5, dimension: 64, skipped: [] })
  })
})

describe('items that cannot be embedded', () => {
  const broken: Record<string, object> = {}
  beforeAll(async () => {
    const write = (name: string, bytes: Uint8Array | string): string => {
      writeFileSync(join(folder, name), bytes)
      return name
    }
    const whole = readFileSync(picture('scene0.png'))
    const wide = await sharp({ create: { width: 402, height: 2, channels: 3, background: 'red' } })
      .png()
      .toBuffer()
    Object.assign(broken, {
      'a missing picture': { images: ['none.png'] },
      'an empty picture': { images: [write('empty.png', '')] },
      'a truncated picture': { images: [write('truncated.png', whole.subarray(0, whole.length / 2))] },
      'something that is no picture': { images: [write('words.png', 'words')] },
      'a picture wider than 200 times its height': { images: [write('wide.png', wide)] },
      'an item of nothing': { id: 'nothing' },
      'a key that nobody knows': { txt: 'a' },
      'a placeholder without a picture': { text: '<|image_pad|> a' },
      'an item that is too long': { text: 'a '.repeat(5000) }
    })
  })

  it('stop with exit code 4 and the record, and leave no file', async () => {
    expect(Object.keys(broken)).toHaveLength(9)
    for (const [name, item] of Object.entries(broken)) {
      const output = join(folder, 'broken.npy')
      const { code, stderr } = await embed(
        '--input',
        rows('broken.jsonl', [{ text: 'fine' }, item]),
        '--output',
        output
      )
      expect(code, name).toBe(4)
      expect(stderr, name).toContain('broken.jsonl: record 2')
      expect(
        stderr
          .trimEnd()
          .split('\n')
          .filter((line) => !line.startsWith('Embedding')),
        name
      ).toHaveLength(1)
      expect(existsSync(output), name).toBe(false)
    }
    expect(readdirSync(folder).filter((name) => name.includes('tmp'))).toEqual([])
  })

  it('are left out with --on-error skip, counted, and listed with the reason', async () => {
    const items = [{ text: 'fine' }, ...Object.values(broken), { id: 'last', text: 'fine too' }]
    const path = rows('some.jsonl', items)
    writeFileSync(path, `${readFileSync(path, 'utf8')}{"text": "cut off\n`)
    const output = join(folder, 'some.npy')
    const { code, stderr } = await embed('--input', path, '--output', output, '--on-error', 'skip')
    expect(code).toBe(0)
    expect(stderr).toContain('10 of 12 items were skipped:')
    for (const record of [2, 5, 10, 12]) expect(stderr).toContain(`some.jsonl: record ${record}`)
    const written = readNpy(output)
    expect(written.map((vector) => vector.every(Number.isNaN))).toEqual([false, ...Array(9).fill(true), false, true])
    const printed = await embed('--input', path, '--output', '-', '--on-error', 'skip')
    expect(jsonLines<{ id: string }>(printed).map(({ id }) => id)).toEqual(['0', 'last'])
  })

  it('say how long they are, and what a picture may hold', async () => {
    const long = rows('long.jsonl', [{ text: 'a a a a' }])
    expect((await embed('--input', long, '--output', '-', '--max-length', '3')).stderr).toMatch(
      /\d+ tokens long.*at most 3/
    )
    const large = rows('large.jsonl', [{ images: [picture('scene0.png')] }])
    const { code, stderr } = await embed('--input', large, '--output', '-', '--pixel-limit', '10')
    expect([code, stderr]).toEqual([4, expect.stringContaining('10')])
  })

  it('are not pictures of a single pixel', async () => {
    const dot = await sharp({ create: { width: 1, height: 1, channels: 3, background: 'red' } })
      .png()
      .toBuffer()
    writeFileSync(join(folder, 'pixel.png'), dot)
    expect((await embed('--input', rows('pixel.jsonl', [{ images: ['pixel.png'] }]), '--output', '-')).code).toBe(0)
  })
})

describe('input and output', () => {
  it('are checked before anything is computed', async () => {
    expect((await embed('--input', join(folder, 'none.jsonl'), '--output', '-')).code).toBe(4)
    expect((await embed('--input', rows('empty.jsonl', []), '--output', '-')).stderr).toContain('empty')
    expect((await embed('--input', input, '--output', join(folder, 'x.csv'))).code).toBe(2)
  })

  it('stay as they were when the run fails', async () => {
    const output = join(folder, 'kept.npy')
    writeFileSync(output, 'kept')
    await embed('--input', rows('bad.jsonl', [{ id: 'nothing' }]), '--output', output)
    expect(readFileSync(output, 'utf8')).toBe('kept')
    const nowhere = await embed('--input', input, '--output', join(output, 'below-a-file.npy'))
    expect(nowhere.code).toBe(1)
    expect(nowhere.stderr).toContain('below-a-file.npy')
  })
})
