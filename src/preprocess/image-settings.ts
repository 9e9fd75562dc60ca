/**
 * How pictures are resized and normalised: processor_config.json (transformers 5), preprocessor_config.json, and for videos
 * video_preprocessor_config.json; where they are silent, the defaults of transformers' processor of the family.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { readJsonObject, Fields } from '../json-fields.js'
import { takesPictures, type ModelConfig, type VisionConfig } from '../model/config.js'
import { readFit, type Fit } from './fit.js'
import { inputRules } from './rules.js'
import type { PixelBudget } from './smart-resize.js'

export type Triple = readonly [number, number, number]

export interface ImageSettings {
  image: PixelBudget
  /** of one frame */
  video: PixelBudget & {
    /** where set, a frame's share of the pixels of this many tokens bounds it too */
    maxVideoTokens?: number
  }
  /** of models whose pictures all have one size */
  fit: Fit | undefined
  /** of models that cut pictures into as many tiles as they are asked to */
  numCrops: number | undefined
  filter: 'bilinear' | 'bicubic' | 'lanczos'
  mean: Triple
  std: Triple
  /** the files that said so */
  imageFile: string
  videoFile: string
}

/** Pillow's numbers */
const FILTERS: Record<number, ImageSettings['filter']> = { 1: 'lanczos', 2: 'bilinear', 3: 'bicubic' }

/** E_MODEL: a value that is not supported, or sizes of patches that differ from config.json's. */
export async function readImageSettings(directory: string, config: ModelConfig): Promise<ImageSettings> {
  const { defaults } = inputRules(config)
  if (!takesPictures(config)) {
    const { image, video, mean, std } = defaults
    const none = { fit: undefined, numCrops: undefined, imageFile: 'default', videoFile: 'default' }
    return { image, video, mean, std, filter: 'bicubic', ...none }
  }
  const nested = await readJsonObject(join(directory, 'processor_config.json'))
  const image =
    nested?.nested('image_processor') ??
    (await readJsonObject(join(directory, 'preprocessor_config.json'))) ??
    new Fields("transformers' defaults", {})
  checkSteps(image, config.vision)
  const filter = image.has('resample') ? FILTERS[image.integer('resample')] : (defaults.filter ?? 'bicubic')
  if (!filter) throw image.error('resample', '1 (Lanczos), 2 (bilinear) or 3 (bicubic)')
  const fit = defaults.fit && readFit(image, defaults.fit, config.vision)
  const budget = fit ? defaults.image : pixels(image, defaults.image)

  const videoFile = join(directory, 'video_preprocessor_config.json')
  const video =
    nested?.nested('video_processor') ?? (existsSync(videoFile) ? await readJsonObject(videoFile) : undefined)
  return {
    image: budget,
    fit,
    numCrops: defaults.numCrops && image.integer('num_crops', { default: defaults.numCrops, min: 1 }),
    video: video && !fit ? videoPixels(video, defaults.video) : budget,
    filter,
    mean: triple(image, 'image_mean', defaults.mean),
    std: triple(image, 'image_std', defaults.std),
    imageFile: image.file,
    videoFile: (video ?? image).file
  }
}

/** The steps that are always taken, and the sizes that the weights fix. */
function checkSteps(fields: Fields, vision: VisionConfig): void {
  for (const key of ['do_resize', 'do_rescale', 'do_normalize'])
    if (!fields.boolean(key, true)) throw fields.error(key, 'true')
  if (Math.abs(fields.number('rescale_factor', { default: 1 / 255 }) * 255 - 1) > 1e-12)
    throw fields.error('rescale_factor', '1 / 255')
  const sizes = {
    patch_size: vision.patchSize,
    temporal_patch_size: vision.temporalPatchSize,
    merge_size: vision.mergeSize
  }
  for (const [key, size] of Object.entries(sizes))
    if (fields.integer(key, { default: size }) !== size) throw fields.error(key, `${size}, as in config.json,`)
}

/** `min_pixels` and `max_pixels` beside or within `size`, or its `shortest_edge` and `longest_edge`, which count pixels too. */
function pixels(fields: Fields, fallback: PixelBudget): PixelBudget {
  const size = fields.nested('size')
  const one = (own: string, edge: string, otherwise: number): number => {
    if (fields.has(own)) return fields.integer(own, { min: 1 })
    if (size?.has(edge)) return size.integer(edge, { min: 1 })
    return size?.has(own) ? size.integer(own, { min: 1 }) : otherwise
  }
  const budget = {
    minPixels: one('min_pixels', 'shortest_edge', fallback.minPixels),
    maxPixels: one('max_pixels', 'longest_edge', fallback.maxPixels)
  }
  if (budget.minPixels > budget.maxPixels)
    throw fields.error(fields.has('min_pixels') ? 'min_pixels' : 'size', 'no more pixels at least than at most')
  return budget
}

function videoPixels(fields: Fields, fallback: PixelBudget): ImageSettings['video'] {
  const budget = pixels(fields, fallback)
  if (!fields.boolean('cap_pixels_per_frame', false)) return budget
  return { ...budget, maxVideoTokens: fields.integer('max_video_tokens', { default: 128000, min: 1 }) }
}

function triple(fields: Fields, key: string, fallback: Triple): Triple {
  const [red, green, blue] = fields.numbers(key, 3, fallback)
  if (key === 'image_std' && !(red! > 0 && green! > 0 && blue! > 0)) throw fields.error(key, '3 positive numbers')
  return [red!, green!, blue!]
}
