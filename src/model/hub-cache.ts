/** Where Hugging Face libraries keep models that were downloaded: models--owner--name/{refs/main, snapshots/<commit>}. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'

export const isHubId = (name: string): boolean => /^[\w-][\w.-]*\/[\w.-]+$/.test(name)

/** The cache folder by the variables that Hugging Face documents. */
export function hubCache(environment: NodeJS.ProcessEnv = process.env): string {
  const { HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME, XDG_CACHE_HOME } = environment
  const home = HF_HOME || join(XDG_CACHE_HOME || join(homedir(), '.cache'), 'huggingface')
  return HF_HUB_CACHE || HUGGINGFACE_HUB_CACHE || join(home, 'hub')
}

/** The snapshot of a model that is in the cache: that of `main`, or the only one there is. */
export function cachedSnapshot(id: string, cache: string = hubCache()): string | undefined {
  const folder = join(cache, `models--${id.replace('/', '--')}`)
  const main = join(folder, 'refs', 'main')
  const snapshots = join(folder, 'snapshots')
  if (!existsSync(snapshots)) return undefined
  const commits = existsSync(main) ? [readFileSync(main, 'utf8').trim()] : readdirSync(snapshots)
  const found = commits.map((commit) => join(snapshots, commit)).filter((each) => existsSync(each))
  return found.length === 1 ? found[0] : undefined
}
