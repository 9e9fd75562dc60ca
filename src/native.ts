/**
 * The addon: where it is found, and its typed interface. Calls on one object run in the order in which they are made, on
 * a thread of the device; typed arrays that are passed in are read in place and must not change until the promise settles.
 */
import { loadAddon } from './native-loader.js'
import { Vlm2VecError, type ErrorCode } from './errors.js'
import type { ModelConfig } from './model/config.js'

/** Sequences of tokens and pictures, packed: no padding, no mask. B sequences, T tokens, P patches, I pictures or videos. */
export interface Batch {
  /** (T) token ids, placeholders expanded */
  tokens: Int32Array
  /** (B + 1) first token of each sequence, and T */
  seqStarts: Int32Array
  /** (3, T) rotary positions: time, height, width */
  positions: Int32Array
  /** (P, PD) normalised patches of all pictures, in order of their placeholders in `tokens` */
  patches: Float32Array
  /** (I, 3) patches in time, height and width of each picture or video */
  grids: Int32Array
  /**
   * (N) what stands at each placeholder: >= 0 a feature of the batch's pictures, then of known ones (`ChunkPlace.known`);
   * -1, -2, ... a learned separator of the model. Needed for models with separators (`VisionConfig.separators`), and where a
   * picture stands at several places or is known; elsewhere features follow each other.
   */
  featureRows?: Int32Array
}

export type DType = 'f32' | 'bf16'

/** How frozen matrices are held: as they are, in 8 bits with a scale a row, in 4 bits with a scale for 64 numbers. */
export type Quantize = 'none' | 'int8' | 'nf4'

export interface DeviceOptions {
  /** 'cpu', 'cuda' or 'cuda:N' */
  device: string
  /** CPU threads; 0: one a core */
  threads: number
}

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

export interface ContrastiveLossInput {
  /** (B, dimension) and (N, dimension) rows */
  queries: Float32Array
  targets: Float32Array
  dimension: number
  temperature: number
  symmetric: boolean
  /** bf16: products of numbers rounded to it, summed in f32, where the machine has an instruction for that */
  dtype: DType
  /** positives of query i: positives[positiveStarts[i] .. positiveStarts[i + 1]) */
  positiveStarts: Int32Array
  positives: Int32Array
  /** optional false-negative mask: targets whose id is among the query's ids are left out, its positives aside */
  queryIdStarts?: Int32Array
  queryIds?: Int32Array
  targetIds?: Int32Array
  /** false: only the loss */
  gradients: boolean
}

export interface ContrastiveLossResult {
  loss: number
  dTemperature: number
  dQueries?: Float32Array
  dTargets?: Float32Array
}

export interface TopKInput {
  queries: Float32Array
  targets: Float32Array
  dimension: number
  k: number
  /** optional: the targets that query i ranks, as starts (B + 1) and indices */
  candidateStarts?: Int32Array
  candidates?: Int32Array
  /** optional: correct answers, which rank after others of the same score */
  lastStarts?: Int32Array
  last?: Int32Array
}

export interface PrepareImageInput {
  /** pictures of one size: (height, width, 3) bytes each. One: an image. More: video frames */
  frames: Uint8Array[]
  width: number
  height: number
  /** size after resizing; multiples of patchSize * mergeSize where patches are wanted */
  toWidth: number
  toHeight: number
  filter: 'bilinear' | 'bicubic' | 'lanczos'
  /** absent: only resize */
  patches?: {
    patchSize: number
    temporalPatchSize: number
    mergeSize: number
    mean: readonly [number, number, number]
    std: readonly [number, number, number]
  }
  /** also return the resized bytes */
  keepResized?: boolean
}

export interface PrepareImageResult {
  /** (P, PD) */
  patches?: Float32Array
  resized?: Uint8Array[]
}

export interface PrepareTilesInput {
  /** a picture: (height, width, 3) bytes */
  pixels: Uint8Array
  width: number
  height: number
  /** resized with rows and columns changed, and changed back */
  transposed: boolean
  /** size after resizing */
  toWidth: number
  toHeight: number
  filter: PrepareImageInput['filter']
  /** what the resized picture stands on, and where; multiples of `tile` */
  canvas: { width: number; height: number; left: number; top: number; fill: number }
  tile: number
  /** 'resized': the picture itself, by the same filter. 'interpolated': the normalised canvas, as torch does (ops/tiles.h) */
  overview: 'resized' | 'interpolated'
  patches: NonNullable<PrepareImageInput['patches']>
  keepCanvas?: boolean
}

export interface PrepareTilesResult {
  /** the overview, then the tiles row by row: ((1 + tiles) * (tile / patchSize)^2, PD) */
  patches: Float32Array
  /** (canvas.height, canvas.width, 3) */
  canvas?: Uint8Array
}

export interface BackendInfo {
  version: string
  isa: string
  cores: number
  oneDnn: string
  cuda: { built: boolean; devices: { name: string; memory: number; computeCapability: string }[]; problem?: string }
}

/** Operations (a multiply-add being two) and bytes a second that this machine's CPU reaches. */
export interface BenchPeaks {
  f32: number
  bf16: number
  /** 0: the machine has no instructions for it */
  int8: number
  bytes: number
}

/** One operation with inputs of random numbers. */
export interface NativeBenchCase {
  flops: number
  bytes: number
  /** Seconds of each of `count` runs. */
  run(count: number): Promise<number[]>
  close(): Promise<void>
}

export interface Addon {
  backendInfo(): BackendInfo
  /** The linear modules that an adapter may target. */
  linearModules(config: ModelConfig): LinearModule[]
  /** What training would take, without loading anything: bytes by kind for a chunk of these sizes. */
  trainingMemory(options: {
    config: ModelConfig
    dtype: DType
    quantize?: Quantize
    mode: 'lora' | 'full'
    freeze: string[]
    adapters: AdapterModule[]
    activationMemory: number
    /** the largest chunk */
    tokens: number
    patches: number
    sequences: number
    /** of all chunks of a step */
    stepTokens: number
    stepPatches: number
  }): MemoryUse
  contrastiveLoss(input: ContrastiveLossInput, options: DeviceOptions): Promise<ContrastiveLossResult>
  /** (B, k) indices and scores, best first; -1 where there are fewer than k candidates. */
  topK(input: TopKInput, options: DeviceOptions): Promise<{ indices: Int32Array; scores: Float32Array }>
  prepareImage(input: PrepareImageInput): Promise<PrepareImageResult>
  prepareTiles(input: PrepareTilesInput): Promise<PrepareTilesResult>
  loadModel(options: LoadOptions): Promise<NativeModel>
  createTrainer(options: TrainerOptions): Promise<NativeTrainer>
  benchPeaks(options: DeviceOptions): Promise<BenchPeaks>
  /** `spec`: kind, dtype and sizes (native/bench/cases.h) */
  benchCase(spec: object, options: DeviceOptions): Promise<NativeBenchCase>
  /** A checkpoint of random weights. */
  writeRandomModel(
    model: { config: ModelConfig; path: string; dtype: DType; seed: number },
    options: DeviceOptions
  ): Promise<void>
}

let loaded: Addon | undefined

/** The addon, loaded at first use. */
export function native(): Addon {
  return (loaded ??= wrap(loadAddon()))
}

/**
 * Errors cross the boundary as plain errors with a `code`; here they become Vlm2VecError whose stack is that of the
 * caller, with the native one as cause.
 */
export function wrap<T extends object>(target: T): T {
  return new Proxy(target, {
    get(object, name) {
      const value = Reflect.get(object, name) as unknown
      if (typeof value !== 'function') return value
      return (...args: unknown[]) => {
        const here = new Error()
        const translate = (cause: unknown): never => {
          if (!(cause instanceof Error) || cause instanceof TypeError) throw cause
          const code = ((cause as { code?: string }).code ?? 'E_INTERNAL') as ErrorCode
          const error = new Vlm2VecError(code, cause.message, { cause })
          if (here.stack) error.stack = `Vlm2VecError: ${cause.message}\n${here.stack.split('\n').slice(2).join('\n')}`
          throw error
        }
        try {
          const result: unknown = Reflect.apply(value, object, args)
          if (result instanceof Promise)
            return result.then((settled: unknown) => (isHandle(settled) ? wrap(settled) : settled), translate)
          return result
        } catch (error) {
          return translate(error)
        }
      }
    }
  })
}

/** Native objects with methods (Model, Trainer), as opposed to plain results. */
function isHandle(value: unknown): value is object {
  return typeof value === 'object' && value !== null && typeof (value as { close?: unknown }).close === 'function'
}
