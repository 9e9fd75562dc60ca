import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { decodePicture, measurePicture, readPicture } from '../../../src/preprocess/image.js'

/** made by scripts/record-pictures.py with Pillow 12.3 */
const recorded = JSON.parse(await readFile(new URL('pictures.json', import.meta.url), 'utf8')) as {
  width: number
  height: number
  pictures: { name: string; file: string; rgb: string }[]
}
const fileOf = (name: string): Buffer =>
  Buffer.from(recorded.pictures.find((each) => each.name === name)!.file, 'base64')
const square = (side: number): Promise<Buffer> =>
  sharp({ create: { width: side, height: side, channels: 3, background: { r: 3, g: 5, b: 7 } } })
    .png()
    .toBuffer()

describe('decodePicture', () => {
  it.each(recorded.pictures)("gives the pixels of Pillow's convert('RGB') for $name", async ({ name, file, rgb }) => {
    const image = await decodePicture(Buffer.from(file, 'base64'), { name })
    expect({ ...image, data: Buffer.from(image.data).toString('base64') }).toEqual({
      width: recorded.width,
      height: recorded.height,
      data: rgb
    })
  })

  it('decodes a picture of one pixel', async () => {
    const { width, height, data } = await decodePicture(await square(1), { name: 'dot' })
    expect([width, height, ...data]).toEqual([1, 1, 3, 5, 7])
  })

  it.each([
    'rgb.png',
    '420.jpg',
    '444-progressive.jpg',
    'lossy.webp',
    'alpha.webp',
    'palette.gif',
    'transparent.gif',
    'rgb.tiff'
  ])('refuses %s where it is cut off', async (name) => {
    const bytes = fileOf(name)
    for (const share of [0.1, 0.5, 0.8]) {
      const cut = decodePicture(bytes.subarray(0, Math.floor(share * bytes.length)), {
        name: `a.jsonl: record 2: ${name}`
      })
      await expect(cut).rejects.toMatchObject({
        code: 'E_IMAGE',
        message: expect.stringMatching(/^a\.jsonl: record 2: .*truncated or damaged/)
      })
    }
  })

  it.each([
    ['text', 'hello', /not a picture/],
    ['SVG', '<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"></svg>', /in svg are not read.*PNG or JPEG/]
  ])('refuses %s', async (_, text, message) => {
    await expect(decodePicture(Buffer.from(text), { name: 'x' })).rejects.toMatchObject({
      code: 'E_IMAGE',
      message: expect.stringMatching(message)
    })
  })

  it('refuses a picture with more pixels than the limit before it is decoded', async () => {
    const bytes = fileOf('rgb.png')
    await expect(decodePicture(bytes, { name: 'x', pixelLimit: 116 })).rejects.toMatchObject({
      code: 'E_IMAGE',
      message: expect.stringMatching(/13 x 9 pixels, more than the limit of 116/)
    })
    expect(await decodePicture(bytes, { name: 'x', pixelLimit: 117 })).toMatchObject({ width: 13 })
    // A header that claims 100,000 x 100,000 pixels.
    const lying = Buffer.from(bytes)
    lying.writeUInt32BE(100_000, 16)
    lying.writeUInt32BE(100_000, 20)
    await expect(decodePicture(lying, { name: 'x' })).rejects.toMatchObject({ code: 'E_IMAGE' })
  })
})

describe('readPicture', () => {
  let root: string
  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'pictures-'))
    await writeFile(join(root, 'a b.png'), 'bytes')
    await writeFile(join(root, 'empty.png'), '')
  })
  afterAll(() => rm(root, { recursive: true }))

  it.each<[string, () => string | URL | Uint8Array]>([
    ['a path below the root', () => 'a b.png'],
    ['an absolute path', () => join(root, 'a b.png')],
    ['a file: URL', () => pathToFileURL(join(root, 'a b.png'))],
    ['a file: URL as text', () => pathToFileURL(join(root, 'a b.png')).href],
    ['a base64 data: URL', () => `data:image/png;base64,${Buffer.from('bytes').toString('base64')}`],
    ['a percent-encoded data: URL', () => 'data:,b%79tes'],
    ['bytes', () => Buffer.from('bytes')]
  ])('reads %s', async (_, source) => {
    expect(Buffer.from(await readPicture(source(), root, '')).toString()).toBe('bytes')
  })

  it('tells pictures apart that were given in the same memory', async () => {
    const memory = Buffer.alloc(1000)
    const sizes = []
    for (const side of [3, 5]) {
      memory.set(await square(side))
      const bytes = await readPicture(memory, root, '')
      sizes.push((await measurePicture(bytes))!.width, (await decodePicture(bytes, { name: 'x' })).width)
    }
    expect(sizes).toEqual([3, 3, 5, 5])
  })

  it.each<[string, string | Uint8Array, RegExp]>([
    ['a missing file', 'none.png', /rows\.jsonl: record 9: picture .*none\.png: no such file; .*--image-root/],
    ['a directory', '.', /EISDIR|directory/],
    ['an empty file', 'empty.png', /empty\.png is empty/],
    ['no bytes', new Uint8Array(0), /bytes is empty/],
    ['an empty data: URL', 'data:image/png;base64,', /is empty/],
    ['a data: URL without data', 'data:image/png;base64', /without a comma/],
    ['a picture of the web', 'https://example.org/a.png', /Download it first/],
    ['a file: URL of another machine', 'file://elsewhere/a.png', /not a file: URL of this machine/]
  ])('refuses %s', async (_, source, message) => {
    await expect(readPicture(source, root, 'rows.jsonl: record 9')).rejects.toMatchObject({
      code: 'E_IMAGE',
      message: expect.stringMatching(message)
    })
  })
})

const data = process.env['VLM2VEC_TEST_DATA']
describe.skipIf(!data)('real photographs (VLM2VEC_TEST_DATA)', () => {
  it('decodes every one to three channels', async () => {
    const folder = join(data!, 'data/photos')
    const names = await readdir(folder)
    expect(names.length).toBe(96)
    for (const name of names) {
      const image = await decodePicture(await readFile(join(folder, name)), { name })
      expect([name, image.data.length]).toEqual([name, 3 * image.width * image.height])
    }
  })
})
