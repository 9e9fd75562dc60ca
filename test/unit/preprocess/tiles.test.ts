import { describe, expect, it } from 'vitest'
import { anyresPicture, anyresRows } from '../../../src/preprocess/anyres.js'
import { hdPicture, hdRows } from '../../../src/preprocess/hd-crops.js'
import { tileCount } from '../../../src/preprocess/tiles.js'

const hd = (width: number, height: number, crops: number) =>
  hdPicture({ width, height }, { crops, tile: 336 }, 'item 1')
const pinpoints = [
  [336, 672],
  [672, 336],
  [672, 672],
  [1008, 336],
  [336, 1008]
] as const
const anyres = (width: number, height: number) =>
  anyresPicture({ width, height }, { resolutions: pinpoints, tile: 336 })

describe('hdPicture', () => {
  it('has as many tokens as the processor of Phi-3.5-V counts', () => {
    // models.md 5.3
    const counts = (width: number, height: number, crops: number) => hdRows(hd(width, height, crops), 12).length
    expect(counts(640, 480, 4)).toBe(757)
    expect([counts(500, 500, 16), counts(640, 480, 16), counts(480, 640, 16)]).toEqual([2509, 1921, 1933])
    expect(counts(1920, 1080, 16)).toBe(2353)
  })

  it('uses at most the crops that are asked for, whatever the shape, before the height is filled up', () => {
    for (let crops = 1; crops <= 16; crops++)
      for (const [width, height] of [
        [500, 500],
        [640, 480],
        [1000, 100],
        [30, 200],
        [1, 1]
      ] as const)
        expect(tileCount(hd(width, height, crops)) - 1).toBeLessThanOrEqual(crops)
  })

  it('lays a picture that is higher than wide on its side', () => {
    const [upright, lying] = [hd(480, 640, 4), hd(640, 480, 4)]
    expect(upright).toMatchObject({ transposed: true, left: lying.top, top: 0 })
    expect([upright.resized.width, upright.resized.height]).toEqual([lying.resized.height, lying.resized.width])
  })

  it('refuses a picture of which nothing is left', () => {
    expect(() => hd(1000, 1, 1)).toThrow(/item 1: the picture has 1000 x 1 pixels/)
  })
})

describe('hdRows', () => {
  it('lays out the map of tiles, each row ended, a separator, and the overview', () => {
    const rows = hdRows({ canvas: { width: 8, height: 4 }, tile: 4 }, 2)
    expect([...rows]).toEqual([4, 5, 8, 9, -1, 6, 7, 10, 11, -1, -2, 0, 1, -1, 2, 3, -1])
  })

  it('puts the overview first where the model says so', () => {
    const rows = hdRows({ canvas: { width: 4, height: 4 }, tile: 4 }, 2, 'glb_sub')
    expect([...rows]).toEqual([0, 1, -1, 2, 3, -1, -2, 4, 5, -1, 6, 7, -1])
  })
})

describe('anyresPicture', () => {
  it('has as many tokens as transformers counts', () => {
    // models.md 6.4
    const counts = ([width, height]: readonly [number, number]) =>
      anyresRows({ width, height }, anyres(width, height), 24).length
    const sizes = [[336, 336], [640, 480], [480, 640], [1024, 899], [1344, 1344], [1920, 1080]] as const // prettier-ignore
    expect(sizes.map(counts)).toEqual([1176, 2340, 2352, 2634, 2928, 1948])
  })

  it('puts the odd line of a border behind the picture', () => {
    const { left, top, resized, canvas } = anyres(640, 479)
    expect({ left, top }).toEqual({ left: 0, top: 84 })
    expect(canvas.height - resized.height - top).toBe(84 + ((canvas.height - resized.height) % 2))
  })
})

describe('anyresRows', () => {
  it('leaves out the borders of the map and ends each row', () => {
    const rows = anyresRows({ width: 8, height: 4 }, { canvas: { width: 8, height: 8 }, tile: 4 }, 2)
    // overview; the middle two rows of a map of 4 x 4
    expect([...rows]).toEqual([0, 1, 2, 3, 6, 7, 10, 11, -1, 12, 13, 16, 17, -1])
  })
})
