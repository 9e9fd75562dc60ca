import { describe, expect, it } from 'vitest'
import { packBatch } from '../../../src/preprocess/batch.js'
import type { PreparedItem } from '../../../src/preprocess/prepared.js'

const item = (tokens: number[], positions: number[], visuals: PreparedItem['visuals'] = []): PreparedItem => ({
  prompt: '',
  tokens: Int32Array.from(tokens),
  positions: Int32Array.from(positions),
  visuals,
  contentKey: '',
  inputKey: ''
})
const layout = { patchSize: 1, temporalPatchSize: 1, mergeSize: 2, mean: [0, 0, 0], std: [1, 1, 1] } as const
const visual = (grid: [number, number, number], ...pixels: number[]): PreparedItem['visuals'][number] => ({
  kind: 'image',
  key: 'one',
  grid,
  layout,
  pixels: Uint8Array.from(pixels),
  features: 2
})

describe('packBatch', () => {
  it('joins tokens, each axis of positions, and pictures without padding', () => {
    const visuals = [visual([1, 2, 4], 5, 15), visual([2, 2, 2], 25), visual([1, 4, 4], 35)]
    const batch = packBatch([
      item([1, 2], [0, 1, 10, 11, 20, 21]),
      item([3], [5, 15, 25], visuals.slice(0, 2)),
      item([4, 5, 6], [0, 1, 2, 10, 11, 12, 20, 21, 22], visuals.slice(2))
    ])
    expect(batch).toEqual({
      tokens: Int32Array.of(1, 2, 3, 4, 5, 6),
      seqStarts: Int32Array.of(0, 2, 3, 6),
      positions: Int32Array.of(0, 1, 5, 0, 1, 2, 10, 11, 15, 10, 11, 12, 20, 21, 25, 20, 21, 22),
      pictures: visuals
    })
  })

  it('packs equal pictures once, and says where their features stand', () => {
    const [a, b, again] = [visual([1, 2, 4], 5), visual([1, 2, 4], 15), visual([1, 2, 4], 5)]
    const { pictures, featureRows } = packBatch([item([1], [0, 0, 0], [a, b]), item([2], [0, 0, 0], [again, b])])
    expect(pictures).toEqual([a, b])
    expect([...featureRows!]).toEqual([0, 1, 2, 3, 0, 1, 2, 3])
  })

  it('tells pictures of the same bytes apart by grid, tiles and layout', () => {
    const first = visual([1, 2, 4], 5)
    const others: PreparedItem['visuals'] = [
      visual([1, 4, 2], 5),
      { ...first, tiles: { across: 1, overview: 'resized' } },
      { ...first, tiles: { across: 1, overview: 'interpolated' } },
      { ...first, layout: { ...layout, std: [1, 1, 2] } }
    ]
    const all = [first, ...others]
    expect(packBatch([item([1], [0, 0, 0], [...all, { ...first, layout: { ...layout } }])]).pictures).toEqual(all)
  })

  it('counts the features of tiled pictures through the batch, separators aside', () => {
    const tiled = (value: number) => ({ ...visual([1, 2, 4], value), featureRows: Int32Array.of(0, -1, 1) })
    const { featureRows } = packBatch([item([1], [0, 0, 0], [tiled(5), tiled(15), tiled(5)])])
    expect([...featureRows!]).toEqual([0, -1, 1, 2, -1, 3, 0, -1, 1])
  })

  it('packs text alone', () => {
    const { pictures, seqStarts } = packBatch([item([7], [0, 0, 0])])
    expect([pictures, [...seqStarts]]).toEqual([[], [0, 1]])
  })
})
