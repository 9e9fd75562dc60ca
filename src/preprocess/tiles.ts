/** Pictures that are cut into square tiles, each of which the vision tower sees by itself. */
import { native, type PictureTiles, type PreparedPicture, type PrepareTilesInput, type RgbImage } from '../native.js'

export interface Size {
  width: number
  height: number
}

/** How a picture becomes tiles. Sizes in pixels, of the picture as it stands. */
export interface TiledPicture {
  /** resized lying on its side (rows and columns change places before and after): the two passes round differently */
  transposed: boolean
  resized: Size
  /** multiples of `tile` */
  canvas: Size
  /** where the resized picture stands on the canvas */
  left: number
  top: number
  /** of the rest of the canvas: value of each channel */
  fill: number
  tile: number
  overview: PictureTiles['overview']
}

/** The overview, where it is a picture by itself, and the canvas. */
export async function prepareTiles(
  picture: RgbImage,
  { transposed, resized, canvas, left, top, fill, tile, overview }: TiledPicture,
  filter: PrepareTilesInput['filter']
): Promise<Required<Pick<PreparedPicture, 'pixels' | 'tiles'>>> {
  const pixels = await native().prepareTiles({
    picture,
    transposed,
    toWidth: resized.width,
    toHeight: resized.height,
    filter,
    canvas: { width: canvas.width, height: canvas.height, left, top, fill },
    tile,
    overview
  })
  return { pixels, tiles: { across: canvas.width / tile, overview } }
}

/** Bytes of the overview in front of the canvas. */
export const overviewBytes = ({ tile, overview }: Pick<TiledPicture, 'tile' | 'overview'>): number =>
  overview === 'resized' ? 3 * tile ** 2 : 0

/** Tiles of a picture, the overview among them. */
export const tileCount = ({ canvas, tile }: TiledPicture): number => 1 + (canvas.width / tile) * (canvas.height / tile)

/** Patches of tiles, put back together: (tiles, 3, tile, tile), the form that transformers' towers take. */
export function tilePixels(
  patches: Float32Array,
  { tile, patchSize, mergeSize }: { tile: number; patchSize: number; mergeSize: number }
): Float32Array {
  const pixels = new Float32Array(patches.length)
  const [across, block] = [tile / patchSize, mergeSize * mergeSize]
  const blocks = across / mergeSize
  let from = 0
  for (let first = 0; first < pixels.length; first += 3 * tile * tile)
    for (let patch = 0; patch < across * across; patch++) {
      const [outer, inner] = [Math.floor(patch / block), patch % block]
      const top = (Math.floor(outer / blocks) * mergeSize + Math.floor(inner / mergeSize)) * patchSize
      const left = ((outer % blocks) * mergeSize + (inner % mergeSize)) * patchSize
      for (let channel = 0; channel < 3; channel++)
        for (let y = 0; y < patchSize; y++, from += patchSize)
          pixels.set(patches.subarray(from, from + patchSize), first + (channel * tile + top + y) * tile + left)
    }
  return pixels
}
