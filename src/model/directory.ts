/** Model directories in Hugging Face layout: where they are, and which files hold the weights. */
import { existsSync, statSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { Vlm2VecError } from '../errors.js'
import { parseHubId } from '../hub-id.js'
import { findAdapter, readAdapterConfig, requireAdapter, type AdapterFiles } from './adapter.js'
import type { Use } from './hub/needed-files.js'
import { snapshotOf, type HubRun } from './hub/snapshot.js'
import { asSafetensors } from './pickled-weights.js'

export interface ModelFiles {
  /** config.json, tokenizer and processor files, weights */
  directory: string
  /** safetensors files that together hold the weights */
  weights: string[]
  adapter?: AdapterFiles | undefined
}

/**
 * Finds the files of a model and, where asked for, of an adapter. A directory that holds an adapter but no weights (as
 * VLM2Vec's repositories and LoRA checkpoints do) stands for its base model with that adapter.
 */
export async function findModel(path: string, adapter?: string | null, run: HubRun = {}): Promise<ModelFiles> {
  const directory = await findDirectory(path, 'model', run)
  const given = adapter ? await requireAdapter(await findDirectory(adapter, 'adapter', run)) : undefined
  if (hasWeights(directory) || !findAdapter(directory))
    return { directory, weights: await weightFiles(directory), adapter: given }
  const own = await requireAdapter(directory)
  const { baseModel } = await readAdapterConfig(own)
  if (!baseModel)
    throw new Vlm2VecError(
      'E_MODEL',
      `${own.config} names no base model; give the base as the model and this directory as the adapter.`
    )
  const local = [baseModel, resolve(own.directory, baseModel)].find(isDirectory)
  const base = local ?? (await findDirectory(baseModel, 'model', run))
  return { directory: base, weights: await weightFiles(base), adapter: given ?? own }
}

/** The directory of a path or hub id. What is not yet in the Hugging Face cache is downloaded into it. */
export async function findDirectory(pathOrId: string, use: Use = 'model', run: HubRun = {}): Promise<string> {
  if (isDirectory(pathOrId)) return pathOrId
  if (existsSync(pathOrId))
    throw new Vlm2VecError('E_MODEL', `${pathOrId} is a file; a model is a directory with a config.json.`)
  const id = parseHubId(pathOrId)
  if (!id) throw new Vlm2VecError('E_MODEL', `There is no directory ${pathOrId}, and it is no hub id (owner/name).`)
  return snapshotOf(id, use, run)
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false
}

/** An index of shards, or one file: safetensors, else PyTorch's pickles. */
const FORMS = [
  { index: 'model.safetensors.index.json', single: 'model.safetensors' },
  { index: 'pytorch_model.bin.index.json', single: 'pytorch_model.bin' }
]

export const hasWeights = (directory: string): boolean =>
  FORMS.flatMap(({ index, single }) => [index, single]).some((name) => existsSync(join(directory, name)))

/**
 * The safetensors files of a directory, each once; where it only holds PyTorch's, copies of them, which exist until this
 * process ends. E_CHECKPOINT where one is missing.
 */
export async function weightFiles(directory: string): Promise<string[]> {
  for (const form of FORMS) {
    const index = join(directory, form.index)
    const single = join(directory, form.single)
    const files = existsSync(index) ? await shards(directory, index) : existsSync(single) ? [single] : []
    if (files.length > 0) return Promise.all(files.map((file) => (file.endsWith('.bin') ? asSafetensors(file) : file)))
  }
  throw new Vlm2VecError(
    'E_CHECKPOINT',
    `${directory} holds no weights: neither model.safetensors nor model.safetensors.index.json, nor pytorch_model.bin.`
  )
}

async function shards(directory: string, index: string): Promise<string[]> {
  const broken = (reason: string, cause?: unknown): never => {
    throw new Vlm2VecError('E_CHECKPOINT', `${index}: ${reason}.`, { cause })
  }
  let json: { weight_map?: unknown } = {}
  try {
    json = JSON.parse(await readFile(index, 'utf8')) as typeof json
  } catch (cause) {
    broken(`not valid JSON: ${(cause as Error).message}`, cause)
  }
  const map = json.weight_map
  if (typeof map !== 'object' || map === null || Object.keys(map).length === 0)
    return broken('weight_map is missing or empty')
  const names = [...new Set(Object.values(map))].sort() as unknown[]
  return names.map((name) => {
    if (typeof name !== 'string' || name !== basename(name)) return broken(`${JSON.stringify(name)} is not a file name`)
    const path = join(directory, name)
    const count = Object.values(map).filter((each) => each === name).length
    if (!existsSync(path)) return broken(`the shard ${name}, which holds ${count} tensors, is missing`)
    return path
  })
}
