/**
 * How the rows of a batch stand against each other: queries (B) and candidates (N), which are every row's positives, then
 * its negatives, in row order; which candidates are right for a query; and which are left out as equal to a right one.
 */
import type { PreparedItem } from '../preprocess/prepared.js'

/** One row of training data after preparation. */
export interface PreparedExample {
  query: PreparedItem
  /** at least one */
  positives: PreparedItem[]
  negatives: PreparedItem[]
}

export interface Contrast {
  queries: PreparedItem[]
  targets: PreparedItem[]
  /** positives of query i: positives[positiveStarts[i] .. positiveStarts[i + 1]), indices of targets */
  positiveStarts: Int32Array
  positives: Int32Array
  /** contents as ids: candidates with the id of one of the query's positives don't count as its negatives */
  duplicates?: { queryIdStarts: Int32Array; queryIds: Int32Array; targetIds: Int32Array }
}

/** `duplicates`: `mask` leaves candidates of the same content as a positive out of that query's denominator. */
export function contrastOf(rows: readonly PreparedExample[], duplicates: 'mask' | 'keep'): Contrast {
  const targets: PreparedItem[] = []
  const positives: number[] = []
  const positiveStarts = [0]
  for (const row of rows) {
    row.positives.forEach((_, i) => positives.push(targets.length + i))
    positiveStarts.push(positives.length)
    targets.push(...row.positives, ...row.negatives)
  }
  const contrast: Contrast = {
    queries: rows.map((row) => row.query),
    targets,
    positiveStarts: Int32Array.from(positiveStarts),
    positives: Int32Array.from(positives)
  }
  return duplicates === 'keep' ? contrast : { ...contrast, duplicates: duplicateIds(contrast) }
}

function duplicateIds({ targets, positives, positiveStarts }: Contrast): Contrast['duplicates'] {
  const ids = new Map<string, number>()
  const targetIds = Int32Array.from(targets, ({ contentKey }) => {
    if (!ids.has(contentKey)) ids.set(contentKey, ids.size)
    return ids.get(contentKey)!
  })
  // One id a positive, in the same order: the starts are the same.
  return { queryIdStarts: positiveStarts, queryIds: positives.map((target) => targetIds[target]!), targetIds }
}
