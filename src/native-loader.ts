/** Finds and loads the .node file, and says what was tried when there is none. */
import { createRequire } from 'node:module'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Vlm2VecError } from './errors.js'
import type { Addon } from './native/addon.js'

const require = createRequire(import.meta.url)
const root = fileURLToPath(new URL('..', import.meta.url))

/** In order: VLM2VEC_NATIVE_BINARY, the local build, the package of this platform (CUDA before CPU where installed). */
export function loadAddon(): Addon {
  const tried: string[] = []
  const given = process.env['VLM2VEC_NATIVE_BINARY']
  if (given) return attempt(given, tried) ?? missing(tried)

  const local = `${root}build/Release/vlm2vec_native.node`
  const platform = `@vlm2vec-native/${process.platform}-${process.arch}`
  return (
    (existsSync(local) ? attempt(local, tried) : void tried.push(`${local}: not built`)) ??
    attempt(`${platform}-cuda`, tried) ??
    attempt(platform, tried) ??
    missing(tried)
  )
}

function attempt(path: string, tried: string[]): Addon | undefined {
  try {
    return withShortSpins(() => require(path) as Addon)
  } catch (error) {
    tried.push(`${path}: ${(error as Error).message.split('\n')[0]}`)
    return undefined
  }
}

/**
 * OpenMP's threads spin for milliseconds before they sleep. Where other programs want the same cores, each spins the time
 * away that the other needs: a training step took ten times as long. libgomp reads its settings when it is loaded.
 */
function withShortSpins<T>(load: () => T): T {
  const { env } = process
  if (env['GOMP_SPINCOUNT'] !== undefined || env['OMP_WAIT_POLICY'] !== undefined) return load()
  env['GOMP_SPINCOUNT'] = '2000' // about 20 microseconds
  try {
    return load()
  } finally {
    delete env['GOMP_SPINCOUNT']
  }
}

function missing(tried: string[]): never {
  throw new Vlm2VecError(
    'E_NATIVE_MISSING',
    `The native addon for ${process.platform}-${process.arch} could not be loaded. Tried:\n  ${tried.join('\n  ')}\n` +
      'In a checkout, run `npm run setup`, which installs what is missing and builds it; otherwise install the package of ' +
      `your platform (npm install @vlm2vec-native/${process.platform}-${process.arch}).`
  )
}
