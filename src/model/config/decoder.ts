/** Text decoders of one position a token, by the `model_type` of `text_config`: Mistral, Llama, Qwen2. */
import { Fields } from '../../json-fields.js'
import type { RopeConfig, TextConfig } from '../config.js'
import { readSizes, type TextDefaults } from './qwen.js'

interface Decoder {
  defaults: TextDefaults
  /** of q, k and v; undefined: as `attention_bias` says */
  bias?: boolean
  /** whether `sliding_window` holds, and where the file is silent; undefined: no layer has one */
  window?: (fields: Fields) => number | undefined
}

const COMMON = { hiddenSize: 4096, layers: 32, heads: 32, rmsNormEps: 1e-6 }

/** Where the file is silent, transformers' MistralConfig, LlamaConfig and Qwen2Config. */
const DECODERS: Record<string, Decoder> = {
  mistral: {
    defaults: { ...COMMON, vocabSize: 32000, intermediateSize: 14336, kvHeads: 8, maxPositions: 131072 },
    bias: false,
    window: (fields) =>
      fields.raw('sliding_window') === null ? undefined : fields.integer('sliding_window', { default: 4096, min: 1 })
  },
  llama: { defaults: { ...COMMON, vocabSize: 32000, intermediateSize: 11008, kvHeads: 32, maxPositions: 2048 } },
  qwen2: {
    defaults: { ...COMMON, vocabSize: 151936, intermediateSize: 22016, kvHeads: 32, maxPositions: 32768 },
    bias: true,
    window: (fields) =>
      fields.boolean('use_sliding_window', false)
        ? fields.integer('sliding_window', { default: 4096, min: 1 })
        : undefined
  }
}

/** `fields`: text_config. Attention is full; where layers see a window only, an item may not be longer than that. */
export function readDecoder(fields: Fields, type: string, tiedEmbeddings: boolean): TextConfig {
  const decoder = DECODERS[type]
  if (!decoder)
    throw fields.error('model_type', `a supported text model (${Object.keys(DECODERS).join(', ')}), found "${type}":`)
  const { defaults } = decoder
  const heads = fields.integer('num_attention_heads', { default: defaults.heads, min: 1 })
  const hidden = fields.integer('hidden_size', { default: defaults.hiddenSize, min: 1 })
  if (!fields.has('head_dim') && hidden % heads !== 0)
    throw fields.error('num_attention_heads', `a divisor of hidden_size (${hidden})`)
  // an absent number of key-value heads means, for Llama, as many as query heads
  const kvHeads = type === 'llama' ? heads : defaults.kvHeads
  const sizes = readSizes(fields, { ...defaults, kvHeads, headSize: hidden / heads })
  if (fields.boolean('mlp_bias', false)) throw fields.error('mlp_bias', 'false')
  const attentionBias = decoder.bias ?? fields.boolean('attention_bias', false)
  if (type === 'llama' && attentionBias) throw fields.error('attention_bias', 'false')
  return {
    ...sizes,
    maxPositions: Math.min(sizes.maxPositions, decoder.window?.(fields) ?? Infinity),
    attentionBias,
    qkNorm: false,
    fusedProjections: false,
    rope: readPlainRope(fields),
    tiedEmbeddings
  }
}

/** `rope_theta` beside `rope_scaling` (transformers 4) or within `rope_parameters` (5); no scaling. */
function readPlainRope(fields: Fields): RopeConfig {
  const scaling = fields.nested('rope_scaling') ?? fields.nested('rope_parameters')
  const rope = scaling ?? new Fields(fields.file, {}, 'rope_scaling.')
  rope.oneOf(rope.has('rope_type') ? 'rope_type' : 'type', ['default'], 'default')
  const source = rope.has('rope_theta') ? rope : fields
  return { kind: 'plain', theta: source.number('rope_theta', { default: 10000, min: 1 }) }
}
