/** Phi-3's rotary embedding: plain, or LongRoPE. */
import { Fields } from '../../json-fields.js'
import type { RopeConfig, TextConfig } from '../config.js'
import { positive } from './qwen.js'

/**
 * `rope_scaling` beside `rope_theta` (transformers 4), or both within `rope_parameters` (5). `yarn`: whether the scaling of that
 * name is Phi-3's own, as in its remote code, which transformers has under the name alone.
 */
export function readLongRope(
  root: Fields,
  { headSize, maxPositions }: Pick<TextConfig, 'headSize' | 'maxPositions'>,
  { yarn = false }: { yarn?: boolean } = {}
): RopeConfig {
  const rope =
    root.nested('rope_scaling') ?? root.nested('rope_parameters') ?? new Fields(root.file, {}, 'rope_scaling.')
  for (const fields of [root, rope])
    if (fields.number('partial_rotary_factor', { default: 1 }) !== 1) throw fields.error('partial_rotary_factor', '1')
  const kind = rope.has('rope_type') ? 'rope_type' : 'type'
  const type = rope.oneOf(kind, ['default', 'su', 'longrope', ...(yarn ? (['yarn'] as const) : [])], 'default')
  const theta = (rope.has('rope_theta') ? rope : root).number('rope_theta', { default: 10000, min: 1 })
  if (type === 'default') return { kind: 'plain', theta }
  const source = rope.has('original_max_position_embeddings') ? rope : root
  const originalPositions = positive(source, 'original_max_position_embeddings', 4096)
  const scale = maxPositions / originalPositions
  const grown =
    type === 'yarn' ? 0.1 * Math.log(scale) + 1 : Math.sqrt(1 + Math.log(scale) / Math.log(originalPositions))
  return {
    kind: 'plain',
    theta,
    longRope: {
      short: rope.numbers('short_factor', headSize / 2),
      long: rope.numbers('long_factor', headSize / 2),
      originalPositions,
      attentionFactor: rope.number('attention_factor', { default: scale <= 1 ? 1 : grown })
    }
  }
}
