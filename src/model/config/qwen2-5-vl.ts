import type { Fields } from '../../json-fields.js'
import type { ModelConfig, VisionConfig } from '../config.js'
import { blockNumbers, checkOutput, positive, readPatches, readTokens, visionFields } from './qwen.js'
import { readQwen2Text } from './qwen2-vl.js'

/** Qwen2.5-VL; defaults are those of transformers' Qwen2_5_VLConfig. */
export function readQwen25Vl(root: Fields): ModelConfig {
  const text = readQwen2Text(root)
  const fields = visionFields(root)
  const vision = readVision(fields)
  checkOutput(fields, 'out_hidden_size', vision.outputSize, text.hiddenSize)
  return { family: 'qwen2_5_vl', text, vision, tokens: readTokens(root) }
}

function readVision(fields: Fields): VisionConfig {
  const patches = readPatches(fields, { patchSize: 14, heads: 16, widthKey: 'hidden_size', width: 3584 })
  const depth = positive(fields, 'depth', 32)
  const windowSize = positive(fields, 'window_size', 112)
  if (windowSize < patches.patchSize * patches.mergeSize)
    throw fields.error('window_size', `at least ${patches.patchSize * patches.mergeSize} pixels, one feature,`)
  return {
    kind: 'qwen2_5',
    ...patches,
    depth,
    intermediateSize: positive(fields, 'intermediate_size', 3420),
    outputSize: positive(fields, 'out_hidden_size', 3584),
    activation: fields.oneOf('hidden_act', ['silu'], 'silu'),
    windowSize,
    fullAttentionBlocks: blockNumbers(fields, 'fullatt_block_indexes', [7, 15, 23, 31]).filter((each) => each < depth),
    tokensPerSecond: fields.number('tokens_per_second', { default: 4, min: 0 })
  }
}
