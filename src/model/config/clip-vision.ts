/** The keys of a `vision_config` of CLIP's or SigLIP's kind. */
import type { Fields } from '../../json-fields.js'
import type { VisionConfig } from '../config.js'
import { ACTIVATIONS, positive, square } from './qwen.js'

type ClipVision = Omit<VisionConfig, 'kind' | 'mergeSize' | 'outputSize' | 'featureBlocks'>

export interface ClipDefaults {
  patchSize: number
  activation: VisionConfig['activation']
  normEps: number
  classToken: boolean
}

/** Defaults are those of transformers' CLIPVisionConfig and SiglipVisionConfig, which share all sizes but the patches'. */
export function readClipVision(
  fields: Fields,
  { patchSize, activation, normEps, classToken }: ClipDefaults
): ClipVision {
  const embedDim = positive(fields, 'hidden_size', 768)
  const heads = positive(fields, 'num_attention_heads', 12)
  if (embedDim % (4 * heads) !== 0)
    throw fields.error('num_attention_heads', `heads of a size that is a multiple of 4, hidden_size being ${embedDim},`)
  if (fields.integer('num_channels', { default: 3 }) !== 3) throw fields.error('num_channels', '3 (red, green, blue)')
  const imageSize = square(fields, 'image_size', 224)
  const side = square(fields, 'patch_size', patchSize)
  if (side > imageSize) throw fields.error('patch_size', `no more than image_size (${imageSize})`)
  return {
    embedDim,
    heads,
    depth: positive(fields, 'num_hidden_layers', 12),
    intermediateSize: positive(fields, 'intermediate_size', 3072),
    inChannels: 3,
    imageSize,
    patchSize: side,
    temporalPatchSize: 1,
    activation: fields.oneOf('hidden_act', ACTIVATIONS, activation),
    normEps: fields.number('layer_norm_eps', { default: normEps, min: 0, max: 1 }),
    classToken,
    positionEmbeddings: Math.floor(imageSize / side) ** 2 + (classToken ? 1 : 0)
  }
}
