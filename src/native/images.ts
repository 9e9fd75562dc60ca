/** Decoded pictures to patches. */

export interface PrepareImageInput {
  /** pictures of one size: (height, width, 3) bytes each. One: an image. More: video frames */
  frames: Uint8Array[]
  width: number
  height: number
  /** size after resizing; multiples of patchSize * mergeSize where patches are wanted */
  toWidth: number
  toHeight: number
  filter: 'bilinear' | 'bicubic' | 'lanczos'
  /** absent: only resize */
  patches?: {
    patchSize: number
    temporalPatchSize: number
    mergeSize: number
    mean: readonly [number, number, number]
    std: readonly [number, number, number]
  }
  /** also return the resized bytes */
  keepResized?: boolean
}

export interface PrepareImageResult {
  /** (P, PD) */
  patches?: Float32Array
  resized?: Uint8Array[]
}

export interface PrepareTilesInput {
  /** a picture: (height, width, 3) bytes */
  pixels: Uint8Array
  width: number
  height: number
  /** resized with rows and columns changed, and changed back */
  transposed: boolean
  /** size after resizing */
  toWidth: number
  toHeight: number
  filter: PrepareImageInput['filter']
  /** what the resized picture stands on, and where; multiples of `tile` */
  canvas: { width: number; height: number; left: number; top: number; fill: number }
  tile: number
  /** 'resized': the picture itself, by the same filter. 'interpolated': the normalised canvas, as torch does (ops/tiles.h) */
  overview: 'resized' | 'interpolated'
  patches: NonNullable<PrepareImageInput['patches']>
  keepCanvas?: boolean
}

export interface PrepareTilesResult {
  /** the overview, then the tiles row by row: ((1 + tiles) * (tile / patchSize)^2, PD) */
  patches: Float32Array
  /** (canvas.height, canvas.width, 3) */
  canvas?: Uint8Array
}
