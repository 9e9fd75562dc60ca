/** Files and directories that are whole or not there at all: written under a temporary name, synced, renamed. */
import { mkdir, open, readdir, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { Vlm2VecError } from './errors.js'

const temporaryName = (path: string): string => join(dirname(path), `.${basename(path)}.${process.pid}.tmp`)

/** Names that `writeWhole` and `writeDirectoryWhole` leave behind when the process is killed; safe to delete. */
export const isTemporary = (name: string): boolean => /^\..+\.\d+\.(tmp|old)$/.test(name)

/** E_IO where writing or renaming fails; the old file, if any, is then untouched. */
export async function writeWhole(path: string, data: string | Uint8Array): Promise<void> {
  await writeWholePiecewise(path, ({ append }) => append(data))
}

export interface Pieces {
  /** Adds a piece at the end. */
  append(piece: string | Uint8Array): Promise<void>
  /** Overwrites bytes that were written before, such as a header that is known only at the end. */
  overwrite(piece: Uint8Array, position: number): Promise<void>
}

/** As `writeWhole`, for what is made piece by piece. */
export async function writeWholePiecewise(path: string, fill: (pieces: Pieces) => Promise<void>): Promise<void> {
  const temporary = temporaryName(path)
  try {
    await mkdir(dirname(path), { recursive: true })
    const file = await open(temporary, 'w')
    try {
      await fill({
        append: (piece) => file.writeFile(piece),
        overwrite: async (piece, position) => void (await file.write(piece, 0, piece.length, position))
      })
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, path)
    await sync(dirname(path))
  } catch (error) {
    await rm(temporary, { force: true })
    throw ioError(error, path)
  }
}

/** `fill` writes the files into the directory it is given. An older directory of that name is replaced at the end. */
export async function writeDirectoryWhole(path: string, fill: (temporary: string) => Promise<void>): Promise<void> {
  const temporary = temporaryName(path)
  const old = temporary.replace(/tmp$/, 'old')
  try {
    await rm(temporary, { recursive: true, force: true })
    await mkdir(temporary, { recursive: true })
    await fill(temporary)
    for (const entry of await readdir(temporary, { recursive: true, withFileTypes: true }))
      if (entry.isFile()) await sync(join(entry.parentPath, entry.name))
    await sync(temporary)
    await rename(path, old).catch(unlessMissing)
    await rename(temporary, path)
    await sync(dirname(path))
    await rm(old, { recursive: true, force: true })
  } catch (error) {
    await rm(temporary, { recursive: true, force: true })
    throw ioError(error, path)
  }
}

/** An error of the file system as E_IO that names the path; other errors as they are. */
export function ioError(error: unknown, path: string): unknown {
  const { code, message } = error as NodeJS.ErrnoException
  if (error instanceof Vlm2VecError || typeof code !== 'string') return error
  const reason =
    code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG'
      ? 'the disk is full, or a limit on file sizes is reached; free space or choose another directory'
      : code === 'EACCES' || code === 'EPERM' || code === 'EROFS'
        ? 'no permission to write there'
        : message
  return new Vlm2VecError('E_IO', `${path}: ${reason} (${code}).`, { cause: error })
}

function unlessMissing(error: unknown): void {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
}

async function sync(path: string): Promise<void> {
  const file = await open(path, 'r')
  try {
    await file.sync()
  } finally {
    await file.close()
  }
}
