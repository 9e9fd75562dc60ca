/** The size that Qwen2-VL's image processor resizes a picture to (transformers 5.18, `smart_resize`). */
import { Vlm2VecError } from '../errors.js'

export interface PixelBudget {
  /** pixels of a picture after resizing, at least and at most (of one frame, for videos) */
  minPixels: number
  maxPixels: number
}

const MAX_ASPECT = 200

/**
 * A size whose sides are multiples of `factor`, near the picture's own and within the budget. E_IMAGE, naming `where`: one
 * side is over 200 times the other.
 */
export function smartResize(
  { width, height }: { width: number; height: number },
  factor: number,
  { minPixels, maxPixels }: PixelBudget,
  where: string,
  least = 0
): { width: number; height: number } {
  checkAspect({ width, height }, where)
  const toWidth = Math.max(least, roundHalfEven(width / factor) * factor)
  const toHeight = Math.max(least, roundHalfEven(height / factor) * factor)
  if (toWidth * toHeight > maxPixels) {
    const beta = Math.sqrt((height * width) / maxPixels)
    const shrunk = (side: number): number => Math.max(factor, Math.floor(side / beta / factor) * factor)
    return { width: shrunk(width), height: shrunk(height) }
  }
  if (toWidth * toHeight < minPixels) {
    const beta = Math.sqrt(minPixels / (height * width))
    const grown = (side: number): number => Math.ceil((side * beta) / factor) * factor
    return { width: grown(width), height: grown(height) }
  }
  return { width: toWidth, height: toHeight }
}

/**
 * The size that the frames of a Qwen3-VL video are resized to (`smart_resize` of its video processor): the budget is for the
 * pixels of all frames together. E_IMAGE as above.
 */
export function smartResizeVideo(
  { frames, width, height }: { frames: number; width: number; height: number },
  { factor, temporal }: { factor: number; temporal: number },
  { minPixels, maxPixels }: PixelBudget,
  where: string
): { width: number; height: number } {
  const count = Math.max(frames, temporal) // fewer are repeated
  const counted = roundHalfEven(count / temporal) * temporal
  const scale = Math.max(1, factor / height, factor / width)
  const [w, h] = scale > 1 ? [Math.trunc(width * scale), Math.trunc(height * scale)] : [width, height]
  checkAspect({ width: w, height: h }, where)
  const round = (side: number): number => roundHalfEven(side / factor) * factor
  const total = counted * round(h) * round(w)
  if (total > maxPixels) {
    const beta = Math.sqrt((count * h * w) / maxPixels)
    const shrunk = (side: number): number => Math.max(factor, Math.floor(side / beta / factor) * factor)
    return { width: shrunk(w), height: shrunk(h) }
  }
  if (total < minPixels) {
    const beta = Math.sqrt(minPixels / (count * h * w))
    const grown = (side: number): number => Math.ceil((side * beta) / factor) * factor
    return { width: grown(w), height: grown(h) }
  }
  return { width: round(w), height: round(h) }
}

function checkAspect({ width, height }: { width: number; height: number }, where: string): void {
  const aspect = Math.max(width, height) / Math.min(width, height)
  if (aspect > MAX_ASPECT)
    throw new Vlm2VecError(
      'E_IMAGE',
      `${where}: the picture has ${width} x ${height} pixels, one side ${aspect.toFixed(1)} times the other; at most ${MAX_ASPECT} is possible. Crop it.`
    )
}

/** Python's round(): a half goes to the even neighbour. */
export function roundHalfEven(value: number): number {
  const floor = Math.floor(value)
  const fraction = value - floor
  if (fraction !== 0.5) return Math.round(value)
  return floor % 2 === 0 ? floor : floor + 1
}
