import { describe, expect, it } from 'vitest'
import { pool } from '../../../src/model/pooling.js'

const hidden = Float32Array.of(3, 4, 1, 0, 5, 2, 0, 9)
const starts = Int32Array.of(0, 3, 4)

describe('pool', () => {
  it.each([
    ['last', [5, 2, 0, 9]],
    ['cls', [3, 4, 0, 9]],
    ['mean', [3, 2, 0, 9]]
  ] as const)('%s, as it stands', (pooling, expected) => {
    expect([...pool(hidden, starts, { pooling, normalize: false })]).toEqual(expected)
  })

  it('scales to length 1 where asked to', () => {
    const vectors = pool(hidden, starts, { pooling: 'cls', normalize: true })
    expect([...vectors].map((value) => Number(value.toFixed(6)))).toEqual([0.6, 0.8, 0, 1])
  })
})
