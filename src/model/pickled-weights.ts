/** PyTorch's files of weights as safetensors, which the addon maps: copies in a temporary folder of this process. */
import { createHash } from 'node:crypto'
import { rmSync } from 'node:fs'
import { mkdtemp, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join, resolve } from 'node:path'
import { ioError } from '../atomic.js'
import { writeKnownTensors } from '../data/safetensors.js'
import { TorchFile } from '../data/torch-file.js'

const copies = new Map<string, Promise<string>>()
let folder: Promise<string> | undefined

/** The path of a safetensors file with the same tensors, which exists until this process ends. E_CHECKPOINT, E_IO */
export async function asSafetensors(path: string): Promise<string> {
  const { mtimeMs, size } = await stat(path)
  const key = `${resolve(path)} ${mtimeMs} ${size}`
  const copy = copies.get(key) ?? convert(path, key)
  copies.set(key, copy)
  copy.catch(() => copies.delete(key))
  return copy
}

async function convert(path: string, key: string): Promise<string> {
  const source = await TorchFile.open(path)
  try {
    const name = `${basename(path, '.bin')}-${createHash('sha256').update(key).digest('hex').slice(0, 12)}.safetensors`
    const target = join(await temporaryFolder(), name)
    await writeKnownTensors(
      target,
      source.tensors.map((tensor) => ({ ...tensor, pieces: source.data(tensor) }))
    )
    return target
  } finally {
    await source.close()
  }
}

function temporaryFolder(): Promise<string> {
  return (folder ??= mkdtemp(join(tmpdir(), 'vlm2vec-')).then(
    (path) => {
      process.once('exit', () => rmSync(path, { recursive: true, force: true }))
      return path
    },
    (error: unknown) => {
      folder = undefined
      throw ioError(error, tmpdir())
    }
  ))
}
