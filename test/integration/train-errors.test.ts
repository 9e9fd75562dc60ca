/** What goes wrong in `train`: exit codes, messages, and what is left on the disk. */
import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { metricsOf, temporaryFolder } from './golden.js'
import { ONE_THREAD, spawnCli, writeConfig, writeExample } from './tiny.js'

const folder = temporaryFolder()
beforeAll(() => writeExample(folder))

describe('what goes wrong', () => {
  const run = (config: string, ...flags: string[]) =>
    spawnCli(['train', '--config', config, ...ONE_THREAD, '--quiet', ...flags])

  it('an unknown option: exit code 2, and the known ones', async () => {
    const { code, stderr } = await run(writeConfig(folder, 'unknown', { train: { batchsize: 4 } }))
    expect([code, stderr]).toEqual([2, expect.stringContaining('did you mean "train.batch_size"')])
  })

  it('a batch larger than the data: exit code 2', async () => {
    const { code, stderr } = await run(writeConfig(folder, 'large', { train: { batch_size: 13 } }))
    expect([code, stderr]).toEqual([2, expect.stringContaining('only 12 rows')])
  })

  it.each([
    ['an empty data set', '', 'empty'],
    ['a row without a target', '{"query": {"text": "a"}}\n', 'record 1'],
    ['a picture that is missing', '{"query": {"text": "a"}, "target": {"images": ["none.png"]}}\n', 'record 1']
  ])('%s: exit code 4, with file and record', async (_, content, message) => {
    writeFileSync(join(folder, 'wrong.jsonl'), content)
    const config = writeConfig(folder, 'wrong', { data: [{ path: 'wrong.jsonl' }], train: { batch_size: 1 } })
    const { code, stderr } = await run(config)
    expect([code, stderr]).toEqual([4, expect.stringContaining('wrong.jsonl')])
    expect(stderr).toContain(message)
  })

  it('a loss that is not finite: exit code 1, with the checkpoint before as it was', async () => {
    const train = { learning_rate: 1e30, max_grad_norm: 0, max_steps: 4, schedule: 'constant' }
    const { code, stderr } = await run(writeConfig(folder, 'nan', { train, output: { save_every: 1 } }))
    expect([code, stderr]).toEqual([1, expect.stringMatching(/not finite/)])
    const steps = metricsOf(folder, 'nan').map(({ step }) => step)
    const newest = Math.max(...steps)
    expect(newest).toBeLessThan(4)
    expect(readdirSync(join(folder, 'nan')).filter((name) => /^checkpoint|^final|tmp/.test(name))).toContain(
      `checkpoint-${newest}`
    )
    expect(readdirSync(join(folder, 'nan'))).not.toContain('final')
  })

  it('a disk that is full: exit code 1, and nothing half written', async () => {
    const config = writeConfig(folder, 'full-disk', { output: { save_every: 1 } })
    // Files of at most 8 KiB: the configuration fits, an adapter does not.
    const { code, stderr } = await spawnCli(['train', '--config', config, ...ONE_THREAD, '--quiet'], {
      wrapper: ['bash', '-c', 'ulimit -f 8; exec "$@"', 'bash']
    })
    expect([code, stderr]).toEqual([1, expect.stringMatching(/checkpoint-1|adapter_model/)])
    expect(readdirSync(join(folder, 'full-disk')).sort()).toEqual(['config.resolved.yaml', 'metrics.jsonl'])
  })

  it('an output directory that cannot be made: exit code 1', async () => {
    writeFileSync(join(folder, 'file'), '')
    const { code, stderr } = await run(writeConfig(folder, 'blocked', { output: { dir: 'file/run' } }))
    expect([code, stderr]).toEqual([1, expect.stringContaining('file/run')])
  })

  it('an output directory that holds another run: exit code 2, and what differs', async () => {
    expect((await run(writeConfig(folder, 'taken', { train: { max_steps: 1 } }))).code).toBe(0)
    const { code, stderr } = await run(writeConfig(folder, 'taken', { train: { max_steps: 1, seed: 8 } }))
    expect([code, stderr]).toEqual([2, expect.stringContaining('train.seed was 7, is now 8')])
    expect(metricsOf(folder, 'taken')).toHaveLength(1)
  })
})
