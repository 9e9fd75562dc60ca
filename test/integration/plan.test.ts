/** `plan` on a tiny random model: what it says is what `train` does. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { command, readJsonl, temporaryFolder } from './golden.js'
import { ONE_THREAD, spawnCli, writeConfig, writeExample } from './tiny.js'

interface PlanLine {
  steps: number
  tokens_per_step: number
  chunks_per_step: number
  memory_mib: Record<string, number>
  seconds: number
}

const folder = temporaryFolder()
beforeAll(() => writeExample(folder))

const plan = async (config: string, ...flags: string[]): Promise<PlanLine> =>
  JSON.parse((await command('plan', '--config', config, ...ONE_THREAD, '--json', '--quiet', ...flags))[0]!) as PlanLine

describe('plan', () => {
  it('says steps, tokens, memory and time, and leaves nothing behind', async () => {
    const config = writeConfig(folder, 'planned', { train: { batch_size: 12, max_steps: 3, shuffle: false } })
    const { steps, tokens_per_step, memory_mib, seconds } = await plan(config)
    expect(steps).toBe(3)
    for (const kind of ['weights', 'gradients', 'optimizer', 'activations', 'inputs', 'embeddings', 'total'])
      expect(memory_mib[kind], kind).toBeGreaterThan(0)
    expect(seconds).toBeGreaterThan(0)
    expect(existsSync(join(folder, 'planned'))).toBe(false)

    await command('train', '--config', config, ...ONE_THREAD, '--quiet')
    const [first] = readJsonl<{ examples_per_second: number; tokens_per_second: number }>(
      join(folder, 'planned', 'metrics.jsonl')
    )
    expect((12 * first!.tokens_per_second) / first!.examples_per_second).toBeCloseTo(tokens_per_step, 6)
  })

  it('shows that a larger chunk takes more memory and fewer calls', async () => {
    const config = writeConfig(folder, 'chunks')
    const [small, large] = await Promise.all(
      ['1', '8'].map((size) => plan(config, '--train.chunk-size', size, '--no-measure'))
    )
    expect(large!.memory_mib['activations']).toBeGreaterThan(small!.memory_mib['activations']!)
    expect(large!.chunks_per_step).toBeLessThan(small!.chunks_per_step)
    expect(small).not.toHaveProperty('seconds')
  })

  it('prints a table', async () => {
    const text = (await command('plan', '--config', writeConfig(folder, 'table'), ...ONE_THREAD, '--quiet')).join('\n')
    for (const word of ['negatives per query', 'optimizer', 'time', 'chunks']) expect(text).toContain(word)
  })

  it('stops as train would: exit code 2 for options, 4 for a model that is not there', async () => {
    const large = await spawnCli(['plan', '--config', writeConfig(folder, 'large', { train: { batch_size: 99 } })])
    expect([large.code, large.stderr]).toEqual([2, expect.stringContaining('only 12 rows')])
    const model = await spawnCli(['plan', '--config', writeConfig(folder, 'model', { model: { path: 'none' } })])
    expect([model.code, model.stderr]).toEqual([4, expect.stringContaining('none')])
  })
})
