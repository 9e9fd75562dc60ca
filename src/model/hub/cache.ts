/**
 * Where Hugging Face libraries keep what was downloaded, so that Python and this package find each other's files:
 *
 *   models--owner--name/refs/<revision>              a commit
 *   models--owner--name/snapshots/<commit>/<file>    a link to
 *   models--owner--name/blobs/<etag>                 the content
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import type { HubId } from '../../hub-id.js'

/** The cache folder by the variables that Hugging Face documents. */
export function hubCache(environment: NodeJS.ProcessEnv = process.env): string {
  const { HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE } = environment
  return HF_HUB_CACHE || HUGGINGFACE_HUB_CACHE || join(hubHome(environment), 'hub')
}

/** The folder that holds the cache and the token. */
export function hubHome({ HF_HOME, XDG_CACHE_HOME }: NodeJS.ProcessEnv = process.env): string {
  return HF_HOME || join(XDG_CACHE_HOME || join(homedir(), '.cache'), 'huggingface')
}

/** The folder of a repository; `cache` holds one for each. */
export const repositoryFolder = (cache: string, repository: string): string =>
  join(cache, `models--${repository.replace('/', '--')}`)

/** The snapshot of a revision that is in the cache; of `main`, where nothing says which commit it is, the only one. */
export function cachedSnapshot({ repository, revision }: HubId, cache: string = hubCache()): string | undefined {
  const folder = repositoryFolder(cache, repository)
  const snapshots = join(folder, 'snapshots')
  if (!existsSync(snapshots)) return undefined
  const found = commits(folder, revision)
    .map((commit) => join(snapshots, commit))
    .filter((each) => existsSync(each))
  return found.length === 1 ? found[0] : undefined
}

function commits(folder: string, revision: string): string[] {
  if (/^[0-9a-f]{40}$/.test(revision)) return [revision]
  const ref = join(folder, 'refs', revision)
  if (existsSync(ref)) return [readFileSync(ref, 'utf8').trim()]
  return revision === 'main' ? readdirSync(join(folder, 'snapshots')) : []
}
