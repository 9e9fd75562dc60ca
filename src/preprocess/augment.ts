/** Random flips and crops of training pictures, before resizing: a pure function of seed, epoch, row and place in the row. */
import { randomUniform } from '../data/random.js'
import type { RgbImage } from '../native.js'

export interface Augmentation {
  /** probability of a horizontal flip, 0 to 1 */
  flip: number
  /** smallest share of a picture's area that a crop keeps, above 0 to 1; 1: no crop */
  crop: number
  seed: number
  epoch: number
  row: number
  /** which item of the row: 0 is the query, then positives and negatives in order */
  item: number
}

const STREAM = 0x61756721 // apart from shuffling, dropout and initial weights
/** random numbers that one picture may use */
const DRAWS = 4

/** `picture` counts the pictures of the item. */
export function augment(image: RgbImage, augmentation: Augmentation, picture: number): RgbImage {
  const { seed, epoch, row, item } = augmentation
  const stream = (BigInt(STREAM) << 32n) | BigInt(epoch)
  // Rows below 2^32, items of a row below 2^16, pictures of an item below 2^14.
  const first = (BigInt(row) << 32n) + (BigInt(item) << 16n) + BigInt(picture * DRAWS)
  const draw = (index: number): number => randomUniform(BigInt(seed), stream, first + BigInt(index))
  const share = augmentation.crop + (1 - augmentation.crop) * draw(0)
  const side = Math.sqrt(share)
  const width = Math.max(1, Math.round(image.width * side))
  const height = Math.max(1, Math.round(image.height * side))
  const left = Math.floor(draw(1) * (image.width - width + 1))
  const top = Math.floor(draw(2) * (image.height - height + 1))
  const flipped = draw(3) < augmentation.flip
  if (!flipped && width === image.width && height === image.height) return image
  return part(image, { left, top, width, height, flipped })
}

interface Part {
  left: number
  top: number
  width: number
  height: number
  flipped: boolean
}

function part(image: RgbImage, { left, top, width, height, flipped }: Part): RgbImage {
  const data = new Uint8Array(3 * width * height)
  for (let y = 0; y < height; y++) {
    const start = 3 * ((top + y) * image.width + left)
    const row = image.data.subarray(start, start + 3 * width)
    let to = 3 * y * width
    if (!flipped) data.set(row, to)
    else
      for (let from = 3 * (width - 1); from >= 0; from -= 3) {
        data[to++] = row[from]!
        data[to++] = row[from + 1]!
        data[to++] = row[from + 2]!
      }
  }
  return { width, height, data }
}
