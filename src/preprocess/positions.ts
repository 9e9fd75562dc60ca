/**
 * Rotary positions of Qwen2-VL's text model: time, height and width of every token (M-RoPE).
 *
 * `mrope` is the rule of transformers 5 (`Qwen2VLModel.get_rope_index`): text counts on, equal in the three axes; a picture
 * or video that starts at position p has p + its place in (time, height, width) of its merged grid, and what follows
 * starts at p + max(height, width). The time of a video does not count (in transformers 4 it did).
 *
 * `sequential` is what VLM2Vec's checkpoints were trained with: transformers 4 found pictures by `<|vision_start|>`, which
 * VLM2Vec's prompts don't have, and so placed their tokens like text, one after the other. Here a picture whose first
 * token directly follows `<|vision_start|>` is still placed in three dimensions, as by `mrope`; only others are not.
 */
import type { PositionRule } from '../model/preset.js'
import type { VisualRun } from './rules.js'

/** (3, T): one position a token, the same three times. */
export const onePosition = ({ length }: Int32Array): Int32Array =>
  Int32Array.from({ length: 3 * length }, (_, i) => i % length)

export interface PositionOptions {
  rule: PositionRule
  /** patches a side that are merged into one token */
  mergeSize: number
  visionStart: number
  /** positions that a patch in time takes; default: one */
  timeStep?: (run: VisualRun) => number
}

/** (3, T) positions of `tokens` (T); `runs` in order. */
export function ropePositions(tokens: Int32Array, runs: readonly VisualRun[], options: PositionOptions): Int32Array {
  const length = tokens.length
  const positions = new Int32Array(3 * length)
  let index = 0
  let next = 0
  const text = (end: number): void => {
    for (; index < end; index++, next++)
      positions[index] = positions[length + index] = positions[2 * length + index] = next
  }
  for (const run of runs) {
    const { start, grid } = run
    const step = options.timeStep?.(run) ?? 1
    if (options.rule === 'sequential' && tokens[start - 1] !== options.visionStart) continue
    text(start)
    const [times, height, width] = [grid[0], grid[1] / options.mergeSize, grid[2] / options.mergeSize]
    for (let t = 0; t < times; t++)
      for (let h = 0; h < height; h++)
        for (let w = 0; w < width; w++, index++) {
          positions[index] = next + Math.trunc(Math.fround(t * step))
          positions[length + index] = next + h
          positions[2 * length + index] = next + w
        }
    next += Math.max(height, width)
  }
  text(length)
  return positions
}
