/** The configuration of training: every key is also a flag (`--train.batch-size`) and an environment variable. */
import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import {
  boolean,
  either,
  integer,
  list,
  modelPath,
  nullable,
  number,
  oneOf,
  option,
  path,
  required,
  string,
  tables,
  type Check,
  type Given,
  type Values
} from '../options.js'
import { taskOptions } from '../evaluate/task.js'
import { preparationOptions, promptStyle } from '../prompt-options.js'

const fraction = number(0, 1)
const positive: Check<number> = {
  ...number(0),
  expected: 'a number above 0',
  read: (value) => (typeof value === 'number' && Number.isFinite(value) && value > 0 ? value : undefined)
}

/** Module names (suffix or regular expression) and a number each. In flags: JSON. */
const pattern: Check<Record<string, number>> = {
  expected: 'a mapping from module names to numbers above 0',
  flag: 'string',
  read: (value) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
    return Object.values(value).every((each) => typeof each === 'number' && each > 0)
      ? (value as Record<string, number>)
      : undefined
  },
  fromText: (text) => {
    try {
      return JSON.parse(text) as unknown
    } catch {
      return text
    }
  }
}

/** A list of suffixes, or one regular expression. In flags: names separated by commas, or anything else as an expression. */
const targetModules: Check<string | string[]> = {
  ...either(string, list(string)),
  flag: 'array',
  fromText: (text) => (/^[\w.]+(,[\w.]+)*$/.test(text) ? text.split(',') : text)
}

/** YAML reads `never` as text, but people also write `false`. */
const resume: Check<'auto' | 'never'> = {
  ...oneOf('auto', 'never'),
  read: (value) =>
    value === 'auto' || value === true ? 'auto' : value === 'never' || value === false ? 'never' : undefined
}

export const sourceOptions = {
  name: option(string, '', 'name in messages; default: the path'),
  path: required(path, 'rows as JSONL or Parquet: {query, target | positives, negatives} or the columns of MMEB'),
  image_root: option(nullable(path), null, 'folder that picture paths start from; default: that of the file'),
  weight: option(positive, 1, 'share of this source in the rows, relative to the others'),
  limit: option(integer(0), 0, 'use only the first N rows; 0: all'),
  flip: option(fraction, 0, 'probability that a picture is mirrored left to right'),
  crop: option(number(0.01, 1), 1, 'least share of a picture that a random crop keeps; 1: no crops')
}

export const trainOptions = {
  model: {
    path: required(modelPath, 'base model: a directory in Hugging Face layout or a hub id'),
    adapter: option(nullable(modelPath), null, 'adapter to go on training; its own configuration then holds'),
    dtype: option(oneOf('f32', 'bf16'), 'f32', 'number type of computing; what is trained is kept in f32'),
    quantize: option(
      oneOf('none', 'int8', 'nf4'),
      'none',
      'lora: hold the frozen linear layers in 8 or 4 bits a number (QLoRA)'
    ),
    device: option(string, 'auto', 'where to compute: auto, cpu, cuda or cuda:N')
  },
  tune: {
    mode: option(oneOf('lora', 'full'), 'lora', 'train low-rank adapters, or the weights themselves'),
    rank: option(integer(1), 8, 'lora: rank of the adapters'),
    alpha: option(positive, 64, 'lora: adapters are scaled by alpha / rank'),
    dropout: option(number(0, 0.99), 0, 'lora: dropout of the input of each adapter'),
    dora: option(boolean, false, 'lora: also train the magnitude of each output (DoRA)'),
    rslora: option(boolean, false, 'lora: scale by alpha / sqrt(rank)'),
    target_modules: option(
      targetModules,
      ['q_proj', 'k_proj', 'v_proj', 'o_proj'],
      'lora: suffixes of the names of adapted linear modules; one text is a regular expression for the whole name'
    ),
    rank_pattern: option(pattern, {}, 'lora: ranks of single modules'),
    alpha_pattern: option(pattern, {}, 'lora: alphas of single modules'),
    initialization: option(
      oneOf('kaiming', 'gaussian'),
      'kaiming',
      "lora: first weights: PEFT's default, or VLM2Vec's"
    ),
    freeze: option(list(oneOf('vision', 'merger', 'text')), [], 'full: parts that stay as they are')
  },
  data: required(tables(sourceOptions), 'sources of training rows'),
  train: {
    batch_size: option(integer(1), 16, 'rows a step; every other row of the batch is a negative'),
    chunk_size: option(integer(1), 4, 'sequences that are computed at a time: memory and speed, never the result'),
    max_steps: option(nullable(integer(1)), null, 'steps of the whole run; the schedule ends there'),
    epochs: option(positive, 1, 'length of the run in passes over all rows, where max_steps is not given'),
    learning_rate: option(number(0), 2e-5, 'highest learning rate'),
    min_learning_rate: option(number(0), 0, 'learning rate that linear and cosine end at'),
    schedule: option(
      oneOf('linear', 'cosine', 'constant'),
      'linear',
      'learning rate after the warm-up, as in transformers'
    ),
    warmup_steps: option(integer(0), 0, 'steps over which the learning rate rises from 0'),
    weight_decay: option(number(0), 0, 'decoupled decay; not on norms and biases'),
    max_grad_norm: option(number(0), 1, 'gradients are scaled down to this norm; 0: never'),
    temperature: option(positive, 0.02, 'divides the similarities'),
    shuffle: option(boolean, true, 'draw rows in random order, another one each pass'),
    seed: option(integer(0, 2 ** 31 - 1), 42, 'of order, augmentation, dropout and first adapter weights'),
    duplicates: option(
      oneOf('mask', 'keep'),
      'mask',
      "mask: candidates of the same content as a query's positive are not its negatives; keep: they are"
    ),
    prefetch: option(integer(0, 64), 2, 'batches that are prepared while one is computed with'),
    picture_cache_mib: option(integer(0), 256, 'decoded pictures that are kept for the next epoch'),
    activation_memory_mib: option(
      integer(0),
      0,
      'activations that are kept for the backward pass, the rest is recomputed: speed, never the result; 0: as few as cost no time'
    )
  },
  prompt: {
    style: promptStyle,
    ...preparationOptions
  },
  evaluate: {
    tasks: option(tables(taskOptions), [], 'tasks that every checkpoint is scored on, as in a file of `evaluate`'),
    limit: option(integer(0), 0, 'rank only the first N rows of each task; 0: all')
  },
  output: {
    dir: required(path, 'run directory'),
    save_every: option(integer(0), 500, 'steps between checkpoints; 0: only the last'),
    keep_last: option(integer(1), 2, 'checkpoints that are kept'),
    resume: option(resume, 'auto', 'auto: go on from the newest checkpoint; never: the directory must hold no run'),
    dump_gradients: option(list(integer(1)), [], 'steps whose gradients are written, before clipping')
  }
}

export type TrainOptions = Values<typeof trainOptions>
/** What `train()` takes. */
export type TrainConfig = Given<typeof trainOptions>

/** The same with paths that hold from any directory, so that the resolved configuration can be run again. */
export function withAbsolutePaths(options: TrainOptions): TrainOptions {
  const absolute = (path: string | null): string | null => (path === null ? null : resolve(path))
  const local = (path: string): string => (existsSync(path) ? resolve(path) : path) // else a hub id
  return {
    ...options,
    model: {
      ...options.model,
      path: local(options.model.path),
      adapter: options.model.adapter === null ? null : local(options.model.adapter)
    },
    data: options.data.map((source) => ({
      ...source,
      path: resolve(source.path),
      image_root: absolute(source.image_root)
    })),
    evaluate: {
      ...options.evaluate,
      tasks: options.evaluate.tasks.map((task) => ({
        ...task,
        path: resolve(task.path),
        image_root: absolute(task.image_root)
      }))
    },
    output: { ...options.output, dir: resolve(options.output.dir) }
  }
}
