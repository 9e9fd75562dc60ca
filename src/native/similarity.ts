/** What compares vectors: the contrastive loss, and exact search. */
import type { DType } from './device.js'

export interface ContrastiveLossInput {
  /** (B, dimension) and (N, dimension) rows */
  queries: Float32Array
  targets: Float32Array
  dimension: number
  temperature: number
  symmetric: boolean
  /** bf16: products of numbers rounded to it, summed in f32, where that is faster */
  dtype: DType
  /** positives of query i: positives[positiveStarts[i] .. positiveStarts[i + 1]) */
  positiveStarts: Int32Array
  positives: Int32Array
  /** optional false-negative mask: targets whose id is among the query's ids are left out, its positives aside */
  queryIdStarts?: Int32Array
  queryIds?: Int32Array
  targetIds?: Int32Array
  /** false: only the loss */
  gradients: boolean
}

export interface ContrastiveLossResult {
  loss: number
  dTemperature: number
  dQueries?: Float32Array
  dTargets?: Float32Array
}

export interface TopKInput {
  queries: Float32Array
  targets: Float32Array
  dimension: number
  k: number
  /** optional: the targets that query i ranks, as starts (B + 1) and indices */
  candidateStarts?: Int32Array
  candidates?: Int32Array
  /** optional: correct answers, which rank after others of the same score */
  lastStarts?: Int32Array
  last?: Int32Array
}
