import type { Fields } from '../../json-fields.js'
import type { ModelConfig, TextConfig, VisionConfig } from '../config.js'
import {
  ACTIVATIONS,
  blockNumbers,
  checkFullAttention,
  checkOutput,
  positive,
  readMrope,
  readPatches,
  readSizes,
  readTokens,
  textFields,
  visionFields
} from './qwen.js'

/** Qwen3-VL; defaults are those of transformers' Qwen3VLConfig. */
export function readQwen3Vl(root: Fields): ModelConfig {
  const text = readText(root)
  const fields = visionFields(root)
  const vision = readVision(fields)
  checkOutput(fields, 'out_hidden_size', vision.outputSize, text.hiddenSize)
  return { family: 'qwen3_vl', text, vision, tokens: readTokens(root) }
}

function readText(root: Fields): TextConfig {
  const { fields, tiedEmbeddings } = textFields(root)
  const sizes = readSizes(fields, {
    vocabSize: 151936,
    hiddenSize: 4096,
    intermediateSize: 22016,
    layers: 32,
    heads: 32,
    kvHeads: 32,
    headSize: 128,
    rmsNormEps: 1e-6,
    maxPositions: 128000
  })
  checkFullAttention(fields, sizes)
  if (fields.boolean('attention_bias', false)) throw fields.error('attention_bias', 'false')
  const rope = readMrope(fields, sizes.headSize, { theta: 500000, sections: [24, 20, 20], interleaved: true })
  return { ...sizes, attentionBias: false, qkNorm: true, fusedProjections: false, rope, tiedEmbeddings }
}

function readVision(fields: Fields): VisionConfig {
  const depth = positive(fields, 'depth', 27)
  const deepstackBlocks = blockNumbers(fields, 'deepstack_visual_indexes', [8, 16, 24])
  if (deepstackBlocks.some((each) => each >= depth))
    throw fields.error('deepstack_visual_indexes', `numbers below the depth of the tower (${depth})`)
  return {
    kind: 'qwen3',
    ...readPatches(fields, { patchSize: 16, heads: 16, widthKey: 'hidden_size', width: 1152 }),
    depth,
    intermediateSize: positive(fields, 'intermediate_size', 4304),
    outputSize: positive(fields, 'out_hidden_size', 3584),
    activation: fields.oneOf('hidden_act', ACTIVATIONS, 'gelu_pytorch_tanh'),
    positionEmbeddings: positive(fields, 'num_position_embeddings', 2304),
    deepstackBlocks
  }
}
