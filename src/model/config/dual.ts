/** Dual encoders: CLIP and SigLIP. Defaults are those of transformers' CLIPConfig and SiglipConfig. */
import { Fields } from '../../json-fields.js'
import type { ModelConfig, TextConfig } from '../config.js'
import { readClipVision, type ClipDefaults } from './clip-vision.js'
import { ACTIVATIONS, positive } from './qwen.js'

export function readClip(root: Fields): ModelConfig {
  const { text, vision, textFields } = readTowers(root, {
    activation: 'quick_gelu',
    normEps: 1e-5,
    text: { vocabSize: 49408, hiddenSize: 512, intermediateSize: 2048, heads: 8, positions: 77, causal: true },
    vision: { patchSize: 32, classToken: true }
  })
  return {
    ...dualOf('clip', text, vision, positive(root, 'projection_dim', 512)),
    dual: { pooling: 'eos', eosToken: textFields.integer('eos_token_id', { default: 49407, min: 0 }) }
  }
}

export function readSiglip(root: Fields): ModelConfig {
  const { text, vision, textFields, visionFields } = readTowers(root, {
    activation: 'gelu_pytorch_tanh',
    normEps: 1e-6,
    text: { vocabSize: 32000, hiddenSize: 768, intermediateSize: 3072, heads: 12, positions: 64, causal: false },
    vision: { patchSize: 16, classToken: false }
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

/** Where config.json is silent. */
interface Defaults extends Shared {
  text: TextDefaults
  vision: Omit<ClipDefaults, keyof Shared>
}

/** Of both towers. */
type Shared = Pick<ClipDefaults, 'activation' | 'normEps'>

interface TextDefaults {
  vocabSize: number
  hiddenSize: number
  intermediateSize: number
  heads: number
  positions: number
  causal: boolean
}

function readTowers(root: Fields, { text, vision, ...shared }: Defaults) {
  const textFields = part(root, 'text_config')
  const visionFields = part(root, 'vision_config')
  return {
    textFields,
    visionFields,
    text: readText(textFields, { ...text, ...shared }),
    vision: readClipVision(visionFields, { ...vision, ...shared })
  }
}

function readText(fields: Fields, defaults: TextDefaults & Shared): TextConfig {
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
