import { Fields } from '../../json-fields.js'
import type { ModelConfig, VisionConfig } from '../config.js'
import { readClipVision } from './clip-vision.js'
import { readDecoder } from './decoder.js'
import { ACTIVATIONS, textFields, visionFields } from './qwen.js'

const PINPOINTS = [
  [336, 672],
  [672, 336],
  [672, 672],
  [1008, 336],
  [336, 1008]
] as const

/** LLaVA-NeXT; defaults are those of transformers' LlavaNextConfig. */
export function readLlavaNext(root: Fields): ModelConfig {
  const nested = root.nested('text_config') ?? new Fields(root.file, {}, 'text_config.')
  const tied = textFields(root).tiedEmbeddings
  const text = readDecoder(nested, nested.string('model_type') ?? 'llama', tied)
  const tokenKey = root.has('image_token_id') ? 'image_token_id' : 'image_token_index'
  return {
    family: 'llava_next',
    text,
    vision: readVision(root, text.hiddenSize),
    tokens: { image: root.integer(tokenKey, { default: 32000, min: 0 }), video: -1, visionStart: -1, visionEnd: -1 }
  }
}

function readVision(root: Fields, hiddenSize: number): VisionConfig {
  const fields = visionFields(root)
  fields.oneOf('model_type', ['clip_vision_model'], 'clip_vision_model')
  const large = { hidden_size: 1024, intermediate_size: 4096, num_hidden_layers: 24, num_attention_heads: 16 }
  const own = root.has('vision_config')
    ? fields
    : new Fields(root.file, { ...large, image_size: 336, patch_size: 14 }, 'vision_config.')
  const vision = readClipVision(own, { patchSize: 32, activation: 'quick_gelu', normEps: 1e-5, classToken: true })
  root.oneOf('vision_feature_select_strategy', ['default'], 'default')
  if (!root.boolean('use_image_newline_parameter', true)) throw root.error('use_image_newline_parameter', 'true')
  const layer = root.integer('vision_feature_layer', { default: -2, min: -vision.depth - 1, max: vision.depth })
  return {
    kind: 'llava',
    ...vision,
    mergeSize: 1,
    outputSize: hiddenSize,
    // state 0 is the embeddings', state n that after block n
    featureBlocks: layer < 0 ? vision.depth + 1 + layer : layer,
    separators: 1,
    projectorBias: root.boolean('multimodal_projector_bias', true),
    projectorActivation: root.oneOf('projector_hidden_act', ACTIVATIONS, 'gelu'),
    resolutions: readPinpoints(root, vision.imageSize!)
  }
}

/** [height, width] each, whole numbers of tiles. */
function readPinpoints(root: Fields, tile: number): [number, number][] {
  const value = root.raw('image_grid_pinpoints') ?? PINPOINTS
  const whole = (side: unknown): boolean =>
    Number.isSafeInteger(side) && (side as number) > 0 && (side as number) % tile === 0
  const pairs = Array.isArray(value) ? (value as unknown[]) : []
  if (pairs.length === 0 || !pairs.every((pair) => Array.isArray(pair) && pair.length === 2 && pair.every(whole)))
    throw root.error('image_grid_pinpoints', `pairs of heights and widths that are multiples of image_size (${tile})`)
  return pairs as [number, number][]
}
