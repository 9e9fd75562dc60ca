/**
 * GradCache (Gao et al. 2021, arXiv 2101.06983): the gradient of a loss over the whole batch, in the memory of one chunk.
 * The chunk size changes memory and speed, never the result.
 */
import { Vlm2VecError } from '../errors.js'
import { native, type Batch, type ChunkPlace, type DeviceOptions, type DType, type NativeTrainer } from '../native.js'
import { packBatch } from '../preprocess/batch.js'
import { distinctItems, spreadRows, sumRows } from '../preprocess/distinct.js'
import { patchCount, picturesOf, VisualNumbers, type BatchPictures } from '../preprocess/pictures.js'
import type { PreparedItem } from '../preprocess/prepared.js'
import type { Contrast } from './contrast.js'

export interface GradCacheOptions extends DeviceOptions {
  /** sequences a chunk */
  chunkSize: number
  temperature: number
  /** of products of embeddings (native.ts) */
  dtype: DType
  /** what is computed with once where it is equal; items include pictures. Dropout treats every row differently */
  shareEqual: 'items' | 'pictures' | 'none'
}

/** Adds the gradients of a step's loss up in `trainer`. E_NUMERIC where the loss is not finite; nothing is updated then. */
export async function accumulateGradients(
  trainer: NativeTrainer,
  contrast: Contrast,
  step: number,
  { chunkSize, temperature, dtype, shareEqual, ...device }: GradCacheOptions
): Promise<{ loss: number; tokens: number }> {
  const items = [...contrast.queries, ...contrast.targets]
  const distinct = shareEqual === 'items' ? distinctItems(items) : { items, places: Int32Array.from(items.keys()) }
  const chunks = chunksOf(distinct.items, { size: chunkSize, step, sharePictures: shareEqual !== 'none' })

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

  // 3. embed every chunk again, and push its part of the gradient back: in the other order, so that a picture that several
  // chunks show gets all their gradients before the chunk that brought it takes them into the vision tower
  await inOrder(chunks.toReversed(), ({ batch, place, first, count }) =>
    trainer.backward(batch(), dEmbeddings.subarray(first * dimension, (first + count) * dimension), place)
  )
  return { loss, tokens: sumOf(items, ({ tokens }) => tokens.length) }
}

interface Chunk {
  /** its sequences: items[first .. first + count) */
  first: number
  count: number
  place: ChunkPlace
  /** packed when it is needed */
  batch: () => Batch
}

function chunksOf(
  items: PreparedItem[],
  { size, step, sharePictures }: { size: number; step: number; sharePictures: boolean }
): Chunk[] {
  const chunks: Chunk[] = []
  const stepTokens = sumOf(items, ({ tokens }) => tokens.length)
  const pictures = picturesByChunk(items, size, sharePictures)
  const uses = new Map<number, number>() // chunks that show a picture
  for (const { own, known } of pictures)
    for (const number of [...own.keys(), ...known.keys()]) uses.set(number, (uses.get(number) ?? 0) + 1)
  let firstToken = 0
  let firstPatch = 0
  for (const [chunk, { own, known, ...rest }] of pictures.entries()) {
    const first = chunk * size
    const inside = items.slice(first, first + size)
    const brought = [...own.keys()].map((number) => (uses.get(number)! > 1 ? number : -1))
    const shared = {
      ...(brought.some((number) => number >= 0) && { brought }),
      ...(known.size > 0 && { known: [...known.keys()] })
    }
    const place = { step, chunk, firstToken, firstPatch, stepTokens, ...shared }
    const batch = () => packBatch(inside, { own, known, ...rest })
    chunks.push({ first, count: inside.length, place, batch })
    firstToken += sumOf(inside, ({ tokens }) => tokens.length)
    firstPatch += sumOf([...own.values()], ({ grid }) => patchCount(grid))
  }
  return chunks
}

/** Each picture is the own one of the first chunk that shows it, and known to the others. */
function picturesByChunk(items: PreparedItem[], size: number, shareEqual: boolean): BatchPictures[] {
  const numbers = new VisualNumbers(shareEqual)
  const brought = new Set<number>()
  return Array.from({ length: Math.ceil(items.length / size) }, (_, chunk) => {
    const pictures = picturesOf(
      items.slice(chunk * size, (chunk + 1) * size),
      (visual) => numbers.of(visual),
      (number) => brought.has(number)
    )
    for (const number of pictures.own.keys()) brought.add(number)
    return pictures
  })
}

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
