/** What an embedder is made of: the files, how items are prepared, and the model in the addon. */
import { tensorNames } from '../data/safetensors.js'
import { resolveDevice } from '../device.js'
import { Vlm2VecError } from '../errors.js'
import { native, type DType, type NativeModel, type Quantize } from '../native.js'
import { Processor } from '../preprocess/processor.js'
import type { ProcessorOptions } from '../preprocess/settings.js'
import { adapterTargets, readAdapterConfig, type AdapterFiles } from './adapter.js'
import { DEFAULT_BATCH_TOKENS } from './compute.js'
import { embeddingSize, readModelConfig, type ModelConfig } from './config.js'
import { findModel, type ModelFiles } from './directory.js'
import type { HubRun } from './hub/snapshot.js'
import { treeOf } from './module-tree.js'
import { readPreset } from './preset.js'
import { readSentenceTransformers } from './sentence-transformers.js'

export interface EmbedderOptions extends Omit<ProcessorOptions, 'adapterDirectory' | 'pictureCache'> {
  /** 'auto', 'cpu', 'cuda' or 'cuda:N' */
  device?: string
  /** CPU threads; 0: one a core */
  threads?: number
  /** number type of computing; default f32 */
  dtype?: DType
  /** hold the base's linear layers in fewer bits; default none */
  quantize?: Quantize
  /** PEFT directory */
  adapter?: string | null | undefined
  /** keep the first N numbers of each vector and normalise again */
  dimension?: number | null | undefined
  /** tokens that are computed with at a time; speed and memory, never the result */
  batchTokens?: number
  /** folder that relative paths of pictures start from; default: the working directory */
  imageRoot?: string
  /** stops a download from the hub */
  signal?: AbortSignal | undefined
  /** told about the progress of a download; default: nobody is */
  log?: HubRun['log']
}

export interface EmbedderParts {
  files: ModelFiles
  processor: Processor
  model: NativeModel
  /** numbers a vector */
  dimension: number
}

export async function loadParts(directoryOrId: string, options: EmbedderOptions): Promise<EmbedderParts> {
  const device = resolveDevice(options.device ?? 'auto')
  checkCount('threads', options.threads ?? 0, 0)
  checkCount('batchTokens', options.batchTokens ?? DEFAULT_BATCH_TOKENS, 1)
  const files = await findModel(directoryOrId, options.adapter, { log: options.log, signal: options.signal })
  const config = await readModelConfig(files.directory)
  const dimension = options.dimension ?? (await rememberedDimension(files, config, options)) ?? embeddingSize(config)
  checkCount('dimension', dimension, 1, embeddingSize(config))
  const loading = native().loadModel({
    config,
    files: files.weights,
    dtype: options.dtype ?? 'f32',
    quantize: options.quantize ?? 'none',
    device,
    threads: options.threads ?? 0,
    ...(files.adapter && (await adapterOptions(files.adapter, config)))
  })
  // the tokenizer loads while the addon reads the weights
  const [processor, model] = await Promise.allSettled([
    Processor.load(files.directory, processorOptions(options, files)),
    loading
  ])
  if (processor.status === 'rejected') {
    if (model.status === 'fulfilled') await model.value.close()
    throw processor.reason
  }
  if (model.status === 'rejected') throw model.reason
  return { files, processor: processor.value, model: model.value, dimension }
}

function processorOptions(options: EmbedderOptions, { adapter }: ModelFiles): ProcessorOptions {
  const { device, threads, dtype, quantize, adapter: _, dimension, batchTokens, ...rest } = options
  const { imageRoot, signal, log, ...preparation } = rest
  return { ...preparation, adapterDirectory: adapter?.directory }
}

async function rememberedDimension(
  { directory, adapter }: ModelFiles,
  { dual }: ModelConfig,
  { preset = 'auto' }: EmbedderOptions
): Promise<number | undefined> {
  const own = await readPreset(directory)
  const module = own || dual || preset !== 'auto' ? undefined : await readSentenceTransformers(directory)
  return (adapter && (await readPreset(adapter.directory))?.dimension) ?? (own ?? module)?.dimension
}

/** What the addon needs to know to apply an adapter. */
async function adapterOptions(adapter: AdapterFiles, config: ModelConfig) {
  const linear = native().linearModules(config)
  const tree = treeOf(await tensorNames(adapter.weights), linear)
  const { modules } = adapterTargets(await readAdapterConfig(adapter), linear, tree)
  return { adapters: modules, adapterFile: adapter.weights }
}

function checkCount(name: string, value: number, least: number, most = Number.MAX_SAFE_INTEGER): void {
  if (Number.isSafeInteger(value) && value >= least && value <= most) return
  const range = most === Number.MAX_SAFE_INTEGER ? `of at least ${least}` : `from ${least} to ${most}`
  throw new Vlm2VecError('E_OPTION', `Expected a whole number ${range} for "${name}", received ${value}.`)
}
