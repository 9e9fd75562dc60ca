import { describe, expect, it } from 'vitest'
import { METRIC_NAMES, hit, map, meanScores, mrr, ndcg, precision, recall } from '../../../src/evaluate/metrics.js'

/** Ranked: wrong, right, wrong, right; a third right one was not ranked. */
const mixed = { gains: [0, 1, 0, 1], ideal: [1, 1, 1] }
const missed = { gains: [0, 0, 0, 0, 0, 1], ideal: [1] }
const none = { gains: [0, 0], ideal: [] }

describe('metrics of one query', () => {
  it('hit: any of the first k is right', () => {
    expect([1, 5].map((k) => hit(mixed, k))).toEqual([0, 1])
    expect([5, 10].map((k) => hit(missed, k))).toEqual([0, 1])
  })

  it('precision divides by k, also where fewer are ranked', () => {
    expect([1, 5, 10].map((k) => precision(mixed, k))).toEqual([0, 2 / 5, 2 / 10])
  })

  it('recall divides by all relevant candidates', () => {
    expect([1, 5].map((k) => recall(mixed, k))).toEqual([0, 2 / 3])
  })

  it('mrr takes the first right place, if it is within k', () => {
    expect([1, 5].map((k) => mrr(mixed, k))).toEqual([0, 1 / 2])
    expect([5, 10].map((k) => mrr(missed, k))).toEqual([0, 1 / 6])
  })

  it('map averages the precisions at right places over min(relevant, k)', () => {
    // (1/2 + 2/4) / 3
    expect(map(mixed, 5)).toBeCloseTo(1 / 3, 14)
    // one place only: it is wrong
    expect(map(mixed, 1)).toBe(0)
    expect(map({ gains: [1, 1, 0], ideal: [1, 1, 1] }, 2)).toBe(1)
  })

  it('ndcg with equal relevances is the same in both forms', () => {
    const discounts = [1, 2, 3].map((place) => 1 / Math.log2(place + 1))
    const expected = (1 / Math.log2(3) + 1 / Math.log2(5)) / (discounts[0]! + discounts[1]! + discounts[2]!)
    expect(ndcg(mixed, 5, 'linear')).toBeCloseTo(expected, 14)
    expect(ndcg(mixed, 5, 'exponential')).toBeCloseTo(expected, 14)
  })

  it('ndcg with grades: linear gain is the grade, exponential is 2^grade - 1', () => {
    const graded = { gains: [1, 3], ideal: [1, 3] }
    const second = 1 / Math.log2(3)
    expect(ndcg(graded, 5, 'linear')).toBeCloseTo((1 + 3 * second) / (3 + second), 14)
    expect(ndcg(graded, 5, 'exponential')).toBeCloseTo((1 + 7 * second) / (7 + second), 14)
  })

  it('a query without a right answer scores 0 everywhere', () => {
    expect(Object.values(meanScores([none])).every((score) => score === 0)).toBe(true)
  })
})

describe('meanScores', () => {
  it('averages over queries, with every metric at 1, 5 and 10', () => {
    const scores = meanScores([mixed, missed, none])
    expect(Object.keys(scores)).toEqual(METRIC_NAMES)
    expect(METRIC_NAMES).toHaveLength(21)
    expect(scores['hit@5']).toBeCloseTo(1 / 3, 14)
    expect(scores['hit@10']).toBeCloseTo(2 / 3, 14)
    expect(scores['mrr@10']).toBeCloseTo((1 / 2 + 1 / 6) / 3, 14)
  })

  it('is all zeros for no queries', () => {
    expect(Object.values(meanScores([])).every((score) => score === 0)).toBe(true)
  })
})
