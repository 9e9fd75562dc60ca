/** Pictures and videos of an item to normalised patches: read, decode, augment, size, and one native pass. */
import { createHash } from 'node:crypto'
import { native } from '../native.js'
import type { ImageSource, Video } from '../data/item.js'
import type { VisionConfig } from '../model/config.js'
import { augment, type Augmentation } from './augment.js'
import { inFirstSize } from './first-size.js'
import { fitPicture, type Placed } from './fit.js'
import { decodePicture, measurePicture, readPicture, type RgbImage } from './image.js'
import { visualKey } from './keys.js'
import type { PictureCache } from './picture-cache.js'
import { featureCount, patchCount } from './pictures.js'
import type { PreparedVisual } from './prepared.js'
import type { InputRules, PictureSize } from './rules.js'
import type { ProcessorSettings } from './settings.js'
import { tilePatches, type TiledPicture } from './tiles.js'

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

/** Bytes that it takes decoded, and as patches: by its header, before anything is decoded. */
export async function bytesOf(
  { kind, encoded }: EncodedVisual,
  { rules, settings }: Omit<Sizing, 'pictures'>,
  { inChannels, temporalPatchSize, patchSize }: VisionConfig
): Promise<number> {
  const sizes = await Promise.all(encoded.map((bytes) => measurePicture(bytes, settings.pixelLimit)))
  const [first] = sizes
  if (!first) return 0
  const decoded = sizes.reduce((sum, size) => sum + 3 * (size ? size.width * size.height : 0), 0)
  try {
    const { grid } = rules.size({ kind, frames: encoded.length, ...first }, settings, '')
    return decoded + 4 * patchCount(grid) * inChannels * temporalPatchSize * patchSize ** 2
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

export async function patchesOf(
  visual: SizedVisual,
  vision: VisionConfig,
  settings: ProcessorSettings,
  keepResized: boolean
): Promise<PreparedVisual> {
  if (visual.tiled) return tiledPatches(visual, visual.tiled, { vision, settings, keepResized })
  const { width, height, kind, key, grid } = visual
  const frames = await (visual.placed ? fitted(visual, visual.placed, settings) : ofOneSize(visual, settings.filter))
  const { patches, resized } = await native().prepareImage({
    ...frames,
    toWidth: width,
    toHeight: height,
    filter: settings.filter,
    patches: {
      patchSize: vision.patchSize,
      temporalPatchSize: vision.temporalPatchSize,
      mergeSize: vision.mergeSize,
      mean: settings.mean,
      std: settings.std
    },
    keepResized
  })
  return {
    kind,
    key,
    grid,
    patches: patches!,
    features: featureCount(grid, vision),
    ...(resized ? { resized: { width, height, frames: resized } } : {})
  }
}

async function tiledPatches(
  { kind, key, grid, width, height, frames, featureRows, imageSize }: SizedVisual,
  tiled: TiledPicture,
  { vision, settings, keepResized }: { vision: VisionConfig; settings: ProcessorSettings; keepResized: boolean }
): Promise<PreparedVisual> {
  const { patchSize, mergeSize } = vision
  const layout = { filter: settings.filter, patchSize, mergeSize, mean: settings.mean, std: settings.std }
  const { patches, canvas } = await tilePatches(frames[0]!, tiled, layout, keepResized)
  return {
    kind,
    key,
    grid,
    patches,
    features: featureCount(grid, vision),
    featureRows: featureRows!,
    ...(imageSize && { imageSize }),
    ...(canvas ? { resized: { width, height, frames: [canvas] } } : {})
  }
}

async function fitted(
  { frames: [picture], width, height }: SizedVisual,
  placed: Placed,
  { filter }: ProcessorSettings
): Promise<{ frames: Uint8Array[]; width: number; height: number }> {
  return { frames: [await fitPicture(picture!, placed, { width, height, filter })], width, height }
}

/** Frames of one size as they are; others resized first, each from its own size. */
async function ofOneSize(
  { frames, width, height }: SizedVisual,
  filter: ProcessorSettings['filter']
): Promise<{ frames: Uint8Array[]; width: number; height: number }> {
  const { width: fromWidth, height: fromHeight } = frames[0]!
  if (frames.every((frame) => frame.width === fromWidth && frame.height === fromHeight))
    return { frames: frames.map((frame) => frame.data), width: fromWidth, height: fromHeight }
  const resized = await Promise.all(
    frames.map(async (frame) => {
      const result = await native().prepareImage({
        frames: [frame.data],
        width: frame.width,
        height: frame.height,
        toWidth: width,
        toHeight: height,
        filter,
        keepResized: true
      })
      return result.resized![0]!
    })
  )
  return { frames: resized, width, height }
}

function isVideo(visual: ImageSource | Video): visual is Video {
  return typeof visual === 'object' && 'frames' in visual
}

function nameOf(source: ImageSource): string {
  if (source instanceof Uint8Array) return 'picture given as bytes'
  const text = String(source)
  return `picture ${text.startsWith('data:') ? text.slice(0, 40) + '...' : text}`
}
