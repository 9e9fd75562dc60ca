import { describe, expect, it } from 'vitest'
import { firstSize, inFirstSize } from '../../../src/preprocess/first-size.js'
import { native } from '../../../src/native.js'

const of = (rule: Parameters<typeof firstSize>[0], width: number, height: number) => {
  const size = firstSize(rule, { width, height }, 'here')
  return size && [size.width, size.height]
}

describe('the size that comes first', () => {
  it('none: a picture stays as it is', () => expect(of('none', 5, 7)).toBeUndefined())

  it('a number: every picture becomes a square of that side', () => {
    expect(of(1344, 640, 480)).toEqual([1344, 1344])
    expect(of(1344, 1344, 1344)).toBeUndefined()
  })

  it('vlm2vec: only pictures with a side below 28 pixels, to 56 x 56', () => {
    expect(of('vlm2vec', 27, 400)).toEqual([56, 56])
    expect(of('vlm2vec', 28, 400)).toBeUndefined()
  })

  it('qwen: the sizes of qwen-vl-utils, where a rounded side is at least one token', () => {
    expect(of('qwen', 640, 480)).toEqual([644, 476])
    expect(of('qwen', 112, 10)).toEqual([112, 28])
    expect(of('qwen', 56, 56)).toBeUndefined()
    expect(() => of('qwen', 2010, 10)).toThrow('here')
  })

  it('is reached by the resize that Pillow does', async () => {
    const data = Uint8Array.from({ length: 10 * 6 * 3 }, (_, i) => (i * 37) % 256)
    const picture = { data, width: 10, height: 6 }
    const resized = await native().prepareImage({ frames: [picture], toWidth: 56, toHeight: 56, filter: 'bicubic' })
    expect(await inFirstSize(picture, 'vlm2vec', 'here')).toEqual({ data: resized, width: 56, height: 56 })
  })
})
