/** config.json files for the tests of their readers: where they lie, and a small Qwen2-VL. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { readModelConfig, type ModelConfig } from '../../../src/model/config.js'
import { temporaryFolder } from '../../temporary-folder.js'

/** `read`: what is read from a config.json of that content, which is written into `directory`. */
export function configFolder() {
  const directory = temporaryFolder()
  const read = async (config: unknown): Promise<ModelConfig> => {
    writeFileSync(join(directory, 'config.json'), typeof config === 'string' ? config : JSON.stringify(config))
    return readModelConfig(directory)
  }
  return { directory, read }
}

export const TEXT = {
  vocab_size: 512,
  hidden_size: 64,
  intermediate_size: 96,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 1024,
  rms_norm_eps: 1e-6
}
export const VISION = {
  depth: 2,
  embed_dim: 32,
  num_heads: 2,
  mlp_ratio: 4,
  in_chans: 3,
  hidden_size: 64,
  patch_size: 14
}
export const TOKENS = { image_token_id: 500, video_token_id: 501, vision_start_token_id: 502, vision_end_token_id: 503 }
/** The whole, in the form of transformers 4: one flat mapping. */
export const FLAT = {
  model_type: 'qwen2_vl',
  torch_dtype: 'bfloat16',
  tie_word_embeddings: true,
  ...TEXT,
  ...TOKENS,
  rope_theta: 5000,
  rope_scaling: { type: 'mrope', mrope_section: [2, 3, 3] },
  vision_config: VISION
}
/** What is read from it. */
export const EXPECTED = {
  family: 'qwen2_vl',
  text: {
    vocabSize: 512,
    hiddenSize: 64,
    intermediateSize: 96,
    layers: 2,
    heads: 4,
    kvHeads: 2,
    headSize: 16,
    rmsNormEps: 1e-6,
    attentionBias: true,
    qkNorm: false,
    fusedProjections: false,
    rope: { kind: 'sections', theta: 5000, sections: [2, 3, 3] },
    maxPositions: 1024,
    tiedEmbeddings: true
  },
  vision: {
    kind: 'qwen2',
    depth: 2,
    embedDim: 32,
    heads: 2,
    intermediateSize: 128,
    inChannels: 3,
    patchSize: 14,
    temporalPatchSize: 2,
    mergeSize: 2,
    outputSize: 64,
    activation: 'quick_gelu',
    normEps: 1e-6
  },
  tokens: { image: 500, video: 501, visionStart: 502, visionEnd: 503 }
}
