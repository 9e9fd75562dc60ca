import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { forwardFlops, loraStepFlops } from '../../../src/bench/flops.js'
import { lengthsOf, randomFloats, randomItem } from '../../../src/bench/inputs.js'
import { casesOf, KINDS, nameOf, type KindName } from '../../../src/bench/kinds.js'
import { measure, quantile, type BenchLine, type Job } from '../../../src/bench/measure.js'
import { compared, readBaseline, tableOf } from '../../../src/bench/report.js'
import { readModelConfig } from '../../../src/model/config.js'
import { writeTinyModel } from '../../../scripts/tiny-model.mjs'

let folder: string
beforeAll(() => (folder = mkdtempSync(join(tmpdir(), 'bench-'))))
afterAll(() => rmSync(folder, { recursive: true }))

const peaks = { f32: 100e9, bf16: 200e9, int8: 0, bytes: 10e9 }
/** Each run after the second takes a tenth of `seconds` more. */
const job = (seconds: number, parts: Partial<Job> = {}): Job => {
  let made = 0
  const next = (): number => seconds * (1 + Math.max(0, made++ - 1) / 10)
  return {
    flops: 50e9,
    bytes: 1,
    run: (count) => Promise.resolve(Array.from({ length: count }, next)),
    close: () => Promise.resolve(),
    ...parts
  }
}
const peakOf = (of: keyof typeof peaks) => Promise.resolve(peaks[of])
const options = { name: 'x', dtype: 'f32' as const, threads: 2, peaks, peakOf, repeats: 5 }

describe('measure', () => {
  it('takes the median and the outer tenths of the runs', async () => {
    const line = await measure(job(1), options)
    expect([line.median_s, line.repeats]).toEqual([1.2, 5])
    expect(line.p10_s).toBeCloseTo(1.04)
    expect(line.p90_s).toBeCloseTo(1.36)
    expect(quantile([1, 2, 4], 0.75)).toBe(3)
    expect(quantile([7], 0.9)).toBe(7)
  })

  it('measures against operations or bytes, whichever take the machine longer', async () => {
    const one = { ...options, repeats: 1 }
    expect((await measure(job(1), one)).share_of_peak).toBeCloseTo(0.5)
    expect((await measure(job(1), { ...one, dtype: 'bf16' })).share_of_peak).toBeCloseTo(0.25)
    expect((await measure(job(1, { bytes: 9e9 }), one)).share_of_peak).toBeCloseTo(0.9)
    expect((await measure(job(1), one)).gflops_per_s).toBeCloseTo(50)
  })

  it('measures the peak that binds again around every round, as the machine may drift', async () => {
    const asked: string[] = []
    // the machine halves its speed, and the job with it
    const slower = (of: string) => (asked.push(of), Promise.resolve(asked.length > 3 ? 50e9 : 100e9))
    const run = (count: number) => Promise.resolve(Array<number>(count).fill(asked.length > 3 ? 2 : 1))
    const line = await measure(job(1, { run }), { ...options, peakOf: slower })
    expect(asked).toEqual(Array(6).fill('f32'))
    expect(line.share_of_peak).toBeCloseTo(0.5)
    expect(line.peak_gflops_per_s).toBeCloseTo(75)
    asked.length = 0
    await measure(job(1, { bytes: 9e9 }), { ...options, peakOf: slower, repeats: 2 })
    expect(asked).toEqual(Array(3).fill('bytes'))
  })

  it('runs as often as two seconds allow where nothing is said', async () => {
    expect((await measure(job(3), { ...options, repeats: 0 })).repeats).toBe(5)
    expect((await measure(job(0.1), { ...options, repeats: 0 })).repeats).toBe(20)
    expect((await measure(job(1e-4), { ...options, repeats: 0 })).repeats).toBe(100)
  })

  it('reports the memory that the first run takes', async () => {
    const kept: Uint8Array[] = []
    const run = async () => [(kept.push(new Uint8Array(64 << 20).fill(1)), 1)]
    const { peak_extra_mib: extra } = await measure(job(1, { run }), { ...options, repeats: 1 })
    if (process.platform === 'linux') expect(extra).toBeGreaterThan(60)
    else expect(extra).toBeNull()
  })
})

describe('casesOf', () => {
  it.each(Object.keys(KINDS) as KindName[])('%s: its own cases are valid and have names of their own', async (name) => {
    const kind = await KINDS[name]()
    const names = casesOf(name, kind, []).map((values) => nameOf(name, values))
    expect(new Set(names).size).toBe(names.length)
    expect(names.length).toBeGreaterThan(0)
  })

  it('reads keys as text and refuses unknown ones', async () => {
    const kind = await KINDS.attention()
    const [values] = casesOf('attention', kind, [{ B: '2', causal: 'true' }])
    expect(values).toMatchObject({ B: 2, causal: true, tokens: 1024 })
    expect(() => casesOf('attention', kind, [{ b: '2' }])).toThrow(/Unknown key "b".*B, heads, kv_heads/)
    expect(() => casesOf('attention', kind, [{ B: '0' }])).toThrow(/whole number of at least 1/)
  })
})

describe('random inputs', () => {
  it('have the sizes that were asked for', async () => {
    writeTinyModel(folder)
    const config = await readModelConfig(folder)
    const { patchSize, mergeSize } = config.vision!
    const cell = patchSize * mergeSize
    const item = randomItem(config, { length: 5, side: 3 * cell, seed: 1 })
    expect(item.tokens.filter((token) => token === config.tokens.image)).toHaveLength(9)
    expect(item.tokens).toHaveLength(14)
    expect(item.positions).toHaveLength(3 * 14)
    expect(item.visuals[0]!.grid).toEqual([1, 3 * mergeSize, 3 * mergeSize])
    expect(randomItem(config, { length: 5, side: 0, seed: 2 }).visuals).toEqual([])
  })

  it('spread lengths over their range', () => {
    expect(lengthsOf('32', 3)).toEqual([32, 32, 32])
    const lengths = lengthsOf('16-512', 1000)
    expect([Math.min(...lengths), Math.max(...lengths)]).toEqual([16, 512])
    expect(lengths.reduce((a, b) => a + b) / 1000).toBeCloseTo(264, -1)
  })

  it('have variance 1', () => {
    const values = randomFloats(100_000, 3)
    expect(values.reduce((sum, x) => sum + x * x, 0) / values.length).toBeCloseTo(1, 1)
    expect(values.reduce((sum, x) => sum + x, 0) / values.length).toBeCloseTo(0, 1)
  })
})

describe('flops', () => {
  it('counts products and attention of both parts', async () => {
    writeTinyModel(folder)
    const config = await readModelConfig(folder)
    const item = randomItem(config, { length: 7, side: 0, seed: 1 })
    const modules = [{ name: 'x', part: 'text' as const, inFeatures: 10, outFeatures: 20, spellings: {} }]
    const { text, vision, textAttention } = forwardFlops(config, modules, [item])
    const { headSize, heads, layers } = config.text
    expect(vision).toBe(0)
    expect(textAttention).toBe(4 * headSize * heads * layers * 28)
    expect(text - textAttention).toBe(2 * 200 * 7)
    const step = loraStepFlops({ vision, text, textAttention }, 7, 4, modules)
    expect(step).toBe(3 * 2 * 200 * 7 + 4.5 * textAttention + 8 * 4 * 30 * 7)
  })
})

describe('reports', () => {
  const line = { case: 'loss B=2', dtype: 'f32', threads: 2, median_s: 0.5 } as BenchLine

  it('compares a case with the same case of the baseline', async () => {
    const path = join(folder, 'before.jsonl')
    writeFileSync(path, `${JSON.stringify({ ...line, median_s: 1 })}\n\n${JSON.stringify({ ...line, threads: 1 })}\n`)
    const baseline = await readBaseline(path)
    expect(compared(line, baseline).baseline_ratio).toBe(2)
    expect(compared({ ...line, dtype: 'bf16' }, baseline)).not.toHaveProperty('baseline_ratio')
    writeFileSync(path, '{"case":"x"}\n')
    await expect(readBaseline(path)).rejects.toMatchObject({
      code: 'E_DATA',
      message: expect.stringContaining('line 1')
    })
  })

  it('prints only the columns that hold something', async () => {
    const [head, row] = tableOf([await measure(job(1), options)])
    expect(head).toMatch(/dtype +median +p10 - p90 +GF\/s +of peak( +extra)? +case/)
    expect(row).toContain('41.7')
    expect(head).not.toContain('baseline')
  })
})
