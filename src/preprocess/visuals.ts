/** Pictures and videos of an item as batches hold them: read, decoded, augmented, sized and resized. */
import { createHash } from 'node:crypto'
import { native, type PatchLayout, type PreparedPicture, type RgbImage } from '../native.js'
import type { ImageSource, Video } from '../data/item.js'
import type { VisionConfig } from '../model/config.js'
import { augment, type Augmentation } from './augment.js'
import { inFirstSize } from './first-size.js'
import { fitPicture } from './fit.js'
import { decodePicture, measurePicture, readPicture } from './image.js'
import { visualKey } from './keys.js'
import type { PictureCache } from './picture-cache.js'
import { featureCount } from './pictures.js'
import type { PreparedVisual } from './prepared.js'
import type { InputRules, PictureSize } from './rules.js'
import type { ProcessorSettings } from './settings.js'
import { overviewBytes, prepareTiles } from './tiles.js'

/** A picture or video whose size after resizing is known. */
export interface SizedVisual extends PictureSize {
  kind: 'image' | 'video'
  key: string
  frames: RgbImage[]
  fps?: number | undefined
}

export interface VisualPlace {
  imageRoot: string
  where: string
  augment?: Augmentation | undefined
  /** counts the pictures and videos of the item */
  index: number
}

/** The encoded bytes of a picture, or of the frames of a video in order, and their SHA-256 (hex). */
export interface EncodedVisual {
  kind: 'image' | 'video'
  encoded: Uint8Array[]
  digests: string[]
  names: string[]
  /** frames a second, of a video */
  fps?: number | undefined
}

/** Where an item does not say. */
export const DEFAULT_FPS = 2

export async function readVisual(
  visual: ImageSource | Video,
  { imageRoot, where }: VisualPlace
): Promise<EncodedVisual> {
  const video = isVideo(visual)
  const sources = video ? visual.frames : [visual]
  const encoded = await Promise.all(sources.map((source) => readPicture(source, imageRoot, where)))
  const digests = encoded.map((bytes) => createHash('sha256').update(bytes).digest('hex'))
  const names = sources.map(nameOf)
  return video
    ? { kind: 'video', encoded, digests, names, fps: visual.fps ?? DEFAULT_FPS }
    : { kind: 'image', encoded, digests, names }
}

/** What the size of a picture depends on, and where decoded ones are kept. */
export interface Sizing {
  rules: InputRules
  settings: ProcessorSettings
  pictures: PictureCache
}

/** Bytes that it takes decoded, and prepared: by its header, before anything is decoded. */
export async function bytesOf(
  { kind, encoded }: EncodedVisual,
  { rules, settings }: Omit<Sizing, 'pictures'>
): Promise<number> {
  const sizes = await Promise.all(encoded.map((bytes) => measurePicture(bytes, settings.pixelLimit)))
  const [first] = sizes
  if (!first) return 0
  const decoded = sizes.reduce((sum, size) => sum + 3 * (size ? size.width * size.height : 0), 0)
  try {
    const { width, height, tiled } = rules.size({ kind, frames: encoded.length, ...first }, settings, '')
    return decoded + encoded.length * 3 * width * height + (tiled ? overviewBytes(tiled) : 0)
  } catch {
    return decoded // its turn for an error comes
  }
}

/** Decodes, and decides on the size, which for a video is that of its first frame. E_IMAGE. */
export async function sizeVisual(
  visual: EncodedVisual,
  { rules, settings, pictures }: Sizing,
  place: VisualPlace
): Promise<SizedVisual> {
  const { kind, encoded, digests, names, fps } = visual
  const frames = await Promise.all(
    encoded.map(async (bytes, index) => {
      const name = `${place.where}: ${names[index]}`
      const image = await pictures.get(digests[index]!, () =>
        decodePicture(bytes, { name, pixelLimit: settings.pixelLimit })
      )
      const augmented = place.augment ? augment(image, place.augment, place.index) : image
      return inFirstSize(augmented, settings.firstSize, name)
    })
  )
  const [{ width, height }] = frames as [RgbImage, ...RgbImage[]]
  const facts = { kind, frames: frames.length, width, height }
  return {
    kind,
    key: visualKey(visual, place),
    frames,
    fps,
    ...rules.size(facts, settings, `${place.where}: ${names[0]}`)
  }
}

/** What all prepared pictures of a model share. */
export interface Preparation {
  vision: VisionConfig
  layout: PatchLayout
  filter: ProcessorSettings['filter']
}

export function preparationOf(vision: VisionConfig, { mean, std, filter }: ProcessorSettings): Preparation {
  const { patchSize, temporalPatchSize, mergeSize } = vision
  return { vision, layout: { patchSize, temporalPatchSize, mergeSize, mean, std }, filter }
}

export async function prepareVisual(
  visual: SizedVisual,
  { vision, layout, filter }: Preparation
): Promise<PreparedVisual> {
  const { kind, key, grid, featureRows, imageSize } = visual
  return {
    kind,
    key,
    grid,
    ...(await pixelsOf(visual, filter)),
    layout,
    features: featureCount(grid, vision),
    ...(featureRows && { featureRows }),
    ...(imageSize && { imageSize })
  }
}

async function pixelsOf(
  { frames, width, height, tiled, placed }: SizedVisual,
  filter: Preparation['filter']
): Promise<Pick<PreparedPicture, 'pixels' | 'tiles'>> {
  const [first] = frames as [RgbImage, ...RgbImage[]]
  if (tiled) return prepareTiles(first, tiled, filter)
  if (placed) return { pixels: await fitPicture(first, placed, { width, height, filter }) }
  if (frames.length === 1 && first.width === width && first.height === height) return { pixels: first.data }
  return { pixels: await native().prepareImage({ frames, toWidth: width, toHeight: height, filter }) }
}

function isVideo(visual: ImageSource | Video): visual is Video {
  return typeof visual === 'object' && 'frames' in visual
}

function nameOf(source: ImageSource): string {
  if (source instanceof Uint8Array) return 'picture given as bytes'
  const text = String(source)
  return `picture ${text.startsWith('data:') ? text.slice(0, 40) + '...' : text}`
}
