/**
 * Tensors of a file that `torch.save` wrote (a zip of a pickle and storages; `adapter_model.bin`, `pytorch_model.bin`).
 * Nothing of the pickle is executed: see pickle.ts.
 */
import { open, type FileHandle } from 'node:fs/promises'
import { Vlm2VecError } from '../errors.js'
import { readPickle } from './pickle.js'
import { readAt, readZipDirectory, type ZipEntry } from './zip.js'

export interface TorchTensor {
  name: string
  /** as safetensors spells it */
  dtype: string
  shape: number[]
  /** in elements; `data` reads them in row-major order */
  stride: number[]
  /** of the first element, in bytes of the file */
  offset: number
  itemSize: number
}

const STORAGES: Record<string, [dtype: string, itemSize: number]> = {
  'torch.FloatStorage': ['F32', 4],
  'torch.HalfStorage': ['F16', 2],
  'torch.BFloat16Storage': ['BF16', 2],
  'torch.DoubleStorage': ['F64', 8],
  'torch.LongStorage': ['I64', 8],
  'torch.IntStorage': ['I32', 4],
  'torch.ShortStorage': ['I16', 2],
  'torch.CharStorage': ['I8', 1],
  'torch.ByteStorage': ['U8', 1],
  'torch.BoolStorage': ['BOOL', 1]
}
const MOST_PICKLE_BYTES = 2 ** 27
const MOST_BYTES_AT_A_TIME = 2 ** 24

export class TorchFile {
  private constructor(
    readonly path: string,
    private readonly file: FileHandle,
    readonly tensors: TorchTensor[]
  ) {}

  /** E_CHECKPOINT: not such a file, damaged, or it holds something else than tensors by name. */
  static async open(path: string): Promise<TorchFile> {
    const file = await open(path, 'r').catch((cause: unknown) => {
      throw new Vlm2VecError('E_CHECKPOINT', `${path}: ${(cause as Error).message}.`, { cause })
    })
    try {
      return new TorchFile(path, file, await readTensors(file))
    } catch (cause) {
      await file.close()
      throw new Vlm2VecError(
        'E_CHECKPOINT',
        `${path} cannot be read: ${(cause as Error).message}. If it is whole, save it as safetensors.`,
        { cause }
      )
    }
  }

  /** The bytes of a tensor, row-major, in pieces. */
  async *data({ shape, stride, offset, itemSize }: TorchTensor): AsyncGenerator<Uint8Array> {
    const size = shape.reduce((product, each) => product * each, itemSize)
    if (!isContiguous(shape, stride)) {
      yield await this.gathered(shape, stride, { offset, itemSize })
      return
    }
    for (let done = 0; done < size; done += MOST_BYTES_AT_A_TIME)
      yield await readAt(this.file, offset + done, Math.min(MOST_BYTES_AT_A_TIME, size - done))
  }

  async close(): Promise<void> {
    await this.file.close()
  }

  /** Views, such as transposed ones, in memory. */
  private async gathered(
    shape: number[],
    stride: number[],
    { offset, itemSize }: { offset: number; itemSize: number }
  ): Promise<Uint8Array> {
    const span = spanOf(shape, stride)
    const source = await readAt(this.file, offset, span * itemSize)
    const count = shape.reduce((product, each) => product * each, 1)
    const result = Buffer.alloc(count * itemSize)
    const place = shape.map(() => 0)
    for (let i = 0; i < count; i++) {
      const from = place.reduce((sum, each, axis) => sum + each * stride[axis]!, 0) * itemSize
      source.copy(result, i * itemSize, from, from + itemSize)
      for (let axis = shape.length - 1; axis >= 0 && ++place[axis]! === shape[axis]; axis--) place[axis] = 0
    }
    return result
  }
}

async function readTensors(file: FileHandle): Promise<TorchTensor[]> {
  const { size } = await file.stat()
  const magic = size < 4 ? 0 : (await readAt(file, 0, 4)).readUInt32LE()
  if (magic !== 0x04034b50)
    throw new Error(
      size === 0 ? 'it is empty' : 'it is no zip file, as torch.save writes since version 1.6 (truncated, or older)'
    )
  const entries = await readZipDirectory(file)
  const pickleName = [...entries.keys()].find((name) => /^[^/]+\/data\.pkl$/.test(name))
  if (pickleName === undefined) throw new Error('it holds no data.pkl')
  const root = pickleName.slice(0, -'data.pkl'.length)
  const order = entries.get(`${root}byteorder`)
  if (order && (await readAt(file, order.offset, Math.min(order.size, 8))).toString() !== 'little')
    throw new Error('its numbers are not little-endian')
  const pickle = entries.get(pickleName)!
  if (pickle.size > MOST_PICKLE_BYTES) throw new Error('its pickle is too large for names and shapes')
  const value = readPickle(await readAt(file, pickle.offset, pickle.size), vocabulary(root, entries))
  if (!(value instanceof Map)) throw new Error('it holds something else than a dictionary of tensors')
  return [...(value as Map<unknown, unknown>)].map(([name, tensor]) => {
    if (typeof name !== 'string' || !isTensor(tensor)) throw new Error(`its entry ${String(name)} is no tensor`)
    const { dtype, shape, stride, offset, itemSize } = tensor
    return { name, dtype, shape, stride, offset, itemSize }
  })
}

interface Storage {
  dtype: string
  itemSize: number
  entry: ZipEntry
  key: string
}

const isTensor = (value: unknown): value is Omit<TorchTensor, 'name'> =>
  typeof value === 'object' && value !== null && 'itemSize' in value && 'stride' in value

/** What torch.save writes for tensors by name, and no more. */
function vocabulary(root: string, entries: Map<string, ZipEntry>): Parameters<typeof readPickle>[1] {
  return {
    resolve: (name) => {
      if (name in STORAGES) return {}
      if (name === 'collections.OrderedDict') return { call: () => new Map() }
      if (name === 'torch._utils._rebuild_tensor_v2') return { call: rebuild }
      if (name === 'torch._utils._rebuild_parameter') return { call: ([tensor]) => tensor }
      return undefined
    },
    persistent: (id): Storage => {
      const [kind, type, key] = Array.isArray(id) ? (id as unknown[]) : []
      const storage = STORAGES[(type as { named?: string } | undefined)?.named ?? '']
      if (kind !== 'storage' || !storage || typeof key !== 'string') throw new Error('its pickle is damaged')
      const entry = entries.get(`${root}data/${key}`)
      if (!entry) throw new Error(`the storage ${key} is missing`)
      return { dtype: storage[0], itemSize: storage[1], entry, key }
    }
  }
}

/** `_rebuild_tensor_v2(storage, offset, size, stride, ...)` */
function rebuild([storage, first, shape, stride]: unknown[]): Omit<TorchTensor, 'name'> {
  const { dtype, itemSize, entry, key } = storage as Storage
  if (!entry || !isCount(first) || !isCounts(shape) || !isCounts(stride) || shape.length !== stride.length)
    throw new Error('its pickle is damaged')
  const offset = entry.offset + first * itemSize
  if ((first + spanOf(shape, stride)) * itemSize > entry.size)
    throw new Error(`a tensor of shape (${shape.join(', ')}) does not fit its storage ${key}`)
  return { dtype, shape, stride, offset, itemSize }
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0
const isCounts = (value: unknown): value is number[] => Array.isArray(value) && value.every(isCount)

/** Elements from the first to the last that a view touches. */
function spanOf(shape: number[], stride: number[]): number {
  if (shape.includes(0)) return 0
  return shape.reduce((sum, size, axis) => sum + (size - 1) * stride[axis]!, 1)
}

function isContiguous(shape: number[], stride: number[]): boolean {
  let expected = 1
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1 && stride[axis] !== expected) return false
    expected *= shape[axis]!
  }
  return true
}
