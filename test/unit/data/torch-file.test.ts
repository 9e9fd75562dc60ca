import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readPickle } from '../../../src/data/pickle.js'
import { TorchFile } from '../../../src/data/torch-file.js'

const recorded = (name: string): string => fileURLToPath(new URL(`torch/${name}`, import.meta.url))

let folder: string
beforeAll(() => (folder = mkdtempSync(join(tmpdir(), 'torch-'))))
afterAll(() => rmSync(folder, { recursive: true }))

async function read(path: string) {
  const file = await TorchFile.open(path)
  try {
    const tensors: Record<string, { dtype: string; shape: number[]; bytes: Buffer }> = {}
    for (const tensor of file.tensors) {
      const pieces = []
      for await (const piece of file.data(tensor)) pieces.push(piece)
      tensors[tensor.name] = { dtype: tensor.dtype, shape: tensor.shape, bytes: Buffer.concat(pieces) }
    }
    return tensors
  } finally {
    await file.close()
  }
}

const floats = ({ bytes }: { bytes: Buffer }): number[] =>
  Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(4 * i))
const refused = (path: string) => expect(TorchFile.open(path)).rejects

/** A changed copy of a recorded file. */
function changed(name: string, change: (bytes: Buffer) => Buffer): string {
  const path = join(folder, 'changed.bin')
  writeFileSync(path, change(readFileSync(recorded(name))))
  return path
}

describe("PyTorch's files", () => {
  it.each(['plain.bin', 'protocol-4.bin'])('%s: every tensor by its name, views too', async (name) => {
    const tensors = await read(recorded(name))
    const base = Array.from({ length: 12 }, (_, i) => i / 4)
    expect(Object.keys(tensors)).toHaveLength(10)
    expect(tensors['f32']).toMatchObject({ dtype: 'F32', shape: [3, 4] })
    for (const same of ['f32', 'parameter', 'shared']) expect(floats(tensors[same]!)).toEqual(base)
    expect(floats(tensors['transposed']!)).toEqual([0, 1, 2, 3].flatMap((x) => [0, 1, 2].map((y) => base[4 * y + x]!)))
    expect(tensors['transposed']!.shape).toEqual([4, 3])
    expect(floats(tensors['part']!)).toEqual([5, 6, 9, 10].map((i) => i / 4))
    expect(tensors['scalar']).toMatchObject({ shape: [], bytes: Buffer.from(new Float32Array([2.5]).buffer) })
    expect(tensors['empty']).toMatchObject({ shape: [0, 4], bytes: Buffer.alloc(0) })
    expect(tensors['f16']).toMatchObject({ dtype: 'F16' })
    expect(tensors['f16']!.bytes.readUInt16LE(8)).toBe(0x3c00) // 1
    expect(tensors['bf16']!.bytes.readUInt16LE(8)).toBe(0x3f80) // 1
    expect(tensors['i64']!.bytes.readBigInt64LE(16)).toBe(2n)
  })

  it('execute nothing: a name that is not of a tensor is refused', async () => {
    await refused(recorded('evil.bin')).toMatchObject({
      code: 'E_CHECKPOINT',
      message: expect.stringMatching(/evil\.bin cannot be read: its pickle names posix\.system; .* nothing is executed/)
    })
    expect(existsSync('/tmp/vlm2vec-pickle-ran')).toBe(false)
  })

  it('that hold something else than tensors by name are refused with the entry', async () => {
    await refused(recorded('nested.bin')).toThrow('its entry model is no tensor')
  })

  it('of old, damaged, truncated and empty ones say so', async () => {
    await refused(recorded('before-1.6.bin')).toThrow('torch.save writes since version 1.6')
    await refused(changed('plain.bin', () => Buffer.alloc(0))).toThrow('it is empty')
    await refused(changed('plain.bin', (bytes) => bytes.subarray(0, bytes.length - 100))).toThrow('truncated')
    await refused(changed('plain.bin', (bytes) => bytes.fill(0xff, 80, 200))).toMatchObject({ code: 'E_CHECKPOINT' })
    await refused(join(folder, 'none.bin')).toThrow('ENOENT')
  })

  it('whose shapes do not fit their storage are refused', async () => {
    // the first shape, (3, 4), becomes (9, 4)
    const wrong = changed('plain.bin', (bytes) => {
      const at = bytes.indexOf(Buffer.from([0x4b, 3, 0x4b, 4, 0x86]))
      bytes[at + 1] = 9
      return bytes
    })
    await refused(wrong).toThrow('a tensor of shape (9, 4) does not fit its storage')
  })

  it('of every damaged byte are read or refused, never worse', async () => {
    const original = readFileSync(recorded('plain.bin'))
    for (let at = 0; at < 1200; at += 7) {
      const path = changed('plain.bin', (bytes) => {
        bytes[at]! ^= 0x5a
        return bytes
      })
      await read(path).catch((error: unknown) => expect(error).toMatchObject({ code: 'E_CHECKPOINT' }))
    }
    expect(original.length).toBeGreaterThan(1200)
  })
})

describe('a pickle', () => {
  const none = { resolve: () => undefined, persistent: () => null }
  const of = (...bytes: number[]): Uint8Array => Uint8Array.from(bytes)
  it('of an unknown instruction, without an end or with an empty stack is refused', () => {
    expect(() => readPickle(of(0x80, 2, 0x69), none)).toThrow('the instruction 0x69')
    expect(() => readPickle(of(0x80, 2, 0x4e), none)).toThrow('truncated')
    expect(() => readPickle(of(0x52), none)).toThrow('damaged')
    expect(() => readPickle(of(0x7d, 0x29, 0x52, 0x2e), none)).toThrow('calls something')
  })
  it('reads long numbers in two’s complement', () => {
    expect(readPickle(of(0x8a, 2, 0xff, 0xff, 0x2e), none)).toBe(-1)
    expect(readPickle(of(0x8a, 3, 0, 0, 1, 0x2e), none)).toBe(65536)
  })
})
