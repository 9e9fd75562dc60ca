/** A loaded model, and what it is loaded from. */
import type { ModelConfig } from '../model/config.js'
import type { Batch } from './batch.js'
import type { DeviceOptions, DType, Quantize } from './device.js'

/** A low-rank adapter on one linear module. */
export interface AdapterModule {
  /** canonical module name, as in `LinearModule.name` */
  module: string
  rank: number
  /** alpha / rank, or alpha / sqrt(rank) with rslora */
  scale: number
  dora: boolean
}

/** A linear module of an architecture, by the name it has in transformers 5 (`model.language_model.layers.0.mlp.up_proj`). */
export interface LinearModule {
  name: string
  part: 'vision' | 'merger' | 'text'
  inFeatures: number
  outFeatures: number
  /** the name in each naming that the family's checkpoints have used, the canonical one first */
  spellings: Record<string, string>
}

export interface LoadOptions extends DeviceOptions {
  config: ModelConfig
  /** safetensors files that together hold the model */
  files: string[]
  dtype: DType
  /** of the base's linear layers; default none. Trainer: of the frozen base, mode lora only */
  quantize?: Quantize
  /** adapters to apply, and the PEFT safetensors file that holds their weights */
  adapters?: AdapterModule[]
  adapterFile?: string
}

export interface EmbedResult {
  /** (B, dimension) unit vectors */
  embeddings: Float32Array
  /** (T, hidden) output of the final norm, if asked for */
  lastHidden?: Float32Array
  /** (T, hidden) each: `layer.0`, what enters the first text layer, and `layer.n`, the output of layer n - 1, if asked for */
  states?: { name: string; rows: number; data: Float32Array }[]
}

export interface MemoryUse {
  weights: number
  packed: number
  gradients: number
  optimizer: number
  activations: number
}

export interface SaveOptions {
  /** the safetensors file to write, whole or not at all */
  path: string
  /** 'base': the number type of the loaded checkpoint */
  dtype: DType | 'base'
}

export interface NativeModel {
  /** `states` only together with `lastHidden`; of a decoder with a vision tower */
  embed(batch: Batch, options?: { lastHidden?: boolean; states?: boolean }): Promise<EmbedResult>
  /** Writes all weights by the names of the checkpoint they came from, adapters merged; `lm_head` is copied unchanged. */
  save(options: SaveOptions): Promise<void>
  memory(): MemoryUse
  close(): Promise<void>
}
