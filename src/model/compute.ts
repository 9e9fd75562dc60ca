/** Prepared items through the model, batch by batch: the part of embedding that computes. */
import type { NativeModel } from '../native.js'
import { packBatch } from '../preprocess/batch.js'
import { distinctItems, spreadRows } from '../preprocess/distinct.js'
import type { PreparedItem } from '../preprocess/prepared.js'
import { computeBatches } from './pipeline.js'
import { BY_ADDON, isByAddon, pool, type Pooled } from './pooling.js'

export const DEFAULT_BATCH_TOKENS = 4096

/** The vectors of one batch: (items, hidden size), rows in order. Equal items are computed with once. */
export async function embedBatch(
  model: NativeModel,
  items: readonly PreparedItem[],
  pooled: Pooled = BY_ADDON
): Promise<Float32Array> {
  if (items.length === 0) return new Float32Array(0)
  const distinct = distinctItems(items)
  const batch = packBatch(distinct.items)
  const byAddon = isByAddon(pooled)
  const result = await model.embed(batch, byAddon ? undefined : { lastHidden: true })
  return spreadRows(byAddon ? result.embeddings : pool(result.lastHidden!, batch.seqStarts, pooled), distinct)
}

/** Batches of up to this many tokens, or items; speed and memory, never the result. */
export type BatchLimit = { batchTokens: number } | { batchItems: number }

export const limitOf = (limit: BatchLimit) =>
  'batchTokens' in limit
    ? { limit: limit.batchTokens, sizeOf: (item: PreparedItem | undefined) => item?.rows ?? item?.tokens.length ?? 0 }
    : { limit: limit.batchItems, sizeOf: () => 1 }

/** All items, a batch at a time. */
export async function* computePrepared(
  model: NativeModel,
  items: Iterable<PreparedItem>,
  limit: BatchLimit
): AsyncGenerator<Float32Array> {
  async function* source() {
    yield* items
  }
  yield* computeBatches(source(), { ...limitOf(limit), compute: (batch) => embedBatch(model, batch) })
}
