/**
 * What a model directory's config.json says, in one form for all its spellings. Every architecture has one reader here
 * and one parameter table in native/model/.
 */
import { join } from 'node:path'
import { Vlm2VecError } from '../errors.js'
import { Fields, readJsonObject } from '../json-fields.js'

export interface ModelConfig {
  family: 'qwen2_vl'
  text: {
    vocabSize: number
    hiddenSize: number
    intermediateSize: number
    layers: number
    heads: number
    kvHeads: number
    headSize: number
    rmsNormEps: number
    ropeTheta: number
    /** rotary frequencies that turn by time, height and width */
    mropeSection: [number, number, number]
    maxPositions: number
    tiedEmbeddings: boolean
  }
  vision: {
    depth: number
    embedDim: number
    heads: number
    intermediateSize: number
    inChannels: number
    patchSize: number
    temporalPatchSize: number
    mergeSize: number
    /** width of the features that enter the text model */
    outputSize: number
    activation: 'quick_gelu' | 'gelu' | 'gelu_pytorch_tanh' | 'silu'
  }
  tokens: { image: number; video: number; visionStart: number; visionEnd: number }
}

/** Reads config.json. E_MODEL names the file, the key and what is supported. */
export async function readModelConfig(directory: string): Promise<ModelConfig> {
  const path = join(directory, 'config.json')
  const root = await readJsonObject(path)
  if (!root)
    throw new Vlm2VecError(
      'E_MODEL',
      `${path}: no such file. A model directory holds config.json, weights and a tokenizer.`
    )
  const family = root.string('model_type')
  const reader = READERS[family ?? '']
  if (!reader) throw root.error('model_type', `a supported architecture (${Object.keys(READERS).join(', ')})`)
  if (root.has('quantization_config'))
    throw root.error('quantization_config', 'no quantized weights (f32, f16 and bf16 are supported)')
  return reader(root)
}

const READERS: Record<string, (root: Fields) => ModelConfig> = { qwen2_vl: readQwen2Vl }

const ACTIVATIONS = ['quick_gelu', 'gelu', 'gelu_pytorch_tanh', 'silu'] as const

/**
 * Qwen2-VL. Defaults are those of transformers' Qwen2VLConfig; as there, the keys of the text model are those of
 * `text_config` where it exists, else those of the file itself.
 */
function readQwen2Vl(root: Fields): ModelConfig {
  const nested = root.nested('text_config')
  const text = readQwen2Text(nested ?? root)
  const tied = root.boolean('tie_word_embeddings', false) || (nested?.boolean('tie_word_embeddings', false) ?? false)
  const visionFields = root.nested('vision_config') ?? new Fields(root.file, {}, 'vision_config.')
  const vision = readQwen2Vision(visionFields)
  if (vision.outputSize !== text.hiddenSize)
    throw visionFields.error('hidden_size', `the hidden size of the text model (${text.hiddenSize})`)
  const tokens = {
    image: root.integer('image_token_id', { default: 151655, min: 0 }),
    video: root.integer('video_token_id', { default: 151656, min: 0 }),
    visionStart: root.integer('vision_start_token_id', { default: 151652, min: 0 }),
    visionEnd: root.integer('vision_end_token_id', { default: 151653, min: 0 })
  }
  if (tokens.image === tokens.video) throw root.error('video_token_id', 'an id that differs from image_token_id')
  return { family: 'qwen2_vl', text: { ...text, tiedEmbeddings: tied }, vision, tokens }
}

function readQwen2Text(fields: Fields): Omit<ModelConfig['text'], 'tiedEmbeddings'> {
  const positive = (key: string, fallback: number): number =>
    fields.integer(key, { default: fallback, min: 1, max: 2 ** 31 - 1 })
  const hiddenSize = positive('hidden_size', 8192)
  const heads = positive('num_attention_heads', 64)
  // An explicit null means "as many as query heads", an absent key the class default.
  const kvHeads = fields.raw('num_key_value_heads') === null ? heads : positive('num_key_value_heads', 8)
  if (hiddenSize % heads !== 0) throw fields.error('num_attention_heads', `a divisor of hidden_size (${hiddenSize})`)
  if (heads % kvHeads !== 0) throw fields.error('num_key_value_heads', `a divisor of num_attention_heads (${heads})`)
  const headSize = hiddenSize / heads
  if (fields.has('head_dim') && fields.integer('head_dim') !== headSize)
    throw fields.error('head_dim', `hidden_size / num_attention_heads = ${headSize}`)
  if (headSize % 2 !== 0) throw fields.error('hidden_size', 'an even size of each attention head')
  fields.oneOf('hidden_act', ['silu'], 'silu')
  const layers = positive('num_hidden_layers', 80)
  const maxPositions = positive('max_position_embeddings', 32768)
  checkFullAttention(fields, { layers, maxPositions })
  return {
    vocabSize: positive('vocab_size', 152064),
    hiddenSize,
    intermediateSize: positive('intermediate_size', 29568),
    layers,
    heads,
    kvHeads,
    headSize,
    rmsNormEps: fields.number('rms_norm_eps', { default: 1e-5, min: 0, max: 1 }),
    ...readRope(fields, headSize),
    maxPositions
  }
}

/** `rope_scaling` beside `rope_theta` (transformers 4), or both within `rope_parameters` (5). */
function readRope(fields: Fields, headSize: number): Pick<ModelConfig['text'], 'ropeTheta' | 'mropeSection'> {
  const rope =
    fields.nested('rope_scaling') ?? fields.nested('rope_parameters') ?? new Fields(fields.file, {}, 'rope_scaling.')
  const kind = rope.has('rope_type') ? 'rope_type' : 'type'
  rope.oneOf(kind, ['default', 'mrope'], 'default')
  const mropeSection = rope.numbers('mrope_section', 3, [16, 24, 24]) as [number, number, number]
  const whole = mropeSection.every((each) => Number.isInteger(each) && each >= 0)
  if (!whole || 2 * mropeSection.reduce((sum, each) => sum + each) !== headSize)
    throw rope.error('mrope_section', `three whole numbers that add up to half the head size (${headSize / 2})`)
  const source = rope.has('rope_theta') ? rope : fields
  return { ropeTheta: source.number('rope_theta', { default: 1e6, min: 1 }), mropeSection }
}

/** Sliding windows are refused where they would cut anything off. */
function checkFullAttention(fields: Fields, { layers, maxPositions }: { layers: number; maxPositions: number }): void {
  if (!fields.boolean('use_sliding_window', false)) return
  const window = fields.integer('sliding_window', { default: 4096, min: 1 })
  const types = fields.raw('layer_types')
  const some = Array.isArray(types)
    ? types.includes('sliding_attention')
    : fields.integer('max_window_layers', { default: 80, min: 0 }) < layers
  if (some && window < maxPositions)
    throw fields.error('use_sliding_window', 'false (attention over a sliding window is not supported)')
}

function readQwen2Vision(fields: Fields): ModelConfig['vision'] {
  const positive = (key: string, fallback: number): number =>
    fields.integer(key, { default: fallback, min: 1, max: 2 ** 31 - 1 })
  const square = (key: string, fallback: number): number => {
    const value = fields.raw(key)
    if (!Array.isArray(value)) return positive(key, fallback)
    const sizes = fields.numbers(key, value.length)
    if (sizes.length === 0 || !sizes.every((each) => each === sizes[0] && Number.isInteger(each) && each > 0))
      throw fields.error(key, 'one positive whole number, or equal ones')
    return sizes[0]!
  }
  const embedDim = positive('embed_dim', 1280)
  const heads = positive('num_heads', 16)
  if (embedDim % (4 * heads) !== 0)
    throw fields.error(
      'num_heads',
      `a number of heads whose size, embed_dim (${embedDim}) / num_heads, is a multiple of 4`
    )
  const channels = fields.has('in_channels') ? 'in_channels' : 'in_chans'
  if (fields.integer(channels, { default: 3 }) !== 3) throw fields.error(channels, '3 (red, green, blue)')
  const rope = fields.nested('rope_parameters')
  if (rope && rope.number('rope_theta', { default: 10000 }) !== 10000) throw rope.error('rope_theta', '10000')
  return {
    depth: positive('depth', 32),
    embedDim,
    heads,
    intermediateSize: Math.trunc(embedDim * fields.number('mlp_ratio', { default: 4, min: 1 / embedDim, max: 1024 })),
    inChannels: 3,
    patchSize: square('patch_size', 14),
    temporalPatchSize: square('temporal_patch_size', 2),
    mergeSize: positive('spatial_merge_size', 2),
    outputSize: positive('hidden_size', 3584),
    activation: fields.oneOf('hidden_act', ACTIVATIONS, 'quick_gelu')
  }
}
