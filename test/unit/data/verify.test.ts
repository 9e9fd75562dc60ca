import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Mixture } from '../../../src/data/mixture.js'
import { verifyData, type DataReport, type VerifyOptions } from '../../../src/data/verify.js'

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'verify-'))
})
afterEach(() => rm(directory, { recursive: true }))

async function verify(rows: string[], options?: VerifyOptions): Promise<DataReport> {
  const path = join(directory, 'a.jsonl')
  await writeFile(path, rows.join('\n'))
  const data = await Mixture.open([{ name: 'a', path, imageRoot: '/p' }], { shuffle: true, seed: 1 })
  try {
    return await verifyData(data, options)
  } finally {
    await data.close()
  }
}

const ROWS = [
  '{"query": {"text": "four", "images": ["a.png", "b.png"]}, "target": {"text": "t"}}',
  '{"query": {"instruction": "12", "text": "345678"}, "positives": [{"text": "t"}, {"text": "other"}], "negatives": [{"text": "n"}]}',
  '{"query": {}, "target": {"text": "t"}}',
  '{"query": {"videos": [{"frames": ["f.png", "g.png", "h.png"]}]}, "target": {"text": "missing"}}',
  'not JSON'
]
const sizes: Record<string, [number, number]> = { '/p/a.png': [10, 20], '/p/b.png': [30, 40] }

describe('verifyData', () => {
  it('counts what there is and lists every problem in order of records', async () => {
    const report = await verify(ROWS, {
      picture: async (source, where) => {
        const size = sizes[source as string]
        if (!size) throw new Error(`${where}: ${String(source)} is missing`)
        return { width: size[0], height: size[1] }
      }
    })
    expect(report).toMatchObject({
      rows: 5,
      valid: 2,
      sources: { a: { rows: 5, valid: 2 } },
      repeatedTargets: 2,
      moreProblems: 0
    })
    const path = join(directory, 'a.jsonl')
    expect(report.problems.map(({ message }) => message)).toEqual([
      expect.stringContaining(`${path}: record 3: nothing in "query"`),
      expect.stringContaining(`${path}: record 4: /p/f.png is missing`),
      expect.stringContaining(`${path}: record 5: not valid JSON`)
    ])
    expect(report.queries).toMatchObject({
      items: 2,
      withText: 2,
      withImages: 1,
      images: 2,
      characters: { min: 4, mean: 6, max: 8, count: 2 }
    })
    expect(report.queries.width).toEqual({ count: 2, min: 10, mean: 20, max: 30 })
    expect(report.queries.height).toEqual({ count: 2, min: 20, mean: 30, max: 40 })
    expect(report.targets).toMatchObject({ items: 3, withText: 3 })
    expect(report.negatives).toMatchObject({ items: 1 })
  })

  it('counts pictures and frames without looking at them', async () => {
    const report = await verify(ROWS.slice(0, 4))
    expect(report).toMatchObject({
      rows: 4,
      valid: 3,
      queries: { withVideos: 1, frames: 3, images: 2, width: { count: 0 } }
    })
  })

  it('lists no more problems than asked for, and counts the rest', async () => {
    const report = await verify(Array(5).fill('{}') as string[], { maxProblems: 2, concurrency: 2 })
    expect([report.problems.length, report.moreProblems]).toEqual([2, 3])
  })

  it('reports progress and stops when told to', async () => {
    const seen: number[] = []
    await verify(ROWS, { progress: (rows, total) => seen.push(rows / total) })
    expect(seen.at(-1)).toBe(1)
    await expect(verify(ROWS, { signal: AbortSignal.abort() })).rejects.toMatchObject({ name: 'AbortError' })
  })
})
