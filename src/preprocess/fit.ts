/**
 * Pictures brought to one size, as the image processors of CLIP and SigLIP do: resized by the shorter edge or to a size,
 * then cut around the centre, black where the picture is smaller.
 */
import { Fields } from '../json-fields.js'
import { native, type RgbImage } from '../native.js'
import type { VisionConfig } from '../model/config.js'
import type { ImageSettings } from './image-settings.js'

export interface Size {
  width: number
  height: number
}

export interface Fit {
  resize: { shortestEdge: number } | Size
  /** side of the square that is cut out; absent: nothing is cut */
  crop?: number
}

/** A picture's size after resizing, and where in it the square of the tower begins, in pixels (below 0: outside). */
export interface Placed {
  resized: Size
  left: number
  top: number
}

/**
 * Keys `size`, `do_center_crop` and `crop_size` in all their spellings. E_MODEL unless pictures, or the tiles that they are
 * cut into, end up as squares of the tower's size.
 */
export function readFit(
  fields: Fields,
  { crop: cropped, tiles = false }: { crop: boolean; tiles?: boolean },
  { imageSize, resolutions }: VisionConfig
): Fit {
  const side = imageSize!
  const resize = readSize(fields, 'size', side)
  if (tiles) {
    if ('shortestEdge' in resize ? resize.shortestEdge !== side : resize.width !== side || resize.height !== side)
      throw fields.error('size', `a shortest_edge of ${side}, the image_size of config.json,`)
    const pinpoints = fields.raw('image_grid_pinpoints') ?? resolutions
    if (JSON.stringify(pinpoints) !== JSON.stringify(resolutions))
      throw fields.error('image_grid_pinpoints', 'those of config.json')
  }
  if (fields.boolean('do_center_crop', cropped)) {
    const { width, height } = squareOf(fields, 'crop_size', side)
    if (width !== side || height !== side) throw fields.error('crop_size', `${side}, the image_size of config.json,`)
    return { resize, crop: side }
  }
  if ('shortestEdge' in resize || resize.width !== side || resize.height !== side)
    throw fields.error('size', `a height and width of ${side}, the image_size of config.json,`)
  return { resize }
}

function readSize(fields: Fields, key: string, side: number): Fit['resize'] {
  if (typeof fields.raw(key) === 'number') return { shortestEdge: fields.integer(key, { min: 1 }) }
  const nested = fields.nested(key)
  if (!nested?.has('shortest_edge')) return squareOf(fields, key, side)
  if (nested.has('longest_edge')) throw nested.error('longest_edge', 'nothing beside shortest_edge')
  return { shortestEdge: nested.integer('shortest_edge', { min: 1 }) }
}

function squareOf(fields: Fields, key: string, side: number): Size {
  if (typeof fields.raw(key) === 'number') {
    const length = fields.integer(key, { min: 1 })
    return { width: length, height: length }
  }
  const nested = fields.nested(key)
  if (!nested) return { width: side, height: side }
  return { width: nested.integer('width', { min: 1 }), height: nested.integer('height', { min: 1 }) }
}

export function placePicture({ width, height }: Size, { resize, crop }: Fit): Placed {
  const resized = 'shortestEdge' in resize ? byShorterEdge({ width, height }, resize.shortestEdge) : resize
  if (crop === undefined) return { resized, left: 0, top: 0 }
  return {
    resized,
    left: Math.floor((resized.width - crop) / 2),
    top: Math.floor((resized.height - crop) / 2)
  }
}

function byShorterEdge({ width, height }: Size, edge: number): Size {
  return width <= height
    ? { width: edge, height: Math.trunc((edge * height) / width) }
    : { width: Math.trunc((edge * width) / height), height: edge }
}

/** (height, width, 3) bytes of the square that the tower sees. */
export async function fitPicture(
  image: RgbImage,
  { resized, left, top }: Placed,
  { width, height, filter }: Size & Pick<ImageSettings, 'filter'>
): Promise<Uint8Array> {
  const pixels = await native().prepareImage({
    frames: [image],
    toWidth: resized.width,
    toHeight: resized.height,
    filter
  })
  const square = new Uint8Array(width * height * 3)
  const first = Math.max(0, -left)
  const last = Math.min(width, resized.width - left)
  for (let y = Math.max(0, -top); y < Math.min(height, resized.height - top); y++) {
    const row = ((y + top) * resized.width + left) * 3
    square.set(pixels.subarray(row + first * 3, row + last * 3), (y * width + first) * 3)
  }
  return square
}
