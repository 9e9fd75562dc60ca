/**
 * Prepared batches, ahead of the computation. Batch k (from 0) is rows k·B to k·B + B - 1 of the data's order, whatever
 * the number of workers: every row is a function of its position alone.
 */
import { availableParallelism } from 'node:os'
import type { Example, Item } from '../data/item.js'
import { PREPARED_BYTES } from '../preprocess/byte-budget.js'
import { pixelBytes } from '../preprocess/pictures.js'
import type { PreparedItem } from '../preprocess/prepared.js'
import type { PreparedExample } from './contrast.js'

/** An endless order of rows with random access. */
export interface Rows<Row extends { example: Example }> {
  at(position: number): Promise<Row>
}

/** Prepares an item of a row; `place` counts the row's items: query, positives, negatives. */
export type Prepare<Row> = (item: Item, row: Row, place: number) => Promise<PreparedItem>

export interface BatchesOptions {
  batchSize: number
  /** batches that are prepared while one is computed with; at least 0 */
  prefetch: number
  /** fewer where they would take more, by the largest one so far */
  prefetchBytes?: number
}

/** Batches `first`, `first` + 1, ... up to `end` (exclusive). Those in preparation are awaited when the caller stops. */
export async function* batches<Row extends { example: Example }>(
  rows: Rows<Row>,
  prepare: Prepare<Row>,
  { first, end, batchSize, prefetch, prefetchBytes = PREPARED_BYTES }: BatchesOptions & { first: number; end: number }
): AsyncGenerator<PreparedExample[]> {
  const pending: Promise<PreparedExample[]>[] = []
  const limited = limiter(2 * availableParallelism())
  let next = first
  let stopped = false
  let largest: number | undefined // bytes of a batch
  const start = (): void => {
    const batch = batchAt(rows, prepare, { index: next++, batchSize, run: (work) => limited(() => !stopped, work) })
    batch.catch(() => {}) // reported when it is this batch's turn
    pending.push(batch)
  }
  try {
    for (let index = first; index < end; index++) {
      if (next === index) start()
      const batch = await pending.shift()!
      largest = Math.max(largest ?? 0, bytesOf(batch))
      while (next < end && next <= index + prefetch && (pending.length + 1) * largest <= prefetchBytes) start()
      yield batch
    }
  } finally {
    stopped = true
    await Promise.allSettled(pending)
  }
}

function bytesOf(batch: PreparedExample[]): number {
  const items = batch.flatMap(({ query, positives, negatives }) => [query, ...positives, ...negatives])
  return items.reduce((sum, item) => sum + pixelBytes(item), 0)
}

type Run = <T>(work: () => Promise<T>) => Promise<T>

/** Rows of one batch, prepared side by side. */
async function batchAt<Row extends { example: Example }>(
  rows: Rows<Row>,
  prepare: Prepare<Row>,
  { index, batchSize, run }: { index: number; batchSize: number; run: Run }
): Promise<PreparedExample[]> {
  const row = async (position: number): Promise<PreparedExample> => {
    const drawn = await run(() => rows.at(position))
    const { example } = drawn
    const items = [example.query, ...example.positives, ...example.negatives]
    const prepared = await Promise.all(items.map((item, place) => run(() => prepare(item, drawn, place))))
    return {
      query: prepared[0]!,
      positives: prepared.slice(1, 1 + example.positives.length),
      negatives: prepared.slice(1 + example.positives.length)
    }
  }
  return Promise.all(Array.from({ length: batchSize }, (_, i) => row(index * batchSize + i)))
}

/** Runs at most `limit` works at a time, the rest in the order in which they came; none that is no longer wanted. */
function limiter(limit: number): <T>(wanted: () => boolean, work: () => Promise<T>) => Promise<T> {
  const waiting: (() => void)[] = []
  let running = 0
  return async (wanted, work) => {
    if (running >= limit) await new Promise<void>((resolve) => waiting.push(resolve))
    else running++
    try {
      if (!wanted()) throw new Error('no longer wanted')
      return await work()
    } finally {
      const next = waiting.shift()
      if (next) next()
      else running--
    }
  }
}
