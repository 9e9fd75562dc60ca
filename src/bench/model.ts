/** The model of a case: a directory, or random weights for a configuration, written to a temporary folder. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readModelConfig, type ModelConfig } from '../model/config.js'
import { findDirectory, hasWeights, weightFiles } from '../model/directory.js'
import { native } from '../native.js'
import { resolveSettings, type ProcessorSettings } from '../preprocess/settings.js'
import type { BenchContext } from './kinds.js'

export interface BenchModel {
  config: ModelConfig
  files: string[]
  close(): Promise<void>
}

/** 123 million parameters: 12 text layers of 768 and 12 vision layers of 512, in Qwen2-VL's form. */
export const DEFAULT_CONFIG = {
  model_type: 'qwen2_vl',
  tie_word_embeddings: true,
  vocab_size: 4096,
  hidden_size: 768,
  intermediate_size: 2048,
  num_hidden_layers: 12,
  num_attention_heads: 12,
  num_key_value_heads: 4,
  max_position_embeddings: 4096,
  rms_norm_eps: 1e-6,
  rope_theta: 1e6,
  rope_scaling: { type: 'mrope', mrope_section: [8, 12, 12] },
  hidden_act: 'silu',
  vision_start_token_id: 4088,
  vision_end_token_id: 4089,
  image_token_id: 4090,
  video_token_id: 4091,
  vision_config: {
    model_type: 'qwen2_vl',
    depth: 12,
    embed_dim: 512,
    num_heads: 8,
    mlp_ratio: 4,
    in_chans: 3,
    hidden_size: 768,
    patch_size: 14,
    spatial_merge_size: 2,
    temporal_patch_size: 2
  }
}

/** `path`: a model directory, one that holds config.json alone, or a config file; null: the model above. E_MODEL. */
export async function openModel(path: string | null, context: BenchContext): Promise<BenchModel> {
  const isFile = path?.endsWith('.json') ?? false
  if (path !== null && !isFile) {
    const directory = await findDirectory(path)
    if (hasWeights(directory))
      return { config: await readModelConfig(directory), files: await weightFiles(directory), close: nothing }
  }
  const folder = await mkdtemp(join(tmpdir(), 'vlm2vec-bench-'))
  const close = () => rm(folder, { recursive: true, force: true })
  try {
    const config = await copyConfig(path === null ? undefined : isFile ? path : join(path, 'config.json'), folder)
    const file = join(folder, 'model.safetensors')
    await native().writeRandomModel({ config, path: file, dtype: context.dtype, seed: 1 }, context.device)
    return { config, files: [file], close }
  } catch (error) {
    await close()
    throw error
  }
}

/** What a configuration needs to know of pictures; there may be a preprocessor_config.json beside it. */
export async function openConfig(path: string | null): Promise<{ config: ModelConfig; settings: ProcessorSettings }> {
  const folder = await mkdtemp(join(tmpdir(), 'vlm2vec-bench-'))
  try {
    const directory = path === null ? folder : await findDirectory(path)
    const config = path === null ? await copyConfig(undefined, folder) : await readModelConfig(directory)
    return { config, settings: await resolveSettings(directory, config, {}) }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** `source` absent: the model above. */
async function copyConfig(source: string | undefined, folder: string): Promise<ModelConfig> {
  const text = source === undefined ? JSON.stringify(DEFAULT_CONFIG) : await readFile(source, 'utf8')
  await writeFile(join(folder, 'config.json'), text)
  return readModelConfig(folder)
}

const nothing = () => Promise.resolve()
