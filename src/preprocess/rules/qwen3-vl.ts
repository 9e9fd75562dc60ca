/**
 * Qwen3-VL and Qwen3-VL-Embedding, videos as in transformers 4.57.6: each patch in time is a picture of its own in the
 * prompt, with the time that it shows in front, and the pixels of a video are counted over all its frames.
 */
import type { PictureConfig } from '../../model/config.js'
import type { Placeholders } from '../prompt.js'
import type { ImageDefaults, InputRules } from '../rules.js'
import { smartResizeVideo } from '../smart-resize.js'
import { qwen2VlRules } from './qwen2-vl.js'

const DEFAULTS: ImageDefaults = {
  image: { minPixels: 65536, maxPixels: 16777216 },
  video: { minPixels: 128 * 32 * 32, maxPixels: 768 * 32 * 32 },
  mean: [0.5, 0.5, 0.5],
  std: [0.5, 0.5, 0.5]
}

export function qwen3VlRules(config: PictureConfig): InputRules {
  const { patchSize, mergeSize, temporalPatchSize } = config.vision
  const pictures = qwen2VlRules(config)
  return {
    ...pictures,
    defaults: DEFAULTS,
    size(visual, settings, where) {
      if (visual.kind === 'image') return pictures.size(visual, settings, where)
      const steps = { factor: patchSize * mergeSize, temporal: temporalPatchSize }
      const size = smartResizeVideo(visual, steps, settings.video, where)
      const times = Math.ceil(visual.frames / temporalPatchSize)
      return { ...size, grid: [times, size.height / patchSize, size.width / patchSize] }
    },
    writePrompt: (prompt, videos, placeholders) => writeVideos(prompt, videos, { placeholders, temporalPatchSize }),
    parts: (kind, grid) => (kind === 'image' ? [grid] : Array.from({ length: grid[0] }, () => [1, grid[1], grid[2]]))
  }
}

/** `<0.2 seconds>` and a wrapped placeholder for each patch in time, in place of a video's placeholder and its wrapping. */
function writeVideos(
  prompt: string,
  videos: readonly { frames: number; fps: number }[],
  { placeholders, temporalPatchSize }: { placeholders: Placeholders; temporalPatchSize: number }
): string {
  const { video, visionStart, visionEnd } = placeholders
  const wrapped = `${visionStart}${video}${visionEnd}`
  let rest = prompt
  let written = ''
  for (const { frames, fps } of videos) {
    const at = rest.indexOf(video)
    const isWrapped = rest.startsWith(wrapped, at - visionStart.length)
    written += rest.slice(0, isWrapped ? at - visionStart.length : at)
    rest = rest.slice(at + video.length + (isWrapped ? visionEnd.length : 0))
    for (let first = 0; first < frames; first += temporalPatchSize) {
      const last = Math.min(first + temporalPatchSize, frames) - 1
      written += `<${oneDecimal((first / fps + last / fps) / 2)} seconds>${wrapped}`
    }
  }
  return written + rest
}

/** As Python's `f'{value:.1f}'` does it: ties to even, which only quarters of a second can be. */
function oneDecimal(value: number): string {
  if ((value * 4) % 2 !== 1) return value.toFixed(1)
  const tenths = Math.floor(value * 10)
  return ((tenths % 2 === 0 ? tenths : tenths + 1) / 10).toFixed(1)
}
