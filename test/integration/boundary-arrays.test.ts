/** The functions of the addon that take arrays: what they refuse, and the contrastive loss by hand. */
import { describe, expect, it } from 'vitest'
import { contrastiveLoss } from '../../src/index.js'
import { native } from '../../src/native.js'
import { codeOf } from './code-of.js'

const device = { device: 'cpu', threads: 1 }

describe('functions of arrays', () => {
  const rows = (count: number): Float32Array => Float32Array.from({ length: count * 4 }, (_, i) => Math.sin(i))
  const loss = () => ({
    queries: rows(2),
    targets: rows(2),
    dimension: 4,
    temperature: 1,
    symmetric: false,
    dtype: 'f32' as const,
    positiveStarts: new Int32Array([0, 1, 2]),
    positives: new Int32Array([0, 1]),
    gradients: true
  })

  it.each<[string, object]>([
    ['queries of another type', { queries: new Float64Array(8) }],
    ['queries of no whole row', { queries: new Float32Array(7) }],
    ['no rows', { queries: new Float32Array(0) }],
    ['a dimension of 0', { dimension: 0 }],
    ['a temperature of 0', { temperature: 0 }],
    ['products of another type', { dtype: 'f16' }],
    ['starts that fall', { positiveStarts: new Int32Array([0, 3, 2]) }],
    ['too few starts', { positiveStarts: new Int32Array([0, 2]) }],
    ['a positive out of range', { positives: new Int32Array([0, 2]) }],
    ['a query without a positive', { positiveStarts: new Int32Array([0, 2, 2]) }],
    ['ids without their starts', { queryIds: new Int32Array(2) }],
    [
      'too few target ids',
      { queryIdStarts: new Int32Array([0, 1, 2]), queryIds: new Int32Array(2), targetIds: new Int32Array(1) }
    ]
  ])('contrastiveLoss refuses %s', async (_, change) => {
    const code = await codeOf(() => native().contrastiveLoss({ ...loss(), ...change } as never, device))
    expect(['E_SHAPE', 'E_BATCH', 'E_OPTION']).toContain(code)
  })

  it('contrastiveLoss is the mean cross-entropy, with the gradients of finite differences', async () => {
    const queries = rows(2)
    const targets = rows(4).map((value) => value * 1.3)
    const options = { dimension: 4, temperature: 0.7, threads: 1 }
    const { loss, dQueries, dTargets, dTemperature } = await contrastiveLoss(queries, targets, options)
    const byHand = (q: ArrayLike<number>, t: ArrayLike<number>, temperature: number): number => {
      const score = (i: number, j: number): number =>
        [0, 1, 2, 3].reduce((sum, d) => sum + q[4 * i + d]! * t[4 * j + d]!, 0) / temperature
      const terms = [0, 1].map(
        (i) => Math.log([0, 1, 2, 3].reduce((sum, j) => sum + Math.exp(score(i, j)), 0)) - score(i, 2 * i)
      )
      return (terms[0]! + terms[1]!) / 2
    }
    expect(loss).toBeCloseTo(byHand(queries, targets, 0.7), 6)
    const step = 1e-4
    const moved = (values: Float32Array, at: number, by: number): number[] =>
      Array.from(values, (value, i) => (i === at ? value + by : value))
    const slope = (f: (by: number) => number): number => (f(step) - f(-step)) / (2 * step)
    for (let i = 0; i < queries.length; i++)
      expect(dQueries[i]).toBeCloseTo(
        slope((by) => byHand(moved(queries, i, by), targets, 0.7)),
        5
      )
    for (let i = 0; i < targets.length; i++)
      expect(dTargets[i]).toBeCloseTo(
        slope((by) => byHand(queries, moved(targets, i, by), 0.7)),
        5
      )
    expect(dTemperature).toBeCloseTo(
      slope((by) => byHand(queries, targets, 0.7 + by)),
      5
    )
    expect((await contrastiveLoss(queries, targets, { ...options, gradients: false })).dQueries).toHaveLength(0)
  })

  it('contrastiveLoss leaves masked targets out, and takes the positives that it is given', async () => {
    const [queries, targets] = [rows(2), rows(3)]
    const options = { dimension: 4, temperature: 1, threads: 1, positives: new Int32Array([2, 0]) }
    const all = await contrastiveLoss(queries, targets, options)
    const ids = [new Int32Array([5, 6]), new Int32Array([9, 5, 5])] as const
    const masked = await contrastiveLoss(queries, targets, { ...options, mask: ids })
    expect(masked.loss).toBeLessThan(all.loss)
    const without = await contrastiveLoss(
      queries.subarray(0, 4),
      Float32Array.of(...targets.subarray(0, 4), ...targets.subarray(8)),
      {
        ...options,
        positives: new Int32Array([1])
      }
    )
    const second = await contrastiveLoss(queries.subarray(4), targets, { ...options, positives: new Int32Array([0]) })
    expect(masked.loss).toBeCloseTo((without.loss + second.loss) / 2, 6)
  })

  it.each<[string, object]>([
    ['k of 0', { k: 0 }],
    ['candidates without starts', { candidates: new Int32Array(2) }],
    ['a candidate out of range', { candidateStarts: new Int32Array([0, 1, 2]), candidates: new Int32Array([0, 3]) }],
    ['rows of another width', { targets: new Float32Array(7) }]
  ])('topK refuses %s', async (_, change) => {
    const input = { queries: rows(2), targets: rows(3), dimension: 4, k: 2 }
    const code = await codeOf(() => native().topK({ ...input, ...change }, device))
    expect(['E_SHAPE', 'E_BATCH', 'E_OPTION']).toContain(code)
  })

  it.each<[string, object]>([
    ['no frames', { frames: [] }],
    ['frames of nothing', { frames: [undefined] }],
    ['a frame of another size', { frames: [{ width: 2, height: 2, data: new Uint8Array(11) }] }],
    ['a frame of another type', { frames: [{ width: 2, height: 2, data: new Float32Array(12) }] }],
    ['a frame without a width', { frames: [{ height: 2, data: new Uint8Array(12) }] }],
    ['a side of 0', { toWidth: 0 }],
    ['a side of millions', { toWidth: 2 ** 21 }],
    ['an unknown filter', { filter: 'box' }]
  ])('prepareImage refuses %s', async (_, change) => {
    const input = {
      frames: [{ width: 2, height: 2, data: new Uint8Array(12) }],
      toWidth: 4,
      toHeight: 4,
      filter: 'bicubic' as const
    }
    const code = await codeOf(() => native().prepareImage({ ...input, ...change } as never))
    expect(['E_SHAPE', 'E_OPTION', 'E_IMAGE']).toContain(code)
  })
})
