/** Evaluation during training: each checkpoint on the tasks of the configuration, as `evaluate` does it. */
import { join } from 'node:path'
import { evaluate } from '../evaluate/evaluate.js'
import { loadTask } from '../evaluate/load-task.js'
import type { TaskScore } from '../evaluate/report.js'
import { taskOf } from '../evaluate/task.js'
import type { Log } from '../log.js'
import type { TrainOptions } from './options.js'

export interface EvaluationEvent {
  type: 'evaluation'
  step: number
  /** scores, predictions and reports */
  directory: string
  scores: TaskScore[]
}

/** Reads a row of each task, so that a wrong path ends the run before its first step. E_DATA, E_OPTION. */
export async function checkTasks({ evaluate: { tasks } }: TrainOptions): Promise<void> {
  for (const task of tasks) await loadTask(taskOf(task), 1)
}

/** Scores the model or adapter of a checkpoint. It is loaded a second time, beside the one that trains, which stays as it is. */
export async function evaluateCheckpoint(
  { evaluate: { tasks, limit }, model, output }: TrainOptions,
  { step, directory: checkpoint }: { step: number; directory: string },
  { signal, threads, log }: { signal?: AbortSignal | undefined; threads: number; log?: Log | undefined }
): Promise<EvaluationEvent> {
  const directory = join(output.dir, `evaluation-${step}`)
  const { scores } = await evaluate(
    {
      model: checkpoint,
      output: directory,
      tasks,
      limit,
      dtype: model.dtype,
      quantize: model.quantize,
      device: model.device,
      threads
    },
    { signal, ...(log && { log }) }
  )
  return { type: 'evaluation', step, directory, scores }
}
