/** Qwen2-VL (transformers 5.18: Qwen2VLImageProcessor, Qwen2VLProcessor). */
import type { PictureConfig } from '../../model/config.js'
import { ropePositions } from '../positions.js'
import type { ImageDefaults, InputRules, VisualFacts } from '../rules.js'
import type { ProcessorSettings } from '../settings.js'
import { smartResize, type PixelBudget } from '../smart-resize.js'

const DEFAULTS: ImageDefaults = {
  image: { minPixels: 56 * 56, maxPixels: 28 * 28 * 1280 },
  video: { minPixels: 128 * 28 * 28, maxPixels: 28 * 28 * 768 },
  mean: [0.48145466, 0.4578275, 0.40821073],
  std: [0.26862954, 0.26130258, 0.27577711]
}

export function qwen2VlRules({ vision, tokens }: PictureConfig): InputRules {
  const { patchSize, mergeSize, temporalPatchSize } = vision
  const factor = patchSize * mergeSize
  return {
    defaults: DEFAULTS,
    size({ kind, frames, width, height }: VisualFacts, settings, where) {
      const budget = kind === 'image' ? settings.image : frameBudget(settings.video, factor, frames, temporalPatchSize)
      const size = smartResize({ width, height }, factor, budget, where)
      const times = Math.ceil(frames / temporalPatchSize)
      return { ...size, grid: [times, size.height / patchSize, size.width / patchSize] }
    },
    parts: (_, grid) => [grid],
    tokenCount: ([t, h, w]) => (t * h * w) / mergeSize ** 2,
    positions: (ids, runs, rule) => ropePositions(ids, runs, { rule, mergeSize, visionStart: tokens.visionStart })
  }
}

/** A frame's even share of all pixels that a video may have, where the directory asks for that. */
function frameBudget(
  { maxVideoTokens, minPixels, maxPixels }: ProcessorSettings['video'],
  factor: number,
  frames: number,
  temporal: number
): PixelBudget {
  if (maxVideoTokens === undefined) return { minPixels, maxPixels }
  const total = Math.trunc(maxVideoTokens * factor * factor * 0.9)
  const share = Math.floor((total * temporal) / frames)
  return { minPixels, maxPixels: Math.max(Math.min(maxPixels, share), Math.trunc(minPixels * 1.05)) }
}
