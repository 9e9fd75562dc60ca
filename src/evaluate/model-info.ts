/** What the report says of the model. */
import { open, readFile } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { embeddingSize, readModelConfig } from '../model/config.js'
import type { ModelFiles } from '../model/directory.js'
import type { EvaluateOptions } from './options.js'
import type { ModelInfo } from './report.js'

export async function modelInfo(files: ModelFiles, options: EvaluateOptions): Promise<ModelInfo> {
  const config = await readModelConfig(files.directory)
  const counts = await Promise.all(files.weights.map(parameters))
  const isHub = !options.model.startsWith('.') && resolve(options.model) !== resolve(files.directory)
  return {
    model_name: nameOf(options),
    model_backbone: await backboneOf(files, config.family),
    model_size: Number((counts.reduce((sum, count) => sum + count, 0) / 1e9).toPrecision(3)),
    embedding_dimension: options.dimension ?? embeddingSize(config),
    max_length_tokens: options.max_length ?? config.text.maxPositions,
    url: isHub && !options.adapter ? `https://huggingface.co/${options.model}` : ''
  }
}

/** `runs/x/final` is called `x/final`: a directory of that name alone says little. */
function nameOf({ model, adapter }: EvaluateOptions): string {
  const path = resolve(adapter ?? model)
  const name = basename(path)
  return /^(final|checkpoint-\d+)$/.test(name) ? `${basename(resolve(path, '..'))}/${name}` : name
}

async function backboneOf({ directory }: ModelFiles, family: string): Promise<string> {
  const json = JSON.parse(await readFile(join(directory, 'config.json'), 'utf8')) as { _name_or_path?: unknown }
  return typeof json._name_or_path === 'string' && json._name_or_path !== '' ? json._name_or_path : family
}

/** Numbers in a safetensors file, by its header. */
async function parameters(path: string): Promise<number> {
  const file = await open(path, 'r')
  try {
    const prefix = Buffer.alloc(8)
    await file.read(prefix, 0, 8, 0)
    const header = Buffer.alloc(Number(prefix.readBigUInt64LE()))
    await file.read(header, 0, header.length, 8)
    const tensors = Object.entries(JSON.parse(header.toString('utf8')) as Record<string, { shape?: number[] }>)
    return tensors.reduce((sum, [, { shape }]) => sum + (shape ? shape.reduce((size, each) => size * each, 1) : 0), 0)
  } finally {
    await file.close()
  }
}
