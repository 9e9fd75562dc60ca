import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parquetReadObjects } from 'hyparquet'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { checkVectorPath, vectorLine, writeVectors } from '../../../src/data/vector-file.js'

let directory: string
beforeEach(() => (directory = mkdtempSync(join(tmpdir(), 'vectors-'))))
afterEach(() => rmSync(directory, { recursive: true }))

const rows: [string, Float32Array | undefined][] = [
  ['a', new Float32Array([0.1, -2])],
  ['b', undefined],
  ['c', new Float32Array([1 / 3, 1e-30])]
]

async function write(name: string, given = rows): Promise<Buffer> {
  const path = join(directory, name)
  await writeVectors(path, 2, async (sink) => {
    for (const [id, vector] of given) await sink.add(id, vector)
  })
  expect(readdirSync(directory)).toEqual([name])
  return readFileSync(path)
}

describe('writeVectors', () => {
  it('writes .npy as NumPy reads it: float32, C order, NaN for what is missing', async () => {
    const bytes = await write('v.npy')
    expect(bytes.subarray(0, 8).toString('latin1')).toBe('\x93NUMPY\x01\x00')
    const end = 10 + bytes.readUInt16LE(8)
    expect(end % 64).toBe(0)
    expect(bytes.toString('latin1', 10, end)).toMatch(
      /^\{'descr': '<f4', 'fortran_order': False, 'shape': \(3, 2\), \} *\n$/
    )
    const data = new Float32Array(bytes.buffer.slice(bytes.byteOffset + end, bytes.byteOffset + bytes.length))
    expect([...data]).toEqual([...rows[0]![1]!, NaN, NaN, ...rows[2]![1]!])
  })

  it('writes .jsonl with numbers that give the same float32 back', async () => {
    const lines = (await write('v.jsonl')).toString().trimEnd().split('\n')
    const read = lines.map((line) => JSON.parse(line) as { id: string; embedding: number[] })
    expect(read.map(({ id }) => id)).toEqual(['a', 'c'])
    expect(Float32Array.from(read[1]!.embedding)).toEqual(rows[2]![1])
    expect(vectorLine('a', rows[0]![1]!)).toBe('{"id":"a","embedding":[0.100000001,-2]}')
  })

  it('writes .parquet in row groups', async () => {
    const many = Array.from(
      { length: 5000 },
      (_, i) => [String(i), new Float32Array([i, i / 3])] as [string, Float32Array]
    )
    const bytes = await write('v.parquet', many)
    const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) as ArrayBuffer
    const read = (await parquetReadObjects({ file: buffer })) as { id: string; embedding: number[] }[]
    expect(read).toHaveLength(5000)
    expect(read[4999]!.id).toBe('4999')
    expect(Float32Array.from(read[4999]!.embedding)).toEqual(many[4999]![1])
  })

  it('writes no rows as a file of no rows', async () => {
    expect((await write('v.npy', [])).toString('latin1')).toContain("'shape': (0, 2)")
    rmSync(join(directory, 'v.npy'))
    expect((await write('v.parquet', [])).subarray(0, 4).toString()).toBe('PAR1')
  })

  it('leaves nothing behind when something fails', async () => {
    const failing = writeVectors(join(directory, 'v.npy'), 2, async (sink) => {
      await sink.add('a', rows[0]![1])
      throw new Error('broken item')
    })
    await expect(failing).rejects.toThrow('broken item')
    expect(readdirSync(directory)).toEqual([])
  })

  it('refuses other endings', () => {
    expect(() => checkVectorPath('v.csv')).toThrow(
      'v.csv: the name of a file of vectors ends in .npy, .jsonl, .parquet.'
    )
  })
})
