/** A model that is trained. */
import type { Batch } from './batch.js'
import type { LoadOptions, MemoryUse, SaveOptions } from './model.js'

export interface TrainerOptions extends LoadOptions {
  mode: 'lora' | 'full'
  /** full: parts that stay as they are */
  freeze: ('vision' | 'merger' | 'text')[]
  /** of the input of each adapter, 0 to 1 */
  dropout: number
  /** initial weights of new adapters ('kaiming': PEFT's default; 'gaussian': VLM2Vec's) and dropout are drawn from it */
  initialization: 'kaiming' | 'gaussian'
  seed: number
  /** bytes that kept activations may take; what does not fit is recomputed. 0: as few as cost no time, at most a chunk's */
  activationMemory: number
}

/** Where a chunk stands in its batch: what is random or cached depends on the place, never on the chunking. */
export interface ChunkPlace {
  step: number
  /** index of the chunk in its step; `backward` finds the frozen vision features of `embed` by it */
  chunk: number
  /** index of the chunk's first token and first patch in the whole batch */
  firstToken: number
  firstPatch: number
  /** tokens of all chunks of the step together: what is kept of the first pass depends on it, never the result */
  stepTokens: number
  /**
   * Pictures that several chunks of the step use, by number. `brought`: one a picture of the batch, -1 where no other chunk
   * uses it; `known`: those that an earlier chunk has brought. The chunk that brings one goes backward after all that know it.
   */
  brought?: number[]
  known?: number[]
}

export interface UpdateOptions {
  learningRate: number
  weightDecay: number
  /** 0: no clipping */
  maxGradNorm: number
}

export interface NativeTrainer {
  /** Forward, keeping nothing but what is frozen. Returns (B, dimension). */
  embed(batch: Batch, place: ChunkPlace): Promise<Float32Array>
  /** Forward again, then backward; gradients add up. `dEmbeddings` (B, dimension). */
  backward(batch: Batch, dEmbeddings: Float32Array, place: ChunkPlace): Promise<void>
  /** Writes the gradients that have added up, unclipped, by PEFT's or Hugging Face's names, f32. */
  saveGradients(path: string): Promise<void>
  /** Clips, updates, and clears the gradients. E_NUMERIC if their norm is not finite; the weights are then unchanged. */
  update(options: UpdateOptions): Promise<{ gradNorm: number }>
  /** lora: the adapter by PEFT's names. full: the whole model, as NativeModel.save does. */
  saveWeights(options: SaveOptions): Promise<void>
  /** Master weights, moments and step count. */
  saveState(path: string): Promise<void>
  restoreState(path: string): Promise<void>
  memory(): MemoryUse
  close(): Promise<void>
}
