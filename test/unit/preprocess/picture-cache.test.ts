import { describe, expect, it } from 'vitest'
import { PictureCache } from '../../../src/preprocess/picture-cache.js'

const picture = (bytes: number) => ({ width: bytes / 3, height: 1, data: new Uint8Array(bytes) })

/** Names of the pictures that are decoded when these are asked for in order, all of 30 bytes. */
async function decodedOf(cache: PictureCache, keys: string): Promise<string> {
  let decoded = ''
  for (const key of keys)
    await cache.get(key, async () => {
      decoded += key
      return picture(30)
    })
  return decoded
}

describe('PictureCache', () => {
  it('decodes a picture once while it fits', async () => {
    expect(await decodedOf(new PictureCache(60), 'abab')).toBe('ab')
  })

  it('drops the picture that was not used for longest', async () => {
    expect(await decodedOf(new PictureCache(60), 'abacab')).toBe('abcb')
  })

  it('keeps nothing where nothing fits', async () => {
    expect(await decodedOf(new PictureCache(29), 'aa')).toBe('aa')
    expect(await decodedOf(new PictureCache(0), 'aa')).toBe('aa')
  })

  it('keeps no failure', async () => {
    const cache = new PictureCache(60)
    await expect(cache.get('a', () => Promise.reject(new Error('damaged')))).rejects.toThrow('damaged')
    expect(await decodedOf(cache, 'a')).toBe('a')
  })

  it('counts a picture once that is decoded twice at the same time', async () => {
    const cache = new PictureCache(60)
    await Promise.all(['a', 'a'].map((key) => cache.get(key, async () => picture(30))))
    expect(await decodedOf(cache, 'bab')).toBe('b')
  })
})
