/** Items that are the same input, such as the target of several rows of a batch, are computed with once. */
import type { PreparedItem } from './prepared.js'

export interface Distinct {
  /** the first of each kind, in order */
  items: PreparedItem[]
  /** for each item its place in `items` */
  places: Int32Array
}

export function distinctItems(all: readonly PreparedItem[]): Distinct {
  const known = new Map<string, number>()
  const items: PreparedItem[] = []
  const places = Int32Array.from(all, (item) => {
    let place = known.get(item.inputKey)
    if (place === undefined) {
      place = items.push(item) - 1
      known.set(item.inputKey, place)
    }
    return place
  })
  return { items, places }
}

/** Rows (all, width) out of those of the distinct items: the array itself where all items differ. */
export function spreadRows(rows: Float32Array, { items, places }: Distinct): Float32Array {
  if (items.length === places.length) return rows
  const width = rows.length / items.length
  const spread = new Float32Array(places.length * width)
  places.forEach((place, i) => spread.set(rows.subarray(place * width, (place + 1) * width), i * width))
  return spread
}

/** The mirror image: the rows of equal items added up, in order. */
export function sumRows(rows: Float32Array, { items, places }: Distinct): Float32Array {
  if (items.length === places.length) return rows
  const width = rows.length / places.length
  const sums = new Float32Array(items.length * width)
  places.forEach((place, i) => {
    for (let c = 0; c < width; c++) sums[place * width + c]! += rows[i * width + c]!
  })
  return sums
}
