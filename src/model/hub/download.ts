/** Files of the hub into the cache: whole or not there, checked by their hash, and gone on with where a download broke off. */
import { createHash, type Hash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { copyFile, mkdir, open, rename, rm, stat, symlink } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { ioError } from '../../atomic.js'
import { Vlm2VecError } from '../../errors.js'
import { filePieces, fileState, Unreachable, type FileState, type Hub } from './client.js'

export interface RemoteFile {
  repository: string
  commit: string
  name: string
  /** what is being downloaded, by etag: files of equal content are one */
  running: Map<string, Promise<void>>
}

/** Tries of one file; what came is kept between them. */
const TRIES = 5
const PAUSE_MS = 250

/** Downloads into `folder` (that of the repository) unless it is there. `onBytes` counts what is there of it. E_IO, E_MODEL */
export async function download(
  hub: Hub,
  file: RemoteFile,
  folder: string,
  onBytes: (done: number, total: number) => void
): Promise<void> {
  const pointer = join(folder, 'snapshots', file.commit, file.name)
  if (await exists(pointer)) return
  const { etag, size } = await retrying(hub, () => fileState(hub, file.repository, file.commit, file.name))
  const blob = join(folder, 'blobs', etag)
  try {
    if (!(await exists(blob))) {
      await mkdir(dirname(blob), { recursive: true })
      const start = (): Promise<void> =>
        retrying(hub, () => complete(hub, file, { blob, etag, size }, (done) => onBytes(done, size)))
      if (!file.running.has(etag)) file.running.set(etag, start())
      await file.running.get(etag)
    }
    await mkdir(dirname(pointer), { recursive: true })
    await point(blob, pointer)
  } catch (error) {
    throw ioError(error, pointer)
  }
}

/** Goes on with what is there, then checks and renames it. */
async function complete(
  hub: Hub,
  file: RemoteFile,
  { blob, etag, size }: FileState & { blob: string },
  onBytes: (done: number) => void
): Promise<void> {
  // a name of its own: Python's library may be writing `<etag>.incomplete`
  const incomplete = `${blob}.vlm2vec.incomplete`
  const output = await open(incomplete, 'a')
  try {
    let done = (await output.stat()).size
    if (done > size) await output.truncate((done = 0))
    if (done < size) {
      const onStart = async (start: number): Promise<void> => output.truncate((done = start))
      for await (const piece of filePieces(hub, { ...file, start: done }, onStart)) {
        await output.writeFile(piece)
        onBytes((done += piece.length))
      }
    }
    if (done !== size) throw new Unreachable(`the connection ended after ${done} of ${size} bytes of ${file.name}`)
    await output.sync()
  } finally {
    await output.close()
  }
  const hash = hashFor(etag, size)
  if (hash) {
    for await (const piece of createReadStream(incomplete)) hash.update(piece as Uint8Array)
    if (hash.digest('hex') !== etag) {
      await rm(incomplete, { force: true })
      throw new Unreachable(`${file.repository}/${file.name} came damaged: its hash is not ${etag}`)
    }
  }
  await rename(incomplete, blob)
}

/** Large files are named by their SHA-256, others by git's hash. Undefined: the name says nothing. */
function hashFor(etag: string, size: number): Hash | undefined {
  if (/^[0-9a-f]{64}$/.test(etag)) return createHash('sha256')
  return /^[0-9a-f]{40}$/.test(etag) ? createHash('sha1').update(`blob ${size}\0`) : undefined
}

/** A relative link, so that the cache may be moved; a copy where the file system has none. */
async function point(blob: string, pointer: string): Promise<void> {
  await rm(pointer, { force: true }) // a link whose blob is gone
  try {
    await symlink(relative(dirname(pointer), blob), pointer)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return
    if (process.platform !== 'win32' && (await exists(blob)) && !isUnsupported(error)) throw error
    await copyFile(blob, `${pointer}.incomplete`)
    await rename(`${pointer}.incomplete`, pointer)
  }
}

const isUnsupported = (error: unknown): boolean =>
  ['EPERM', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP'].includes((error as NodeJS.ErrnoException).code ?? '')

/** Again after a pause that doubles, while the network or the hub fails. E_IO in the end. */
async function retrying<T>(hub: Hub, attempt: () => Promise<T>, tries = TRIES): Promise<T> {
  for (let left = tries - 1, pause = PAUSE_MS; ; left--, pause *= 2) {
    try {
      return await attempt()
    } catch (error) {
      if (!(error instanceof Unreachable)) throw error
      if (left <= 0)
        throw new Vlm2VecError(
          'E_IO',
          `Downloading stopped: ${error.message}. The same command goes on where it stopped.`,
          { cause: error }
        )
      await new Promise((resolve) => setTimeout(resolve, pause))
      hub.signal?.throwIfAborted()
    }
  }
}

async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined
}
