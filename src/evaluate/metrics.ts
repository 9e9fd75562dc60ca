/**
 * Ranking metrics of one query, as pure functions (definitions of VLM2Vec's evaluation, so that scores compare). `gains`
 * holds the relevance of the ranked candidates, best first (0: not relevant); `ideal` the relevances of all relevant
 * candidates, ranked or not. A query without a relevant candidate scores 0 in every metric.
 */
export const METRICS = ['hit', 'precision', 'recall', 'ndcg_linear', 'ndcg_exponential', 'mrr', 'map'] as const
export const CUTOFFS = [1, 5, 10] as const

export type MetricName = `${(typeof METRICS)[number]}@${(typeof CUTOFFS)[number]}`
export type Scores = Record<MetricName, number>

export const METRIC_NAMES = METRICS.flatMap((metric) => CUTOFFS.map((k): MetricName => `${metric}@${k}`))

interface Ranking {
  gains: readonly number[]
  ideal: readonly number[]
}

const relevantIn = (gains: readonly number[]): number => gains.reduce((count, gain) => count + (gain > 0 ? 1 : 0), 0)

/** 1 where any of the first k is relevant. */
export const hit = ({ gains }: Ranking, k: number): number => (relevantIn(gains.slice(0, k)) > 0 ? 1 : 0)

/** Share of the first k that is relevant; places past the end of a shorter ranking count as not relevant. */
export const precision = ({ gains }: Ranking, k: number): number => relevantIn(gains.slice(0, k)) / k

/** Share of all relevant candidates that is among the first k. */
export const recall = ({ gains, ideal }: Ranking, k: number): number =>
  ideal.length === 0 ? 0 : relevantIn(gains.slice(0, k)) / ideal.length

/** 1 / place of the first relevant one, 0 where it is past k. */
export function mrr({ gains }: Ranking, k: number): number {
  const place = gains.slice(0, k).findIndex((gain) => gain > 0)
  return place < 0 ? 0 : 1 / (place + 1)
}

/** Average precision: the precision at each relevant place up to k, over min(relevant candidates, k). */
export function map({ gains, ideal }: Ranking, k: number): number {
  if (ideal.length === 0) return 0
  let found = 0
  let sum = 0
  gains.slice(0, k).forEach((gain, place) => {
    if (gain > 0) sum += ++found / (place + 1)
  })
  return sum / Math.min(ideal.length, k)
}

/** Discounted gain (relevance, or 2^relevance - 1, over log2(place + 1)) relative to that of the best possible order. */
export function ndcg({ gains, ideal }: Ranking, k: number, form: 'linear' | 'exponential'): number {
  const gainOf = (relevance: number): number => (form === 'linear' ? relevance : 2 ** relevance - 1)
  const discounted = (order: readonly number[]): number =>
    order.slice(0, k).reduce((sum, relevance, place) => sum + gainOf(relevance) / Math.log2(place + 2), 0)
  const best = discounted([...ideal].sort((a, b) => b - a))
  return best === 0 ? 0 : discounted(gains) / best
}

const FORMULAS: Record<(typeof METRICS)[number], (ranking: Ranking, k: number) => number> = {
  hit,
  precision,
  recall,
  ndcg_linear: (ranking, k) => ndcg(ranking, k, 'linear'),
  ndcg_exponential: (ranking, k) => ndcg(ranking, k, 'exponential'),
  mrr,
  map
}

/** Every metric at every cutoff, averaged over queries. All 0 where there are none. */
export function meanScores(rankings: readonly Ranking[]): Scores {
  const scores = METRICS.flatMap((metric) =>
    CUTOFFS.map((k) => {
      const sum = rankings.reduce((total, ranking) => total + FORMULAS[metric](ranking, k), 0)
      return [`${metric}@${k}`, rankings.length === 0 ? 0 : sum / rankings.length] as const
    })
  )
  return Object.fromEntries(scores) as Scores
}
