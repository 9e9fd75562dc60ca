/** `bench`: kernels and whole jobs against the machine's limit. */
import { defineCommand } from '../command.js'
import { resolveDevice } from '../device.js'
import { Vlm2VecError } from '../errors.js'
import { integer, list, nullable, oneOf, option, path, required, type Check } from '../options.js'
import type { BenchLine } from '../bench/measure.js'
import type { BenchPeaks } from '../native.js'

const KIND_NAMES = ['loss', 'attention', 'matmul', 'linear', 'layers', 'embed', 'train', 'images'] as const

/** `B=4,tokens=1024`: one case. Repeated: several. */
const cases: Check<Record<string, string>[]> = {
  expected: 'key=value pairs separated by commas',
  flag: 'array',
  fromText: (text) => [text],
  read: (value) => {
    const texts = [value].flat()
    const read = texts.map((text) => {
      if (typeof text !== 'string' || !/^\w+=[^=,]+(,\w+=[^=,]+)*$/.test(text)) return undefined
      return Object.fromEntries(text.split(',').map((pair) => pair.split('=') as [string, string]))
    })
    return read.every((each) => each !== undefined) ? read : undefined
  }
}

export const command = defineCommand({
  options: {
    kind: required(oneOf(...KIND_NAMES), `what to measure: ${KIND_NAMES.join(', ')}`),
    dtype: option(list(oneOf('f32', 'bf16')), ['f32'], 'number types, separated by commas'),
    case: option(cases, [], 'one case as key=value,...; repeated: several; default: the usual ones'),
    repeats: option(integer(0), 0, 'timed runs of each case; 0: what two seconds allow, at least 5'),
    baseline: option(nullable(path), null, 'output of an earlier `bench --json` to compare with')
  },
  positionals: ['kind'],
  examples: [
    'bench attention --case B=4,heads=12,tokens=1024,size=128,causal=true',
    'bench linear --case M=1024,N=3072,K=768,rank=16 --json > before.jsonl',
    'bench embed --dtype f32,bf16 --case model=model-dir,items=32,lengths=16-512'
  ],
  run: async ({ kind: name, json, ...options }, { print, log, signal }) => {
    const { casesOf, KINDS, nameOf } = await import('../bench/kinds.js')
    const { allPeaks, measure } = await import('../bench/measure.js')
    const report = await import('../bench/report.js')
    const { native } = await import('../native.js')
    const kind = await KINDS[name]()
    const chosen = casesOf(name, kind, options.case)
    const baseline = options.baseline === null ? undefined : await report.readBaseline(options.baseline)
    const device = { device: resolveDevice(options.device), threads: options.threads }
    if (device.device !== 'cpu')
      throw new Vlm2VecError('E_CUDA', 'bench measures the CPU; kernels on a GPU have tests but no bench yet.')
    const threads = options.threads || native().backendInfo().cores
    const peakOf = (of: keyof BenchPeaks): Promise<number> => native().benchPeak({ ...device, of })
    const peaks = await allPeaks(peakOf)
    log.info(report.peaksText(peaks, threads))
    const lines: BenchLine[] = []
    const progress = log.progress('Measuring', 'cases', chosen.length * options.dtype.length)
    for (const values of chosen)
      for (const dtype of options.dtype) {
        if (signal.aborted) throw signal.reason
        const job = await kind.open(values, { device, dtype, signal })
        try {
          const measured = await measure(job, {
            name: nameOf(name, values),
            dtype,
            threads,
            peaks,
            peakOf,
            repeats: options.repeats
          })
          lines.push(report.compared(measured, baseline))
        } finally {
          await job.close()
        }
        if (json) await print(JSON.stringify(lines.at(-1)))
        progress.update(lines.length)
      }
    progress.end()
    if (!json) for (const line of report.tableOf(lines)) await print(line)
  }
})
