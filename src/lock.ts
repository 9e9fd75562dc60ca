/** One process at a time in a directory. The lock of a process that is gone is taken over. */
import { link, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { ioError } from './atomic.js'

const NAME = '.lock'
const BEAT_MS = 10_000
/** A lock of another machine can't be asked for its process; one that has not moved for so long is of a dead one. */
const STALE_MS = 60_000
const POLL_MS = 250

export interface Holder {
  pid: number
  host: string
  /** distinguishes a process from a later one with the same number */
  started: string
}

/** Gives the lock back. */
export type Release = () => Promise<void>

let takers = 0

/** Takes the lock of `directory`, which exists; where a live process holds it, says which. E_IO */
export async function takeLock(directory: string): Promise<Release | Holder> {
  const path = join(directory, NAME)
  const own = join(directory, `${NAME}-${process.pid}-${takers++}`)
  const holder: Holder = { pid: process.pid, host: hostname(), started: (await startOf(process.pid)) ?? '' }
  try {
    await writeFile(own, JSON.stringify(holder))
    while (!(await linked(own, path))) {
      const live = await removeStale(path)
      if (live) return live
    }
  } catch (error) {
    throw ioError(error, path)
  } finally {
    await rm(own, { force: true })
  }
  const beat = setInterval(() => void utimes(path, new Date(), new Date()).catch(() => {}), BEAT_MS)
  beat.unref()
  return async () => {
    clearInterval(beat)
    await rm(path, { force: true })
  }
}

/** As `takeLock`, but waits for its turn; `onWait` is called once, where another holds it. */
export async function waitForLock(
  directory: string,
  { signal, onWait }: { signal?: AbortSignal | undefined; onWait?: (holder: Holder) => void }
): Promise<Release> {
  for (let waited = false; ; waited = true) {
    signal?.throwIfAborted()
    const taken = await takeLock(directory)
    if (typeof taken === 'function') return taken
    if (!waited) onWait?.(taken)
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
  }
}

/** A hard link appears with its content, or not at all. */
async function linked(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

/** The holder, where it lives. */
async function removeStale(path: string): Promise<Holder | undefined> {
  const text = await readFile(path, 'utf8').catch(() => undefined)
  if (text === undefined) return undefined // given back meanwhile
  const holder = parse(text)
  if (holder && (await isAlive(holder, path))) return holder
  // Moved away first: of two processes that find it stale, one succeeds, and neither deletes the other's new lock.
  const aside = `${path}.${process.pid}.old`
  await rename(path, aside).catch(() => {})
  const moved = await readFile(aside, 'utf8').catch(() => undefined)
  if (moved !== undefined && moved !== text) await linked(aside, path)
  await rm(aside, { force: true })
  return undefined
}

function parse(text: string): Holder | undefined {
  try {
    return JSON.parse(text) as Holder
  } catch {
    return undefined
  }
}

async function isAlive(holder: Holder, path: string): Promise<boolean> {
  if (holder.host !== hostname()) {
    const age = Date.now() - ((await stat(path).catch(() => undefined))?.mtimeMs ?? 0)
    return age < STALE_MS
  }
  if (holder.pid === process.pid) return holder.started === ((await startOf(process.pid)) ?? '')
  try {
    process.kill(holder.pid, 0)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
  const started = await startOf(holder.pid)
  return started === undefined || holder.started === '' || started === holder.started
}

/** When a process started, in the kernel's clock ticks (field 22 of /proc/PID/stat); undefined where there is no /proc. */
async function startOf(pid: number): Promise<string | undefined> {
  const line = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined)
  return line?.slice(line.lastIndexOf(')') + 2).split(' ')[19]
}
