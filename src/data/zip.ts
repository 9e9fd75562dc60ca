/** What a zip file holds, and where: enough for PyTorch's files, whose entries are stored as they are. */
import type { FileHandle } from 'node:fs/promises'

export interface ZipEntry {
  /** of its bytes in the file */
  offset: number
  size: number
}

const END = 0x06054b50
const END_64 = 0x06064b50
const LOCATOR_64 = 0x07064b50
const ENTRY = 0x02014b50
const LOCAL = 0x04034b50
const MOST_DIRECTORY_BYTES = 2 ** 28

/** Entries by name. Throws a plain error that says what is wrong with the file. */
export async function readZipDirectory(file: FileHandle): Promise<Map<string, ZipEntry>> {
  const { size } = await file.stat()
  const { start, length, count } = await findDirectory(file, size)
  if (length > MOST_DIRECTORY_BYTES || start + length > size) throw new Error('its zip directory lies outside the file')
  const directory = await readAt(file, start, length)
  const entries = new Map<string, ZipEntry>()
  let at = 0
  for (let index = 0; index < count; index++) {
    if (at + 46 > length || directory.readUInt32LE(at) !== ENTRY) throw new Error('its zip directory is damaged')
    const nameLength = directory.readUInt16LE(at + 28)
    const extraLength = directory.readUInt16LE(at + 30)
    const name = directory.toString('utf8', at + 46, at + 46 + nameLength)
    const extra = directory.subarray(at + 46 + nameLength, at + 46 + nameLength + extraLength)
    if (directory.readUInt16LE(at + 10) !== 0) throw new Error(`its entry ${name} is compressed`)
    if (directory.readUInt16LE(at + 8) & 1) throw new Error(`its entry ${name} is encrypted`)
    const [full, stored, header] = wide(extra, [
      directory.readUInt32LE(at + 24),
      directory.readUInt32LE(at + 20),
      directory.readUInt32LE(at + 42)
    ])
    if (full !== stored) throw new Error(`its entry ${name} has two sizes`)
    if (entries.has(name)) throw new Error(`it has two entries ${name}`)
    entries.set(name, await locate(file, { name, header: header!, size: full! }, size))
    at += 46 + nameLength + extraLength + directory.readUInt16LE(at + 32)
  }
  return entries
}

async function findDirectory(
  file: FileHandle,
  size: number
): Promise<{ start: number; length: number; count: number }> {
  const tail = await readAt(file, Math.max(0, size - 65557), Math.min(size, 65557))
  let at = tail.length - 22
  while (at >= 0 && tail.readUInt32LE(at) !== END) at--
  if (at < 0) throw new Error('it has no zip directory (it is truncated, or no zip file)')
  const small = {
    count: tail.readUInt16LE(at + 10),
    length: tail.readUInt32LE(at + 12),
    start: tail.readUInt32LE(at + 16)
  }
  if (at < 20 || tail.readUInt32LE(at - 20) !== LOCATOR_64) return small
  const end = await readAt(file, Number(tail.readBigUInt64LE(at - 12)), 56)
  if (end.readUInt32LE(0) !== END_64) throw new Error('its zip directory is damaged')
  return {
    count: Number(end.readBigUInt64LE(32)),
    length: Number(end.readBigUInt64LE(40)),
    start: Number(end.readBigUInt64LE(48))
  }
}

/** Sizes and offsets that don't fit 32 bits stand in an extra field, in this order. */
function wide(extra: Buffer, values: number[]): number[] {
  let field: Buffer = Buffer.alloc(0)
  for (let at = 0; at + 4 <= extra.length; at += 4 + extra.readUInt16LE(at + 2))
    if (extra.readUInt16LE(at) === 1) field = extra.subarray(at + 4, at + 4 + extra.readUInt16LE(at + 2))
  let used = 0
  return values.map((value) => {
    if (value !== 0xffffffff) return value
    if (used + 8 > field.length) throw new Error('its zip directory is damaged')
    return Number(field.readBigUInt64LE((used += 8) - 8))
  })
}

async function locate(
  file: FileHandle,
  { name, header, size }: { name: string; header: number; size: number },
  fileSize: number
): Promise<ZipEntry> {
  const local = await readAt(file, header, 30)
  if (local.readUInt32LE(0) !== LOCAL) throw new Error(`its entry ${name} is not where the zip directory says`)
  const offset = header + 30 + local.readUInt16LE(26) + local.readUInt16LE(28)
  if (offset + size > fileSize) throw new Error(`its entry ${name} ends behind the end of the file`)
  return { offset, size }
}

/** Exactly so many bytes. */
export async function readAt(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length)
  if (length === 0) return bytes
  const { bytesRead } = await file.read(bytes, 0, length, position)
  if (bytesRead !== length) throw new Error('it is truncated')
  return bytes
}
