/** What a score depends on, as a hash: the files of the model, the options, the task, and the files of its data. */
import { createHash } from 'node:crypto'
import { readFile, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { ModelFiles } from '../model/directory.js'
import type { EvaluateOptions } from './options.js'
import type { Task } from './task.js'

/** Files up to this size are hashed; larger ones are known by size and time of change. */
const HASHED_BYTES = 2 ** 20

/** Options that don't change scores. */
const INDIFFERENT = new Set(['model', 'adapter', 'output', 'tasks', 'definitions', 'batch_tokens', 'depth'])

export async function fingerprintOf(model: ModelFiles, options: EvaluateOptions, task: Task): Promise<string> {
  const { path: _path, image_root: _root, meta_task: _group, split: _split, modality: _modality, ...definition } = task
  const settings = Object.entries(options).filter(([key]) => !INDIFFERENT.has(key))
  const known = {
    model: await describe(model.directory),
    adapter: model.adapter && (await describe(model.adapter.directory)),
    data: await describe(task.path),
    definition,
    settings
  }
  return createHash('sha256').update(JSON.stringify(known)).digest('hex')
}

/** A file, or the files directly in a directory. */
async function describe(path: string): Promise<unknown> {
  const found = await stat(path).catch(() => undefined)
  if (!found) return null
  if (found.isDirectory()) {
    const names = (await readdir(path)).filter((name) => !name.startsWith('.')).sort()
    const files = await Promise.all(names.map(async (name) => [name, await describeFile(join(path, name))] as const))
    return files.filter(([, description]) => description !== undefined)
  }
  return describeFile(path)
}

async function describeFile(path: string): Promise<unknown> {
  const found = await stat(path).catch(() => undefined)
  if (!found?.isFile()) return undefined
  if (found.size > HASHED_BYTES) return [found.size, found.mtimeMs]
  return createHash('sha256')
    .update(await readFile(path))
    .digest('hex')
}
