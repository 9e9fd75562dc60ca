import { describe, expect, it } from 'vitest'
import { isEmpty, readItem, withImageRoot } from '../../../src/data/item.js'

describe('readItem', () => {
  it('takes what is present', () => {
    const item = { id: 'a', text: 'T', instruction: 'I', images: ['x.png'], videos: [{ frames: ['f.png'], fps: 0.5 }] }
    expect(readItem(item, '')).toEqual(item)
    expect(readItem({ text: '' }, '')).toEqual({ text: '' })
    expect(readItem({ id: 7, text: null, images: null, videos: [] }, '')).toEqual({ id: '7' })
  })

  it('takes URLs and bytes of callers', () => {
    const images = [new URL('file:///a.png'), new Uint8Array([1])]
    expect(readItem({ images }, '')).toEqual({ images })
  })

  it.each([
    [{ txt: 'T' }, /unknown key "txt"; known are id, text, instruction, images, videos/],
    [{ text: 3 }, /text for "text", found 3/],
    [{ id: true }, /text for "id"/],
    [{ images: 'x.png' }, /a list for "images", found "x\.png"/],
    [{ images: ['a', ''] }, /for "images\[1\]", found ""/],
    [{ videos: [{ frames: [] }] }, /at least one picture for "videos\[0\]\.frames"/],
    [{ videos: [{ frames: ['f'], fps: 0 }] }, /a positive number for "videos\[0\]\.fps", found 0/],
    [{ videos: [{ frames: ['f'], rate: 2 }] }, /unknown key "rate"; known are frames, fps/],
    [['T'], /a mapping/],
    ['T', /a mapping/],
    [null, /found null/]
  ])('refuses %j, naming place and key', (value, message) => {
    expect(() => readItem(value, 'a.jsonl: record 4')).toThrow(
      expect.objectContaining({
        code: 'E_DATA',
        message: expect.stringMatching(new RegExp(`^a\\.jsonl: record 4.*${message.source}`))
      })
    )
  })
})

describe('isEmpty', () => {
  it('knows whether there is anything to embed', () => {
    for (const item of [{}, { text: '' }, { id: 'a', images: [] }]) expect(isEmpty(item)).toBe(true)
    for (const item of [{ text: ' ' }, { instruction: 'I' }, { images: ['a'] }, { videos: [{ frames: ['f'] }] }])
      expect(isEmpty(item)).toBe(false)
  })
})

describe('withImageRoot', () => {
  it('completes relative paths and leaves everything else', () => {
    const bytes = new Uint8Array([1])
    const item = { text: 'T', images: ['a/b.png', '/c.png', 'data:,x', 'file:///d.png', 'https://e/f.png', bytes] }
    expect(withImageRoot({ ...item, videos: [{ frames: ['f.png'], fps: 2 }] }, '/pictures')).toEqual({
      text: 'T',
      images: ['/pictures/a/b.png', '/c.png', 'data:,x', 'file:///d.png', 'https://e/f.png', bytes],
      videos: [{ frames: ['/pictures/f.png'], fps: 2 }]
    })
  })
})
