/** Decoded pictures to prepared ones, and these to patches. */

/** (height, width, 3) bytes. */
export interface RgbImage {
  width: number
  height: number
  data: Uint8Array
}

export interface PrepareImageInput {
  /** one: an image. More: video frames, each resized from its own size */
  frames: readonly RgbImage[]
  toWidth: number
  toHeight: number
  filter: 'bilinear' | 'bicubic' | 'lanczos'
}

export interface PrepareTilesInput {
  picture: RgbImage
  /** resized with rows and columns changed, and changed back */
  transposed: boolean
  /** size after resizing */
  toWidth: number
  toHeight: number
  filter: PrepareImageInput['filter']
  /** what the resized picture stands on, and where; multiples of `tile` */
  canvas: { width: number; height: number; left: number; top: number; fill: number }
  tile: number
  overview: PictureTiles['overview']
}

/** How a tower's patches are cut, and what a byte becomes: (byte / 255 - mean) / std of its channel. */
export interface PatchLayout {
  patchSize: number
  temporalPatchSize: number
  /** patches a side that follow each other, row by row, before the next block of them */
  mergeSize: number
  mean: readonly [number, number, number]
  std: readonly [number, number, number]
}

/** A canvas that is cut into square tiles. */
export interface PictureTiles {
  /** tiles of a row */
  across: number
  /** the whole as one tile: the picture by itself, or the normalised canvas, as torch interpolates it (ops/tiles.h) */
  overview: 'resized' | 'interpolated'
}

/** A picture or video as batches hold it: its bytes in the size that the tower sees, and what its patches are made with. */
export interface PreparedPicture {
  /** patches in time, height and width; of tiles: how many, the overview among them, and the patches of one */
  grid: readonly [number, number, number]
  /**
   * (frames, height, width, 3); an incomplete last group of `temporalPatchSize` frames repeats the last one. Of tiles: a
   * resized overview, (tile, tile, 3), then the canvas, (height, width, 3).
   */
  pixels: Uint8Array
  layout: PatchLayout
  tiles?: PictureTiles
}
