/** Finds and reads the files of a task. */
import { readdir, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { openRowFile } from '../data/row-file.js'
import { Vlm2VecError } from '../errors.js'
import type { PromptStyle } from '../model/preset.js'
import type { Task, TaskData } from './task.js'
import { beirTask } from './tasks/beir.js'
import type { Located } from './tasks/fields.js'
import { mmebTask } from './tasks/mmeb.js'
import { withNewlines } from './tasks/vlm2vec-newlines.js'

/**
 * `limit`: rows that are read (beir: queries), 0: all. `prompt`: the model's; items of MMEB get the newlines of VLM2Vec with its
 * own. E_DATA names file and record.
 */
export async function loadTask(task: Task, limit: number, prompt: PromptStyle = 'raw'): Promise<TaskData> {
  const read = await readTask(task, limit)
  const data = task.format === 'mmeb' && prompt === 'vlm2vec' ? inVlm2VecsForm(read, task) : read
  if (data.queries.length > 0) return data
  throw new Vlm2VecError('E_DATA', `Task ${task.name}: there are no queries in ${task.path}.`)
}

function inVlm2VecsForm({ queries, candidates }: TaskData, task: Task): TaskData {
  return {
    queries: queries.map((query) => ({ ...query, item: withNewlines(query.item, 'query', task) })),
    candidates: candidates.map((entry) => ({ ...entry, item: withNewlines(entry.item, 'target', task) }))
  }
}

async function readTask(task: Task, limit: number): Promise<TaskData> {
  if (task.format !== 'beir')
    return mmebTask(task, await readRecords(task.path, limit), task.image_root ?? dirname(task.path))
  const [queries, corpus, qrels] = await Promise.all(
    ['queries', 'corpus', 'qrels'].map(async (name) => readRecords(await findTable(task, name)))
  )
  const data = beirTask(task, { queries: queries!, corpus: corpus!, qrels: qrels! }, task.image_root ?? task.path)
  return limit > 0 ? { ...data, queries: data.queries.slice(0, limit) } : data
}

/** `queries.jsonl`, `queries.parquet`, or the first such file in a folder `queries`. */
async function findTable(task: Task, name: string): Promise<string> {
  const missing = new Vlm2VecError(
    'E_DATA',
    `Task ${task.name}: ${task.path} holds no ${name}.jsonl or ${name}.parquet. Format beir needs queries, corpus and qrels.`
  )
  const names = await readdir(task.path).catch(() => {
    throw missing
  })
  const file = names.find((each) => each === `${name}.jsonl` || each === `${name}.parquet`)
  if (file !== undefined) return join(task.path, file)
  const folder = join(task.path, name)
  const isFolder = names.includes(name) && (await stat(folder)).isDirectory()
  const inside = isFolder ? (await readdir(folder)).filter((each) => /\.(jsonl|parquet)$/.test(each)).sort() : []
  if (inside.length > 1)
    throw new Vlm2VecError(
      'E_DATA',
      `Task ${task.name}: ${folder} holds several files (${inside.join(', ')}); one is needed.`
    )
  if (inside[0] === undefined) throw missing
  return join(folder, inside[0])
}

async function readRecords(path: string, limit = 0): Promise<Located[]> {
  const file = await openRowFile(path)
  try {
    const count = limit > 0 ? Math.min(limit, file.length) : file.length
    const records: Located[] = []
    for (let index = 0; index < count; index++) {
      const where = file.where(index)
      const record = await file.row(index)
      if (typeof record !== 'object' || record === null || Array.isArray(record))
        throw new Vlm2VecError('E_DATA', `${where}: expected a mapping.`)
      records.push({ record: record as Record<string, unknown>, where })
    }
    return records
  } finally {
    await file.close()
  }
}
