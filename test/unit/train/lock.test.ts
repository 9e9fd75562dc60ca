import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { lock } from '../../../src/train/lock.js'

let directory = ''
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vlm2vec-lock-'))
})
afterEach(() => rm(directory, { recursive: true, force: true }))

const hold = (holder: object) => writeFile(join(directory, '.lock'), JSON.stringify(holder))

describe('lock', () => {
  it('is held by one at a time, and given back', async () => {
    const unlock = await lock(directory)
    await expect(lock(directory)).rejects.toMatchObject({
      code: 'E_OUTPUT',
      message: expect.stringContaining(`${process.pid}`)
    })
    await unlock()
    await (
      await lock(directory)
    )()
    expect(await readdir(directory)).toEqual([])
  })

  it('of a dead process is taken over', async () => {
    const child = spawn(process.execPath, ['-e', ''])
    await once(child, 'exit')
    await hold({ pid: child.pid, host: hostname(), started: '' })
    const unlock = await lock(directory)
    expect(JSON.parse(await readFile(join(directory, '.lock'), 'utf8'))).toMatchObject({ pid: process.pid })
    await unlock()
  })

  it('of an earlier process with the same number is taken over', async () => {
    await hold({ pid: process.pid, host: hostname(), started: '1' })
    await (
      await lock(directory)
    )()
  })

  it('of a live process is respected', async () => {
    const child = spawn(process.execPath, ['-e', 'setTimeout(() => {}, 60000)'])
    try {
      await hold({ pid: child.pid, host: hostname(), started: '' })
      await expect(lock(directory)).rejects.toMatchObject({ code: 'E_OUTPUT' })
    } finally {
      child.kill()
    }
  })

  it('of another machine holds while it is renewed', async () => {
    await hold({ pid: 1, host: 'elsewhere.invalid', started: '1' })
    await expect(lock(directory)).rejects.toMatchObject({ code: 'E_OUTPUT' })
    const before = new Date(Date.now() - 61_000)
    await utimes(join(directory, '.lock'), before, before)
    await (
      await lock(directory)
    )()
  })

  it('without readable content is taken over', async () => {
    await writeFile(join(directory, '.lock'), '')
    await (
      await lock(directory)
    )()
  })
})
