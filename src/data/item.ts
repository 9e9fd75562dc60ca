import { isAbsolute, join } from 'node:path'
import { Vlm2VecError } from '../errors.js'

/** What is embedded: any mix of text and pictures, with an instruction. Only what is present counts. */
export interface Item {
  id?: string
  text?: string
  instruction?: string
  /** paths (relative to the file that names them, or the image root), data: or file: URLs, or encoded bytes (JPEG, PNG, ...) */
  images?: ImageSource[]
  videos?: Video[]
}

export type ImageSource = string | URL | Uint8Array

export interface Video {
  /** pictures in order of time, taken as given */
  frames: ImageSource[]
  /** frames a second; default 2 */
  fps?: number
}

/** One row of training data. */
export interface Example {
  query: Item
  /** at least one */
  positives: Item[]
  negatives: Item[]
}

const ITEM_KEYS = ['id', 'text', 'instruction', 'images', 'videos']
const VIDEO_KEYS = ['frames', 'fps']

/** An item of a data file or of a caller, checked. E_DATA names `where` and the key; unknown keys list the known ones. */
export function readItem(value: unknown, where: string): Item {
  const object = readObject(value, ITEM_KEYS, where)
  const item: Item = {}
  for (const key of ['id', 'text', 'instruction'] as const) {
    const given = object[key]
    if (given === undefined || given === null) continue
    if (key === 'id' && typeof given === 'number') item.id = String(given)
    else if (typeof given === 'string') item[key] = given
    else throw unexpected(where, key, 'text', given)
  }
  const images = readList(object['images'], 'images', where, readSource)
  if (images.length > 0) item.images = images
  const videos = readList(object['videos'], 'videos', where, readVideo)
  if (videos.length > 0) item.videos = videos
  return item
}

/** Whether there is anything to embed: text, pictures, or at least an instruction. */
export function isEmpty({ text, instruction, images = [], videos = [] }: Item): boolean {
  return !text && !instruction && images.length + videos.length === 0
}

/** The item with relative paths of pictures starting from `root`. */
export function withImageRoot(item: Item, root: string): Item {
  const absolute = (source: ImageSource): ImageSource => (isRelativePath(source) ? join(root, source) : source)
  return {
    ...item,
    ...(item.images ? { images: item.images.map(absolute) } : {}),
    ...(item.videos ? { videos: item.videos.map((video) => ({ ...video, frames: video.frames.map(absolute) })) } : {})
  }
}

function isRelativePath(source: ImageSource): source is string {
  return typeof source === 'string' && !isAbsolute(source) && !/^(data:|[a-z][a-z0-9+.-]+:\/\/|file:)/i.test(source)
}

function readVideo(value: unknown, key: string, where: string): Video {
  const object = readObject(value, VIDEO_KEYS, `${where}, ${key}`)
  const frames = readList(object['frames'], `${key}.frames`, where, readSource)
  if (frames.length === 0) throw unexpected(where, `${key}.frames`, 'at least one picture', object['frames'])
  const fps = object['fps'] ?? undefined
  if (fps === undefined) return { frames }
  if (typeof fps !== 'number' || !(fps > 0) || fps === Infinity)
    throw unexpected(where, `${key}.fps`, 'a positive number', fps)
  return { frames, fps }
}

function readSource(value: unknown, key: string, where: string): ImageSource {
  if (typeof value === 'string' && value !== '') return value
  if (value instanceof URL || value instanceof Uint8Array) return value
  throw unexpected(where, key, 'a path, URL or bytes of a picture', value)
}

function readList<T>(
  value: unknown,
  key: string,
  where: string,
  read: (value: unknown, key: string, where: string) => T
): T[] {
  if (value === undefined || value === null) return []
  if (!Array.isArray(value)) throw unexpected(where, key, 'a list', value)
  return value.map((each, index) => read(each, `${key}[${index}]`, where))
}

/** A mapping without unknown keys. */
export function readObject(value: unknown, known: readonly string[], where: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new Vlm2VecError('E_DATA', `${where}: expected a mapping with ${known.join(', ')}, found ${shown(value)}.`)
  const unknown = Object.keys(value).find((key) => !known.includes(key))
  if (unknown !== undefined)
    throw new Vlm2VecError('E_DATA', `${where}: unknown key "${unknown}"; known are ${known.join(', ')}.`)
  return value as Record<string, unknown>
}

function unexpected(where: string, key: string, expected: string, value: unknown): Vlm2VecError {
  return new Vlm2VecError('E_DATA', `${where}: expected ${expected} for "${key}", found ${shown(value)}.`)
}

function shown(value: unknown): string {
  if (value === undefined) return 'nothing'
  const text =
    JSON.stringify(value, (_, each: unknown) => (typeof each === 'bigint' ? String(each) : each)) ?? typeof value
  return text.length > 100 ? `${text.slice(0, 100)}...` : text
}
