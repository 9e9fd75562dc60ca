/** Results as a table for people, and compared with those of an earlier run. */
import { readFile } from 'node:fs/promises'
import { Vlm2VecError } from '../errors.js'
import type { BenchPeaks } from '../native.js'
import type { BenchLine } from './measure.js'

const keyOf = ({ case: name, dtype, threads }: Pick<BenchLine, 'case' | 'dtype' | 'threads'>): string =>
  `${name} ${dtype} ${threads}`

/** Medians by case of a file that `bench --json` printed. E_DATA. */
export async function readBaseline(path: string): Promise<Map<string, number>> {
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new Vlm2VecError('E_DATA', `Cannot read the baseline ${path}: ${(cause as Error).message}.`, { cause })
  })
  const medians = new Map<string, number>()
  text.split('\n').forEach((line, index) => {
    if (line.trim() === '') return
    try {
      const entry = JSON.parse(line) as BenchLine
      if (typeof entry.case !== 'string' || !(entry.median_s > 0)) throw new Error('no line of `bench --json`')
      medians.set(keyOf(entry), entry.median_s)
    } catch (cause) {
      throw new Vlm2VecError('E_DATA', `${path}: line ${index + 1}: ${(cause as Error).message}.`, { cause })
    }
  })
  return medians
}

export function compared(line: BenchLine, baseline: ReadonlyMap<string, number> | undefined): BenchLine {
  const before = baseline?.get(keyOf(line))
  return before === undefined ? line : { ...line, baseline_ratio: before / line.median_s }
}

export function peaksText(peaks: BenchPeaks, threads: number): string {
  const rates = [
    `f32 ${gigas(peaks.f32)} GF/s`,
    `bf16 ${gigas(peaks.bf16)} GF/s`,
    ...(peaks.int8 > 0 ? [`int8 ${gigas(peaks.int8)} GOP/s`] : []),
    `memory ${(peaks.bytes / 1e9).toFixed(1)} GB/s`
  ]
  return `Peaks measured with ${threads} threads: ${rates.join(', ')}`
}

const gigas = (value: number): string => (value / 1e9).toFixed(0)

const COLUMNS: [string, (line: BenchLine) => string][] = [
  ['dtype', ({ dtype }) => dtype],
  ['median', ({ median_s: seconds }) => duration(seconds)],
  ['p10 - p90', ({ p10_s: low, p90_s: high }) => `${duration(low)} - ${duration(high)}`],
  ['GF/s', ({ flops, gflops_per_s: rate }) => (flops > 0 ? rate.toFixed(1) : '')],
  ['of peak', ({ share_of_peak: share }) => `${(100 * share).toFixed(1)} %`],
  ['a second', ({ per_second: rate, unit }) => (rate === undefined ? '' : `${rate.toPrecision(4)} ${unit}`)],
  ['extra', ({ peak_extra_mib: mib }) => (mib === null ? '' : `${mib.toFixed(1)} MiB`)],
  ['baseline', ({ baseline_ratio: ratio }) => (ratio === undefined ? '' : `${ratio.toFixed(2)} x`)]
]

/** A table with the columns that hold anything; `case` stands last, as it is long. */
export function tableOf(lines: readonly BenchLine[]): string[] {
  const columns = COLUMNS.map(([title, of]) => [title, ...lines.map(of)]).filter((cells) =>
    cells.slice(1).some(Boolean)
  )
  const widths = columns.map((cells) => Math.max(...cells.map((cell) => cell.length)))
  const cases = ['case', ...lines.map((line) => line.case)]
  return cases.map((name, row) =>
    [...columns.map((cells, column) => cells[row]!.padStart(widths[column]!)), name].join('  ').trimEnd()
  )
}

function duration(seconds: number): string {
  if (seconds < 1e-3) return `${(seconds * 1e6).toFixed(0)} us`
  if (seconds < 1) return `${(seconds * 1e3).toPrecision(3)} ms`
  return `${seconds.toPrecision(3)} s`
}
