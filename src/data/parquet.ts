/** Parquet files: row groups are decoded when first needed, and the last ones kept up to a bound. */
import { open } from 'node:fs/promises'
import { parquetMetadataAsync, parquetReadObjects, type AsyncBuffer, type FileMetaData } from 'hyparquet'
import { compressors } from 'hyparquet-compressors'
import { Vlm2VecError } from '../errors.js'
import type { RowFile } from './row-file.js'

/** Bytes of decoded row groups that are kept, by their uncompressed size in the file. */
const CACHE_BYTES = 256 * 2 ** 20

interface RowGroup {
  start: number
  end: number
  bytes: number
}

/** E_DATA: not a Parquet file, or one that is damaged. */
export async function openParquet(path: string): Promise<RowFile> {
  const handle = await open(path)
  const file: AsyncBuffer = {
    byteLength: (await handle.stat()).size,
    slice: async (start, end = file.byteLength) => {
      const buffer = new ArrayBuffer(end - start)
      await handle.read(new Uint8Array(buffer), 0, end - start, start)
      return buffer
    }
  }
  try {
    return new ParquetFile(path, file, { metadata: await parquetMetadataAsync(file), close: () => handle.close() })
  } catch (cause) {
    await handle.close()
    throw new Vlm2VecError('E_DATA', `${path}: not a Parquet file that can be read (${(cause as Error).message}).`, {
      cause
    })
  }
}

class ParquetFile implements RowFile {
  readonly length: number
  readonly close: () => Promise<void>
  private readonly metadata: FileMetaData
  private readonly groups: RowGroup[]
  /** by group, the last used at the end */
  private readonly decoded = new Map<RowGroup, Promise<Record<string, unknown>[]>>()

  constructor(
    readonly path: string,
    private readonly file: AsyncBuffer,
    { metadata, close }: { metadata: FileMetaData; close: () => Promise<void> }
  ) {
    this.metadata = metadata
    this.close = close
    let end = 0
    this.groups = metadata.row_groups.map((group) => {
      const start = end
      end += Number(group.num_rows)
      return { start, end, bytes: Number(group.total_byte_size) }
    })
    this.length = end
  }

  async row(index: number): Promise<unknown> {
    const group = this.groups.find(({ start, end }) => index >= start && index < end)!
    const rows = await (this.decoded.get(group) ?? this.decode(group))
    return rows[index - group.start]
  }

  where(index: number): string {
    return `${this.path}: record ${index + 1}`
  }

  private decode(group: RowGroup): Promise<Record<string, unknown>[]> {
    const rows = parquetReadObjects({
      file: this.file,
      metadata: this.metadata,
      compressors,
      utf8: false,
      rowStart: group.start,
      rowEnd: group.end
    }).catch((cause: unknown) => {
      const rows = `rows ${group.start + 1} to ${group.end}`
      throw new Vlm2VecError('E_DATA', `${this.path}: ${rows} cannot be decoded (${(cause as Error).message}).`, {
        cause
      })
    })
    let kept = group.bytes
    for (const each of this.decoded.keys()) kept += each.bytes
    for (const each of this.decoded.keys()) {
      if (kept <= CACHE_BYTES) break
      this.decoded.delete(each)
      kept -= each.bytes
    }
    this.decoded.set(group, rows)
    return rows
  }
}
