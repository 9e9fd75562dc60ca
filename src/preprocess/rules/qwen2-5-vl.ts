/** Qwen2.5-VL: as Qwen2-VL, but a video's positions in time follow its frames a second. */
import type { PictureConfig } from '../../model/config.js'
import { ropePositions } from '../positions.js'
import type { InputRules, VisualRun } from '../rules.js'
import { qwen2VlRules } from './qwen2-vl.js'

export function qwen25VlRules(config: PictureConfig): InputRules {
  const { vision, tokens } = config
  const { mergeSize, temporalPatchSize, tokensPerSecond = 1 } = vision
  // transformers' numbers are f32
  const timeStep = ({ kind, fps }: VisualRun): number =>
    kind === 'video' && fps ? Math.fround(tokensPerSecond * Math.fround(temporalPatchSize / fps)) : 1
  return {
    ...qwen2VlRules(config),
    positions: (ids, runs, rule) =>
      ropePositions(ids, runs, { rule, mergeSize, visionStart: tokens.visionStart, timeStep })
  }
}
