/** Model directories in Hugging Face layout: where they are, and which files hold the weights. */
import { existsSync, statSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { Vlm2VecError } from '../errors.js'
import { parseHubId } from '../hub-id.js'
import { findAdapter, readAdapterConfig, requireAdapter, type AdapterFiles } from './adapter.js'
import type { Use } from './hub/needed-files.js'
import { snapshotOf, type HubRun } from './hub/snapshot.js'

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
  const given = adapter ? requireAdapter(await findDirectory(adapter, 'adapter', run)) : undefined
  if (hasWeights(directory) || !findAdapter(directory))
    return { directory, weights: await weightFiles(directory), adapter: given }
  const own = requireAdapter(directory)
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

const SINGLE = 'model.safetensors'
const INDEX = 'model.safetensors.index.json'

export const hasWeights = (directory: string): boolean =>
  [SINGLE, INDEX].some((name) => existsSync(join(directory, name)))

/** The safetensors files of a directory, each once; E_CHECKPOINT where one is missing. */
export async function weightFiles(directory: string): Promise<string[]> {
  const index = join(directory, INDEX)
  if (existsSync(index)) return shards(directory, index)
  const single = join(directory, SINGLE)
  if (existsSync(single)) return [single]
  const pickle = ['pytorch_model.bin', 'pytorch_model.bin.index.json'].some((name) => existsSync(join(directory, name)))
  throw new Vlm2VecError(
    'E_CHECKPOINT',
    `${directory} holds no weights: neither ${SINGLE} nor ${INDEX}` +
      (pickle ? '. pytorch_model.bin, a Python pickle, is not read; save the model as safetensors.' : '.')
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
