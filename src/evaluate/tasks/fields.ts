/** Fields of a benchmark's records, checked: E_DATA names file, record and column. */
import { isAbsolute, join } from 'node:path'
import { Vlm2VecError } from '../../errors.js'
import type { Item } from '../../data/item.js'

/** A record of a file and where it stands, such as `test.jsonl, record 3`. */
export interface Located {
  record: Record<string, unknown>
  where: string
}

export class Fields {
  constructor(
    private readonly located: Located,
    private readonly imageRoot: string
  ) {}

  get where(): string {
    return this.located.where
  }

  /** Text of the first of these columns that is there; absent, null and '' are the same. */
  text(...columns: string[]): string | undefined {
    const [column, value] = this.find(columns)
    if (value === undefined || value === null || value === '') return undefined
    if (typeof value !== 'string' && typeof value !== 'number') throw this.expected('text', column, value)
    return String(value)
  }

  /** A list of texts; one text stands for a list of one. `undefined` where no column is there. */
  texts(...columns: string[]): string[] | undefined {
    const [column, value] = this.find(columns)
    if (value === undefined || value === null) return undefined
    const list: unknown[] = Array.isArray(value) ? value : [value]
    return list.map((each) => {
      if (each !== null && typeof each !== 'string') throw this.expected('a list of texts', column, value)
      return each ?? ''
    })
  }

  number(column: string, fallback: number): number {
    const value = this.located.record[column] ?? fallback
    const number = typeof value === 'bigint' ? Number(value) : value
    if (typeof number !== 'number' || !Number.isFinite(number)) throw this.expected('a number', column, value)
    return number
  }

  /** A path (relative to the image root), or encoded bytes as Parquet holds them: `{ bytes, path }`. */
  image(...columns: string[]): NonNullable<Item['images']>[number] | undefined {
    const [column, value] = this.find(columns)
    if (value === undefined || value === null || value === '') return undefined
    if (typeof value === 'string') return this.resolve(value)
    if (value instanceof Uint8Array) return value
    const { bytes, path } = value as { bytes?: unknown; path?: unknown }
    if (bytes instanceof Uint8Array) return bytes
    if (typeof path === 'string' && path !== '') return this.resolve(path)
    throw this.expected('a picture (a path, or bytes)', column, value)
  }

  resolve(path: string): string {
    return isAbsolute(path) || /^(data|file|https?):/.test(path) ? path : join(this.imageRoot, path)
  }

  problem(what: string): Vlm2VecError {
    return new Vlm2VecError('E_DATA', `${this.where}: ${what}.`)
  }

  private find(columns: string[]): [string, unknown] {
    const column = columns.find((each) => this.located.record[each] !== undefined) ?? columns[0]!
    return [column, this.located.record[column]]
  }

  private expected(what: string, column: string, value: unknown): Vlm2VecError {
    return this.problem(
      `expected ${what} in "${column}", found ${(JSON.stringify(value) ?? typeof value).slice(0, 80)}`
    )
  }
}

/** An item of what is present. */
export function itemOf(
  parts: { instruction?: string | undefined; text?: string | undefined } & Pick<Item, 'images' | 'videos'>
): Item {
  const { instruction, text, images = [], videos = [] } = parts
  return {
    ...(instruction && { instruction }),
    ...(text && { text }),
    ...(images.length > 0 && { images }),
    ...(videos.length > 0 && { videos })
  }
}

export const isEmpty = (item: Item): boolean => !item.text && !item.images && !item.videos
