/** Contrastive training: the loop. What a step is stands in grad-cache.ts; what is kept of it in run-directory.ts. */
import { Vlm2VecError } from '../errors.js'
import type { Log } from '../log.js'
import type { NativeTrainer } from '../native.js'
import { validate } from '../options.js'
import { batches } from './batches.js'
import { contrastOf, type PreparedExample } from './contrast.js'
import { checkTasks, evaluateCheckpoint, type EvaluationEvent } from './evaluations.js'
import { accumulateGradients } from './grad-cache.js'
import type { StepMetrics } from './metrics-log.js'
import { trainOptions, type TrainConfig } from './options.js'
import { RunDirectory } from './run-directory.js'
import { learningRateAt } from './schedule.js'
import { prepareRun, type RunSetup } from './setup.js'
import { createTrainer, saveModel, saveTrainer } from './trainer.js'

export type TrainEvent =
  | { type: 'start'; step: number; max_steps: number; resumed_from: string | null; warnings: string[] }
  | ({ type: 'step' } & StepMetrics)
  | { type: 'checkpoint'; step: number; directory: string }
  | EvaluationEvent
  | { type: 'done'; step: number; directory: string }

export interface TrainRun {
  /** aborted: the step is finished, a checkpoint written, and E_ABORTED thrown */
  signal?: AbortSignal | undefined
  /** CPU threads; 0: one a core */
  threads?: number
  /** told about the progress of a download; default: nobody is */
  log?: Log | undefined
}

/**
 * Trains, and yields what happens: `start`, `step` after each step, `checkpoint`, `evaluation` of it where the configuration has
 * tasks, and `done` with the directory of the model.
 * Goes on from the newest checkpoint of the run directory, with the same bits as if it had never stopped.
 */
export async function* train(
  config: TrainConfig,
  { signal, threads = 0, log }: TrainRun = {}
): AsyncGenerator<TrainEvent, void, undefined> {
  const setup = await prepareRun(validate(trainOptions, config, 'the training configuration'), threads, { log, signal })
  const { options, maxSteps } = setup
  const { batch_size: batchSize, prefetch, seed } = options.train
  await checkTasks(options)
  const run = await RunDirectory.open(options)
  let trainer: NativeTrainer | undefined
  try {
    const first = firstStep(run, setup)
    const model = (trainer = await createTrainer(setup, run.resumed?.directory))
    yield {
      type: 'start',
      step: first,
      max_steps: maxSteps,
      resumed_from: run.resumed?.directory ?? null,
      warnings: setup.warnings
    }

    let step = first
    let saved = first
    const save = async function* (): AsyncGenerator<TrainEvent, void, undefined> {
      const state = { step, seed, position: step * batchSize, rows: setup.rows.length }
      const { directory } = await run.save(state, (temporary) => saveTrainer(model, setup, temporary))
      saved = step
      yield { type: 'checkpoint', step, directory }
      if (options.evaluate.tasks.length > 0 && !signal?.aborted)
        yield await evaluateCheckpoint(options, { step, directory }, { signal, threads, log })
    }
    for await (const rows of batches(setup.rows, setup.prepare, { first, end: maxSteps, batchSize, prefetch })) {
      if (signal?.aborted) break
      const metrics = await trainStep(model, rows, step + 1, { setup, run })
      step++
      await run.record(metrics)
      yield { type: 'step', ...metrics }
      if (options.output.save_every > 0 && step % options.output.save_every === 0) yield* save()
      if (signal?.aborted) break
    }
    if (step > saved) yield* save()
    if (step < maxSteps) throw stopped(step, saved > 0 ? options.output.dir : undefined)
    yield { type: 'done', step, directory: await run.finish((temporary) => saveModel(model, setup, temporary)) }
  } finally {
    await trainer?.close()
    await run.close()
    await setup.rows.close()
  }
}

/** Gradients over the whole batch, then one update. */
async function trainStep(
  trainer: NativeTrainer,
  rows: PreparedExample[],
  step: number,
  { setup, run }: { setup: RunSetup; run: RunDirectory }
): Promise<StepMetrics> {
  const { train: options, output } = setup.options
  const start = performance.now()
  const { loss, tokens } = await accumulateGradients(trainer, contrastOf(rows, options.duplicates), step, {
    chunkSize: options.chunk_size,
    temperature: options.temperature,
    dtype: setup.options.model.dtype,
    shareEqual: sharesOf(setup),
    ...setup.device
  })
  if (output.dump_gradients.includes(step)) await trainer.saveGradients(run.gradientsFile(step))
  const learningRate = learningRateAt(step, setup.maxSteps, options)
  const { gradNorm } = await trainer.update({
    learningRate,
    weightDecay: options.weight_decay,
    maxGradNorm: options.max_grad_norm
  })
  const seconds = (performance.now() - start) / 1000
  return {
    step,
    loss,
    learning_rate: learningRate,
    grad_norm: gradNorm,
    examples_per_second: rows.length / seconds,
    tokens_per_second: tokens / seconds,
    memory_mib: Math.round(process.memoryUsage.rss() / 2 ** 20)
  }
}

/** Dropout is of the adapters' inputs: where they are all in the text model, pictures have none. */
function sharesOf({ options: { tune }, adapter }: RunSetup): 'items' | 'pictures' | 'none' {
  if (!adapter || tune.dropout === 0) return 'items'
  const parts = new Map(adapter.linear.map(({ name, part }) => [name, part]))
  return adapter.modules.every(({ module }) => parts.get(module) === 'text') ? 'pictures' : 'none'
}

/** Steps that are done already. E_OUTPUT where the checkpoint does not fit the data, or is past the end. */
function firstStep({ resumed, path }: RunDirectory, { rows: data, maxSteps }: RunSetup): number {
  if (!resumed) return 0
  const { step, rows } = resumed.state
  if (rows !== data.length)
    throw new Vlm2VecError(
      'E_OUTPUT',
      `${path} was begun with ${rows} rows of data, now there are ${data.length}: ` +
        'the order would be another. Restore the data or choose another output.dir.'
    )
  if (step > maxSteps)
    throw new Vlm2VecError('E_OUTPUT', `${path} is at step ${step} already, past the ${maxSteps} steps asked for.`)
  return step
}

function stopped(step: number, directory: string | undefined): Vlm2VecError {
  const advice = directory ? ` The same command goes on from the checkpoint in ${directory}.` : ''
  return new Vlm2VecError('E_ABORTED', `Stopped after step ${step}.${advice}`)
}
