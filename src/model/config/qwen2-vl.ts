import type { Fields } from '../../json-fields.js'
import type { ModelConfig, TextConfig, VisionConfig } from '../config.js'
import {
  ACTIVATIONS,
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

/** Qwen2-VL; defaults are those of transformers' Qwen2VLConfig. */
export function readQwen2Vl(root: Fields): ModelConfig {
  const text = readQwen2Text(root)
  const fields = visionFields(root)
  const vision = readVision(fields)
  checkOutput(fields, 'hidden_size', vision.outputSize, text.hiddenSize)
  return { family: 'qwen2_vl', text, vision, tokens: readTokens(root) }
}

/** The text model of Qwen2-VL and Qwen2.5-VL. */
export function readQwen2Text(root: Fields): TextConfig {
  const { fields, tiedEmbeddings } = textFields(root)
  const sizes = readSizes(fields, {
    vocabSize: 152064,
    hiddenSize: 8192,
    intermediateSize: 29568,
    layers: 80,
    heads: 64,
    kvHeads: 8,
    rmsNormEps: 1e-5,
    maxPositions: 32768
  })
  checkFullAttention(fields, sizes)
  const rope = readMrope(fields, sizes.headSize, { theta: 1e6, sections: [16, 24, 24], interleaved: false })
  return { ...sizes, attentionBias: true, qkNorm: false, fusedProjections: false, rope, tiedEmbeddings }
}

function readVision(fields: Fields): VisionConfig {
  const patches = readPatches(fields, { patchSize: 14, heads: 16, widthKey: 'embed_dim', width: 1280 })
  const ratio = fields.number('mlp_ratio', { default: 4, min: 1 / patches.embedDim, max: 1024 })
  return {
    kind: 'qwen2',
    ...patches,
    depth: positive(fields, 'depth', 32),
    intermediateSize: Math.trunc(patches.embedDim * ratio),
    outputSize: positive(fields, 'hidden_size', 3584),
    activation: fields.oneOf('hidden_act', ACTIVATIONS, 'quick_gelu')
  }
}
