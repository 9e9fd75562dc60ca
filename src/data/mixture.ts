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
const KEPT_BLOCKS = 8

/** For each place of a block: the source, and the how-manieth of that source it is within the block. */
interface Block {
  sources: Uint16Array
  ranks: Uint16Array
}

export class Mixture {
  /** the sources of a block, spread evenly */
  private readonly pattern: Uint16Array
  /** by index; the last ones that were used */
  private readonly blocks = new Map<number, Block>()

  private constructor(
    private readonly sources: readonly Source[],
    private readonly options: MixtureOptions
  ) {
    this.pattern = evenly(sources.map(({ quota }) => quota))
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
    const size = this.pattern.length
    const index = Math.floor(position / size)
    const block = this.block(index)
    const which = block.sources[position % size]!
    const source = this.sources[which]!
    const drawn = index * source.quota + block.ranks[position % size]!
    const { shuffle, seed } = this.options
    const epoch = Math.floor(drawn / source.file.length)
    const inEpoch = drawn % source.file.length
    const row = shuffle ? new Permutation(source.file.length, seed + which, epoch).at(inEpoch) : inEpoch
    const where = source.file.where(row)
    const example = completePaths(readRow(await source.file.row(row), where), source.imageRoot)
    return { example, where, source: source.name, epoch, row }
  }

  private block(index: number): Block {
    const known = this.blocks.get(this.shuffled ? index : 0)
    if (known) return known
    const size = this.pattern.length
    const order = this.shuffled ? new Permutation(size, this.options.seed ^ BLOCK_SEED, index) : undefined
    const sources = this.pattern.map((_, place) => this.pattern[order ? order.at(place) : place]!)
    const used = this.sources.map(() => 0)
    const block = { sources, ranks: sources.map((source) => used[source]!++) }
    const oldest = this.blocks.keys().next()
    if (this.blocks.size >= KEPT_BLOCKS && !oldest.done) this.blocks.delete(oldest.value)
    this.blocks.set(this.shuffled ? index : 0, block)
    return block
  }

  private get shuffled(): boolean {
    return this.options.shuffle && this.sources.length > 1
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

/** Each index as often as its quota asks for; next is always the one that is furthest behind its share. */
function evenly(quotas: readonly number[]): Uint16Array {
  const used = quotas.map(() => 0)
  const behind = (index: number): number => (used[index]! + 0.5) / quotas[index]!
  return Uint16Array.from({ length: quotas.reduce((sum, quota) => sum + quota, 0) }, () => {
    let next = 0
    for (let index = 1; index < quotas.length; index++) if (behind(index) < behind(next)) next = index
    used[next]!++
    return next
  })
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
