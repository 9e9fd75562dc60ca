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
const visual = (grid: [number, number, number], ...patches: number[]): PreparedItem['visuals'][number] => ({
  kind: 'image',
  key: 'one',
  grid,
  patches: Float32Array.from(patches),
  features: 2
})

describe('packBatch', () => {
  it('joins tokens, each axis of positions, patches and grids without padding', () => {
    const batch = packBatch([
      item([1, 2], [0, 1, 10, 11, 20, 21]),
      item([3], [5, 15, 25], [visual([1, 2, 4], 0.5, 1.5), visual([2, 2, 2], 2.5)]),
      item([4, 5, 6], [0, 1, 2, 10, 11, 12, 20, 21, 22], [visual([1, 4, 4], 3.5)])
    ])
    expect(batch).toEqual({
      tokens: Int32Array.of(1, 2, 3, 4, 5, 6),
      seqStarts: Int32Array.of(0, 2, 3, 6),
      positions: Int32Array.of(0, 1, 5, 0, 1, 2, 10, 11, 15, 10, 11, 12, 20, 21, 25, 20, 21, 22),
      patches: [Float32Array.of(0.5, 1.5), Float32Array.of(2.5), Float32Array.of(3.5)],
      grids: Int32Array.of(1, 2, 4, 2, 2, 2, 1, 4, 4)
    })
  })

  it('packs equal pictures once, and says where their features stand', () => {
    const [a, b, again] = [visual([1, 2, 4], 0.5), visual([1, 2, 4], 1.5), visual([1, 2, 4], 0.5)]
    const { patches, grids, featureRows } = packBatch([item([1], [0, 0, 0], [a, b]), item([2], [0, 0, 0], [again, b])])
    expect(patches).toEqual([Float32Array.of(0.5), Float32Array.of(1.5)])
    expect([...grids]).toEqual([1, 2, 4, 1, 2, 4])
    expect([...featureRows!]).toEqual([0, 1, 2, 3, 0, 1, 2, 3])
  })

  it('counts the features of tiled pictures through the batch, separators aside', () => {
    const tiled = (value: number) => ({ ...visual([1, 2, 4], value), featureRows: Int32Array.of(0, -1, 1) })
    const { featureRows } = packBatch([item([1], [0, 0, 0], [tiled(0.5), tiled(1.5), tiled(0.5)])])
    expect([...featureRows!]).toEqual([0, -1, 1, 2, -1, 3, 0, -1, 1])
  })

  it('packs text alone', () => {
    const { patches, grids, seqStarts } = packBatch([item([7], [0, 0, 0])])
    expect([patches.length, grids.length, [...seqStarts]]).toEqual([0, 0, [0, 1]])
  })
})
