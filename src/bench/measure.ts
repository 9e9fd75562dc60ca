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
  /** the least time that the peaks allow, divided by the median */
  share_of_peak: number
  /** memory that the first run took beyond what stood before; null where the system does not tell */
  peak_extra_mib: number | null
  /** items, pairs or pictures */
  per_second?: number
  unit?: string
  /** this run's peaks: operations of this number type, and bytes, a second */
  peak_gflops_per_s: number
  peak_bytes_per_s: number
  /** median of the baseline divided by this median: above 1 is faster */
  baseline_ratio?: number
}

const LEAST_SECONDS = 2
const MIB = 2 ** 20

/** `repeats` 0: as many as two seconds allow, from 5 to 100. */
export async function measure(
  job: Job,
  {
    name,
    dtype,
    threads,
    peaks,
    repeats
  }: { name: string; dtype: DType; threads: number; peaks: BenchPeaks; repeats: number }
): Promise<BenchLine> {
  const before = resetPeakMemory()
  const [first] = await job.run(1)
  const peak = peakMemory()
  // a second time, with everything in place, to see how long a run takes
  const [warm] = repeats > 0 ? [first] : await job.run(1)
  const count = repeats > 0 ? repeats : Math.min(100, Math.max(5, Math.ceil(LEAST_SECONDS / warm!)))
  const seconds = (await job.run(count)).sort((a, b) => a - b)
  const median = quantile(seconds, 0.5)
  const least = Math.max(job.flops / peaks[dtype], job.bytes / peaks.bytes)
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
    share_of_peak: least / median,
    peak_extra_mib: before === undefined || peak === undefined ? null : Math.max(0, peak - before) / MIB,
    ...(job.done && { per_second: job.done.count / median, unit: job.done.unit }),
    peak_gflops_per_s: peaks[dtype] / 1e9,
    peak_bytes_per_s: peaks.bytes
  }
}

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
