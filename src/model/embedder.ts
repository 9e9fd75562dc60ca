/** Items to vectors with a loaded model. */
import { availableParallelism } from 'node:os'
import { readItem, type Item } from '../data/item.js'
import { tensorNames } from '../data/safetensors.js'
import { resolveDevice } from '../device.js'
import { Vlm2VecError } from '../errors.js'
import { native, type DType, type EmbedResult, type MemoryUse, type NativeModel } from '../native.js'
import { packBatch } from '../preprocess/batch.js'
import type { PreparedItem } from '../preprocess/prepared.js'
import { Processor } from '../preprocess/processor.js'
import type { ProcessorOptions } from '../preprocess/settings.js'
import { adapterTargets, readAdapterConfig } from './adapter.js'
import { readModelConfig, type ModelConfig } from './config.js'
import { findModel, type ModelFiles } from './directory.js'
import { treeOf } from './module-tree.js'
import { computeBatches, mapOrdered } from './pipeline.js'
import { readPreset } from './preset.js'

export interface EmbedderOptions extends Omit<ProcessorOptions, 'adapterDirectory'> {
  /** 'auto', 'cpu', 'cuda' or 'cuda:N' */
  device?: string
  /** CPU threads; 0: one a core */
  threads?: number
  /** number type of computing; default f32 */
  dtype?: DType
  /** PEFT directory */
  adapter?: string | null | undefined
  /** keep the first N numbers of each vector and normalise again */
  dimension?: number | null | undefined
  /** tokens that are computed with at a time; speed and memory, never the result */
  batchTokens?: number
  /** folder that relative paths of pictures start from; default: the working directory */
  imageRoot?: string
}

export interface Vectors {
  /** row-major (count, dimension) unit vectors */
  data: Float32Array
  count: number
  dimension: number
}

/** An item of a file, and how messages and relative paths refer to it. */
export interface PlacedItem {
  /** or how to read it, when its turn comes */
  item: Item | (() => Item | Promise<Item>)
  /** 'items.jsonl: record 3' */
  label: string
  imageRoot: string
}

/** What became of an item: a vector, or the error that it was skipped with. */
export interface EmbeddedItem {
  /** place in the input, from 0 */
  index: number
  id?: string | undefined
  vector?: Float32Array
  error?: Vlm2VecError
}

export interface StreamOptions {
  signal?: AbortSignal | undefined
}

export const DEFAULT_BATCH_TOKENS = 4096

/**
 * A model that embeds. Several may live in one process, also in worker threads; calls on one run in order.
 *
 * @example
 *   await using embedder = await Embedder.load('model-dir')
 *   const { data, dimension } = await embedder.embed([{ text: 'a red circle' }, { images: ['circle.png'] }])
 */
export class Embedder implements AsyncDisposable {
  readonly #model: NativeModel
  readonly #options: { batchTokens: number; imageRoot: string }
  #closed = false
  /** numbers a vector */
  readonly dimension: number

  private constructor(
    model: NativeModel,
    readonly files: ModelFiles,
    readonly processor: Processor,
    { options, dimension }: { options: EmbedderOptions; dimension: number }
  ) {
    this.#model = model
    this.#options = { batchTokens: options.batchTokens ?? DEFAULT_BATCH_TOKENS, imageRoot: options.imageRoot ?? '.' }
    this.dimension = dimension
  }

  /**
   * Loads a directory in Hugging Face layout (or a hub id that is in the cache), with its adapter where there is one.
   *
   * @throws E_OPTION, E_MODEL (directory, config, tokenizer, adapter), E_CHECKPOINT (weights), E_NATIVE_MISSING, E_CUDA
   */
  static async load(directoryOrId: string, options: EmbedderOptions = {}): Promise<Embedder> {
    const device = resolveDevice(options.device ?? 'auto')
    checkCount('threads', options.threads ?? 0, 0)
    checkCount('batchTokens', options.batchTokens ?? DEFAULT_BATCH_TOKENS, 1)
    const files = await findModel(directoryOrId, options.adapter)
    const config = await readModelConfig(files.directory)
    const dimension = options.dimension ?? (await rememberedDimension(files)) ?? config.text.hiddenSize
    checkCount('dimension', dimension, 1, config.text.hiddenSize)
    const loading = native().loadModel({
      config,
      files: files.weights,
      dtype: options.dtype ?? 'f32',
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
    return new Embedder(model.value, files, processor.value, { options, dimension })
  }

  /** All items at once: (count, dimension) unit vectors, rows in order. E_DATA, E_IMAGE: an item that cannot be embedded. */
  async embed(items: readonly Item[], options: StreamOptions = {}): Promise<Vectors> {
    const { dimension } = this
    const data = new Float32Array(items.length * dimension)
    let count = 0
    for await (const vector of this.stream(items, options)) data.set(vector, count++ * dimension)
    return { data, count, dimension }
  }

  /** One vector an item, in order, while later items are still being prepared. */
  async *stream(
    items: AsyncIterable<Item> | Iterable<Item>,
    { signal }: StreamOptions = {}
  ): AsyncGenerator<Float32Array, void, undefined> {
    for await (const { vector } of this.run(mapPlaces(items, this.#options.imageRoot), { signal })) yield vector!
  }

  /** As `stream`, for items that come from files. With `skip`, items that cannot be embedded give an error and no vector. */
  async *run(
    items: AsyncIterable<PlacedItem> | Iterable<PlacedItem>,
    { signal, skip = false }: StreamOptions & { skip?: boolean } = {}
  ): AsyncGenerator<EmbeddedItem, void, undefined> {
    this.#requireOpen()
    const prepare = async (placed: PlacedItem, index: number): Promise<Attempt> => {
      requireRunning(signal)
      try {
        const item = await (typeof placed.item === 'function' ? placed.item() : placed.item)
        return { index, id: item.id, prepared: await this.processor.prepare(item, placed) }
      } catch (error) {
        if (skip && isAboutItem(error)) return { index, error }
        throw error
      }
    }
    const attempts = mapOrdered(items, prepare, 4 * availableParallelism())
    const batches = computeBatches(attempts, {
      sizeOf: ({ prepared }) => prepared?.tokens.length ?? 0,
      limit: this.#options.batchTokens,
      compute: (batch) => this.#compute(batch, signal)
    })
    for await (const batch of batches)
      for (const embedded of batch) {
        requireRunning(signal)
        yield embedded
      }
  }

  /** One prepared item, also with the output of the last layer (T, hidden) after its norm. */
  async embedPrepared(prepared: PreparedItem): Promise<Required<EmbedResult>> {
    this.#requireOpen()
    const result = await this.#model.embed(packBatch([prepared]), { lastHidden: true })
    return { embeddings: this.#truncated(result.embeddings), lastHidden: result.lastHidden! }
  }

  /** Bytes that the model takes, by kind. */
  memory(): MemoryUse {
    this.#requireOpen()
    return this.#model.memory()
  }

  /** Writes all weights to one safetensors file, adapters merged, whole or not at all. */
  async saveWeights(path: string, dtype: DType | 'base' = 'base'): Promise<void> {
    this.#requireOpen()
    await this.#model.save({ path, dtype })
  }

  /** Frees the model; what is under way ends first. Later calls throw E_CLOSED. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await this.#model.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #compute(batch: Attempt[], signal: AbortSignal | undefined): Promise<EmbeddedItem[]> {
    requireRunning(signal)
    this.#requireOpen()
    const prepared = batch.flatMap((each) => each.prepared ?? [])
    const rows = prepared.length > 0 ? (await this.#model.embed(packBatch(prepared))).embeddings : new Float32Array(0)
    const width = this.processor.config.text.hiddenSize
    let row = 0
    return batch.map(({ index, id, error }) => {
      if (error) return { index, error }
      return { index, id, vector: this.#truncated(rows.subarray(row * width, ++row * width)) }
    })
  }

  #truncated(vector: Float32Array): Float32Array {
    return vector.length === this.dimension ? vector : truncated(vector, this.dimension)
  }

  #requireOpen(): void {
    if (this.#closed) throw new Vlm2VecError('E_CLOSED', 'This embedder has been closed; load it again.')
  }
}

interface Attempt {
  index: number
  id?: string | undefined
  prepared?: PreparedItem
  error?: Vlm2VecError
}

/** The first numbers of a vector, normalised again (in double precision). */
export function truncated(vector: Float32Array, dimension: number): Float32Array {
  const kept = vector.slice(0, dimension)
  const norm = Math.sqrt(kept.reduce((sum, value) => sum + value * value, 0))
  return norm > 0 ? kept.map((value) => value / norm) : kept
}

function processorOptions(options: EmbedderOptions, { adapter }: ModelFiles): ProcessorOptions {
  const { prompt, positions, minPixels, maxPixels, maxLength, pixelLimit, instruction } = options
  const given = { prompt, positions, minPixels, maxPixels, maxLength, pixelLimit, instruction }
  return { ...given, adapterDirectory: adapter?.directory }
}

async function rememberedDimension({ directory, adapter }: ModelFiles): Promise<number | undefined> {
  return (adapter && (await readPreset(adapter.directory))?.dimension) ?? (await readPreset(directory))?.dimension
}

/** What the addon needs to know to apply an adapter. */
export async function adapterOptions(adapter: NonNullable<ModelFiles['adapter']>, config: ModelConfig) {
  const tree = treeOf(await tensorNames(adapter.weights))
  const { modules } = adapterTargets(await readAdapterConfig(adapter), native().linearModules(config), tree)
  return { adapters: modules, adapterFile: adapter.weights }
}

/** Errors that are about one item, so that others can still be embedded. */
function isAboutItem(error: unknown): error is Vlm2VecError {
  return error instanceof Vlm2VecError && (error.code === 'E_DATA' || error.code === 'E_IMAGE')
}

async function* mapPlaces(items: AsyncIterable<Item> | Iterable<Item>, imageRoot: string): AsyncGenerator<PlacedItem> {
  let index = 0
  for await (const item of items) {
    const label = `item ${index++}`
    yield { item: () => readItem(item, label), label, imageRoot }
  }
}

function requireRunning(signal: AbortSignal | undefined): void {
  if (!signal?.aborted) return
  const reason: unknown = signal.reason
  throw reason instanceof Vlm2VecError
    ? reason
    : new Vlm2VecError('E_ABORTED', 'Embedding was stopped.', { cause: reason })
}

function checkCount(name: string, value: number, least: number, most = Number.MAX_SAFE_INTEGER): void {
  if (Number.isSafeInteger(value) && value >= least && value <= most) return
  const range = most === Number.MAX_SAFE_INTEGER ? `of at least ${least}` : `from ${least} to ${most}`
  throw new Vlm2VecError('E_OPTION', `Expected a whole number ${range} for "${name}", received ${value}.`)
}
