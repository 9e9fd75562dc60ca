import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parquetWriteBuffer } from 'hyparquet-writer'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Mixture, type SourceOptions } from '../../../src/data/mixture.js'

let directory: string
let open: Mixture[]
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'mixture-'))
  open = []
})
afterEach(async () => {
  await Promise.all(open.map((each) => each.close()))
  await rm(directory, { recursive: true })
})

/** A source of `count` rows whose queries are `<name>0`, `<name>1`, ... */
async function source(name: string, count: number, options: Partial<SourceOptions> = {}): Promise<SourceOptions> {
  const path = join(directory, `${name}.jsonl`)
  const row = (index: number): string => JSON.stringify({ query: { text: `${name}${index}` }, target: { text: 't' } })
  await writeFile(path, Array.from({ length: count }, (_, index) => `${row(index)}\n`).join('\n'))
  return { name, path, ...options }
}
async function mixture(sources: SourceOptions[], shuffle = false, seed = 42): Promise<Mixture> {
  const opened = await Mixture.open(sources, { shuffle, seed })
  open.push(opened)
  return opened
}
const queries = async (data: Mixture, from: number, to: number): Promise<string[]> =>
  Promise.all(Array.from({ length: to - from }, async (_, index) => (await data.at(from + index)).example.query.text!))

describe('Mixture of one source', () => {
  it('goes through the rows in order and wraps around', async () => {
    const data = await mixture([await source('a', 3)])
    expect(await queries(data, 0, 7)).toEqual(['a0', 'a1', 'a2', 'a0', 'a1', 'a2', 'a0'])
    expect(data.length).toBe(3)
    expect(await data.at(4)).toMatchObject({ epoch: 1, row: 1, source: 'a', where: `${directory}/a.jsonl: record 2` })
  })

  it('takes the first rows alone where it is limited', async () => {
    const data = await mixture([await source('a', 5, { limit: 2 })])
    expect(await queries(data, 0, 4)).toEqual(['a0', 'a1', 'a0', 'a1'])
    expect([data.length, (await mixture([await source('a', 5, { limit: 9 })])).length]).toEqual([2, 5])
  })

  it('shuffles every epoch anew, each row once', async () => {
    const data = await mixture([await source('a', 50)], true)
    const [first, second] = [await queries(data, 0, 50), await queries(data, 50, 100)]
    const sorted = Array.from({ length: 50 }, (_, index) => `a${index}`).sort()
    expect([first.toSorted(), second.toSorted()]).toEqual([sorted, sorted])
    expect(first).not.toEqual(second)
    expect(first).not.toEqual(await queries(await mixture([await source('a', 50)]), 0, 50))
  })

  it('gives the same order for the same seed, from any position', async () => {
    const one = await mixture([await source('a', 20)], true, 7)
    const two = await mixture([await source('a', 20)], true, 7)
    expect(await queries(two, 13, 33)).toEqual((await queries(one, 0, 33)).slice(13))
    expect(await queries(await mixture([await source('a', 20)], true, 8), 0, 20)).not.toEqual(await queries(one, 0, 20))
  })
})

describe('Mixture of several sources', () => {
  const share = (texts: string[], name: string): number => texts.filter((text) => text.startsWith(name)).length

  it('mixes by weight and spreads sources evenly', async () => {
    const sources = [
      await source('a', 30, { weight: 2 }),
      await source('b', 30),
      await source('c', 30, { weight: 0.5 })
    ]
    const texts = await queries(await mixture(sources), 0, 70)
    expect(['a', 'b', 'c'].map((name) => share(texts, name))).toEqual([40, 20, 10])
    for (let start = 0; start < 70; start += 7) expect(share(texts.slice(start, start + 7), 'a')).toBe(4)
  })

  it('goes through all rows of a source before any comes again', async () => {
    for (const shuffle of [false, true]) {
      const sources = [await source('a', 10, { weight: 3 }), await source('b', 100)]
      const texts = (await queries(await mixture(sources, shuffle), 0, 400)).filter((text) => text.startsWith('a'))
      for (let start = 0; start + 10 <= texts.length; start += 10)
        expect(new Set(texts.slice(start, start + 10)).size).toBe(10)
      expect(texts.length).toBe(300)
    }
  })

  it('takes weights that have no small proportion', async () => {
    const sources = [await source('a', 5, { weight: Math.PI }), await source('b', 5, { weight: 1 })]
    const texts = await queries(await mixture(sources, true), 0, 4096)
    expect(share(texts, 'a') / 4096).toBeCloseTo(Math.PI / (Math.PI + 1), 3)
  })

  it('refuses a weight that is not positive, and no source at all', async () => {
    await expect(mixture([await source('a', 1, { weight: 0 })])).rejects.toMatchObject({
      code: 'E_OPTION',
      message: expect.stringContaining('"a"')
    })
    await expect(mixture([])).rejects.toMatchObject({ code: 'E_OPTION' })
  })
})

describe('rows of a Mixture', () => {
  it('completes paths of pictures from the image root, by default the folder of the file', async () => {
    const path = join(directory, 'p.jsonl')
    await writeFile(path, '{"qry": "q", "qry_image_path": "q.png", "pos_text": "p", "neg_image_path": ["n.png"]}\n')
    const example = async (imageRoot?: string): Promise<unknown> =>
      (await (await mixture([{ name: 'p', path, imageRoot }])).at(0)).example
    expect(await example('/pictures')).toMatchObject({
      query: { images: ['/pictures/q.png'] },
      negatives: [{ images: ['/pictures/n.png'] }]
    })
    expect(await example()).toMatchObject({ query: { images: [join(directory, 'q.png')] } })
  })

  it('reads Parquet, lists and absent values included', async () => {
    const path = join(directory, 'mmeb.parquet')
    const column = (name: string, data: unknown[]): { name: string; data: unknown[] } => ({ name, data })
    const count = 25
    const numbered = (prefix: string): string[] => Array.from({ length: count }, (_, index) => `${prefix}${index}`)
    const columnData = [
      column('qry', numbered('q')),
      column('pos_text', numbered('p')),
      column('pos_image_path', Array(count).fill(''))
    ]
    await writeFile(
      path,
      Buffer.from(parquetWriteBuffer({ columnData, rowGroupSize: 10 } as Parameters<typeof parquetWriteBuffer>[0]))
    )
    const data = await mixture([{ name: 'p', path }])
    expect(data.length).toBe(count)
    expect(await queries(data, 0, 26)).toEqual([...numbered('q'), 'q0'])
    expect(await data.at(24)).toMatchObject({ where: `${path}: record 25`, example: { positives: [{ text: 'p24' }] } })
  })

  it('names file and record of a row that cannot be used', async () => {
    const path = join(directory, 'bad.jsonl')
    await writeFile(path, '{"query": {"text": "q"}, "target": {"text": "t"}}\n\n{"target": {"text": "t"}}\n{"query"\n')
    const data = await mixture([{ name: 'bad', path }])
    await expect(data.at(1)).rejects.toMatchObject({ code: 'E_DATA', message: `${path}: record 2: no query.` })
    await expect(data.at(2)).rejects.toMatchObject({
      code: 'E_DATA',
      message: expect.stringContaining(`${path}: record 3: not valid JSON`)
    })
    const rows = []
    for await (const row of data.rows())
      rows.push('error' in row ? (row.error as Error).message : row.example.query.text)
    expect(rows).toEqual(['q', `${path}: record 2: no query.`, expect.stringContaining('record 3')])
  })

  it.each([
    ['an empty file', '', /the data set is empty/],
    ['blank lines alone', '\n \n', /the data set is empty/],
    ['a damaged Parquet file', 'PAR1 and nothing else', /not a Parquet file/]
  ])('refuses %s', async (_, content, message) => {
    const path = join(directory, 'x')
    await writeFile(path, content)
    await expect(mixture([{ name: 'x', path }])).rejects.toMatchObject({
      code: 'E_DATA',
      message: expect.stringMatching(new RegExp(`${path}: ${message.source}`))
    })
  })

  it('refuses a missing file', async () => {
    const path = join(directory, 'none.jsonl')
    await expect(mixture([await source('a', 1), { name: 'x', path }])).rejects.toMatchObject({
      code: 'E_DATA',
      message: `${path}: no such file.`
    })
  })
})
