/** safetensors files: the names in a header, and a writer for tensors that are made one after the other. */
import { createReadStream } from 'node:fs'
import { open, rm } from 'node:fs/promises'
import { writeWholePiecewise } from '../atomic.js'
import { Vlm2VecError } from '../errors.js'

const MAX_HEADER_BYTES = 100_000_000

/** Names of all tensors of a file. E_CHECKPOINT where the header cannot be read. */
export async function tensorNames(path: string): Promise<string[]> {
  return Object.keys(await tensorShapes(path))
}

/** Names and shapes of all tensors of a file. E_CHECKPOINT where the header cannot be read. */
export async function tensorShapes(path: string): Promise<Record<string, number[]>> {
  const broken = (reason: string): never => {
    throw new Vlm2VecError('E_CHECKPOINT', `${path}: ${reason}; the file is truncated or not a safetensors file.`)
  }
  const file = await open(path, 'r').catch((cause: unknown) => {
    throw new Vlm2VecError('E_CHECKPOINT', `${path}: ${(cause as Error).message}.`, { cause })
  })
  try {
    const { size } = await file.stat()
    const prefix = Buffer.alloc(8)
    if (size < 8 || (await file.read(prefix, 0, 8, 0)).bytesRead < 8) return broken('it has no header')
    const length = Number(prefix.readBigUInt64LE())
    if (length > MAX_HEADER_BYTES || length > size - 8)
      return broken(`its header claims ${length} bytes, the file has ${size}`)
    const header = Buffer.alloc(length)
    await file.read(header, 0, length, 8)
    const json = JSON.parse(header.toString('utf8')) as Record<string, { shape: number[] }>
    return Object.fromEntries(
      Object.entries(json).flatMap(([name, { shape }]) => (name === '__metadata__' ? [] : [[name, shape]]))
    )
  } catch (error) {
    if (error instanceof SyntaxError) return broken(`its header is not JSON (${error.message})`)
    throw error
  } finally {
    await file.close()
  }
}

export interface NamedTensor {
  name: string
  shape: number[]
  data: Float32Array | Uint8Array | Int32Array
}

/**
 * Writes the tensors that `fill` adds. The header comes first in the file but is known last, so data waits in a second
 * file beside it.
 */
export async function writeTensors(
  path: string,
  fill: (add: (tensor: NamedTensor) => Promise<void>) => Promise<void>
): Promise<void> {
  const waiting = `${path}.data`
  const header: Record<string, unknown> = { __metadata__: { format: 'pt' } }
  let end = 0
  try {
    await writeWholePiecewise(waiting, ({ append }) =>
      fill(async ({ name, shape, data }) => {
        if (name in header) throw new Vlm2VecError('E_DATA', `Two items have the id of ${name}; ids must differ.`)
        header[name] = { dtype: DTYPES[data.constructor.name], shape, data_offsets: [end, (end += data.byteLength)] }
        await append(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
      })
    )
    await writeWholePiecewise(path, async ({ append }) => {
      await append(headerBytes(header))
      for await (const piece of createReadStream(waiting)) await append(piece as Uint8Array)
    })
  } finally {
    await rm(waiting, { force: true })
  }
}

export interface KnownTensor {
  name: string
  /** as safetensors spells it */
  dtype: string
  shape: number[]
  /** bytes of a number */
  itemSize: number
  /** all of its bytes, row-major */
  pieces: AsyncIterable<Uint8Array>
}

/** Writes tensors whose names and sizes are known before their data, one after the other. */
export async function writeKnownTensors(path: string, tensors: KnownTensor[]): Promise<void> {
  const header: Record<string, unknown> = { __metadata__: { format: 'pt' } }
  let end = 0
  for (const { name, dtype, shape, itemSize } of tensors) {
    const bytes = shape.reduce((size, each) => size * each, itemSize)
    header[name] = { dtype, shape, data_offsets: [end, (end += bytes)] }
  }
  await writeWholePiecewise(path, async ({ append }) => {
    await append(headerBytes(header))
    for (const { pieces } of tensors) for await (const piece of pieces) await append(piece)
  })
}

const DTYPES: Record<string, string> = { Float32Array: 'F32', Uint8Array: 'U8', Buffer: 'U8', Int32Array: 'I32' }

/** Length of the header (u64, little-endian), then JSON padded with spaces to a multiple of eight bytes. */
function headerBytes(header: Record<string, unknown>): Uint8Array {
  const text = Buffer.from(JSON.stringify(header))
  const padded = Math.ceil(text.length / 8) * 8
  const bytes = Buffer.alloc(8 + padded, ' ')
  bytes.writeBigUInt64LE(BigInt(padded))
  text.copy(bytes, 8)
  return bytes
}
