import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { tensorNames, writeTensors } from '../../../src/data/safetensors.js'

let directory: string
beforeEach(() => (directory = mkdtempSync(join(tmpdir(), 'safetensors-'))))
afterEach(() => rmSync(directory, { recursive: true }))

describe('writeTensors', () => {
  it('writes a header of a multiple of eight bytes, then the data in order', async () => {
    const path = join(directory, 'x.safetensors')
    await writeTensors(path, async (add) => {
      await add({ name: 'a', shape: [2], data: new Float32Array([1, 2]) })
      await add({ name: 'b', shape: [3], data: new Uint8Array([7, 8, 9]) })
    })
    const bytes = readFileSync(path)
    const length = Number(bytes.readBigUInt64LE())
    expect(length % 8).toBe(0)
    expect(JSON.parse(bytes.toString('utf8', 8, 8 + length))).toEqual({
      __metadata__: { format: 'pt' },
      a: { dtype: 'F32', shape: [2], data_offsets: [0, 8] },
      b: { dtype: 'U8', shape: [3], data_offsets: [8, 11] }
    })
    expect(bytes.readFloatLE(8 + length + 4)).toBe(2)
    expect([...bytes.subarray(8 + length + 8)]).toEqual([7, 8, 9])
    expect(await tensorNames(path)).toEqual(['a', 'b'])
    expect(readdirSync(directory)).toEqual(['x.safetensors'])
  })

  it('refuses two tensors of one name and leaves nothing behind', async () => {
    const tensor = { name: 'a', shape: [1], data: new Float32Array(1) }
    const twice = writeTensors(join(directory, 'x'), async (add) => {
      await add(tensor)
      await add(tensor)
    })
    await expect(twice).rejects.toThrow('Two items have the id of a')
    expect(readdirSync(directory)).toEqual([])
  })
})

describe('tensorNames', () => {
  it.each([
    ['nothing', Buffer.alloc(0), 'it has no header'],
    ['a header longer than the file', Buffer.from([99, 0, 0, 0, 0, 0, 0, 0, 1]), 'its header claims 99 bytes'],
    ['a header that is no JSON', Buffer.from([2, 0, 0, 0, 0, 0, 0, 0, 1, 2]), 'its header is not JSON']
  ])('refuses %s', async (_, bytes, message) => {
    const path = join(directory, 'x')
    writeFileSync(path, bytes)
    await expect(tensorNames(path)).rejects.toThrow(message)
  })
})
