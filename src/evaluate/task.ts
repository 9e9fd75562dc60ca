/** A ranking task: queries, candidates, and which candidates are right. */
import { Vlm2VecError } from '../errors.js'
import type { Item } from '../data/item.js'
import { integer, matching, nullable, number, oneOf, option, path, required, string, type Values } from '../options.js'
import { METRIC_NAMES } from './metrics.js'

export const taskOptions = {
  name: required(
    matching(/^[\w][\w .+-]*$/, 'a name of letters, digits, space, . _ + -'),
    'name of the task and of its files'
  ),
  meta_task: option(string, 'all', 'group in the report, such as classification'),
  split: option(oneOf('ind', 'ood'), 'ind', 'whether training saw its data set (in) or not (out of distribution)'),
  path: required(path, 'rows as JSONL or Parquet; beir: the folder of queries, corpus and qrels'),
  image_root: option(nullable(path), null, 'folder that picture paths start from; default: that of the file'),
  format: option(oneOf('mmeb', 'beir', 'video'), 'mmeb', 'how rows are read'),
  candidates: option(
    nullable(oneOf('local', 'global')),
    null,
    "local: a query ranks its row's candidates; global: those of all rows; default: local, beir global"
  ),
  metric: option(nullable(oneOf(...METRIC_NAMES)), null, 'headline number; default: hit@1, beir ndcg_linear@5'),
  modality: option(
    nullable(oneOf('image', 'video', 'visdoc')),
    null,
    "group in the leaderboard's form; default: by format"
  ),
  query_instruction: option(nullable(string), null, 'for queries that bring none'),
  target_instruction: option(nullable(string), null, 'for candidates that bring none'),
  frames: option(integer(1), 8, 'video: frames taken evenly from a folder of frames'),
  fps: option(number(0.001), 2, 'video: frames a second')
}

export type TaskOptions = Values<typeof taskOptions>
export type Task = Omit<TaskOptions, 'candidates' | 'metric' | 'modality'> & {
  candidates: 'local' | 'global'
  metric: (typeof METRIC_NAMES)[number]
  modality: 'image' | 'video' | 'visdoc'
}

/** Fills in what depends on the format. */
export function taskOf(options: TaskOptions): Task {
  const beir = options.format === 'beir'
  if (beir && options.candidates === 'local')
    throw new Vlm2VecError('E_OPTION', `Task ${options.name}: format beir has global candidates only.`)
  return {
    ...options,
    candidates: options.candidates ?? (beir ? 'global' : 'local'),
    metric: options.metric ?? (beir ? 'ndcg_linear@5' : 'hit@1'),
    modality: options.modality ?? (beir ? 'visdoc' : options.format === 'video' ? 'video' : 'image')
  }
}

export interface Entry {
  item: Item
  /** in predictions: text, path, or id of the corpus */
  name: string
  /** file and record, for messages */
  where: string
}

export interface Query extends Entry {
  /** local candidates, indices in order; absent: all */
  candidates?: number[]
  /** relevance by candidate index; above 0 */
  relevant: Map<number, number>
}

export interface TaskData {
  queries: Query[]
  /** each content once */
  candidates: Entry[]
}

/** Collects candidates, each content once. */
export class CandidatePool {
  readonly entries: Entry[] = []
  private readonly indices = new Map<string, number>()

  /** Index of the candidate; `key` says what makes two of them the same. */
  add(key: string, entry: Entry): number {
    const known = this.indices.get(key)
    if (known !== undefined) return known
    this.indices.set(key, this.entries.length)
    return this.entries.push(entry) - 1
  }
}

/** Equal for items of the same instruction, text and picture paths. */
export function itemKey({ instruction, text, images = [], videos = [] }: Item): string {
  const sources = (list: Item['images'] = []): unknown[] =>
    list.map((source) => (source instanceof Uint8Array ? Buffer.from(source).toString('base64') : String(source)))
  return JSON.stringify([instruction, text, sources(images), videos.map(({ frames, fps }) => [sources(frames), fps])])
}
