/** A data file with random access to its rows: JSONL by an index of lines, Parquet by row groups. */
import { open, type FileHandle } from 'node:fs/promises'
import { Vlm2VecError } from '../errors.js'
import { parseJson, readError, readLines } from './jsonl.js'
import { openParquet } from './parquet.js'

export interface RowFile {
  readonly path: string
  /** number of rows */
  readonly length: number
  /** Row `index`, from 0, as parsed JSON or Parquet. E_DATA. */
  row(index: number): Promise<unknown>
  /** 'train.jsonl: record 3', for messages */
  where(index: number): string
  close(): Promise<void>
}

/** Parquet or JSONL, told by the first bytes. E_DATA: it cannot be read, or has no rows. */
export async function openRowFile(path: string): Promise<RowFile> {
  const file = (await startsWith(path, 'PAR1')) ? await openParquet(path) : await openJsonLines(path)
  if (file.length > 0) return file
  await file.close()
  throw new Vlm2VecError('E_DATA', `${path}: the data set is empty.`)
}

async function startsWith(path: string, magic: string): Promise<boolean> {
  try {
    const handle = await open(path)
    try {
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(magic.length), 0, magic.length, 0)
      return buffer.toString('latin1', 0, bytesRead) === magic
    } finally {
      await handle.close()
    }
  } catch (cause) {
    throw readError(cause, path)
  }
}

async function openJsonLines(path: string): Promise<RowFile> {
  const offsets: number[] = []
  const sizes: number[] = []
  for await (const { text, offset, bytes } of readLines(path, path)) {
    if (text.trim() === '') continue
    offsets.push(offset)
    sizes.push(bytes)
  }
  return new JsonLinesFile(path, await open(path), {
    offsets: Float64Array.from(offsets),
    sizes: Float64Array.from(sizes)
  })
}

class JsonLinesFile implements RowFile {
  constructor(
    readonly path: string,
    private readonly handle: FileHandle,
    private readonly lines: { offsets: Float64Array; sizes: Float64Array }
  ) {}

  get length(): number {
    return this.lines.offsets.length
  }

  async row(index: number): Promise<unknown> {
    const size = this.lines.sizes[index]!
    const { buffer, bytesRead } = await this.handle.read(Buffer.allocUnsafe(size), 0, size, this.lines.offsets[index]!)
    if (bytesRead !== size)
      throw new Vlm2VecError('E_DATA', `${this.where(index)}: the file has changed while it was read.`)
    return parseJson(buffer.toString('utf8'), this.where(index))
  }

  where(index: number): string {
    return `${this.path}: record ${index + 1}`
  }

  close(): Promise<void> {
    return this.handle.close()
  }
}
