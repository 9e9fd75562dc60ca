/** Goes through all rows and pictures of a data set: what is wrong with it, and what it consists of. */
import type { ImageSource, Item } from './item.js'
import type { Mixture, MixtureRow, UnreadableRow } from './mixture.js'

export interface DataProblem {
  source: string
  /** 'train.jsonl: record 3' */
  where: string
  message: string
}

/** Least, mean and most of a number over all items that have it. */
export interface Spread {
  count: number
  min: number
  mean: number
  max: number
}

export interface DataReport {
  /** rows in all files, and those that can be trained on */
  rows: number
  valid: number
  sources: Record<string, { rows: number; valid: number }>
  problems: DataProblem[]
  /** problems beyond those that are listed */
  moreProblems: number
  queries: ItemStatistics
  targets: ItemStatistics
  negatives: ItemStatistics
  /** rows whose target is also that of another row (same text, same paths of pictures) */
  repeatedTargets: number
}

export interface ItemStatistics {
  items: number
  withText: number
  withImages: number
  withVideos: number
  images: number
  frames: number
  /** characters of instruction and text */
  characters: Spread
  /** pixels a side of the pictures, where they were looked at */
  width: Spread
  height: Spread
}

export interface VerifyOptions {
  /** Looks at a picture, or throws what is wrong with it. Absent: pictures are not looked at. */
  picture?: ((source: ImageSource, where: string) => Promise<{ width: number; height: number }>) | undefined
  /** rows in work at once; default 8 */
  concurrency?: number
  /** problems that are listed, at most; default 100 */
  maxProblems?: number
  progress?: ((rows: number, total: number) => void) | undefined
  signal?: AbortSignal | undefined
}

export async function verifyData(data: Mixture, options: VerifyOptions = {}): Promise<DataReport> {
  const { concurrency = 8, maxProblems = 100, picture, progress, signal } = options
  const report = emptyReport()
  const targets = new Map<string, number>()
  const working = new Set<Promise<void>>()
  const problem = (source: string, where: string, error: unknown): void => {
    if (report.problems.length >= maxProblems) report.moreProblems++
    else report.problems.push({ source, where, message: (error as Error).message })
  }
  const check = async (row: MixtureRow | UnreadableRow): Promise<void> => {
    const counts = (report.sources[row.source] ??= { rows: 0, valid: 0 })
    counts.rows++
    report.rows++
    if ('error' in row) return problem(row.source, row.where, row.error)
    const { query, positives, negatives } = row.example
    try {
      await addItems(report.queries, [query], row.where, picture)
      await addItems(report.targets, positives, row.where, picture)
      await addItems(report.negatives, negatives, row.where, picture)
    } catch (error) {
      return problem(row.source, row.where, error)
    }
    counts.valid++
    report.valid++
    for (const target of positives) {
      const key = JSON.stringify([target.instruction, target.text, target.images?.map(String), target.videos])
      targets.set(key, (targets.get(key) ?? 0) + 1)
    }
  }
  for await (const row of data.rows()) {
    signal?.throwIfAborted()
    const work = check(row).finally(() => working.delete(work))
    working.add(work)
    if (working.size >= concurrency) await Promise.race(working)
    progress?.(report.rows, data.length)
  }
  await Promise.all(working)
  report.problems.sort((a, b) => (a.source === b.source ? recordOf(a) - recordOf(b) : a.source < b.source ? -1 : 1))
  finish(report)
  for (const uses of targets.values()) if (uses > 1) report.repeatedTargets += uses
  return report
}

async function addItems(
  statistics: ItemStatistics,
  items: readonly Item[],
  where: string,
  picture: VerifyOptions['picture']
): Promise<void> {
  for (const { text = '', instruction = '', images = [], videos = [] } of items) {
    const frames = videos.flatMap((video) => video.frames)
    const sizes = picture ? await Promise.all([...images, ...frames].map((source) => picture(source, where))) : []
    statistics.items++
    if (text) statistics.withText++
    if (images.length > 0) statistics.withImages++
    if (videos.length > 0) statistics.withVideos++
    statistics.images += images.length
    statistics.frames += frames.length
    if (text || instruction) add(statistics.characters, text.length + instruction.length)
    for (const { width, height } of sizes) {
      add(statistics.width, width)
      add(statistics.height, height)
    }
  }
}

function add(spread: Spread, value: number): void {
  spread.min = spread.count === 0 ? value : Math.min(spread.min, value)
  spread.max = Math.max(spread.max, value)
  spread.mean += value // the sum until the end, so that the order of rows in work does not matter
  spread.count++
}

function finish({ queries, targets, negatives }: DataReport): void {
  for (const { characters, width, height } of [queries, targets, negatives])
    for (const spread of [characters, width, height]) if (spread.count > 0) spread.mean /= spread.count
}

function emptyReport(): DataReport {
  const statistics = (): ItemStatistics => ({
    ...{ items: 0, withText: 0, withImages: 0, withVideos: 0, images: 0, frames: 0 },
    ...{ characters: emptySpread(), width: emptySpread(), height: emptySpread() }
  })
  return {
    ...{ rows: 0, valid: 0, sources: {}, problems: [], moreProblems: 0, repeatedTargets: 0 },
    ...{ queries: statistics(), targets: statistics(), negatives: statistics() }
  }
}

const emptySpread = (): Spread => ({ count: 0, min: 0, mean: 0, max: 0 })

function recordOf({ where }: DataProblem): number {
  return Number(/record (\d+)/.exec(where)?.[1] ?? 0)
}
