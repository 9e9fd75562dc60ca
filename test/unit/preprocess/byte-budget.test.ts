import { describe, expect, it } from 'vitest'
import { ByteBudget, type Slot } from '../../../src/preprocess/byte-budget.js'

const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** Which of the reservations have been granted. */
function reservations(slots: Slot[], bytes: number[]): boolean[] {
  const granted = bytes.map(() => false)
  for (const [i, slot] of slots.entries()) void slot.reserve(bytes[i]!).then(() => (granted[i] = true))
  return granted
}

describe('ByteBudget', () => {
  it('gives room in the order of the slots until it is used up, and again when some is given back', async () => {
    const budget = new ByteBudget(100)
    const slots = [1, 2, 3, 4].map(() => budget.open())
    const granted = reservations(slots, [60, 30, 20, 1])
    await tick()
    expect(granted).toEqual([true, true, false, false]) // the last one would fit, but it is not its turn
    expect(budget.held).toBe(90)
    slots[0]!.keep(10)
    await tick()
    expect(granted).toEqual([true, true, true, true])
    expect(budget.held).toBe(61)
    for (const slot of slots) slot.keep(0)
    expect(budget.held).toBe(0)
  })

  it('lets one that needs more than there is have it alone', async () => {
    const budget = new ByteBudget(100)
    const slots = [1, 2, 3].map(() => budget.open())
    const granted = reservations(slots, [50, 500, 10])
    await tick()
    expect(granted).toEqual([true, false, false])
    slots[0]!.keep(0)
    await tick()
    expect(granted).toEqual([true, true, false])
    slots[1]!.keep(0)
    await tick()
    expect(granted).toEqual([true, true, true])
  })

  it('waits for a slot that was opened earlier, and passes one that needs nothing', async () => {
    const budget = new ByteBudget(100)
    const [first, second] = [budget.open(), budget.open()]
    const granted = reservations([second], [10])
    await tick()
    expect(granted).toEqual([false])
    first.keep(0)
    await tick()
    expect(granted).toEqual([true])
  })

  it('lets nobody wait once it is closed', async () => {
    const budget = new ByteBudget(100)
    const granted = reservations([budget.open(), budget.open()], [90, 90])
    budget.close()
    await tick()
    expect(granted).toEqual([true, true])
  })
})
