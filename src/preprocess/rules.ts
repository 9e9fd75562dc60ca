/**
 * How a family prepares its inputs: one object each, in `rules/`. Everything else in this folder is the same for all, and
 * asks for no family.
 */
import { Vlm2VecError } from '../errors.js'
import { takesPictures, type ModelConfig, type PictureConfig, type PictureFamily } from '../model/config.js'
import type { PositionRule } from '../model/preset.js'
import type { Placed } from './fit.js'
import type { Triple } from './image-settings.js'
import { onePosition } from './positions.js'
import type { Placeholders } from './prompt.js'
import { clipRules, siglipRules } from './rules/dual.js'
import { llavaNextRules } from './rules/llava-next.js'
import { phi3VRules } from './rules/phi3-v.js'
import { qwen25VlRules } from './rules/qwen2-5-vl.js'
import { qwen2VlRules } from './rules/qwen2-vl.js'
import { qwen3VlRules } from './rules/qwen3-vl.js'
import type { ProcessorSettings } from './settings.js'
import type { PixelBudget } from './smart-resize.js'
import type { TiledPicture } from './tiles.js'

/** What processor files leave out. */
export interface ImageDefaults {
  image: PixelBudget
  video: PixelBudget
  mean: Triple
  std: Triple
  /** pictures of one size, cut around the centre or not, or cut into tiles; absent: of any size within the budget */
  fit?: { crop: boolean; tiles?: boolean }
  /** default: bicubic */
  filter?: ProcessorSettings['filter']
  /** of models that cut pictures into as many tiles as they are asked to */
  numCrops?: number
}

/** A picture (one frame) or video before it is resized; of a video, the size of its first frame. */
export interface VisualFacts {
  kind: 'image' | 'video'
  frames: number
  width: number
  height: number
}

/** A run of placeholder tokens that stands for one picture, one video, or a part of one. */
export interface VisualRun {
  kind: 'image' | 'video'
  /** index of its first token */
  start: number
  /** patches in time, height and width */
  grid: readonly [number, number, number]
  /** frames a second, of a video */
  fps?: number | undefined
}

export interface PictureSize {
  /** after resizing */
  width: number
  height: number
  /** patches in time, height and width; of a tiled picture, of all its tiles */
  grid: [number, number, number]
  /** where the square that the tower sees lies in the resized picture, of models whose pictures have one size */
  placed?: Placed
  /** of models that cut pictures into tiles; and what stands at each of its tokens (Batch.featureRows, from 0) */
  tiled?: TiledPicture
  featureRows?: Int32Array
  /** height and width, of tiled pictures, as the model's own processor reports them */
  imageSize?: [number, number]
}

export interface InputRules {
  defaults: ImageDefaults
  /** processor_config.json of transformers, where its processor needs more than the files of its parts say */
  processorConfig?: object
  /** What stands for a picture while a prompt is put together, where that is no token of the vocabulary. */
  imagePlaceholder?: string
  /**
   * The prompt as the model's own processor takes it, and its ids, -k for picture k (from 1). `order`: for each placeholder,
   * which picture it stands for (from 0).
   */
  tokenize?(
    prompt: string,
    order: readonly number[],
    encode: (text: string) => Promise<Int32Array>
  ): Promise<{ text: string; ids: Int32Array }>
  /** The prompt as it is tokenized: a family may write a video out in time. */
  writePrompt?(prompt: string, videos: readonly { frames: number; fps: number }[], placeholders: Placeholders): string
  /** The size after resizing, and patches in time, height and width. E_IMAGE, naming `where`. */
  size(
    visual: VisualFacts,
    settings: Pick<ProcessorSettings, 'image' | 'video' | 'fit' | 'numCrops'>,
    where: string
  ): PictureSize
  /** The grids of the placeholders that stand for a picture or video in the prompt: itself, or its parts in order. */
  parts(kind: 'image' | 'video', grid: [number, number, number]): [number, number, number][]
  /** Placeholder tokens that one of these becomes. */
  tokenCount(grid: readonly [number, number, number]): number
  /** (3, T) rotary positions of `tokens` (T); `runs` in order. */
  positions(tokens: Int32Array, runs: readonly VisualRun[], rule: PositionRule): Int32Array
}

const RULES: Record<PictureFamily, (config: PictureConfig) => InputRules> = {
  clip: clipRules,
  llava_next: llavaNextRules,
  phi3_v: phi3VRules,
  qwen2_vl: qwen2VlRules,
  qwen2_5_vl: qwen25VlRules,
  qwen3_vl: qwen3VlRules,
  siglip: siglipRules
}

const ANY = { minPixels: 1, maxPixels: 2 ** 31 }

/** A decoder by itself. */
const textRules = ({ family }: ModelConfig): InputRules => ({
  defaults: { image: ANY, video: ANY, mean: [0, 0, 0], std: [1, 1, 1] },
  size(_visual, _settings, where) {
    throw new Vlm2VecError('E_IMAGE', `${where}: a ${family} model takes text only.`)
  },
  parts: (_, grid) => [grid],
  tokenCount: () => 0,
  positions: onePosition
})

export const inputRules = (config: ModelConfig): InputRules =>
  takesPictures(config) ? RULES[config.family](config) : textRules(config)
