/**
 * The order of training rows: one or several sources, endless, with random access, so that resuming is just a position.
 * Sources are mixed by weight in blocks: every block holds each source as often as its weight asks for, spread evenly (in
 * random order where shuffled), and each source goes through all its rows before any comes again.
 */
import { dirname } from 'node:path'
import { Vlm2VecError } from '../errors.js'
import { withImageRoot, type Example } from './item.js'
import { Permutation } from './random.js'
import { openRowFile, type RowFile } from './row-file.js'
import { readRow } from './rows.js'

export interface SourceOptions {
  name: string
  /** JSONL or Parquet */
  path: string
  /** folder that paths of pictures start from; default: that of the file */
  imageRoot?: string | undefined
  /** share of rows, relative to the other sources; default 1 */
  weight?: number | undefined
  /** only the first so many rows; 0: all */
  limit?: number | undefined
}

export interface MixtureOptions {
  shuffle: boolean
  seed: number
}

/** A row and where it comes from. Paths of pictures are complete. */
export interface MixtureRow {
  example: Example
  /** 'train.jsonl: record 3' */
  where: string
  /** name of the source, how often it has been gone through before, and the row's index in it */
  source: string
  epoch: number
  row: number
}

export interface UnreadableRow {
  error: unknown
  where: string
  source: string
}

interface Source extends Required<Omit<SourceOptions, 'path' | 'limit'>> {
  file: RowFile
  /** rows of this source in each block */
  quota: number
}

/** Rows of a block, at most, where there are several sources: weights hold to one part in this many. */
const BLOCK = 4096
const BLOCK_SEED = 0x626c6f63

export class Mixture {
  /** source of each place of a block, and the how-manieth of that source it is */
  private readonly sourceAt: Uint16Array
  private readonly rankAt: Uint16Array

  private constructor(
    private readonly sources: readonly Source[],
    private readonly options: MixtureOptions
  ) {
    const size = sources.reduce((sum, { quota }) => sum + quota, 0)
    this.sourceAt = new Uint16Array(size)
    this.rankAt = new Uint16Array(size)
    const used = sources.map(() => 0)
    for (let place = 0; place < size; place++) {
      // The source that is furthest behind its share.
      let next = 0
      for (let index = 1; index < sources.length; index++)
        if ((used[index]! + 0.5) / sources[index]!.quota < (used[next]! + 0.5) / sources[next]!.quota) next = index
      this.sourceAt[place] = next
      this.rankAt[place] = used[next]!++
    }
  }

  /** E_DATA: a file that cannot be read or is empty. E_OPTION: a weight that is not positive. */
  static async open(sources: readonly SourceOptions[], options: MixtureOptions): Promise<Mixture> {
    if (sources.length === 0) throw new Vlm2VecError('E_OPTION', 'No data: give at least one source in "data".')
    const quotas = quotasOf(sources)
    const opened: Source[] = []
    try {
      for (const [index, { name, path, imageRoot = dirname(path), weight = 1, limit = 0 }] of sources.entries())
        opened.push({
          name,
          imageRoot,
          weight,
          file: limited(await openRowFile(path), limit),
          quota: quotas[index]!
        })
    } catch (error) {
      await Promise.all(opened.map(({ file }) => file.close()))
      throw error
    }
    return new Mixture(opened, options)
  }

  /** rows of all sources together */
  get length(): number {
    return this.sources.reduce((sum, { file }) => sum + file.length, 0)
  }

  /** The row at any position from 0. E_DATA. */
  async at(position: number): Promise<MixtureRow> {
    const size = this.sourceAt.length
    const block = Math.floor(position / size)
    const { shuffle, seed } = this.options
    const mixed = shuffle && this.sources.length > 1
    const place = mixed ? new Permutation(size, seed ^ BLOCK_SEED, block).at(position % size) : position % size
    const index = this.sourceAt[place]!
    const source = this.sources[index]!
    const drawn = block * source.quota + this.rankAt[place]!
    const epoch = Math.floor(drawn / source.file.length)
    const inEpoch = drawn % source.file.length
    const row = shuffle ? new Permutation(source.file.length, seed + index, epoch).at(inEpoch) : inEpoch
    const where = source.file.where(row)
    const example = completePaths(readRow(await source.file.row(row), where), source.imageRoot)
    return { example, where, source: source.name, epoch, row }
  }

  /** Every row once, source by source, in the order of the files. Rows that cannot be read come as their error. */
  async *rows(): AsyncGenerator<MixtureRow | UnreadableRow> {
    for (const { name, file, imageRoot } of this.sources)
      for (let row = 0; row < file.length; row++) {
        const where = file.where(row)
        try {
          const example = completePaths(readRow(await file.row(row), where), imageRoot)
          yield { example, where, source: name, epoch: 0, row }
        } catch (error) {
          yield { error, where, source: name }
        }
      }
  }

  async close(): Promise<void> {
    await Promise.all(this.sources.map(({ file }) => file.close()))
  }
}

function limited(file: RowFile, limit: number): RowFile {
  if (limit === 0 || limit >= file.length) return file
  return {
    path: file.path,
    length: limit,
    row: (index) => file.row(index),
    where: (index) => file.where(index),
    close: () => file.close()
  }
}

function completePaths({ query, positives, negatives }: Example, root: string): Example {
  const complete = (item: Example['query']): Example['query'] => withImageRoot(item, root)
  return { query: complete(query), positives: positives.map(complete), negatives: negatives.map(complete) }
}

/** How often each source comes in a block: the smallest whole numbers in proportion to the weights, or nearly so. */
function quotasOf(sources: readonly SourceOptions[]): number[] {
  const weights = sources.map(({ name, weight = 1 }) => {
    if (!(weight > 0) || weight === Infinity)
      throw new Vlm2VecError(
        'E_OPTION',
        `Expected a positive number for the weight of the data source "${name}", received ${weight}.`
      )
    return weight
  })
  const total = weights.reduce((sum, weight) => sum + weight)
  for (let size = sources.length; size < BLOCK; size++) {
    const quotas = weights.map((weight) => (weight / total) * size)
    if (quotas.every((quota) => quota > 0.5 && Math.abs(quota - Math.round(quota)) < 1e-9))
      return quotas.map(Math.round)
  }
  return weights.map((weight) => Math.max(1, Math.round((weight / total) * BLOCK)))
}
