import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { validate } from '../../../src/options.js'
import { trainOptions, type TrainConfig, type TrainOptions } from '../../../src/train/options.js'
import { RunDirectory } from '../../../src/train/run-directory.js'

let dir = ''
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'vlm2vec-run-'))
})
afterEach(() => rm(dir, { recursive: true, force: true }))

type Changes = Partial<Omit<TrainConfig, 'output'>> & { output?: Partial<TrainConfig['output']> }

function options(changes: Changes = {}): TrainOptions {
  const config = {
    model: { path: 'base' },
    data: [{ path: 'rows.jsonl' }],
    ...changes,
    output: { ...changes.output, dir }
  }
  return validate(trainOptions, config, 'test')
}
const line = (step: number) => ({
  step,
  loss: 1,
  learning_rate: 0.1,
  grad_norm: 1,
  examples_per_second: 1,
  tokens_per_second: 1,
  memory_mib: 1
})
const state = (step: number) => ({ step, seed: 42, position: 16 * step, rows: 100 })
const write = (directory: string) => writeFile(join(directory, 'weights'), 'w')

/** A run of three steps with a checkpoint after the second. */
async function firstRun(changes: Changes = {}): Promise<void> {
  const run = await RunDirectory.open(options(changes))
  await run.record(line(1))
  await run.record(line(2))
  await run.save(state(2), write)
  await run.record(line(3))
  await run.close()
}

describe('RunDirectory', () => {
  it('goes on from the newest checkpoint, and no step appears twice in the metrics', async () => {
    await firstRun()
    await writeFile(join(dir, 'metrics.jsonl'), '{"step": 4, "los', { flag: 'a' })
    const run = await RunDirectory.open(options())
    expect(run.resumed?.state.step).toBe(2)
    await run.record(line(3))
    await run.close()
    const steps = (await readFile(join(dir, 'metrics.jsonl'), 'utf8')).trim().split('\n')
    expect(steps.map((text) => (JSON.parse(text) as { step: number }).step)).toEqual([1, 2, 3])
  })

  it('refuses another configuration, and says what differs', async () => {
    await firstRun()
    const other = RunDirectory.open(options({ train: { learning_rate: 0.5 }, tune: { rank: 4 } }))
    await expect(other).rejects.toMatchObject({
      code: 'E_OUTPUT',
      message: expect.stringMatching(/tune\.rank was 8, is now 4; train\.learning_rate was 0\.00002, is now 0\.5/)
    })
    expect(await readdir(dir)).not.toContain('.lock')
  })

  it('takes other paths, another length and other output options', async () => {
    await firstRun()
    const moved = { model: { path: 'elsewhere' }, data: [{ path: 'moved.jsonl', image_root: 'x' }] }
    const run = await RunDirectory.open(options({ ...moved, train: { max_steps: 77 }, output: { save_every: 3 } }))
    expect(run.resumed?.state.step).toBe(2)
    await run.close()
  })

  it('with resume: never, refuses a directory that holds a run, and takes one that holds none', async () => {
    const never = { output: { resume: 'never' } } as const
    await firstRun(never)
    await expect(RunDirectory.open(options(never))).rejects.toMatchObject({ code: 'E_OUTPUT' })
  })

  it('refuses a directory with checkpoints of unknown origin', async () => {
    await firstRun()
    await rm(join(dir, 'config.resolved.yaml'))
    await expect(RunDirectory.open(options())).rejects.toMatchObject({ code: 'E_OUTPUT' })
  })

  it('takes a directory where an earlier start did no step, and leaves the files of others alone', async () => {
    await writeFile(join(dir, 'notes.txt'), 'mine')
    await (await RunDirectory.open(options())).close()
    await (await RunDirectory.open(options({ train: { learning_rate: 0.5 } }))).close()
    expect((await readdir(dir)).sort()).toEqual(['config.resolved.yaml', 'metrics.jsonl', 'notes.txt'])
  })

  it('keeps the last checkpoints only', async () => {
    const run = await RunDirectory.open(options({ output: { keep_last: 1 } }))
    await run.save(state(1), write)
    await run.save(state(2), write)
    expect((await readdir(dir)).filter((name) => name.startsWith('checkpoint'))).toEqual(['checkpoint-2'])
    await run.close()
  })

  it('is refused to a second process', async () => {
    const run = await RunDirectory.open(options())
    await expect(RunDirectory.open(options())).rejects.toMatchObject({ code: 'E_OUTPUT' })
    await run.close()
  })
})
