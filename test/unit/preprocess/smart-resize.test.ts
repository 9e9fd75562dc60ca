import { describe, expect, it } from 'vitest'
import { roundHalfEven, smartResize } from '../../../src/preprocess/smart-resize.js'

const VLM2VEC = { minPixels: 3136, maxPixels: 28 * 28 * 1280 }
const HUB = { minPixels: 3136, maxPixels: 12845056 }

describe('smartResize', () => {
  // Sizes of transformers 5.18's smart_resize.
  it.each([
    [224, 224, VLM2VEC, 224, 224],
    [640, 480, VLM2VEC, 644, 476],
    [800, 599, VLM2VEC, 812, 588],
    [1344, 1344, VLM2VEC, 980, 980],
    [1344, 1344, HUB, 1344, 1344],
    [1920, 1080, VLM2VEC, 1316, 728],
    [1920, 1080, HUB, 1932, 1092],
    [1, 1, VLM2VEC, 56, 56],
    [42, 70, VLM2VEC, 56, 56], // 1.5 and 2.5 both go to the even 2
    [98, 154, VLM2VEC, 112, 168], // 3.5 up to 4, 5.5 up to 6
    [126, 182, VLM2VEC, 112, 168], // 4.5 down to 4, 6.5 down to 6
    [28, 5600, VLM2VEC, 28, 5600],
    [200, 40000, VLM2VEC, 56, 14140]
  ])('makes of %i x %i the size that transformers makes', (width, height, budget, toWidth, toHeight) => {
    expect(smartResize({ width, height }, 28, budget, 'here')).toEqual({ width: toWidth, height: toHeight })
  })

  it('never shrinks a side to nothing', () => {
    const { width, height } = smartResize({ width: 150, height: 30000 }, 28, { minPixels: 1, maxPixels: 1568 }, 'here')
    expect(width).toBe(28)
    expect(height).toBeGreaterThan(28)
  })

  it('refuses sides that differ by more than 200 times, naming the place', () => {
    expect(() => smartResize({ width: 1, height: 201 }, 28, VLM2VEC, 'a.jsonl: record 2')).toThrow(
      expect.objectContaining({
        code: 'E_IMAGE',
        message: expect.stringMatching(/a\.jsonl: record 2.*1 x 201.*201\.0/)
      })
    )
    expect(smartResize({ width: 1, height: 200 }, 28, VLM2VEC, '')).toMatchObject({ width: 28 })
  })
})

describe('roundHalfEven', () => {
  it('rounds halves to even neighbours and others to the nearest', () => {
    expect([0.5, 1.5, 2.5, 3.5, 2.4999, 2.5001].map(roundHalfEven)).toEqual([0, 2, 2, 4, 2, 3])
  })
})
