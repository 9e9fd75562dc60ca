/** Sizes that a picture is given, by a resize of its own, before the model's rule decides on its size. */
import type { FirstSize } from '../model/preset.js'
import { native, type RgbImage } from '../native.js'
import { smartResize, type PixelBudget } from './smart-resize.js'

/** Of qwen-vl-utils, with Qwen2-VL's patches. */
const QWEN_FACTOR = 28
const QWEN_PIXELS: PixelBudget = { minPixels: 4 * QWEN_FACTOR ** 2, maxPixels: 16384 * QWEN_FACTOR ** 2 }
const VLM2VEC_SMALL = 28

type Size = { width: number; height: number }

/**
 * - a number: a square of that side, whatever the shape (VLM2Vec's first release)
 * - `vlm2vec`: pictures with a side below 28 pixels become 56 x 56 (VLM2Vec's second)
 * - `qwen`: the sizes of qwen-vl-utils, which loads pictures for GME
 *
 * Undefined: the picture stays as it is. E_IMAGE, naming `where`.
 */
export function firstSize(rule: FirstSize, { width, height }: Size, where: string): Size | undefined {
  const size = sizeBy(rule, { width, height }, where)
  return size && (size.width !== width || size.height !== height) ? size : undefined
}

function sizeBy(rule: FirstSize, size: Size, where: string): Size | undefined {
  if (rule === 'none') return undefined
  // there a rounded side is at least one token
  if (rule === 'qwen') return smartResize(size, QWEN_FACTOR, QWEN_PIXELS, where, QWEN_FACTOR)
  if (rule !== 'vlm2vec') return { width: rule, height: rule }
  const side = 2 * VLM2VEC_SMALL
  return Math.min(size.width, size.height) < VLM2VEC_SMALL ? { width: side, height: side } : undefined
}

/** The picture in the size that comes first, resized as Pillow does (bicubic). */
export async function inFirstSize(image: RgbImage, rule: FirstSize, where: string): Promise<RgbImage> {
  const size = firstSize(rule, image, where)
  if (!size) return image
  const { width: toWidth, height: toHeight } = size
  const data = await native().prepareImage({ frames: [image], toWidth, toHeight, filter: 'bicubic' })
  return { ...size, data }
}
