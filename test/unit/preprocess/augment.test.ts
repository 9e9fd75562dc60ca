import { describe, expect, it } from 'vitest'
import { augment, type Augmentation } from '../../../src/preprocess/augment.js'
import type { RgbImage } from '../../../src/native.js'

/** A picture whose bytes tell where they were: red is the column, green the row. */
function gridImage(width: number, height: number): RgbImage {
  const data = new Uint8Array(3 * width * height)
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) data.set([x, y, 7], 3 * (y * width + x))
  return { width, height, data }
}
const base: Augmentation = { flip: 0, crop: 1, seed: 5, epoch: 0, row: 0, item: 0 }
const image = gridImage(40, 30)
const columns = ({ width, data }: RgbImage): number[] => Array.from({ length: width }, (_, x) => data[3 * x]!)

describe('augment', () => {
  it('leaves a picture alone where nothing is asked for', () => {
    expect(augment(image, base, 0)).toBe(image)
  })

  it('flips always with probability 1, and the columns only', () => {
    const flipped = augment(image, { ...base, flip: 1 }, 0)
    expect(columns(flipped)).toEqual(columns(image).reverse())
    expect([flipped.data[1], flipped.data[3 * 40 * 29 + 1]]).toEqual([0, 29])
  })

  it('flips about as often as asked', () => {
    let flips = 0
    for (let row = 0; row < 1000; row++) if (augment(image, { ...base, flip: 0.3, row }, 0) !== image) flips++
    expect(flips).toBeGreaterThan(250)
    expect(flips).toBeLessThan(350)
  })

  it('crops a connected part of at least the share that is asked for, of the same shape', () => {
    const lefts = new Set<number>()
    for (let row = 0; row < 200; row++) {
      const { width, height, data } = augment(image, { ...base, crop: 0.5, row }, 0)
      expect((width * height) / (40 * 30)).toBeGreaterThan(0.46)
      expect(Math.abs(width / height - 4 / 3)).toBeLessThan(0.08)
      const [left, top] = [data[0]!, data[1]!]
      expect([...data.subarray(-3)]).toEqual([left + width - 1, top + height - 1, 7])
      lefts.add(left)
    }
    expect(lefts.size).toBeGreaterThan(8)
  })

  it('is a function of seed, epoch, row, item and picture alone', () => {
    const place: Augmentation = { ...base, flip: 0.5, crop: 0.3, epoch: 2, row: 17, item: 1 }
    const same = augment(image, place, 1)
    expect(augment(image, { ...place }, 1)).toEqual(same)
    const others = [{ seed: 6 }, { epoch: 3 }, { row: 18 }, { item: 2 }].map((change) =>
      augment(image, { ...place, ...change }, 1)
    )
    for (const other of [...others, augment(image, place, 2)]) expect(other).not.toEqual(same)
  })

  it('keeps a picture of one pixel', () => {
    expect(augment(gridImage(1, 1), { ...base, crop: 0.1, flip: 1 }, 0)).toMatchObject({ width: 1, height: 1 })
  })
})
