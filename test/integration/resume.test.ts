/** Runs that are stopped, killed and resumed, in processes of their own: the same bits as without. */
import { mkdirSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { command, metricsOf, temporaryFolder } from './golden.js'
import { bytesOf, ONE_THREAD, spawnCli, trainKilledAt, writeConfig, writeExample } from './tiny.js'

const folder = temporaryFolder()
beforeAll(() => writeExample(folder))

/** All that is random: order, flips and crops, dropout. */
const data = [{ name: 'rows', path: 'rows.jsonl', image_root: 'pictures', flip: 0.5, crop: 0.5 }]
const modes = {
  lora: { tune: { dropout: 0.2 } },
  dora: { tune: { dora: true, initialization: 'gaussian', dropout: 0.1 } },
  full: { tune: { mode: 'full', target_modules: [] } }
} as const

/** What two runs must have in common: weights, optimizer and losses, bit for bit. */
function resultOf(name: string, mode: keyof typeof modes) {
  const weights = mode === 'full' ? 'model.safetensors' : 'adapter_model.safetensors'
  const lines = metricsOf(folder, name)
  return {
    final: bytesOf(folder, name, 'final', weights),
    checkpoint: bytesOf(folder, name, 'checkpoint-6', weights),
    optimizer: bytesOf(folder, name, 'checkpoint-6', 'optimizer.safetensors'),
    metrics: lines.map(({ step, loss, learning_rate, grad_norm }) => ({ step, loss, learning_rate, grad_norm }))
  }
}

const eventOf = (line: string): { type: string; step: number } => JSON.parse(line) as { type: string; step: number }

/** Sends `signal` after the event `type` of `step`. */
const after =
  (type: string, step: number, signal: NodeJS.Signals) =>
  (line: string, child: { kill(signal: NodeJS.Signals): unknown }) => {
    const event = eventOf(line)
    if (event.type === type && event.step === step) child.kill(signal)
  }

describe.each(Object.keys(modes) as (keyof typeof modes)[])('a run in mode %s', (mode) => {
  const long = { train: { max_steps: 6 }, data }

  it('of 6 steps equals 3 steps, kill -9, and 3 steps', async () => {
    await command(
      'train',
      '--config',
      writeConfig(folder, `${mode}-whole`, { ...modes[mode], ...long }),
      ...ONE_THREAD,
      '--quiet'
    )
    const config = writeConfig(folder, `${mode}-killed`, { ...modes[mode], ...long })
    const killed = await trainKilledAt(config, 'step', 4)
    expect([killed.signal, killed.stderr]).toEqual(['SIGKILL', ''])
    expect(readdirSync(join(folder, `${mode}-killed`)).sort()).toEqual([
      '.lock',
      'checkpoint-3',
      'config.resolved.yaml',
      'metrics.jsonl'
    ])

    const { code, stdout } = await spawnCli(['train', '--config', config, ...ONE_THREAD, '--json', '--quiet'])
    expect(code).toBe(0)
    expect(eventOf(stdout.split('\n')[0]!)).toMatchObject({ type: 'start', step: 3 })
    expect(resultOf(`${mode}-killed`, mode)).toEqual(resultOf(`${mode}-whole`, mode))
  })
})

describe('a run that is interrupted', () => {
  const long = { train: { max_steps: 400 }, data, output: { save_every: 0 } }

  it.each(['SIGINT', 'SIGTERM'] as const)(
    'by %s finishes its step, writes a checkpoint, and ends with 130',
    async (signal) => {
      const config = writeConfig(folder, signal, { ...modes.lora, ...long })
      const { code, stdout, stderr } = await spawnCli(
        ['train', '--config', config, ...ONE_THREAD, '--json', '--quiet'],
        {
          onLine: after('step', 2, signal)
        }
      )
      expect([code, stderr]).toEqual([130, expect.stringContaining('Stopped after step')])
      const { type, step } = eventOf(stdout.trim().split('\n').at(-1)!)
      expect([type, step >= 2]).toEqual(['checkpoint', true])
      expect(readdirSync(join(folder, signal)).filter((name) => /checkpoint|lock|tmp/.test(name))).toEqual([
        `checkpoint-${step}`
      ])
      const steps = metricsOf(folder, signal).map((line) => line.step)
      expect(steps).toEqual(Array.from({ length: step }, (_, i) => i + 1))
    }
  )

  it('twice ends at once', async () => {
    const config = writeConfig(folder, 'twice', { ...modes.lora, ...long })
    const { code } = await spawnCli(['train', '--config', config, ...ONE_THREAD, '--json', '--quiet'], {
      onLine: (line, child) => {
        if (eventOf(line).step < 2) return
        child.kill('SIGINT')
        child.kill('SIGTERM')
      }
    })
    expect(code).toBe(130)
  })

  it('goes on afterwards, with leftovers of a killed write cleaned up', async () => {
    const config = writeConfig(folder, 'SIGINT', { ...modes.lora, ...long })
    mkdirSync(join(folder, 'SIGINT', '.checkpoint-999.4711.tmp'))
    rmSync(join(folder, 'SIGINT', 'final'), { recursive: true, force: true })
    const steps = metricsOf(folder, 'SIGINT').length
    const until = steps + 2
    await command('train', '--config', config, ...ONE_THREAD, '--quiet', '--train.max-steps', String(until))
    expect(readdirSync(join(folder, 'SIGINT')).filter((name) => name.startsWith('.'))).toEqual([])
    expect(metricsOf(folder, 'SIGINT').map(({ step }) => step)).toEqual(Array.from({ length: until }, (_, i) => i + 1))
  })
})

describe('two runs at once', () => {
  it('in one directory: the second is refused, the first goes on', async () => {
    const config = writeConfig(folder, 'both', { ...modes.lora, train: { max_steps: 400 }, output: { save_every: 0 } })
    let second: Promise<{ code: number | null; stderr: string }> | undefined
    const first = await spawnCli(['train', '--config', config, ...ONE_THREAD, '--json', '--quiet'], {
      onLine: (line, child) => {
        if (eventOf(line).type !== 'step' || second) return
        second = spawnCli(['train', '--config', config, ...ONE_THREAD, '--quiet']).then((result) => {
          child.kill('SIGINT')
          return result
        })
      }
    })
    expect(await second).toMatchObject({ code: 2, stderr: expect.stringContaining('is in use by process') })
    expect(first.code).toBe(130)
  })
})
