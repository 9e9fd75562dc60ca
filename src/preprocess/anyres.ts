/**
 * The tiles of LLaVA-NeXT: of the resolutions that the model knows, the one that keeps most of a picture; the picture fitted
 * into it, the rest black, cut into tiles; with an overview of the whole, stretched to one tile. Numbers as in
 * transformers' LlavaNextImageProcessor and LlavaNextProcessor.
 */
import { featureAt } from './hd-crops.js'
import type { Size, TiledPicture } from './tiles.js'

const BLACK = 0

/** `resolutions`: [height, width] each, multiples of `tile`. */
export function anyresPicture(
  picture: Size,
  { resolutions, tile }: { resolutions: readonly (readonly [number, number])[]; tile: number }
): TiledPicture {
  const canvas = bestResolution(picture, resolutions)
  const [byWidth, byHeight] = [canvas.width / picture.width, canvas.height / picture.height]
  const resized =
    byWidth < byHeight
      ? { width: canvas.width, height: Math.min(Math.ceil(picture.height * byWidth), canvas.height) }
      : { width: Math.min(Math.ceil(picture.width * byHeight), canvas.width), height: canvas.height }
  return {
    transposed: false,
    resized,
    canvas,
    left: Math.floor((canvas.width - resized.width) / 2),
    top: Math.floor((canvas.height - resized.height) / 2),
    fill: BLACK,
    tile,
    overview: 'resized'
  }
}

/** Most pixels of the picture kept, then fewest of the resolution wasted, then the first. */
function bestResolution(picture: Size, resolutions: readonly (readonly [number, number])[]): Size {
  let best: Size | undefined
  let most = 0
  let least = Infinity
  for (const [height, width] of resolutions) {
    const scale = Math.min(width / picture.width, height / picture.height)
    const fitted = Math.trunc(picture.width * scale) * Math.trunc(picture.height * scale)
    const kept = Math.min(fitted, picture.width * picture.height)
    const wasted = width * height - kept
    if (kept > most || (kept === most && wasted < least)) {
      ;[most, least] = [kept, wasted]
      best = { width, height }
    }
  }
  return best!
}

const NEWLINE = -1

/**
 * What stands at each token of a picture of `original` size: the overview's features (`side` x `side`), then those of the
 * tiles as one map without its borders, each row ended by the learned newline.
 */
export function anyresRows(
  original: Size,
  { canvas, tile }: Pick<TiledPicture, 'canvas' | 'tile'>,
  side: number
): Int32Array {
  const across = canvas.width / tile
  const [width, height] = [across * side, (canvas.height / tile) * side]
  const rows: number[] = []
  for (let i = 0; i < side * side; i++) rows.push(i)
  const { left, top } = border(original, { width, height })
  for (let y = top; y < height - top; y++) {
    for (let x = left; x < width - left; x++) rows.push(featureAt(x, y, { across, side }))
    rows.push(NEWLINE)
  }
  return Int32Array.from(rows)
}

/** Features at each side of the map that show nothing of the picture. */
function border(original: Size, map: Size): { left: number; top: number } {
  // Rounded to seven places first, as transformers does, so that 24 does not become 23.
  const whole = (value: number): number => Math.trunc(Number(value.toFixed(7)))
  if (original.width / original.height > map.width / map.height)
    return { left: 0, top: Math.floor((map.height - whole(original.height * (map.width / original.width))) / 2) }
  return { left: Math.floor((map.width - whole(original.width * (map.height / original.height))) / 2), top: 0 }
}
