/** Models of the hub as directories: from the cache, or downloaded into it once. */
import { existsSync } from 'node:fs'
import { mkdir, readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { ioError, writeWhole } from '../../atomic.js'
import { Vlm2VecError } from '../../errors.js'
import type { HubId } from '../../hub-id.js'
import { waitForLock } from '../../lock.js'
import { silent, type Log } from '../../log.js'
import { cachedSnapshot, repositoryFolder } from './cache.js'
import { hubOf, repositoryState, Unreachable, type Hub, type RepositoryState } from './client.js'
import { download } from './download.js'
import { INDICES, shardsOf, smallFiles, weightFiles, type Use } from './needed-files.js'

export interface HubRun {
  environment?: NodeJS.ProcessEnv | undefined
  signal?: AbortSignal | undefined
  log?: Log | undefined
}

/** Files that are downloaded at a time. */
const AT_A_TIME = 4

/**
 * The directory of a hub repository. What a download has completed is used without asking the network again; what Python
 * left in the cache is completed where the hub can be reached, and else used where it looks complete.
 *
 * @throws E_MODEL: not in the cache and the hub is not to be asked, cannot be reached, or has no such model. E_IO: the
 *   connection or the disk fails.
 */
export async function snapshotOf(id: HubId, use: Use, run: HubRun = {}): Promise<string> {
  const { environment = process.env, signal, log = silent } = run
  const hub = await hubOf(environment, signal)
  const cached = cachedSnapshot(id, hub.cache)
  if (cached && isMarked(cached, use)) return cached
  if (hub.offline) return offline(id, use, hub, 'HF_HUB_OFFLINE is set', cached)
  let state: RepositoryState
  try {
    state = await askTwice(() => repositoryState(hub, id))
  } catch (error) {
    if (error instanceof Unreachable) return offline(id, use, hub, error.message, cached, error)
    throw error
  }
  return downloadAll(id, use, state, { hub, log })
}

async function askTwice<T>(ask: () => Promise<T>): Promise<T> {
  return ask().catch((error: unknown) => {
    if (error instanceof Unreachable) return ask()
    throw error
  })
}

/** The snapshot, where it can be used as it is. */
function offline(id: HubId, use: Use, hub: Hub, why: string, cached?: string, cause?: unknown): string {
  const lacks = cached === undefined ? 'it is not there' : lacksOf(cached, use)
  if (cached !== undefined && lacks === undefined) return cached
  const name = id.revision === 'main' ? id.repository : `${id.repository}, revision ${id.revision},`
  throw new Vlm2VecError(
    'E_MODEL',
    `${name} cannot be taken from the Hugging Face cache (${hub.cache}): ${lacks}. It was not downloaded, because ${why}. ` +
      'Give a directory, download it where there is a network (this command does, or `hf download`), or set HF_HOME to a ' +
      'cache that holds it.',
    { cause }
  )
}

/** What a snapshot that Python left lacks; undefined: nothing that can be told without the hub. */
function lacksOf(directory: string, use: Use): string | undefined {
  const has = (name: string): boolean => existsSync(join(directory, name))
  const hasAdapter = ['', 'lora/'].some(
    (folder) =>
      has(`${folder}adapter_config.json`) &&
      (has(`${folder}adapter_model.safetensors`) || has(`${folder}adapter_model.bin`))
  )
  if (use === 'adapter') return hasAdapter ? undefined : 'it holds no whole adapter'
  const hasWeights = ['model.safetensors', 'pytorch_model.bin', ...INDICES].some(has)
  if (!hasWeights) return hasAdapter ? undefined : 'it holds no weights'
  return ['config.json', 'tokenizer_config.json'].find((name) => !has(name))?.replace(/^/, 'it lacks ')
}

interface Download {
  hub: Hub
  log: Log
}

async function downloadAll(
  { repository, revision }: HubId,
  use: Use,
  { commit, files }: RepositoryState,
  { hub, log }: Download
): Promise<string> {
  const folder = repositoryFolder(hub.cache, repository)
  const directory = join(folder, 'snapshots', commit)
  const locks = join(hub.cache, '.locks', `models--${repository.replace('/', '--')}`)
  await mkdir(locks, { recursive: true }).catch((error: unknown) => {
    throw ioError(error, hub.cache)
  })
  const release = await waitForLock(locks, {
    signal: hub.signal,
    onWait: ({ pid, host }) => log.info(`Waiting for process ${pid} on ${host}, which downloads ${repository}.`)
  })
  try {
    if (!isMarked(directory, use)) {
      const get = (names: string[]): Promise<void> => getAll(names, { repository, commit, folder }, { hub, log })
      const weights = weightFiles(files, use)
      if (weights.length === 0) throw nothingUseful(repository, use, hub)
      await get(smallFiles(files))
      await get(weights)
      const index = weights.find((name) => INDICES.includes(name))
      if (index !== undefined) await get(shardsOf(await readFile(join(directory, index), 'utf8')))
      await mark(directory, use)
    }
    // Last, so that a revision always means a whole snapshot here.
    if (revision !== commit) await writeWhole(join(folder, 'refs', revision), commit)
    return directory
  } finally {
    await release()
  }
}

async function getAll(
  names: string[],
  place: { repository: string; commit: string; folder: string },
  { hub, log }: Download
): Promise<void> {
  const waiting = names.values()
  const running = new Map<string, Promise<void>>()
  const worker = async (): Promise<void> => {
    for (const name of waiting) {
      const label = `Downloading ${place.repository}/${name}:`
      let progress: ReturnType<Log['progress']> | undefined
      const mib = (bytes: number): number => Math.round(bytes / 2 ** 20)
      await download(hub, { ...place, name, running }, place.folder, (done, total) => {
        if (total < 2 ** 20) return
        progress ??= log.progress(label, 'MiB', mib(total))
        progress.update(mib(done))
      })
      progress?.end()
    }
  }
  const results = await Promise.allSettled(Array.from({ length: Math.min(AT_A_TIME, names.length) }, worker))
  const failed = results.find((each) => each.status === 'rejected')
  if (failed) throw failed.reason
}

function nothingUseful(repository: string, use: Use, { endpoint }: Hub): Vlm2VecError {
  const wanted =
    use === 'adapter'
      ? 'adapter (adapter_config.json with adapter_model.safetensors or .bin)'
      : 'weights (model.safetensors, its shards, or pytorch_model.bin)'
  return new Vlm2VecError('E_MODEL', `${endpoint}/${repository} holds no ${wanted}.`)
}

// ---- what has been completed -----------------------------------------------------------------------------------------

/** Beside `snapshots`, where Python does not look. */
function markOf(directory: string, use: Use): string {
  return join(directory, '..', '..', '.vlm2vec', `${basename(directory)}.${use}`)
}

const isMarked = (directory: string, use: Use): boolean => existsSync(markOf(directory, use)) && existsSync(directory)

const mark = (directory: string, use: Use): Promise<void> => writeWhole(markOf(directory, use), '')
