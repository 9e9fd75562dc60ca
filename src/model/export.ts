/** Writes a model as a directory that transformers or sentence-transformers loads: adapter merged, dimension cut. */
import { existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { writeDirectoryWhole, writeWhole } from '../atomic.js'
import { Vlm2VecError } from '../errors.js'
import type { DType } from '../native.js'
import { embeddingSize } from './config.js'
import type { Embedder } from './embedder.js'
import { copyModelFiles, presetOf } from './model-files.js'
import { writePreset } from './preset.js'
import { unfitForSentenceTransformers, writeSentenceTransformers } from './sentence-transformers-files.js'
import { writeModelCard } from './write-model-card.js'

export interface ExportOptions {
  format: 'huggingface' | 'sentence-transformers'
  /** 'base': the number type of the loaded checkpoint */
  dtype: DType | 'base'
  /** of the model, as it was given: a path or hub id */
  name?: string
}

/** The directory appears whole or not at all; one that exists must be empty. */
export async function exportModel(embedder: Embedder, output: string, options: ExportOptions): Promise<void> {
  if (existsSync(output) && (await readdir(output)).length > 0)
    throw new Vlm2VecError('E_OUTPUT', `${output} is not empty; choose another directory or remove it.`)
  const { processor, files } = embedder
  const sentenceTransformers = options.format === 'sentence-transformers'
  const reason = sentenceTransformers ? unfitForSentenceTransformers(processor) : undefined
  if (reason !== undefined)
    throw new Vlm2VecError(
      'E_OPTION',
      `The format sentence-transformers is not written here: ${reason}. Use --format huggingface.`
    )
  await writeDirectoryWhole(output, async (temporary) => {
    await copyModelFiles(files.directory, temporary)
    if (options.dtype !== 'base') await setDtype(join(temporary, 'config.json'), options.dtype)
    await embedder.saveWeights(join(temporary, 'model.safetensors'), options.dtype)
    const cut = embedder.dimension === embeddingSize(processor.config) ? {} : { dimension: embedder.dimension }
    await writePreset(temporary, { ...presetOf(processor.settings), ...cut })
    if (sentenceTransformers) await writeSentenceTransformers(temporary, processor, embedder.dimension)
    await writeModelCard(temporary, processor, {
      kind: 'model',
      base: options.name ?? files.directory,
      dimension: embedder.dimension,
      sentenceTransformers,
      made: files.adapter ? ['An adapter is merged into the weights of the base.'] : []
    })
  })
}

/** The number type as config.json spells it, wherever it says one; transformers loads weights in that type. */
async function setDtype(path: string, dtype: DType): Promise<void> {
  const name = { f32: 'float32', bf16: 'bfloat16' }[dtype]
  const config = JSON.parse(await readFile(path, 'utf8'), (key, value: unknown) =>
    key === 'torch_dtype' || key === 'dtype' ? name : value
  ) as Record<string, unknown>
  const said = 'torch_dtype' in config || 'dtype' in config
  await writeWhole(path, `${JSON.stringify(said ? config : { ...config, torch_dtype: name }, null, 2)}\n`)
}
