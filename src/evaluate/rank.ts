/** Embeddings to rankings, and rankings to gains. Equal scores rank by candidate order, right ones last. */
import { native, type DeviceOptions } from '../native.js'
import type { Query } from './task.js'

export interface Vectors {
  /** row-major (count, dimension) */
  data: Float32Array
  dimension: number
}

export interface Ranking {
  /** candidate indices, best first */
  indices: number[]
  scores: number[]
  /** relevance by place */
  gains: number[]
  /** relevances of all right candidates */
  ideal: number[]
}

/** The first `depth` candidates of each query. */
export async function rank(
  queries: Vectors,
  candidates: Vectors,
  truth: Query[],
  { depth, ...device }: DeviceOptions & { depth: number }
): Promise<Ranking[]> {
  const count = candidates.data.length / candidates.dimension
  const longest = truth.reduce((most, query) => Math.max(most, query.candidates?.length ?? count), 0)
  const k = Math.min(depth, longest)
  const last = starts(truth.map(({ relevant }) => [...relevant.keys()]))
  const local = truth.some((query) => query.candidates)
    ? starts(truth.map((query) => query.candidates ?? Array.from({ length: count }, (_, i) => i)))
    : undefined
  const { indices, scores } = await native().topK(
    {
      queries: queries.data,
      targets: candidates.data,
      dimension: queries.dimension,
      k,
      lastStarts: last.starts,
      last: last.values,
      ...(local && { candidateStarts: local.starts, candidates: local.values })
    },
    device
  )
  return truth.map((query, i) => {
    const row = [...indices.subarray(i * k, (i + 1) * k)]
    const filled = row.filter((index) => index >= 0)
    const gains = gainsOf(filled, query)
    return {
      indices: filled,
      scores: [...scores.subarray(i * k, i * k + filled.length)],
      gains,
      ideal: [...query.relevant.values()]
    }
  })
}

/**
 * Relevance by place. Where a row lists the content of a right candidate several times, only one of these places is the
 * right one; the others tie with it and come before it.
 */
export function gainsOf(ranked: readonly number[], { candidates = [], relevant }: Query): number[] {
  const before = new Map<number, number>()
  for (const index of candidates) if (relevant.has(index)) before.set(index, (before.get(index) ?? 0) + 1)
  return ranked.map((index) => {
    const relevance = relevant.get(index)
    if (relevance === undefined) return 0
    const left = (before.get(index) ?? 1) - 1
    before.set(index, left)
    return left === 0 ? relevance : 0
  })
}

function starts(lists: number[][]): { starts: Int32Array; values: Int32Array } {
  const ends = [0]
  for (const list of lists) ends.push(ends.at(-1)! + list.length)
  return { starts: Int32Array.from(ends), values: Int32Array.from(lists.flat()) }
}
