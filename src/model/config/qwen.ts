/** What the readers of Qwen's models share: the keys of their text models, rotary embedding, tokens. */
import { Fields } from '../../json-fields.js'
import type { ModelConfig, RopeConfig, TextConfig, Triplet, VisionConfig } from '../config.js'

export const ACTIVATIONS = ['quick_gelu', 'gelu', 'gelu_pytorch_tanh', 'silu'] as const

export const positive = (fields: Fields, key: string, fallback: number): number =>
  fields.integer(key, { default: fallback, min: 1, max: 2 ** 31 - 1 })

/**
 * The text model's keys are those of `text_config` where it exists, else those of the file itself; the head counts as tied
 * where either says so.
 */
export function textFields(root: Fields): { fields: Fields; tiedEmbeddings: boolean } {
  const nested = root.nested('text_config')
  const tied = root.boolean('tie_word_embeddings', false) || (nested?.boolean('tie_word_embeddings', false) ?? false)
  return { fields: nested ?? root, tiedEmbeddings: tied }
}

export function visionFields(root: Fields): Fields {
  return root.nested('vision_config') ?? new Fields(root.file, {}, 'vision_config.')
}

/** Where config.json is silent. */
export interface TextDefaults {
  hiddenSize: number
  intermediateSize: number
  layers: number
  heads: number
  kvHeads: number
  vocabSize: number
  rmsNormEps: number
  maxPositions: number
  /** absent: hiddenSize / heads, and nothing else is possible */
  headSize?: number
}

type Sizes = Omit<TextConfig, 'attentionBias' | 'qkNorm' | 'fusedProjections' | 'rope' | 'tiedEmbeddings'>

export function readSizes(fields: Fields, defaults: TextDefaults): Sizes {
  const hiddenSize = positive(fields, 'hidden_size', defaults.hiddenSize)
  const heads = positive(fields, 'num_attention_heads', defaults.heads)
  // An explicit null means "as many as query heads", an absent key the class default.
  const kvHeads =
    fields.raw('num_key_value_heads') === null ? heads : positive(fields, 'num_key_value_heads', defaults.kvHeads)
  const headSize = readHeadSize(fields, { hiddenSize, heads, fallback: defaults.headSize })
  if (heads % kvHeads !== 0) throw fields.error('num_key_value_heads', `a divisor of num_attention_heads (${heads})`)
  fields.oneOf('hidden_act', ['silu'], 'silu')
  return {
    vocabSize: positive(fields, 'vocab_size', defaults.vocabSize),
    hiddenSize,
    intermediateSize: positive(fields, 'intermediate_size', defaults.intermediateSize),
    layers: positive(fields, 'num_hidden_layers', defaults.layers),
    heads,
    kvHeads,
    headSize,
    rmsNormEps: fields.number('rms_norm_eps', { default: defaults.rmsNormEps, min: 0, max: 1 }),
    maxPositions: positive(fields, 'max_position_embeddings', defaults.maxPositions)
  }
}

function readHeadSize(
  fields: Fields,
  { hiddenSize, heads, fallback }: { hiddenSize: number; heads: number; fallback: number | undefined }
): number {
  if (fallback !== undefined) {
    const size = positive(fields, 'head_dim', fallback)
    if (size % 2 !== 0) throw fields.error('head_dim', 'an even number')
    return size
  }
  if (hiddenSize % heads !== 0) throw fields.error('num_attention_heads', `a divisor of hidden_size (${hiddenSize})`)
  const headSize = hiddenSize / heads
  if (fields.has('head_dim') && fields.integer('head_dim') !== headSize)
    throw fields.error('head_dim', `hidden_size / num_attention_heads = ${headSize}`)
  if (headSize % 2 !== 0) throw fields.error('hidden_size', 'an even size of each attention head')
  return headSize
}

/** M-RoPE: `rope_scaling` beside `rope_theta` (transformers 4), or both within `rope_parameters` (5). */
export function readMrope(
  fields: Fields,
  headSize: number,
  defaults: { theta: number; sections: Triplet; interleaved: boolean }
): RopeConfig {
  const rope =
    fields.nested('rope_scaling') ?? fields.nested('rope_parameters') ?? new Fields(fields.file, {}, 'rope_scaling.')
  const kind = rope.has('rope_type') ? 'rope_type' : 'type'
  rope.oneOf(kind, ['default', 'mrope'], 'default')
  if (rope.boolean('mrope_interleaved', defaults.interleaved) !== defaults.interleaved)
    throw rope.error('mrope_interleaved', String(defaults.interleaved))
  const sections = rope.numbers('mrope_section', 3, defaults.sections) as Triplet
  const whole = sections.every((each) => Number.isInteger(each) && each >= 0)
  // interleaved ones may cover more or less: what is left turns by time
  if (!whole || (!defaults.interleaved && 2 * sections.reduce((sum, each) => sum + each) !== headSize))
    throw rope.error('mrope_section', `three whole numbers that add up to half the head size (${headSize / 2})`)
  const source = rope.has('rope_theta') ? rope : fields
  const theta = source.number('rope_theta', { default: defaults.theta, min: 1 })
  return { kind: defaults.interleaved ? 'interleaved' : 'sections', theta, sections }
}

/** Whether some layers see a window only. `fullLayers`: how many do not, where the file is silent. */
export function hasSlidingLayers(
  fields: Fields,
  { layers, fullLayers }: { layers: number; fullLayers: number }
): boolean {
  if (!fields.boolean('use_sliding_window', false) || fields.raw('sliding_window') === null) return false
  const types = fields.raw('layer_types')
  return Array.isArray(types)
    ? types.includes('sliding_attention')
    : fields.integer('max_window_layers', { default: fullLayers, min: 0 }) < layers
}

/** Sliding windows are refused where they would cut anything off. */
export function checkFullAttention(
  fields: Fields,
  { layers, maxPositions }: { layers: number; maxPositions: number }
): void {
  if (!hasSlidingLayers(fields, { layers, fullLayers: 80 })) return
  if (positive(fields, 'sliding_window', 4096) < maxPositions)
    throw fields.error('use_sliding_window', 'false (attention over a sliding window is not supported)')
}

/** One size, or equal ones for each axis. */
export function square(fields: Fields, key: string, fallback: number): number {
  const value = fields.raw(key)
  if (!Array.isArray(value)) return positive(fields, key, fallback)
  const sizes = fields.numbers(key, value.length)
  if (sizes.length === 0 || !sizes.every((each) => each === sizes[0] && Number.isInteger(each) && each > 0))
    throw fields.error(key, 'one positive whole number, or equal ones')
  return sizes[0]!
}

/** A list of different numbers of vision blocks. */
export function blockNumbers(fields: Fields, key: string, fallback: readonly number[]): number[] {
  const value = fields.raw(key) ?? fallback
  const numbers = Array.isArray(value) ? fields.numbers(key, value.length, fallback) : [NaN]
  if (!numbers.every((each) => Number.isInteger(each) && each >= 0) || new Set(numbers).size < numbers.length)
    throw fields.error(key, 'a list of different numbers of blocks')
  return numbers
}

/** What Qwen's towers have in common. */
export function readPatches(
  fields: Fields,
  { patchSize, heads, widthKey, width }: { patchSize: number; heads: number; widthKey: string; width: number }
): Pick<
  VisionConfig,
  'embedDim' | 'heads' | 'inChannels' | 'patchSize' | 'temporalPatchSize' | 'mergeSize' | 'normEps'
> {
  const embedDim = positive(fields, widthKey, width)
  const headCount = positive(fields, 'num_heads', heads)
  if (embedDim % (4 * headCount) !== 0)
    throw fields.error(
      'num_heads',
      `a number of heads whose size, ${widthKey} (${embedDim}) / num_heads, is a multiple of 4`
    )
  const channels = fields.has('in_channels') ? 'in_channels' : 'in_chans'
  if (fields.integer(channels, { default: 3 }) !== 3) throw fields.error(channels, '3 (red, green, blue)')
  const rope = fields.nested('rope_parameters')
  if (rope && rope.number('rope_theta', { default: 10000 }) !== 10000) throw rope.error('rope_theta', '10000')
  return {
    embedDim,
    heads: headCount,
    inChannels: 3,
    patchSize: square(fields, 'patch_size', patchSize),
    temporalPatchSize: square(fields, 'temporal_patch_size', 2),
    mergeSize: positive(fields, 'spatial_merge_size', 2),
    normEps: 1e-6 // fixed in transformers' classes
  }
}

export function readTokens(root: Fields): ModelConfig['tokens'] {
  const tokens = {
    image: root.integer('image_token_id', { default: 151655, min: 0 }),
    video: root.integer('video_token_id', { default: 151656, min: 0 }),
    visionStart: root.integer('vision_start_token_id', { default: 151652, min: 0 }),
    visionEnd: root.integer('vision_end_token_id', { default: 151653, min: 0 })
  }
  if (tokens.image === tokens.video) throw root.error('video_token_id', 'an id that differs from image_token_id')
  return tokens
}

/** The tower's features must be as wide as the text model. */
export function checkOutput(fields: Fields, key: string, outputSize: number, hiddenSize: number): void {
  if (outputSize !== hiddenSize) throw fields.error(key, `the hidden size of the text model (${hiddenSize})`)
}
