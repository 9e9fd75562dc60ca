import { describe, expect, it } from 'vitest'
import { learningRateAt, type ScheduleName } from '../../../src/train/schedule.js'

const rates = (schedule: ScheduleName, maxSteps: number, warmup_steps: number, min_learning_rate = 0): number[] =>
  Array.from({ length: maxSteps }, (_, step) =>
    learningRateAt(step + 1, maxSteps, { schedule, learning_rate: 1, warmup_steps, min_learning_rate })
  )

describe('learningRateAt', () => {
  // The numbers are those of transformers' get_*_schedule_with_warmup, read from the optimizer before each step.
  it('falls linearly after a warm-up that starts at zero', () => {
    expect(rates('linear', 6, 2)).toEqual([0, 0.5, 1, 0.75, 0.5, 0.25])
  })

  it('starts at the full rate without a warm-up', () => {
    expect(rates('linear', 4, 0)).toEqual([1, 0.75, 0.5, 0.25])
  })

  it('follows half a cosine', () => {
    const expected = [0, 0.5, 1, 0.8535533905932737, 0.5, 0.14644660940672627]
    rates('cosine', 6, 2).forEach((rate, i) => expect(rate).toBeCloseTo(expected[i]!, 14))
  })

  it('stays constant after the warm-up', () => {
    expect(rates('constant', 5, 2)).toEqual([0, 0.5, 1, 1, 1])
  })

  it('ends at the minimum, which the warm-up ignores', () => {
    expect(rates('linear', 6, 2, 0.2)).toEqual([0, 0.5, 1, 0.8, 0.6, 0.4].map((x) => expect.closeTo(x, 12)))
  })

  it('never falls below the minimum past the last step', () => {
    expect(
      learningRateAt(99, 10, { schedule: 'linear', learning_rate: 1, warmup_steps: 0, min_learning_rate: 0 })
    ).toBe(0)
  })

  it('takes a warm-up as long as the run, or longer', () => {
    expect(rates('linear', 2, 4)).toEqual([0, 0.25])
    expect(rates('cosine', 2, 2)).toEqual([0, 0.5])
  })
})
