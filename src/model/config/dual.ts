/** Dual encoders: CLIP and SigLIP. Defaults are those of transformers' CLIPConfig and SiglipConfig. */
import { Fields } from '../../json-fields.js'
import type { ModelConfig, TextConfig } from '../config.js'
import { readClipVision } from './clip-vision.js'
import { ACTIVATIONS, positive } from './qwen.js'

export function readClip(root: Fields): ModelConfig {
  const textFields = part(root, 'text_config')
  const text = readText(textFields, {
    vocabSize: 49408,
    hiddenSize: 512,
    intermediateSize: 2048,
    heads: 8,
    positions: 77,
    activation: 'quick_gelu',
    normEps: 1e-5,
    causal: true
  })
  const visionFields = part(root, 'vision_config')
  const vision = readClipVision(visionFields, {
    patchSize: 32,
    activation: 'quick_gelu',
    normEps: 1e-5,
    classToken: true
  })
  const projection = positive(root, 'projection_dim', 512)
  return {
    ...dualOf('clip', text, vision, projection),
    dual: { pooling: 'eos', eosToken: textFields.integer('eos_token_id', { default: 49407, min: 0 }) }
  }
}

export function readSiglip(root: Fields): ModelConfig {
  const textFields = part(root, 'text_config')
  const text = readText(textFields, {
    vocabSize: 32000,
    hiddenSize: 768,
    intermediateSize: 3072,
    heads: 12,
    positions: 64,
    activation: 'gelu_pytorch_tanh',
    normEps: 1e-6,
    causal: false
  })
  const visionFields = part(root, 'vision_config')
  const vision = readClipVision(visionFields, {
    patchSize: 16,
    activation: 'gelu_pytorch_tanh',
    normEps: 1e-6,
    classToken: false
  })
  if (!visionFields.boolean('vision_use_head', true)) throw visionFields.error('vision_use_head', 'true')
  const projection = positive(textFields, 'projection_size', text.hiddenSize)
  // the pooling head of the pictures has no projection
  if (projection !== vision.embedDim)
    throw textFields.error('projection_size', `the width of the vision tower (${vision.embedDim})`)
  return {
    ...dualOf('siglip', text, vision, projection),
    dual: { pooling: 'last', padToken: textFields.integer('pad_token_id', { default: 1, min: 0 }) }
  }
}

function dualOf(
  family: 'clip' | 'siglip',
  text: TextConfig,
  vision: ReturnType<typeof readClipVision>,
  projection: number
): Omit<ModelConfig, 'dual'> {
  return {
    family,
    text,
    vision: { kind: 'dual', ...vision, mergeSize: 1, outputSize: projection, featureBlocks: vision.depth },
    // no token of the vocabulary stands for a picture
    tokens: { image: text.vocabSize, video: -1, visionStart: -1, visionEnd: -1 },
    embeddingSize: projection
  }
}

/** As in CLIPConfig, `text_config_dict` (old files have it) goes before `text_config`, with the defaults of what it leaves out. */
function part(root: Fields, key: 'text_config' | 'vision_config'): Fields {
  return root.nested(`${key}_dict`) ?? root.nested(key) ?? new Fields(root.file, {}, `${key}.`)
}

interface TowerDefaults {
  vocabSize: number
  hiddenSize: number
  intermediateSize: number
  heads: number
  positions: number
  activation: (typeof ACTIVATIONS)[number]
  normEps: number
  causal: boolean
}

function readText(fields: Fields, defaults: TowerDefaults): TextConfig {
  const hiddenSize = positive(fields, 'hidden_size', defaults.hiddenSize)
  const heads = positive(fields, 'num_attention_heads', defaults.heads)
  if (hiddenSize % heads !== 0 || (hiddenSize / heads) % 2 !== 0)
    throw fields.error('num_attention_heads', `heads of an even size, hidden_size being ${hiddenSize},`)
  const maxPositions = positive(fields, 'max_position_embeddings', defaults.positions)
  return {
    vocabSize: positive(fields, 'vocab_size', defaults.vocabSize),
    hiddenSize,
    intermediateSize: positive(fields, 'intermediate_size', defaults.intermediateSize),
    layers: positive(fields, 'num_hidden_layers', 12),
    heads,
    kvHeads: heads,
    headSize: hiddenSize / heads,
    rmsNormEps: fields.number('layer_norm_eps', { default: defaults.normEps, min: 0, max: 1 }),
    attentionBias: true,
    qkNorm: false,
    fusedProjections: false,
    rope: { kind: 'plain', theta: 10000 },
    maxPositions,
    tiedEmbeddings: true,
    positionEmbeddings: maxPositions,
    activation: fields.oneOf('hidden_act', ACTIVATIONS, defaults.activation),
    causal: defaults.causal
  }
}
