import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readJsonLines, readLines, type JsonLine } from '../../../src/data/jsonl.js'

async function* chunks(...parts: (string | Uint8Array)[]): AsyncGenerator<Uint8Array> {
  for (const part of parts) yield Buffer.from(part)
}
const read = async (...parts: (string | Uint8Array)[]): Promise<JsonLine[]> => {
  const lines = []
  for await (const line of readJsonLines(chunks(...parts), 'a.jsonl')) lines.push(line)
  return lines
}

describe('readJsonLines', () => {
  it('counts records from 1 and skips blank lines', async () => {
    expect(await read('{"a":1}\n\n  \n[2]\n"x"')).toEqual([
      { value: { a: 1 }, record: 1 },
      { value: [2], record: 2 },
      { value: 'x', record: 3 }
    ])
    expect(await read('')).toEqual([])
  })

  it('takes CRLF, a byte order mark, and lines that chunks cut anywhere', async () => {
    const bytes = Buffer.from('\ufeff{"a":"ä🙂"}\r\n{"b":2}\r\n')
    const expected = [{ a: 'ä🙂' }, { b: 2 }]
    for (let cut = 0; cut <= bytes.length; cut++)
      expect((await read(bytes.subarray(0, cut), bytes.subarray(cut))).map(({ value }) => value)).toEqual(expected)
    const single = [...bytes].map((byte) => Uint8Array.of(byte))
    expect((await read(...single)).map(({ value }) => value)).toEqual(expected)
  })

  it('does not take U+2028 within a text for the end of a line', async () => {
    expect(await read('{"a":"x\u2028y\u2029\u0085z"}\n')).toEqual([
      { value: { a: 'x\u2028y\u2029\u0085z' }, record: 1 }
    ])
  })

  it('names file, record and line of what is not JSON', async () => {
    await expect(read('{}\n\n{"a":}\n')).rejects.toMatchObject({
      code: 'E_DATA',
      message: expect.stringMatching(/^a\.jsonl: record 2 \(line 3\): not valid JSON/)
    })
  })

  it('names the line of what is not UTF-8', async () => {
    await expect(read('{}\n', Uint8Array.of(0x22, 0xff, 0x22))).rejects.toMatchObject({
      code: 'E_DATA',
      message: expect.stringMatching(/^a\.jsonl: line 2: not valid UTF-8/)
    })
  })

  it('says that a file is missing or a directory', async () => {
    const all = async (path: string): Promise<void> => {
      for await (const _ of readJsonLines(path));
    }
    await expect(all('/no/such.jsonl')).rejects.toMatchObject({
      code: 'E_DATA',
      message: '/no/such.jsonl: no such file.'
    })
    await expect(all(tmpdir())).rejects.toMatchObject({
      code: 'E_DATA',
      message: expect.stringContaining('a directory')
    })
  })
})

describe('readLines', () => {
  let directory: string
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'lines-'))
  })
  afterAll(() => rm(directory, { recursive: true }))

  it('tells where in the file each line stands', async () => {
    const path = join(directory, 'a')
    const bytes = Buffer.from('\ufeffone\r\nzwö\n\nlast')
    await writeFile(path, bytes)
    const texts = []
    for await (const { text, offset, bytes: length } of readLines(path, path)) {
      expect(bytes.toString('utf8', offset, offset + length)).toBe(text)
      texts.push(text)
    }
    expect(texts).toEqual(['one', 'zwö', '', 'last'])
  })
})
