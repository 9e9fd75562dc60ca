/** `bench` as a user runs it, on cases that take no time. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { writeTinyModel } from '../../scripts/tiny-model.mjs'
import type { BenchLine } from '../../src/bench/measure.js'
import { golden, temporaryFolder } from './golden.js'
import { jsonLines, runCli } from './run-cli.js'
import { ONE_THREAD } from './tiny.js'

const folder = temporaryFolder()
const model = join(folder, 'model')
const bare = join(folder, 'bare')

beforeAll(() => {
  writeTinyModel(model)
  mkdirSync(bare)
  writeFileSync(join(bare, 'config.json'), readFileSync(join(model, 'config.json')))
})

const bench = (...argv: string[]) => runCli(['bench', ...argv, '--repeats', '2', '--quiet', ...ONE_THREAD])

describe('bench', () => {
  it.each([
    ['loss', 'B=8,D=16,symmetric=true'],
    ['attention', 'B=2,heads=4,kv_heads=2,tokens=9,size=8,causal=true,backward=true'],
    ['matmul', 'M=5,N=32,K=16,product=dw'],
    ['linear', 'M=5,N=32,K=16,rank=4,backward=true'],
    ['layers', 'op=rope,M=5,C=64'],
    ['embed', `model=${model},items=3,lengths=4-9,image=28,pictures=0.5`],
    ['train', `model=${bare},items=3,lengths=4,image=28,chunk=2,rank=2`],
    ['images', `items=3,path=${golden('pictures')},max_pixels=10000`]
  ])('measures %s', async (kind, values) => {
    const result = await bench(kind, '--case', values, '--dtype', 'f32,bf16', '--json')
    expect(result.stderr).toBe('')
    const lines = jsonLines<BenchLine>(result)
    expect(lines.map(({ dtype }) => dtype)).toEqual(['f32', 'bf16'])
    for (const line of lines) {
      expect(line).toMatchObject({ threads: 1, repeats: 2 })
      expect(line.case).toMatch(new RegExp(`^${kind} `))
      expect(line.p10_s).toBeLessThanOrEqual(line.median_s)
      expect(line.median_s).toBeLessThanOrEqual(line.p90_s)
      expect(line.share_of_peak).toBeGreaterThan(0)
      expect(line.share_of_peak).toBeLessThan(1)
      expect(line.gflops_per_s).toBeCloseTo(line.flops / line.median_s / 1e9)
      expect(line.peak_gflops_per_s).toBeGreaterThan(1)
    }
  })

  it('prints a table, with the times of a baseline beside', async () => {
    const argv = ['linear', '--case', 'M=5,N=32,K=16', '--dtype', 'f32,bf16']
    const before = join(folder, 'before.jsonl')
    writeFileSync(before, (await bench(...argv, '--json')).stdout)
    const { stdout } = await bench(...argv, '--baseline', before)
    const [head, ...rows] = stdout.trim().split('\n')
    expect(head).toMatch(/dtype .* baseline +case/)
    expect(rows.map((row) => /^ *(\w+) .* x {2}linear M=5 N=32 K=16/.exec(row)?.[1])).toEqual(['f32', 'bf16'])
  })

  it('leaves no random model behind', async () => {
    const left = () => readdirSync(tmpdir()).filter((name) => name.startsWith('vlm2vec-bench-')).length
    const before = left()
    expect((await bench('embed', '--case', `model=${bare},items=1,image=0`)).code).toBe(0)
    expect(left()).toBe(before)
  })

  it.each([
    [['attention', '--case', 'b=2'], 2, 'Unknown key "b"'],
    [['attention', '--case', 'B'], 2, 'key=value'],
    [['matmul', '--case', 'product=dz'], 2, 'one of forward, dx, dw'],
    [['rope'], 2, 'one of loss, attention'],
    [['embed', '--case', 'model=/nowhere'], 4, '/nowhere'],
    [['images', '--case', 'path=/nowhere'], 4, 'holds no pictures']
  ])('refuses %j', async (argv, code, message) => {
    expect(await bench(...argv)).toMatchObject({ code, stderr: expect.stringContaining(message) })
  })
})
