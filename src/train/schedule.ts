/**
 * The learning rate as a pure function of the step: the schedules of transformers (`get_linear_schedule_with_warmup`,
 * `get_cosine_schedule_with_warmup`, `get_constant_schedule_with_warmup`), so that runs compare step for step.
 * Step s (from 1) uses their factor at s - 1: with a warm-up, the first step has learning rate 0.
 */
export type ScheduleName = 'linear' | 'cosine' | 'constant'

export interface Schedule {
  schedule: ScheduleName
  /** the highest rate, reached after the warm-up */
  learning_rate: number
  /** the rate that linear and cosine end at */
  min_learning_rate: number
  warmup_steps: number
}

export function learningRateAt(step: number, maxSteps: number, options: Schedule): number {
  const done = step - 1
  const { warmup_steps: warmup, learning_rate: peak, min_learning_rate: least } = options
  if (done < warmup) return peak * (done / warmup)
  const progress = (done - warmup) / Math.max(1, maxSteps - warmup)
  return least + (peak - least) * factorAt(progress, options.schedule)
}

/** Share of the way from the highest to the lowest rate that is left at `progress` (0 to 1, or past it). */
function factorAt(progress: number, schedule: ScheduleName): number {
  if (schedule === 'constant') return 1
  if (schedule === 'linear') return Math.max(0, 1 - progress)
  return Math.max(0, 0.5 * (1 + Math.cos(Math.PI * progress)))
}
