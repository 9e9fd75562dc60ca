import { describe, expect, it } from 'vitest'
import { gainsOf } from '../../../src/evaluate/rank.js'
import type { Query } from '../../../src/evaluate/task.js'

const query = (relevant: [number, number][], candidates?: number[]): Query => ({
  item: {},
  name: '',
  where: '',
  relevant: new Map(relevant),
  ...(candidates && { candidates })
})

describe('gainsOf', () => {
  it('puts the relevance of each ranked candidate in its place', () => {
    expect(
      gainsOf(
        [4, 2, 7],
        query([
          [2, 1],
          [7, 3]
        ])
      )
    ).toEqual([0, 1, 3])
  })

  it('takes the last of several equal candidates as the right one, so that copies of the answer never flatter', () => {
    expect(gainsOf([0, 0, 1], query([[0, 1]], [0, 1, 0]))).toEqual([0, 1, 0])
    expect(gainsOf([0, 1], query([[0, 1]], [0, 1]))).toEqual([1, 0])
  })
})
