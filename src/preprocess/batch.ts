/** Prepared items to a packed batch: no padding, so no mask and no wasted work. */
import type { Batch } from '../native.js'
import type { PreparedItem, PreparedVisual } from './prepared.js'

/** B items to T tokens, P patches and I pictures or videos, in the order given. */
export function packBatch(items: readonly PreparedItem[]): Batch {
  const visuals = items.flatMap((item) => item.visuals)
  const tokenCount = items.reduce((sum, item) => sum + item.tokens.length, 0)
  const tokens = new Int32Array(tokenCount)
  const seqStarts = new Int32Array(items.length + 1)
  const positions = new Int32Array(3 * tokenCount)
  let start = 0
  for (const [index, item] of items.entries()) {
    const length = item.tokens.length
    tokens.set(item.tokens, start)
    for (let axis = 0; axis < 3; axis++)
      positions.set(item.positions.subarray(axis * length, (axis + 1) * length), axis * tokenCount + start)
    start += length
    seqStarts[index + 1] = start
  }
  const patches = new Float32Array(visuals.reduce((sum, visual) => sum + visual.patches.length, 0))
  const grids = new Int32Array(3 * visuals.length)
  let offset = 0
  for (const [index, visual] of visuals.entries()) {
    patches.set(visual.patches, offset)
    offset += visual.patches.length
    grids.set(visual.grid, 3 * index)
  }
  const featureRows = joinedRows(visuals)
  return { tokens, seqStarts, positions, patches, grids, ...(featureRows && { featureRows }) }
}

/** What stands at each placeholder, features counted through the batch; undefined where they simply follow each other. */
function joinedRows(visuals: readonly PreparedVisual[]): Int32Array | undefined {
  if (!visuals.some(({ features }) => features)) return undefined
  const rows: number[] = []
  let first = 0
  for (const { features } of visuals) {
    for (const row of features!.rows) rows.push(row < 0 ? row : first + row)
    first += features!.count
  }
  return Int32Array.from(rows)
}
