/** The options of `evaluate`, and the forms that a file of tasks may have. */
import {
  integer,
  list,
  modelPath,
  nullable,
  oneOf,
  option,
  path,
  required,
  string,
  tables,
  validate,
  type Given,
  type Values
} from '../options.js'
import { preparationOptions, promptStyle } from '../prompt-options.js'
import { taskOptions } from './task.js'

export const evaluateOptions = {
  model: required(modelPath, 'model directory or hub id'),
  adapter: option(nullable(modelPath), null, 'PEFT directory or hub id'),
  output: required(path, 'directory for scores, predictions and reports'),
  tasks: option(list(string), [], 'run only the tasks of these names'),
  limit: option(integer(0), 0, 'rank only the first N rows of each task; 0: all'),
  depth: option(integer(10), 100, 'candidates a query in the predictions'),
  definitions: option(tables(taskOptions), [], 'the tasks; in a config file simply `tasks:`'),
  dtype: option(oneOf('f32', 'bf16'), 'f32', 'number type of computing'),
  quantize: option(oneOf('none', 'int8', 'nf4'), 'none', 'hold linear layers in 8 or 4 bits a number'),
  prompt: promptStyle,
  ...preparationOptions,
  dimension: option(nullable(integer(1)), null, 'keep the first N numbers of each vector and normalise again'),
  batch_tokens: option(integer(1), 4096, 'tokens that are computed with at a time: speed and memory, never the result')
}

export type EvaluateOptions = Values<typeof evaluateOptions>

/** What `evaluate()` takes; `tasks` are the tasks themselves, `only` names those that are run. */
export type EvaluateConfig = Omit<Given<typeof evaluateOptions>, 'tasks' | 'definitions'> & {
  tasks: Given<typeof taskOptions>[]
  only?: string[]
  device?: string
  threads?: number
}

/**
 * A file of tasks in the form of the options: a list of tasks; or a mapping whose `tasks` is a list, or a mapping from
 * names to tasks, beside other options; or just a mapping from names to tasks, as VLM2Vec's files are.
 */
export function readTasksFile(document: unknown): unknown {
  if (Array.isArray(document)) return { definitions: document }
  if (!isMapping(document)) return document
  if (isMapping(document['tasks']) || isListOfMappings(document['tasks'])) {
    const { tasks, ...rest } = document
    return { ...rest, definitions: listOf(tasks) }
  }
  const known = Object.keys(document).some((key) => key in evaluateOptions)
  return known || !Object.values(document).every(isMapping) ? document : { definitions: listOf(document) }
}

export function validateConfig(config: EvaluateConfig): EvaluateOptions {
  const { device: _device, threads: _threads, only = [], tasks, ...rest } = config
  return validate(evaluateOptions, { ...rest, tasks: only, definitions: tasks }, 'the evaluation configuration')
}

function listOf(tasks: unknown): unknown {
  return isMapping(tasks) ? Object.entries(tasks).map(([name, task]) => ({ name, ...(task as object) })) : tasks
}

function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

const isListOfMappings = (value: unknown): boolean => Array.isArray(value) && value.length > 0 && value.every(isMapping)
