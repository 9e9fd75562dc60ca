import { describe, expect, it } from 'vitest'
import { createLog, duration, progressLine } from '../../src/log.js'

function recorder(options: { isTTY?: boolean; columns?: number } = {}) {
  const written: string[] = []
  return { ...options, written, write: (text: string) => written.push(text) }
}

describe('createLog', () => {
  it('writes lines, and with --quiet only warnings', () => {
    const loud = recorder()
    const log = createLog(loud, { quiet: false, color: true })
    log.info('one')
    log.warn('two')
    expect(loud.written.join('')).toBe('one\nWarning: two\n')
    const quiet = recorder()
    const silent = createLog(quiet, { quiet: true, color: true })
    silent.info('one')
    silent.progress('Embedding', 'items').end(3)
    silent.warn('two')
    expect(quiet.written.join('')).toBe('Warning: two\n')
  })

  it('colours only on a terminal that may be coloured', () => {
    const terminal = recorder({ isTTY: true })
    createLog(terminal, { quiet: false, color: true }).warn('x')
    expect(terminal.written.join('')).toContain('\u001b[')
    const plain = recorder({ isTTY: true })
    createLog(plain, { quiet: false, color: false }).warn('x')
    expect(plain.written.join('')).toBe('Warning: x\n')
  })

  it('redraws one line on a terminal, at most ten times a second, no wider than it', () => {
    let time = 0
    const terminal = recorder({ isTTY: true, columns: 30 })
    const progress = createLog(terminal, { quiet: false, color: false, now: () => time }).progress(
      'Embedding',
      'items',
      10
    )
    for (let i = 1; i <= 5; i++) {
      time += 50
      progress.update(i)
    }
    expect(terminal.written.filter((text) => text.startsWith('Embedding'))).toHaveLength(3)
    expect(Math.max(...terminal.written.map((text) => text.replaceAll('\r', '').length))).toBeLessThanOrEqual(29)
    progress.end(10)
    expect(terminal.written.at(-1)).toMatch(/^Embedding 10\/10 items \(100 %\).*\n$/)
  })

  it('writes a line now and then without a terminal', () => {
    let time = 0
    const file = recorder()
    const progress = createLog(file, { quiet: false, color: false, now: () => time }).progress('Training', 'steps', 100)
    for (let i = 1; i <= 30; i++) {
      time += 1000
      progress.update(i, 'loss 1')
    }
    progress.end()
    expect(file.written).toHaveLength(4)
    expect(file.written[0]).toMatch(/^Training 1\d\/100 steps \(1\d %\), .*, loss 1\n$/)
  })
})

describe('progressLine', () => {
  it('has rate and time left', () => {
    const state = { label: 'Embedding', unit: 'items', total: 1000, done: 120, note: '', seconds: 3 }
    expect(progressLine(state)).toBe('Embedding 120/1000 items (12 %), 40.0 items/s, 22 s left')
    expect(progressLine({ ...state, done: 2, seconds: 5, total: undefined, note: 'x' })).toBe(
      'Embedding 2 items, 2.5 s each, in 5 s, x'
    )
    expect(progressLine({ ...state, done: 0, total: 0, seconds: 0 })).toBe('Embedding 0/0 items (100 %), in 0 s')
  })

  it('writes times as people say them', () => {
    expect([45.4, 200, 7500].map(duration)).toEqual(['45 s', '3 min 20 s', '2 h 5 min'])
  })
})
