/** Items to vectors with a loaded model. */
import { readItem, type Item } from '../data/item.js'
import { Vlm2VecError } from '../errors.js'
import type { DType, EmbedResult, MemoryUse, NativeModel } from '../native.js'
import { packBatch } from '../preprocess/batch.js'
import { ByteBudget, type Slot } from '../preprocess/byte-budget.js'
import type { PreparedItem } from '../preprocess/prepared.js'
import type { Processor } from '../preprocess/processor.js'
import { DEFAULT_BATCH_TOKENS, embedBatch, limitOf } from './compute.js'
import { embeddingSize } from './config.js'
import type { ModelFiles } from './directory.js'
import { loadParts, type EmbedderOptions, type EmbedderParts } from './embedder-parts.js'
import { computeBatches, mapOrdered, PREPARED_AHEAD } from './pipeline.js'
import { isByAddon, pool, truncated } from './pooling.js'

export interface Vectors {
  /** row-major (count, dimension) vectors, of length 1 unless the model says otherwise */
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
  readonly files: ModelFiles
  readonly processor: Processor
  /** numbers a vector */
  readonly dimension: number

  private constructor({ model, files, processor, dimension }: EmbedderParts, options: EmbedderOptions) {
    this.#model = model
    this.#options = { batchTokens: options.batchTokens ?? DEFAULT_BATCH_TOKENS, imageRoot: options.imageRoot ?? '.' }
    this.files = files
    this.processor = processor
    this.dimension = dimension
  }

  /**
   * Loads a directory in Hugging Face layout (or a hub id that is in the cache), with its adapter where there is one.
   *
   * @throws E_OPTION, E_MODEL (directory, config, tokenizer, adapter), E_CHECKPOINT (weights), E_NATIVE_MISSING, E_CUDA
   */
  static async load(directoryOrId: string, options: EmbedderOptions = {}): Promise<Embedder> {
    return new Embedder(await loadParts(directoryOrId, options), options)
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
    const memory = new ByteBudget()
    const prepare = async (placed: PlacedItem, index: number): Promise<Attempt> => {
      const slot = memory.open()
      try {
        requireRunning(signal)
        const item = await (typeof placed.item === 'function' ? placed.item() : placed.item)
        return { index, id: item.id, prepared: await this.processor.prepare(item, { ...placed, slot }), slot }
      } catch (error) {
        slot.keep(0)
        if (skip && isAboutItem(error)) return { index, error, slot }
        throw error
      }
    }
    const attempts = mapOrdered(items, prepare, PREPARED_AHEAD, () => memory.close())
    const { limit, sizeOf } = limitOf(this.#options)
    const batches = computeBatches(attempts, {
      limit,
      sizeOf: ({ prepared }) => sizeOf(prepared),
      compute: (batch) => this.#compute(batch, signal)
    })
    for await (const batch of batches)
      for (const embedded of batch) {
        requireRunning(signal)
        yield embedded
      }
  }

  /**
   * One prepared item, also with the output of the last layer (T, hidden) after its norm, and where asked for with what enters
   * the first layer and what each layer gives.
   */
  async embedPrepared(
    prepared: PreparedItem,
    { states = false }: { states?: boolean } = {}
  ): Promise<EmbedResult & { lastHidden: Float32Array }> {
    this.#requireOpen()
    const batch = packBatch([prepared])
    const { settings } = this.processor
    const result = await this.#model.embed(batch, { lastHidden: true, states })
    const lastHidden = result.lastHidden!
    const vector = isByAddon(settings) ? result.embeddings : pool(lastHidden, batch.seqStarts, settings)
    return { ...result, embeddings: this.#truncated(vector), lastHidden }
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
    for (const { slot } of batch) slot.keep(0) // a batch is bounded by its tokens
    const rows = await embedBatch(this.#model, prepared, this.processor.settings)
    const width = embeddingSize(this.processor.config)
    let row = 0
    return batch.map(({ index, id, error }) => {
      if (error) return { index, error }
      return { index, id, vector: this.#truncated(rows.subarray(row * width, ++row * width)) }
    })
  }

  #truncated(vector: Float32Array): Float32Array {
    if (vector.length === this.dimension) return vector
    return this.processor.settings.normalize ? truncated(vector, this.dimension) : vector.slice(0, this.dimension)
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
  slot: Slot
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
