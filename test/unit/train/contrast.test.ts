import { describe, expect, it } from 'vitest'
import type { PreparedItem } from '../../../src/preprocess/prepared.js'
import { contrastOf } from '../../../src/train/contrast.js'

const item = (contentKey: string): PreparedItem => ({
  prompt: contentKey,
  tokens: new Int32Array(1),
  positions: new Int32Array(3),
  visuals: [],
  contentKey,
  inputKey: contentKey
})
const row = (query: string, positives: string[], negatives: string[] = []) => ({
  query: item(query),
  positives: positives.map(item),
  negatives: negatives.map(item)
})

describe('contrastOf', () => {
  it("lays out every row's positives, then its negatives, in row order", () => {
    const contrast = contrastOf([row('q0', ['a'], ['n']), row('q1', ['b', 'c']), row('q2', ['d'], ['m', 'o'])], 'keep')
    expect(contrast.queries.map(({ prompt }) => prompt)).toEqual(['q0', 'q1', 'q2'])
    expect(contrast.targets.map(({ prompt }) => prompt)).toEqual(['a', 'n', 'b', 'c', 'd', 'm', 'o'])
    expect([...contrast.positiveStarts]).toEqual([0, 1, 3, 4])
    expect([...contrast.positives]).toEqual([0, 2, 3, 4])
  })

  it('masks by content: equal candidates share an id, a query has the ids of its positives', () => {
    const { duplicates } = contrastOf(
      [row('q0', ['cat'], ['dog']), row('q1', ['dog', 'fox']), row('q2', ['cat'])],
      'mask'
    )
    expect([...duplicates!.targetIds]).toEqual([0, 1, 1, 2, 0])
    expect([...duplicates!.queryIdStarts]).toEqual([0, 1, 3, 4])
    expect([...duplicates!.queryIds]).toEqual([0, 1, 2, 0])
  })

  it('gives no ids when duplicates are kept', () => {
    expect(contrastOf([row('q', ['a'])], 'keep').duplicates).toBeUndefined()
  })
})
