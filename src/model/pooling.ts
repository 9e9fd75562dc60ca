/** Outputs of the text model to vectors, where they are not the last token's, normalised, which the addon gives itself. */
import type { Pooling } from './preset.js'

export interface Pooled {
  pooling: Pooling
  normalize: boolean
}

export const BY_ADDON: Pooled = { pooling: 'last', normalize: true }

export const isByAddon = ({ pooling, normalize }: Pooled): boolean => pooling === 'last' && normalize

/** (B, C) vectors of `hidden` (T, C); `seqStarts` (B + 1). Sums are in double precision. */
export function pool(hidden: Float32Array, seqStarts: Int32Array, { pooling, normalize }: Pooled): Float32Array {
  const width = hidden.length / seqStarts.at(-1)!
  const count = seqStarts.length - 1
  const vectors = new Float32Array(count * width)
  for (let b = 0; b < count; b++) {
    const [first, end] = [seqStarts[b]!, seqStarts[b + 1]!]
    const rows = pooling === 'mean' ? [first, end] : pooling === 'cls' ? [first, first + 1] : [end - 1, end]
    const vector = mean(hidden.subarray(rows[0]! * width, rows[1]! * width), width)
    vectors.set(normalize ? truncated(vector, width) : vector, b * width)
  }
  return vectors
}

function mean(rows: Float32Array, width: number): Float32Array {
  const sums = new Float64Array(width)
  for (let i = 0; i < rows.length; i += width) for (let c = 0; c < width; c++) sums[c]! += rows[i + c]!
  return Float32Array.from(sums, (sum) => (sum * width) / rows.length)
}

/** The first numbers of a vector, normalised again (in double precision). */
export function truncated(vector: Float32Array, dimension: number): Float32Array {
  const kept = vector.slice(0, dimension)
  const norm = Math.sqrt(kept.reduce((sum, value) => sum + value * value, 0))
  return norm > 0 ? kept.map((value) => value / norm) : kept
}
