/** Items of a JSONL or Parquet file, or of standard input, one after the other. */
import { dirname } from 'node:path'
import type { Readable } from 'node:stream'
import { readItem, type Item } from '../data/item.js'
import { parseJson, readLines } from '../data/jsonl.js'
import { openRowFile } from '../data/row-file.js'
import { Vlm2VecError } from '../errors.js'
import { matching } from '../options.js'

export interface FileItem {
  item: () => Promise<Item>
  label: string
  imageRoot: string
}

export interface ItemSource {
  /** absent: standard input, whose end is not known */
  count?: number
  /** place of the first item in the file, from 0 */
  first: number
  items: AsyncIterable<FileItem>
  close(): Promise<void>
}

export interface ItemSourceOptions {
  input: string
  imageRoot: string | null
  shard: string | null
  stdin: Readable
}

export const shardCheck = matching(/^\d+\/\d+$/, 'I/N with I from 0 to N - 1')

/** E_DATA: the file cannot be read or is empty. A record that is no item fails when it is read. */
export async function openItems({ input, imageRoot, shard, stdin }: ItemSourceOptions): Promise<ItemSource> {
  if (input === '-') {
    if (shard !== null)
      throw new Vlm2VecError('E_OPTION', '--shard needs a file: the length of standard input is not known.')
    return { first: 0, items: fromStdin(stdin, imageRoot ?? '.'), close: async () => {} }
  }
  shardRange(shard, 0)
  const file = await openRowFile(input)
  const { first, end } = shardRange(shard, file.length)
  const root = imageRoot ?? dirname(input)
  async function* rows(): AsyncGenerator<FileItem> {
    for (let index = first; index < end; index++) {
      const label = file.where(index)
      yield { item: async () => readItem(await file.row(index), label), label, imageRoot: root }
    }
  }
  return { count: end - first, first, items: rows(), close: () => file.close() }
}

/** Rows of shard I of N: whole runs, so that the shards one after the other are the file. */
export function shardRange(shard: string | null, count: number): { first: number; end: number } {
  if (shard === null) return { first: 0, end: count }
  const [index, total] = shard.split('/').map(Number) as [number, number]
  if (index >= total) throw new Vlm2VecError('E_OPTION', `--shard ${shard}: shards count from 0 to ${total - 1}.`)
  return { first: Math.floor((index * count) / total), end: Math.floor(((index + 1) * count) / total) }
}

async function* fromStdin(stdin: Readable, imageRoot: string): AsyncGenerator<FileItem> {
  let record = 0
  for await (const { text } of readLines(stdin, 'standard input')) {
    if (text.trim() === '') continue
    const label = `standard input: record ${++record}`
    yield { item: async () => readItem(parseJson(text, label), label), label, imageRoot }
  }
}
