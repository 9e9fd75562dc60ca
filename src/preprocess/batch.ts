/** Prepared items to a packed batch: no padding, so no mask and no wasted work. */
import type { Batch } from '../native.js'
import { picturesOf, VisualNumbers, type BatchPictures } from './pictures.js'
import type { PreparedItem } from './prepared.js'

/** B items to T tokens and I pictures or videos, in the order given; equal pictures once. */
export function packBatch(items: readonly PreparedItem[], pictures: BatchPictures = equalOnce(items)): Batch {
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
  const featureRows = joinedRows(pictures)
  return { tokens, seqStarts, positions, pictures: [...pictures.own.values()], ...(featureRows && { featureRows }) }
}

function equalOnce(items: readonly PreparedItem[]): BatchPictures {
  const numbers = new VisualNumbers()
  return picturesOf(items, (visual) => numbers.of(visual))
}

/** What stands at each placeholder, features counted through the batch; undefined where they simply follow each other. */
function joinedRows({ own, known, uses }: BatchPictures): Int32Array | undefined {
  const order = [...own, ...known]
  const simple =
    uses.length === own.size && order.every(([number, { featureRows }], i) => uses[i] === number && !featureRows)
  if (simple) return undefined
  const starts = new Map<number, number>()
  let start = 0
  for (const [number, { features }] of order) {
    starts.set(number, start)
    start += features
  }
  const visuals = new Map(order)
  return Int32Array.from(
    uses.flatMap((number) => {
      const { features, featureRows = Array(features).keys() } = visuals.get(number)!
      const first = starts.get(number)!
      return Array.from(featureRows, (row) => (row < 0 ? row : first + row))
    })
  )
}
