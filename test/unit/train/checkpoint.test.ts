import { mkdir, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { newestCheckpoint, removeLeftovers, rotate, saveCheckpoint } from '../../../src/train/checkpoint.js'

let run = ''
beforeEach(async () => {
  run = await mkdtemp(join(tmpdir(), 'vlm2vec-checkpoint-'))
})
afterEach(() => rm(run, { recursive: true, force: true }))

const save = (step: number, content = 'weights') =>
  saveCheckpoint(run, { step, seed: 1, position: step * 4, rows: 9, fingerprint: 'f' }, (directory) =>
    writeFile(join(directory, 'model.safetensors'), content)
  )

describe('checkpoints', () => {
  it('are found by the highest step, in numeric order', async () => {
    for (const step of [5, 100, 20]) await save(step)
    expect((await newestCheckpoint(run))?.state).toEqual({
      step: 100,
      seed: 1,
      position: 400,
      rows: 9,
      fingerprint: 'f'
    })
  })

  it('that are cut off are passed over', async () => {
    await save(1)
    const { directory } = await save(2)
    await truncate(join(directory, 'model.safetensors'), 3)
    expect((await newestCheckpoint(run))?.state.step).toBe(1)
    await rm(join(run, 'checkpoint-1', 'model.safetensors'))
    expect(await newestCheckpoint(run)).toBeUndefined()
  })

  it('leave nothing behind when writing fails, and the older one as it was', async () => {
    await save(1)
    const failing = saveCheckpoint(
      run,
      { step: 2, seed: 1, position: 8, rows: 9, fingerprint: 'f' },
      async (directory) => {
        await writeFile(join(directory, 'model.safetensors'), 'half')
        throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })
      }
    )
    await expect(failing).rejects.toMatchObject({ code: 'E_IO', message: expect.stringContaining('disk is full') })
    expect(await readdir(run)).toEqual(['checkpoint-1'])
    expect(await readFile(join(run, 'checkpoint-1/model.safetensors'), 'utf8')).toBe('weights')
  })

  it('are replaced whole when a step is saved again', async () => {
    await save(3, 'old')
    await save(3, 'new')
    expect(await readFile(join(run, 'checkpoint-3/model.safetensors'), 'utf8')).toBe('new')
    expect(await readdir(run)).toEqual(['checkpoint-3'])
  })

  it('rotate: the newest `keep` stay', async () => {
    for (const step of [8, 9, 10, 11]) await save(step)
    await rotate(run, 2)
    expect((await readdir(run)).sort()).toEqual(['checkpoint-10', 'checkpoint-11'])
  })

  it('half written or half deleted ones are cleaned up, other files are not', async () => {
    await save(1)
    await mkdir(join(run, '.checkpoint-2.4711.tmp'))
    await mkdir(join(run, '.checkpoint-0.4711.old'))
    await writeFile(join(run, '.notes'), '')
    await removeLeftovers(run)
    expect((await readdir(run)).sort()).toEqual(['.notes', 'checkpoint-1'])
  })
})
