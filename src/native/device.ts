/** Where and in what numbers the addon computes, and what this machine has. */

export type DType = 'f32' | 'bf16'

/** How frozen matrices are held: as they are, in 8 bits with a scale a row, in 4 bits with a scale for 64 numbers. */
export type Quantize = 'none' | 'int8' | 'nf4'

export interface DeviceOptions {
  /** 'cpu', 'cuda' or 'cuda:N' */
  device: string
  /** CPU threads; 0: one a core */
  threads: number
}

export interface BackendInfo {
  version: string
  isa: string
  cores: number
  oneDnn: string
  cuda: { built: boolean; devices: { name: string; memory: number; computeCapability: string }[]; problem?: string }
}
