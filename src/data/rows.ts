/**
 * Rows of training data, in two forms:
 *
 *   {"query": item, "target": item, "negatives": [item]}, with "positives": [item] instead of "target" where there are several
 *   MMEB's columns: qry, qry_image_path, pos_text, pos_image_path, neg_text, neg_image_path (the last two text or lists)
 */
import { Vlm2VecError } from '../errors.js'
import { isEmpty, readItem, readObject, type Example, type Item } from './item.js'

const NATIVE_KEYS = ['query', 'target', 'positives', 'negatives']
const MMEB_KEYS = ['qry', 'qry_image_path', 'pos_text', 'pos_image_path', 'neg_text', 'neg_image_path']

/** E_DATA, naming `where`: no query, no target, or a row of neither form. */
export function readRow(value: unknown, where: string): Example {
  const mmeb = typeof value === 'object' && value !== null && MMEB_KEYS.some((key) => key in value)
  return mmeb ? readMmebRow(value as Record<string, unknown>, where) : readNativeRow(value, where)
}

function readNativeRow(value: unknown, where: string): Example {
  const row = readObject(value, NATIVE_KEYS, where)
  if (isAbsent(row['query'])) throw rowError(where, 'no query')
  if (!isAbsent(row['target']) && !isAbsent(row['positives']))
    throw rowError(where, 'both "target" and "positives"; give one of them')
  const item = (each: unknown, name: string): Item => {
    const read = readItem(each, `${where}, ${name}`)
    if (isEmpty(read)) throw rowError(where, `nothing in "${name}"; give it a text or pictures`)
    return read
  }
  const items = (list: unknown, name: string): Item[] => {
    if (isAbsent(list)) return []
    if (!Array.isArray(list)) throw rowError(where, `"${name}" is not a list`)
    return list.map((each, index) => item(each, `${name}[${index}]`))
  }
  const query = item(row['query'], 'query')
  const positives = isAbsent(row['target']) ? items(row['positives'], 'positives') : [item(row['target'], 'target')]
  if (positives.length === 0) throw rowError(where, 'no target')
  return { query, positives, negatives: items(row['negatives'], 'negatives') }
}

/** Empty text means that there is none, as VLM2Vec's files have it. Columns of other names are left alone. */
function readMmebRow(row: Record<string, unknown>, where: string): Example {
  const unknown = Object.keys(row).find((key) => /^(qry|pos|neg)_/.test(key) && !MMEB_KEYS.includes(key))
  if (unknown !== undefined) throw rowError(where, `unknown column "${unknown}"; known are ${MMEB_KEYS.join(', ')}`)
  const query = mmebItem(text(row, 'qry', where), text(row, 'qry_image_path', where))
  const positive = mmebItem(text(row, 'pos_text', where), text(row, 'pos_image_path', where))
  if (!query) throw rowError(where, 'no query: "qry" and "qry_image_path" are empty')
  if (!positive) throw rowError(where, 'no target: "pos_text" and "pos_image_path" are empty')
  return { query, positives: [positive], negatives: mmebNegatives(row, where) }
}

function mmebNegatives(row: Record<string, unknown>, where: string): Item[] {
  const texts = textList(row, 'neg_text', where)
  const images = textList(row, 'neg_image_path', where)
  if (texts.length > 0 && images.length > 0 && texts.length !== images.length)
    throw rowError(where, `${texts.length} entries of "neg_text", but ${images.length} of "neg_image_path"`)
  return Array.from({ length: Math.max(texts.length, images.length) }, (_, index) =>
    mmebItem(texts[index], images[index])
  ).filter((item) => item !== undefined)
}

function mmebItem(text: string | undefined, image: string | undefined): Item | undefined {
  if (!text && !image) return undefined
  return { ...(text ? { text } : {}), ...(image ? { images: [image] } : {}) }
}

function text(row: Record<string, unknown>, key: string, where: string): string | undefined {
  const value = row[key]
  if (isAbsent(value) || typeof value === 'string') return value ?? undefined
  throw rowError(where, `"${key}" is not text`)
}

/** Text, or a list of it. */
function textList(row: Record<string, unknown>, key: string, where: string): string[] {
  const value = row[key]
  if (isAbsent(value)) return []
  const list: unknown[] = Array.isArray(value) ? value : [value]
  return list.map((each) => {
    if (isAbsent(each)) return ''
    if (typeof each !== 'string') throw rowError(where, `"${key}" is neither text nor a list of text`)
    return each
  })
}

function isAbsent(value: unknown): value is undefined | null {
  return value === undefined || value === null
}

function rowError(where: string, what: string): Vlm2VecError {
  return new Vlm2VecError('E_DATA', `${where}: ${what}.`)
}
