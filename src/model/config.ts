/**
 * What a model directory's config.json says, in one form for all its spellings. Every architecture has one reader in
 * `config/` and one parameter table in native/model/families/.
 */
import { join } from 'node:path'
import { Vlm2VecError } from '../errors.js'
import { readJsonObject, type Fields } from '../json-fields.js'
import { readDecoderAlone } from './config/decoder.js'
import { readClip, readSiglip } from './config/dual.js'
import { readLlavaNext } from './config/llava-next.js'
import { readPhi3V } from './config/phi3-v.js'
import { readQwen25Vl } from './config/qwen2-5-vl.js'
import { readQwen2Vl } from './config/qwen2-vl.js'
import { readQwen3Vl } from './config/qwen3-vl.js'

export type Triplet = [number, number, number]

export type RopeConfig =
  /** M-RoPE: frequencies that turn by time, height and width, one after the other or interleaved */
  | { kind: 'sections' | 'interleaved'; theta: number; sections: Triplet }
  /** one position a token */
  | {
      kind: 'plain'
      theta: number
      /** factors of each frequency, for sequences up to `originalPositions` tokens and for longer ones */
      longRope?: { short: number[]; long: number[]; originalPositions: number; attentionFactor: number }
    }

export interface TextConfig {
  vocabSize: number
  hiddenSize: number
  intermediateSize: number
  layers: number
  heads: number
  kvHeads: number
  /** need not be hiddenSize / heads */
  headSize: number
  rmsNormEps: number
  /** whether q, k and v have biases */
  attentionBias: boolean
  /** whether query and key heads are normalised before they turn */
  qkNorm: boolean
  /** q, k and v from one linear layer, gate and up from another (Phi-3) */
  fusedProjections: boolean
  rope: RopeConfig
  /** tokens of the longest item */
  maxPositions: number
  /** tokens that some layer sees at a time, itself included: attention here is full, so that longer items would come out wrong */
  window?: number
  tiedEmbeddings: boolean
  /** false: tokens see what follows them too */
  causal?: boolean
  /** text towers of dual encoders: learned positions in place of rotary ones, and what follows the first linear layer */
  positionEmbeddings?: number
  activation?: VisionConfig['activation']
}

export interface VisionConfig {
  kind: 'qwen2' | 'qwen2_5' | 'qwen3' | 'llava' | 'phi3' | 'dual'
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
  normEps: number
  /** qwen2_5: side of an attention window in pixels, and the blocks that attend to whole pictures */
  windowSize?: number
  fullAttentionBlocks?: number[]
  /** qwen2_5: positions that a second of video takes */
  tokensPerSecond?: number
  /** qwen3, clip: learned positions (with one for CLIP's class token); qwen3: blocks whose output enters the first text layers */
  positionEmbeddings?: number
  deepstackBlocks?: number[]
  /** learned vectors that may stand between features (Batch.featureRows) */
  separators?: number
  /** clip: side of a tile in pixels; whether there is a class token, with a norm behind it; blocks that are computed */
  imageSize?: number
  classToken?: boolean
  featureBlocks?: number
  /** of the projector behind it */
  projectorBias?: boolean
  projectorActivation?: VisionConfig['activation']
  /** llava: [height, width] that pictures may be fitted into */
  resolutions?: [number, number][]
  /** phi3: whether the tiles come before the overview, or after it */
  tileOrder?: 'sub_glb' | 'glb_sub'
}

/** Decoders by themselves, which take text only. */
export type TextFamily = 'qwen2' | 'qwen3' | 'mistral' | 'phi3'
export type PictureFamily = 'qwen2_vl' | 'qwen2_5_vl' | 'qwen3_vl' | 'llava_next' | 'phi3_v' | 'clip' | 'siglip'
export type Family = PictureFamily | TextFamily

export interface ModelConfig {
  family: Family
  text: TextConfig
  /** absent in those of `TextFamily` */
  vision?: VisionConfig
  /** -1: the model has no such token; numbered: -k stands for picture k, outside of the vocabulary */
  tokens: { image: number; video: number; visionStart: number; visionEnd: number; numbered?: boolean }
  /** width of a vector, where it is not `text.hiddenSize` */
  embeddingSize?: number
  /**
   * Texts and pictures become vectors by a tower of their own each. A text's is the state at its first end-of-text token, or
   * (id 2, of old files) at its highest id; or at the last place of a text that is filled up with `padToken`.
   */
  dual?: { pooling: 'eos'; eosToken: number } | { pooling: 'last'; padToken: number }
}

/** The configuration of a model that takes pictures. */
export type PictureConfig = ModelConfig & { family: PictureFamily; vision: VisionConfig }

export const takesPictures = (config: ModelConfig): config is PictureConfig => config.vision !== undefined

/** Width of the vectors that a model makes. */
export const embeddingSize = (config: ModelConfig): number => config.embeddingSize ?? config.text.hiddenSize

type Reader = (root: Fields, directory: string) => ModelConfig | Promise<ModelConfig>

/** The reader of each `model_type`. */
const READERS: Record<Family, Reader> = {
  clip: readClip,
  llava_next: readLlavaNext,
  mistral: readDecoderAlone('mistral'),
  phi3: readDecoderAlone('phi3'),
  phi3_v: readPhi3V,
  qwen2: readDecoderAlone('qwen2'),
  qwen2_vl: readQwen2Vl,
  qwen2_5_vl: readQwen25Vl,
  qwen3: readDecoderAlone('qwen3'),
  qwen3_vl: readQwen3Vl,
  siglip: readSiglip
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
  const reader = (READERS as Record<string, Reader | undefined>)[family ?? '']
  if (!reader) throw root.error('model_type', `a supported architecture (${Object.keys(READERS).join(', ')})`)
  if (root.has('quantization_config'))
    throw root.error('quantization_config', 'no quantized weights (f32, f16 and bf16 are supported)')
  return reader(root, directory)
}
