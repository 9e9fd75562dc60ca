/** One case, measured: time of each run, memory that the first one adds, and how far both are from what the machine can do. */
import { readFileSync, writeFileSync } from 'node:fs'
import type { BenchPeaks, DType } from '../native.js'

/** Something that can be run again and again. */
export interface Job {
  /** of one run; 0: not counted */
  flops: number
  /** that one run has to move through main memory at least */
  bytes: number
  /** what one run gets through, and what that is: items, pairs, pictures */
  done?: { count: number; unit: string }
  /** Seconds of each of `count` runs. */
  run(count: number): Promise<number[]>
  close(): Promise<void>
}

/** A line of results; see docs/interfaces of `bench` in README. */
export interface BenchLine {
  case: string
  dtype: DType
  threads: number
  median_s: number
  p10_s: number
  p90_s: number
  repeats: number
  flops: number
  bytes: number
  gflops_per_s: number
  /** the least time that the peaks allow, divided by that of a run: the median */
  share_of_peak: number
  /** memory that the first run took beyond what stood before; null where the system does not tell */
  peak_extra_mib: number | null
  /** items, pairs or pictures */
  per_second?: number
  unit?: string
  /** this case's peaks: operations of this number type, and bytes, a second */
  peak_gflops_per_s: number
  peak_bytes_per_s: number
  /** median of the baseline divided by this median: above 1 is faster */
  baseline_ratio?: number
}

/** What the machine reaches at this moment. */
export type PeakOf = (of: keyof BenchPeaks) => Promise<number>

const LEAST_SECONDS = 2
const MIB = 2 ** 20
/** Of the timed runs of a case: before and after each round the peak is measured again, as a shared machine's drifts. */
const ROUNDS = 5

export async function allPeaks(peakOf: PeakOf): Promise<BenchPeaks> {
  return {
    f32: await peakOf('f32'),
    bf16: await peakOf('bf16'),
    int8: await peakOf('int8'),
    bytes: await peakOf('bytes')
  }
}

/**
 * `repeats` 0: as many as two seconds allow, from 5 to 100. Of `peaks` the one that binds this case is measured again
 * around each round of runs: a run's share is that of the mean of the two.
 */
export async function measure(
  job: Job,
  {
    name,
    dtype,
    threads,
    peaks,
    peakOf,
    repeats
  }: { name: string; dtype: DType; threads: number; peaks: BenchPeaks; peakOf: PeakOf; repeats: number }
): Promise<BenchLine> {
  const before = resetPeakMemory()
  const [first] = await job.run(1)
  const peak = peakMemory()
  // a second time, with everything in place, to see how long a run takes
  const [warm] = repeats > 0 ? [first] : await job.run(1)
  const count = repeats > 0 ? repeats : Math.min(100, Math.max(5, Math.ceil(LEAST_SECONDS / warm!)))
  const computes = job.flops / peaks[dtype] >= job.bytes / peaks.bytes
  const [bound, work] = computes ? ([dtype, job.flops] as const) : (['bytes', job.bytes] as const)
  const seconds: number[] = []
  const shares: number[] = []
  const rates = [await peakOf(bound)]
  const rounds = Math.min(ROUNDS, count)
  for (let round = 1; round <= rounds; round++) {
    const runs = await job.run(Math.floor((round * count) / rounds) - seconds.length)
    rates.push(await peakOf(bound))
    const rate = (rates[round - 1]! + rates[round]!) / 2
    seconds.push(...runs)
    shares.push(...runs.map((time) => work / rate / time))
  }
  seconds.sort(ascending)
  const median = quantile(seconds, 0.5)
  const reached = { ...peaks, [bound]: quantile(rates.sort(ascending), 0.5) }
  return {
    case: name,
    dtype,
    threads,
    median_s: median,
    p10_s: quantile(seconds, 0.1),
    p90_s: quantile(seconds, 0.9),
    repeats: count,
    flops: job.flops,
    bytes: job.bytes,
    gflops_per_s: job.flops / median / 1e9,
    share_of_peak: quantile(shares.sort(ascending), 0.5),
    peak_extra_mib: before === undefined || peak === undefined ? null : Math.max(0, peak - before) / MIB,
    ...(job.done && { per_second: job.done.count / median, unit: job.done.unit }),
    peak_gflops_per_s: reached[dtype] / 1e9,
    peak_bytes_per_s: reached.bytes
  }
}

const ascending = (a: number, b: number): number => a - b

/** Of sorted values, with linear interpolation. */
export function quantile(sorted: readonly number[], q: number): number {
  const place = q * (sorted.length - 1)
  const below = Math.floor(place)
  const above = Math.min(below + 1, sorted.length - 1)
  return sorted[below]! + (place - below) * (sorted[above]! - sorted[below]!)
}

/** Makes the process's present memory its peak, and returns it. Linux only. */
function resetPeakMemory(): number | undefined {
  try {
    writeFileSync('/proc/self/clear_refs', '5')
    return statusBytes('VmRSS')
  } catch {
    return undefined
  }
}

function peakMemory(): number | undefined {
  try {
    return statusBytes('VmHWM')
  } catch {
    return undefined
  }
}

function statusBytes(field: string): number | undefined {
  const line = readFileSync('/proc/self/status', 'utf8').match(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm'))
  return line ? Number(line[1]) * 1024 : undefined
}

/** Times a function that runs once. */
export async function timed(count: number, work: () => Promise<void>): Promise<number[]> {
  const seconds: number[] = []
  for (let i = 0; i < count; i++) {
    const start = performance.now()
    await work()
    seconds.push((performance.now() - start) / 1000)
  }
  return seconds
}
