/**
 * Text decoders of one position a token, by `model_type`: Qwen2, Qwen3, Mistral, Llama, Phi-3; by themselves and as the
 * `text_config` of others.
 */
import { Fields } from '../../json-fields.js'
import type { ModelConfig, RopeConfig, TextConfig, TextFamily } from '../config.js'
import { readLongRope } from './long-rope.js'
import { hasSlidingLayers, positive, readSizes, type TextDefaults } from './qwen.js'

type Sizes = ReturnType<typeof readSizes>

interface Decoder {
  defaults: Omit<TextDefaults, 'kvHeads' | 'headSize'> & {
    /** absent: as many as query heads */
    kvHeads?: number
    /** absent: hiddenSize / heads */
    headSize?: number
  }
  /** of q, k and v; undefined: none, and `attention_bias` must not say otherwise */
  bias?: true
  qkNorm?: true
  fused?: true
  /** tokens that a layer sees, where not all; undefined: no layer has a window */
  window?: (fields: Fields, sizes: Sizes) => number | undefined
  rope?: (fields: Fields, sizes: Sizes) => RopeConfig
}

const COMMON = { hiddenSize: 4096, layers: 32, heads: 32, rmsNormEps: 1e-6 }
const QWEN = { ...COMMON, vocabSize: 151936, intermediateSize: 22016, kvHeads: 32, maxPositions: 32768 }

const qwenWindow = (fields: Fields, { layers }: Sizes): number | undefined =>
  hasSlidingLayers(fields, { layers, fullLayers: 28 }) ? positive(fields, 'sliding_window', 4096) : undefined

/** Where the file is silent, transformers' classes of configuration. */
const DECODERS: Record<string, Decoder> = {
  mistral: {
    defaults: { ...COMMON, vocabSize: 32000, intermediateSize: 14336, kvHeads: 8, maxPositions: 131072 },
    window: (fields) => (fields.raw('sliding_window') === null ? undefined : positive(fields, 'sliding_window', 4096))
  },
  llama: { defaults: { ...COMMON, vocabSize: 32000, intermediateSize: 11008, maxPositions: 2048 } },
  qwen2: { defaults: QWEN, bias: true, window: qwenWindow },
  qwen3: { defaults: { ...QWEN, headSize: 128 }, qkNorm: true, window: qwenWindow },
  phi3: {
    defaults: {
      ...COMMON,
      vocabSize: 32064,
      hiddenSize: 3072,
      intermediateSize: 8192,
      rmsNormEps: 1e-5,
      maxPositions: 4096
    },
    fused: true,
    window: (fields) => (fields.has('sliding_window') ? positive(fields, 'sliding_window', Infinity) : undefined),
    rope: (fields, sizes) => readLongRope(fields, sizes)
  }
}

/** `fields`: text_config, or the whole file. Attention is full; where layers see a window only, an item may not be longer than that. */
export function readDecoder(
  fields: Fields,
  type: string,
  tiedEmbeddings: boolean,
  rope: Decoder['rope'] = undefined
): TextConfig {
  const decoder = DECODERS[type]
  if (!decoder)
    throw fields.error('model_type', `a supported text model (${Object.keys(DECODERS).join(', ')}), found "${type}":`)
  const { defaults } = decoder
  const heads = positive(fields, 'num_attention_heads', defaults.heads)
  const hidden = positive(fields, 'hidden_size', defaults.hiddenSize)
  if (defaults.headSize === undefined && !fields.has('head_dim') && hidden % heads !== 0)
    throw fields.error('num_attention_heads', `a divisor of hidden_size (${hidden})`)
  const sizes = readSizes(fields, { headSize: hidden / heads, kvHeads: heads, ...defaults })
  if (fields.boolean('mlp_bias', false)) throw fields.error('mlp_bias', 'false')
  if (!decoder.bias && fields.boolean('attention_bias', false)) throw fields.error('attention_bias', 'false')
  const window = decoder.window?.(fields, sizes)
  return {
    ...sizes,
    ...(window !== undefined && { window, maxPositions: Math.min(sizes.maxPositions, window) }),
    attentionBias: decoder.bias ?? false,
    qkNorm: decoder.qkNorm ?? false,
    fusedProjections: decoder.fused ?? false,
    ...(!fields.boolean('is_causal', true) && { causal: false }),
    rope: (rope ?? decoder.rope ?? readPlainRope)(fields, sizes),
    tiedEmbeddings
  }
}

/** A decoder by itself. */
export const readDecoderAlone =
  (family: TextFamily) =>
  (root: Fields): ModelConfig => ({
    family,
    text: readDecoder(root, family, root.boolean('tie_word_embeddings', false)),
    tokens: { image: -1, video: -1, visionStart: -1, visionEnd: -1 }
  })

/** `rope_theta` beside `rope_scaling` (transformers 4) or within `rope_parameters` (5); no scaling. */
function readPlainRope(fields: Fields): RopeConfig {
  const scaling = fields.nested('rope_scaling') ?? fields.nested('rope_parameters')
  const rope = scaling ?? new Fields(fields.file, {}, 'rope_scaling.')
  rope.oneOf(rope.has('rope_type') ? 'rope_type' : 'type', ['default'], 'default')
  const source = rope.has('rope_theta') ? rope : fields
  return { kind: 'plain', theta: source.number('rope_theta', { default: 10000, min: 1 }) }
}
