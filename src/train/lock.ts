/** One run at a time in a directory. */
import { hostname } from 'node:os'
import { Vlm2VecError } from '../errors.js'
import { takeLock, type Release } from '../lock.js'

/** Takes the lock of `directory`, which exists. E_OUTPUT where a live process holds it. */
export async function lock(directory: string): Promise<Release> {
  const taken = await takeLock(directory)
  if (typeof taken === 'function') return taken
  throw new Vlm2VecError(
    'E_OUTPUT',
    `${directory} is in use by process ${taken.pid} on ${taken.host}. Wait for that run or choose another output.dir` +
      (taken.host === hostname() ? '.' : `; if it is gone, this works again a minute after its end.`)
  )
}
