/** What `vlm2vec-native bench` measures with. */

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
