/** Queries and candidates of a task to vectors. What is equal (texts, picture paths) is embedded once. */
import type { Log } from '../log.js'
import type { Embedder, PlacedItem } from '../model/embedder.js'
import type { Vectors } from './rank.js'
import { itemKey, type Entry, type TaskData } from './task.js'

export async function embedTask(
  name: string,
  { queries, candidates }: TaskData,
  embedder: Embedder,
  { signal, log }: { signal?: AbortSignal | undefined; log: Log }
): Promise<{ queries: Vectors; candidates: Vectors }> {
  const rows = new Map<string, number>()
  const unique: PlacedItem[] = []
  const rowOf = ({ item, where }: Entry): number => {
    const key = itemKey(item)
    if (!rows.has(key)) rows.set(key, unique.push({ item, label: where, imageRoot: '.' }) - 1)
    return rows.get(key)!
  }
  const queryRows = queries.map(rowOf)
  const candidateRows = candidates.map(rowOf)

  const { dimension } = embedder
  const vectors = new Float32Array(unique.length * dimension)
  const progress = log.progress(`Embedding ${name}:`, 'items', unique.length)
  for await (const { index, vector } of embedder.run(unique, { signal })) {
    vectors.set(vector!, index * dimension)
    progress.update(index + 1)
  }
  progress.end(unique.length)

  const gather = (wanted: number[]): Vectors => {
    const data = new Float32Array(wanted.length * dimension)
    wanted.forEach((row, i) => data.set(vectors.subarray(row * dimension, (row + 1) * dimension), i * dimension))
    return { data, dimension }
  }
  return { queries: gather(queryRows), candidates: gather(candidateRows) }
}
