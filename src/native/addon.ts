/** The functions of the addon. */
import type { ModelConfig } from '../model/config.js'
import type { BenchPeaks, NativeBenchCase } from './bench.js'
import type { BackendInfo, DeviceOptions, DType, Quantize } from './device.js'
import type { PreparedPicture, PrepareImageInput, PrepareTilesInput } from './images.js'
import type { AdapterModule, LinearModule, LoadOptions, MemoryUse, NativeModel } from './model.js'
import type { ContrastiveLossInput, ContrastiveLossResult, TopKInput } from './similarity.js'
import type { NativeTrainer, TrainerOptions } from './trainer.js'

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
  /** Resizes as Pillow does: (frames, toHeight, toWidth, 3) bytes. */
  prepareImage(input: PrepareImageInput): Promise<Uint8Array>
  /** The pixels of a picture of tiles (`PreparedPicture.pixels`). */
  prepareTiles(input: PrepareTilesInput): Promise<Uint8Array>
  /** (P, PD) what a tower makes of a picture's pixels by itself, when it is its turn. */
  patchify(picture: PreparedPicture): Promise<Float32Array>
  loadModel(options: LoadOptions): Promise<NativeModel>
  createTrainer(options: TrainerOptions): Promise<NativeTrainer>
  /** What the machine reaches at this moment, in about 0.1 s. */
  benchPeak(options: DeviceOptions & { of: keyof BenchPeaks }): Promise<number>
  /** `spec`: kind, dtype and sizes (native/bench/cases.h) */
  benchCase(spec: object, options: DeviceOptions): Promise<NativeBenchCase>
  /** A checkpoint of random weights. */
  writeRandomModel(
    model: { config: ModelConfig; path: string; dtype: DType; seed: number },
    options: DeviceOptions
  ): Promise<void>
}
