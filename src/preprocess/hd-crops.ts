/**
 * The HD transform of Phi-3.5-V: a picture is enlarged or reduced to a width of whole tiles (its longer side), its height
 * filled up with white to whole tiles, and cut; with an overview of the whole. Numbers as the model's own processor
 * computes them.
 */
import { Vlm2VecError } from '../errors.js'
import type { Size, TiledPicture } from './tiles.js'

export const WHITE = 255

/**
 * @param crops at most so many tiles before the height is filled up
 * @throws E_IMAGE, naming `where`: so narrow that nothing would be left of it
 */
export function hdPicture(
  picture: Size,
  { crops, tile }: { crops: number; tile: number },
  where: string
): TiledPicture {
  const transposed = picture.width < picture.height
  const [long, short] = transposed ? [picture.height, picture.width] : [picture.width, picture.height]
  const ratio = long / short
  let scale = 1
  while (scale * Math.ceil(scale / ratio) <= crops) scale++
  const width = tile * (scale - 1)
  const height = Math.trunc(width / ratio)
  if (height < 1)
    throw new Vlm2VecError(
      'E_IMAGE',
      `${where}: the picture has ${picture.width} x ${picture.height} pixels; of its shorter side nothing is left at a ` +
        `length of ${width}. Crop it, or raise --num-crops.`
    )
  const filled = Math.ceil(height / tile) * tile
  const before = Math.trunc((filled - height) / 2)
  const turn = (along: number, across: number): Size =>
    transposed ? { width: across, height: along } : { width: along, height: across }
  return {
    transposed,
    resized: turn(width, height),
    canvas: turn(width, filled),
    left: transposed ? before : 0,
    top: transposed ? 0 : before,
    fill: WHITE,
    tile,
    overview: 'interpolated'
  }
}

/** Separators among the features of a picture: learned vectors, by their numbers in `Batch.featureRows`. */
const END_OF_ROW = -1
const BETWEEN = -2

/**
 * What stands at each token of a picture: rows of features from tile 0, the overview, on (`side` x `side` features a tile),
 * or a separator. The tiles as one map, each of its rows ended; a separator; the overview likewise; or the overview first.
 */
export function hdRows(
  { canvas, tile }: Pick<TiledPicture, 'canvas' | 'tile'>,
  side: number,
  order: 'sub_glb' | 'glb_sub' = 'sub_glb'
): Int32Array {
  const [across, down] = [canvas.width / tile, canvas.height / tile]
  const rows: number[] = []
  const overview = (): void => {
    for (let y = 0; y < side; y++) {
      for (let x = 0; x < side; x++) rows.push(y * side + x)
      rows.push(END_OF_ROW)
    }
  }
  const map = (): void => {
    for (let y = 0; y < down * side; y++) {
      for (let x = 0; x < across * side; x++) rows.push(featureAt(x, y, { across, side }))
      rows.push(END_OF_ROW)
    }
  }
  const [first, second] = order === 'sub_glb' ? [map, overview] : [overview, map]
  first()
  rows.push(BETWEEN)
  second()
  return Int32Array.from(rows)
}

/** The row of the feature at (x, y) of the map of all tiles; tile 0 is the overview. */
export function featureAt(x: number, y: number, { across, side }: { across: number; side: number }): number {
  const tile = 1 + Math.floor(y / side) * across + Math.floor(x / side)
  return tile * side * side + (y % side) * side + (x % side)
}
