/** Evaluation: tasks to rankings, scores and reports. Each file is written when it is known; finished tasks are kept. */
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ioError, writeWhole } from '../atomic.js'
import { resolveDevice } from '../device.js'
import { Vlm2VecError } from '../errors.js'
import { silent, type Log } from '../log.js'
import { findModel } from '../model/directory.js'
import { Embedder } from '../model/embedder.js'
import type { DeviceOptions } from '../native.js'
import { preparationOf } from '../prompt-options.js'
import { embedTask } from './embed-task.js'
import { fingerprintOf } from './fingerprint.js'
import { loadTask } from './load-task.js'
import { meanScores } from './metrics.js'
import { modelInfo } from './model-info.js'
import { validateConfig, type EvaluateConfig, type EvaluateOptions } from './options.js'
import { rank, type Ranking } from './rank.js'
import { examplesOf } from './report-examples.js'
import { htmlReport, type Example } from './report-html.js'
import { leaderboardReport, markdownReport, type TaskScore } from './report.js'
import { taskOf, type Task, type TaskData } from './task.js'

export interface EvaluateRun {
  signal?: AbortSignal | undefined
  log?: Log
  /** called as each task is done */
  onScore?: (score: TaskScore) => void | Promise<void>
}

export interface Evaluation {
  scores: TaskScore[]
  /** report.json in the leaderboard's form */
  report: object
}

/**
 * Ranks candidates for each task's queries, and writes scores, predictions and reports into `config.output`.
 *
 * @example
 *   const { scores } = await evaluate({ model: 'runs/x/final', output: 'scores', tasks: [{ name: 'shapes', path: 'test.jsonl' }] })
 */
export async function evaluate(config: EvaluateConfig, run: EvaluateRun = {}): Promise<Evaluation> {
  const options = validateConfig(config)
  const device = { device: resolveDevice(config.device ?? 'auto'), threads: config.threads ?? 0 }
  const tasks = chosenTasks(options)
  const files = await findModel(options.model, options.adapter, run)
  await mkdir(options.output, { recursive: true }).catch((error: unknown) => {
    throw ioError(error, options.output)
  })
  const scores: TaskScore[] = []
  let embedder: Embedder | undefined
  try {
    for (const task of tasks) {
      const fingerprint = await fingerprintOf(files, options, task)
      let score = await finishedScore(options.output, task, fingerprint)
      if (score) run.log?.info(`${task.name} was scored before and is as it was; delete its files to score it again.`)
      else {
        embedder ??= await loadEmbedder(options, device)
        score = await scoreTask(task, embedder, { options, device, fingerprint, ...run })
      }
      scores.push(score)
      await run.onScore?.(score)
    }
  } finally {
    await embedder?.close()
  }
  const info = await modelInfo(files, options)
  const report = leaderboardReport(info, scores, new Date())
  await writeWhole(join(options.output, 'report.json'), `${JSON.stringify(report, null, 2)}\n`)
  await writeWhole(join(options.output, 'report.md'), markdownReport(info, scores))
  await writeWhole(
    join(options.output, 'report.html'),
    htmlReport(info, scores, await readExamples(options.output, scores))
  )
  return { scores, report }
}

/** The tasks asked for, in the order of their file. */
function chosenTasks({ definitions, tasks: names }: EvaluateOptions): Task[] {
  const tasks = definitions.map(taskOf)
  const known = tasks.map(({ name }) => name)
  const wrong = (message: string): Vlm2VecError => new Vlm2VecError('E_OPTION', message)
  const twice = known.find((name, i) => known.indexOf(name) !== i)
  if (tasks.length === 0) throw wrong('There are no tasks. List them in a file and give it with --config.')
  if (twice !== undefined) throw wrong(`Two tasks are called ${twice}; their files would be the same.`)
  const unknown = names.find((name) => !known.includes(name))
  if (unknown !== undefined) throw wrong(`There is no task ${unknown}. Known: ${known.join(', ')}.`)
  return names.length === 0 ? tasks : tasks.filter(({ name }) => names.includes(name))
}

function loadEmbedder(options: EvaluateOptions, device: DeviceOptions): Promise<Embedder> {
  return Embedder.load(options.model, {
    ...device,
    adapter: options.adapter,
    dtype: options.dtype,
    quantize: options.quantize,
    dimension: options.dimension,
    batchTokens: options.batch_tokens,
    ...preparationOf(options, options.prompt)
  })
}

interface Scoring extends EvaluateRun {
  options: EvaluateOptions
  device: DeviceOptions
  fingerprint: string
}

async function scoreTask(
  task: Task,
  embedder: Embedder,
  { options, device, fingerprint, signal, log = silent }: Scoring
): Promise<TaskScore> {
  const data = await loadTask(task, options.limit, embedder.processor.settings.prompt)
  const { queries, candidates } = await embedTask(task.name, data, embedder, { signal, log })
  const rankings = await rank(queries, candidates, data.queries, { depth: options.depth, ...device })
  const score: TaskScore = {
    ...meanScores(rankings),
    num_pred: rankings.length,
    num_data: data.queries.length,
    num_candidates: data.candidates.length,
    chance: chanceOf(data),
    name: task.name,
    meta_task: task.meta_task,
    split: task.split,
    modality: task.modality,
    metric: task.metric,
    candidates: task.candidates,
    fingerprint
  }
  const file = (suffix: string): string => join(options.output, `${task.name}_${suffix}`)
  await writeWhole(file('pred.jsonl'), predictions(data, rankings))
  await writeWhole(file('examples.json'), JSON.stringify(await examplesOf(data, rankings)))
  // Last: its presence says that the others are there.
  await writeWhole(file('score.json'), `${JSON.stringify(score, null, 2)}\n`)
  return score
}

/** A line a query: names of the candidates, best first, and of the right ones. */
function predictions({ queries, candidates }: TaskData, rankings: Ranking[]): string {
  const lines = rankings.map(({ indices, scores }, i) => {
    const { name, relevant } = queries[i]!
    return JSON.stringify({
      query: name,
      prediction: indices.map((index) => candidates[index]!.name),
      scores: scores.map((value) => Number(value.toFixed(6))),
      label: [...relevant.keys()].map((index) => candidates[index]!.name),
      rel_scores: [...relevant.values()]
    })
  })
  return lines.map((line) => `${line}\n`).join('')
}

/** Expected hit@1 of a random order. */
function chanceOf({ queries, candidates }: TaskData): number {
  const chances = queries.map((query) => query.relevant.size / (query.candidates?.length ?? candidates.length))
  return chances.reduce((sum, chance) => sum + chance, 0) / queries.length
}

/** The score of an earlier run with the same model, options, task and data. Its group and split are today's. */
async function finishedScore(output: string, task: Task, fingerprint: string): Promise<TaskScore | undefined> {
  const { name, meta_task, split, modality } = task
  const score = await readJson<TaskScore>(join(output, `${name}_score.json`))
  return score?.fingerprint === fingerprint ? { ...score, meta_task, split, modality } : undefined
}

async function readExamples(output: string, scores: TaskScore[]): Promise<Map<string, Example[]>> {
  const read = async ({ name }: TaskScore): Promise<[string, Example[]]> => [
    name,
    (await readJson<Example[]>(join(output, `${name}_examples.json`))) ?? []
  ]
  return new Map(await Promise.all(scores.map(read)))
}

async function readJson<T>(path: string): Promise<T | undefined> {
  try {
    return JSON.parse(await readFile(path, 'utf8')) as T
  } catch {
    return undefined
  }
}
