import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { anyresPicture } from '../../../src/preprocess/anyres.js'
import { hdPicture } from '../../../src/preprocess/hd-crops.js'
import { native, type RgbImage } from '../../../src/native.js'
import { decodePicture } from '../../../src/preprocess/image.js'
import { prepareTiles, tileCount, tilePixels, type TiledPicture } from '../../../src/preprocess/tiles.js'

interface Digest {
  tiles: number
  sha256: string
}
interface Expected {
  hd: Digest & { crops: number }
  anyres: Digest
}
/** by scripts/record-tiles.py */
const recorded = JSON.parse(await readFile(fileURLToPath(new URL('tile-pixels.json', import.meta.url)), 'utf8')) as {
  formula: (Expected & { width: number; height: number })[]
  photos: (Expected & { file: string })[]
}

const TILE = 336
const clip = { mean: [0.48145466, 0.4578275, 0.40821073], std: [0.26862954, 0.26130258, 0.27577711] } as const
const resolutions = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]] as const // prettier-ignore

async function digest(image: RgbImage, plan: TiledPicture, filter: 'bilinear' | 'bicubic'): Promise<Digest> {
  const mergeSize = filter === 'bilinear' ? 2 : 1
  const picture = await prepareTiles(image, plan, filter)
  const layout = { patchSize: 14, temporalPatchSize: 1, mergeSize, ...clip }
  const patches = await native().patchify({ ...picture, grid: [tileCount(plan), TILE / 14, TILE / 14], layout })
  const pixels = tilePixels(patches, { tile: TILE, patchSize: 14, mergeSize })
  const sha256 = createHash('sha256').update(new Uint8Array(pixels.buffer)).digest('hex')
  return { tiles: tileCount(plan), sha256 }
}

async function expectEqual(image: RgbImage, { hd, anyres }: Expected, name: string): Promise<void> {
  const { crops, ...expected } = hd
  expect(await digest(image, hdPicture(image, { crops, tile: TILE }, name), 'bilinear'), name).toEqual(expected)
  expect(await digest(image, anyresPicture(image, { resolutions, tile: TILE }), 'bicubic'), name).toEqual(anyres)
}

function formula(width: number, height: number): RgbImage {
  const data = new Uint8Array(3 * width * height)
  for (let y = 0, i = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      for (let c = 0; c < 3; c++, i++)
        data[i] =
          (Math.floor(x / 3) + Math.floor(y / 2)) % 2 ? (c === 1 ? 255 : 0) : x * 37 + y * 101 + c * 59 + x * y * 7
  return { width, height, data }
}

describe('prepareTiles', () => {
  it.each(recorded.formula)(
    'has the bits of Pillow and torch for $width x $height',
    async ({ width, height, ...each }) => {
      await expectEqual(formula(width, height), each, `${width} x ${height}`)
    }
  )

  const data = process.env['VLM2VEC_TEST_DATA']
  it.skipIf(!data)('has them for photographs too (VLM2VEC_TEST_DATA)', { timeout: 300_000 }, async () => {
    for (const { file, ...each } of recorded.photos) {
      const image = await decodePicture(await readFile(join(data!, 'data/photos', file)), { name: file })
      await expectEqual(image, each, file)
    }
  })
})
