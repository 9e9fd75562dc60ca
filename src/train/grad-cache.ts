/**
 * GradCache (Gao et al. 2021, arXiv 2101.06983): the gradient of a loss over the whole batch, in the memory of one chunk.
 * The chunk size changes memory and speed, never the result.
 */
import { Vlm2VecError } from '../errors.js'
import { native, type Batch, type ChunkPlace, type DeviceOptions, type DType, type NativeTrainer } from '../native.js'
import { packBatch } from '../preprocess/batch.js'
import { distinctItems, spreadRows, sumRows } from '../preprocess/distinct.js'
import type { PreparedItem } from '../preprocess/prepared.js'
import type { Contrast } from './contrast.js'

export interface GradCacheOptions extends DeviceOptions {
  /** sequences a chunk */
  chunkSize: number
  temperature: number
  /** of products of embeddings (native.ts) */
  dtype: DType
  /** equal items are computed with once: not with dropout, which treats every row differently */
  shareEqual: boolean
}

/** Adds the gradients of a step's loss up in `trainer`. E_NUMERIC where the loss is not finite; nothing is updated then. */
export async function accumulateGradients(
  trainer: NativeTrainer,
  contrast: Contrast,
  step: number,
  { chunkSize, temperature, dtype, shareEqual, ...device }: GradCacheOptions
): Promise<{ loss: number; tokens: number }> {
  const items = [...contrast.queries, ...contrast.targets]
  const distinct = shareEqual ? distinctItems(items) : { items, places: Int32Array.from(items.keys()) }
  const chunks = chunksOf(distinct.items, chunkSize, step)

  // 1. embed every chunk, and keep nothing but the embeddings
  const rows = joined(await inOrder(chunks, ({ batch, place }) => trainer.embed(batch(), place)))
  const embeddings = spreadRows(rows, distinct)
  const dimension = embeddings.length / items.length
  const queryEnd = contrast.queries.length * dimension

  // 2. the loss over the whole batch, and its gradient for every embedding
  const { loss, dQueries, dTargets } = await native().contrastiveLoss(
    {
      queries: embeddings.subarray(0, queryEnd),
      targets: embeddings.subarray(queryEnd),
      dimension,
      temperature,
      symmetric: false,
      dtype,
      positiveStarts: contrast.positiveStarts,
      positives: contrast.positives,
      ...contrast.duplicates,
      gradients: true
    },
    device
  )
  if (!Number.isFinite(loss)) throw notFinite(step, loss)
  const dEmbeddings = sumRows(joined([dQueries!, dTargets!]), distinct)

  // 3. embed every chunk again, and push its part of the gradient back
  await inOrder(chunks, ({ batch, place, first, count }) =>
    trainer.backward(batch(), dEmbeddings.subarray(first * dimension, (first + count) * dimension), place)
  )
  return { loss, tokens: sumOf(items, ({ tokens }) => tokens.length) }
}

interface Chunk {
  /** its sequences: items[first .. first + count) */
  first: number
  count: number
  place: ChunkPlace
  /** packed when it is needed, and kept only where there are at most two: no more than two packed chunks are alive */
  batch: () => Batch
}

function chunksOf(items: PreparedItem[], size: number, step: number): Chunk[] {
  const chunks: Chunk[] = []
  const stepTokens = sumOf(items, ({ tokens }) => tokens.length)
  let firstToken = 0
  let firstPatch = 0
  for (let first = 0; first < items.length; first += size) {
    const inside = items.slice(first, first + size)
    const place = { step, chunk: chunks.length, firstToken, firstPatch, stepTokens }
    const pack = () => packBatch(inside)
    chunks.push({ first, count: inside.length, place, batch: items.length <= 2 * size ? once(pack) : pack })
    firstToken += sumOf(inside, ({ tokens }) => tokens.length)
    firstPatch += sumOf(inside, patchesOf)
  }
  return chunks
}

function once<T>(make: () => T): () => T {
  let made: T | undefined
  return () => (made ??= make())
}

/** Patches of an item's pictures. */
export const patchesOf = (item: PreparedItem): number => sumOf(item.visuals, ({ grid: [t, h, w] }) => t * h * w)

/** Runs chunk after chunk; the next one is packed while the trainer works. */
async function inOrder<T>(chunks: Chunk[], run: (chunk: Chunk) => Promise<T>): Promise<T[]> {
  const results: Promise<T>[] = []
  for (const chunk of chunks) {
    const result = run(chunk)
    result.catch(() => {}) // reported below, where it is awaited
    await results.at(-1)
    results.push(result)
  }
  return Promise.all(results)
}

function joined(parts: Float32Array[]): Float32Array {
  const whole = new Float32Array(sumOf(parts, ({ length }) => length))
  let start = 0
  for (const part of parts) {
    whole.set(part, start)
    start += part.length
  }
  return whole
}

function sumOf<T>(values: readonly T[], of: (value: T) => number): number {
  return values.reduce((sum, value) => sum + of(value), 0)
}

function notFinite(step: number, loss: number): Vlm2VecError {
  return new Vlm2VecError(
    'E_NUMERIC',
    `The loss of step ${step} is not finite (${loss}). Lower train.learning_rate, raise train.temperature or ` +
      'train.warmup_steps, or compute with model.dtype: f32; weights and checkpoints are as they were after the step before.'
  )
}
