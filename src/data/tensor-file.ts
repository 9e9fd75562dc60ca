/** Reads tensors of a safetensors file as numbers, one at a time. */
import { open, type FileHandle } from 'node:fs/promises'
import { Vlm2VecError } from '../errors.js'
import { tensorShapes } from './safetensors.js'

interface Entry {
  dtype: string
  shape: number[]
  data_offsets: [number, number]
}

export class TensorFile {
  private constructor(
    readonly path: string,
    private readonly file: FileHandle,
    private readonly start: number,
    private readonly entries: Map<string, Entry>
  ) {}

  /** E_CHECKPOINT: no safetensors file. */
  static async open(path: string): Promise<TensorFile> {
    await tensorShapes(path) // checks the header
    const file = await open(path, 'r')
    const prefix = Buffer.alloc(8)
    await file.read(prefix, 0, 8, 0)
    const header = Buffer.alloc(Number(prefix.readBigUInt64LE()))
    await file.read(header, 0, header.length, 8)
    const { __metadata__: _, ...entries } = JSON.parse(header.toString('utf8')) as Record<string, Entry>
    return new TensorFile(path, file, 8 + header.length, new Map(Object.entries(entries)))
  }

  get names(): string[] {
    return [...this.entries.keys()]
  }

  shape(name: string): number[] | undefined {
    return this.entries.get(name)?.shape
  }

  /** The bytes of a tensor; undefined where there is none of that name. */
  async bytes(name: string): Promise<Buffer | undefined> {
    const entry = this.entries.get(name)
    if (!entry) return undefined
    const [begin, end] = entry.data_offsets
    const bytes = Buffer.alloc(end - begin)
    const { bytesRead } =
      bytes.length > 0 ? await this.file.read(bytes, 0, bytes.length, this.start + begin) : { bytesRead: 0 }
    if (bytesRead !== bytes.length)
      throw new Vlm2VecError('E_CHECKPOINT', `${this.path}: tensor ${name} ends behind the end of the file.`)
    return bytes
  }

  /** Its numbers, row-major. */
  async numbers(name: string): Promise<Float64Array | undefined> {
    const bytes = await this.bytes(name)
    if (!bytes) return undefined
    const { dtype } = this.entries.get(name)!
    const read = READERS[dtype]
    if (!read)
      throw new Vlm2VecError('E_CHECKPOINT', `${this.path}: tensor ${name} has type ${dtype}, which is not read here.`)
    const [size, at] = read
    return Float64Array.from({ length: bytes.length / size }, (_, i) => at(bytes, i * size))
  }

  async close(): Promise<void> {
    await this.file.close()
  }
}

const READERS: Record<string, [size: number, at: (bytes: Buffer, offset: number) => number]> = {
  F64: [8, (bytes, at) => bytes.readDoubleLE(at)],
  F32: [4, (bytes, at) => bytes.readFloatLE(at)],
  F16: [2, (bytes, at) => half(bytes.readUInt16LE(at))],
  BF16: [2, (bytes, at) => bfloat(bytes.readUInt16LE(at))],
  I64: [8, (bytes, at) => Number(bytes.readBigInt64LE(at))],
  I32: [4, (bytes, at) => bytes.readInt32LE(at)],
  U8: [1, (bytes, at) => bytes[at]!]
}

const word = new DataView(new ArrayBuffer(4))
function bfloat(bits: number): number {
  word.setUint32(0, bits << 16)
  return word.getFloat32(0)
}

function half(bits: number): number {
  const [sign, exponent, fraction] = [bits & 0x8000 ? -1 : 1, (bits >> 10) & 31, bits & 1023]
  if (exponent === 31) return fraction ? NaN : sign * Infinity
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15))
}
