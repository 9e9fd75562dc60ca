/**
 * BEIR's three tables, as visual document benchmarks have them: queries (`query-id` or `_id`, `query` or `text`), corpus
 * (`corpus-id` or `_id`, `image`, `text`, `title`) and qrels (`query-id`, `corpus-id`, `score`). Only scores above 0 count;
 * of repeated pairs the highest. Queries without a relevant entry are left out.
 */
import { Vlm2VecError } from '../../errors.js'
import type { Entry, Query, Task, TaskData } from '../task.js'
import { Fields, isEmpty, itemOf, type Located } from './fields.js'

export interface BeirTables {
  queries: Located[]
  corpus: Located[]
  qrels: Located[]
}

export function beirTask(task: Task, tables: BeirTables, imageRoot: string): TaskData {
  const candidates: Entry[] = []
  const indices = new Map<string, number>()
  for (const located of tables.corpus) {
    const row = new Fields(located, imageRoot)
    const id = idOf(row, 'corpus-id')
    if (indices.has(id)) throw row.problem(`the corpus id ${id} appears twice`)
    indices.set(id, candidates.push({ item: corpusItem(task, row), name: id, where: row.where }) - 1)
  }
  const relevant = relevances(tables.qrels, indices)
  const queries: Query[] = tables.queries.flatMap((located) => {
    const row = new Fields(located, imageRoot)
    const id = idOf(row, 'query-id')
    const own = relevant.get(id)
    relevant.delete(id)
    return own ? [{ item: queryItem(task, row), name: id, where: row.where, relevant: own }] : []
  })
  const [unknown] = relevant.keys()
  if (unknown !== undefined)
    throw new Vlm2VecError('E_DATA', `Task ${task.name}: qrels name the query ${unknown}, which queries does not have.`)
  return { queries, candidates }
}

function relevances(qrels: Located[], indices: Map<string, number>): Map<string, Map<number, number>> {
  const relevant = new Map<string, Map<number, number>>()
  for (const located of qrels) {
    const row = new Fields(located, '')
    const score = row.number('score', 1)
    if (score <= 0) continue
    const query = idOf(row, 'query-id')
    const target = idOf(row, 'corpus-id')
    const index = indices.get(target)
    if (index === undefined) throw row.problem(`qrels name the corpus id ${target}, which the corpus does not have`)
    const own = relevant.get(query) ?? new Map<number, number>()
    own.set(index, Math.max(score, own.get(index) ?? 0))
    relevant.set(query, own)
  }
  return relevant
}

function queryItem(task: Task, row: Fields): Query['item'] {
  const image = row.image('image')
  const item = itemOf({
    instruction: row.text('instruction') ?? task.query_instruction ?? undefined,
    text: row.text('query', 'text'),
    images: image === undefined ? [] : [image]
  })
  if (isEmpty(item)) throw row.problem('the query is empty; give "query", "text" or "image"')
  return item
}

function corpusItem(task: Task, row: Fields): Entry['item'] {
  const image = row.image('image', 'image_path')
  const text = [row.text('title'), row.text('text')].filter(Boolean).join('. ')
  const item = itemOf({
    instruction: row.text('instruction') ?? task.target_instruction ?? undefined,
    text,
    images: image === undefined ? [] : [image]
  })
  if (isEmpty(item)) throw row.problem('the corpus entry is empty; give "image" or "text"')
  return item
}

function idOf(row: Fields, column: string): string {
  const id = row.text(column, '_id', 'id')
  if (id === undefined) throw row.problem(`"${column}" is missing`)
  return id
}
