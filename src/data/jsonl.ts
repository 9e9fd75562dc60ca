/** Files of one JSON value a line, read as a stream. Blank lines are skipped; records count from 1. */
import { createReadStream } from 'node:fs'
import { Vlm2VecError } from '../errors.js'

export interface JsonLine {
  value: unknown
  /** from 1, blank lines not counted */
  record: number
}

/** One line of a file, without its end. */
export interface Line {
  text: string
  /** where it starts in the file, and how long it is, in bytes */
  offset: number
  bytes: number
  /** from 1 */
  number: number
}

const NEWLINE = 10

/** E_DATA: the file cannot be read, or a line is not valid JSON; names file, record and line. */
export async function* readJsonLines(
  source: string | AsyncIterable<Uint8Array>,
  name?: string
): AsyncGenerator<JsonLine> {
  const file = name ?? (typeof source === 'string' ? source : 'standard input')
  let record = 0
  for await (const line of readLines(source, file)) {
    if (line.text.trim() === '') continue
    yield { value: parseJson(line.text, `${file}: record ${++record} (line ${line.number})`), record }
  }
}

/** Lines end at LF or CRLF, and nowhere else: U+2028 may stand within a JSON string. A byte order mark is dropped. */
export async function* readLines(source: string | AsyncIterable<Uint8Array>, name: string): AsyncGenerator<Line> {
  let pieces: Uint8Array[] = [] // of a line that is not yet complete
  let offset = 0
  let number = 0
  const line = (last: Uint8Array): Line => {
    const bytes = pieces.length > 0 ? Buffer.concat([...pieces, last]) : last
    pieces = []
    number++
    const start = number === 1 && bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0
    const end = bytes.at(-1) === 13 ? bytes.length - 1 : bytes.length
    const text = decode(bytes.subarray(start, end), `${name}: line ${number}`)
    const result = { text, offset: offset + start, bytes: end - start, number }
    offset += bytes.length + 1
    return result
  }
  for await (const chunk of chunksOf(source, name)) {
    let start = 0
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      yield line(chunk.subarray(start, end))
      start = end + 1
    }
    if (start < chunk.length) pieces.push(chunk.subarray(start))
  }
  if (pieces.length > 0) yield line(new Uint8Array(0))
}

async function* chunksOf(source: string | AsyncIterable<Uint8Array>, name: string): AsyncGenerator<Uint8Array> {
  try {
    yield* typeof source === 'string' ? (createReadStream(source) as AsyncIterable<Uint8Array>) : source
  } catch (cause) {
    throw readError(cause, name)
  }
}

/** E_DATA, naming `where`. */
export function parseJson(text: string, where: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new Vlm2VecError('E_DATA', `${where}: not valid JSON (${(cause as Error).message}).`, { cause })
  }
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function decode(bytes: Uint8Array, where: string): string {
  try {
    return utf8.decode(bytes)
  } catch (cause) {
    throw new Vlm2VecError('E_DATA', `${where}: not valid UTF-8. Save the file as UTF-8.`, { cause })
  }
}

export function readError(cause: unknown, name: string): Vlm2VecError {
  if (cause instanceof Vlm2VecError) return cause
  const { code, message } = cause as NodeJS.ErrnoException
  const reason = code === 'ENOENT' ? 'no such file' : code === 'EISDIR' ? 'a directory, not a file' : message
  return new Vlm2VecError('E_DATA', `${name}: ${reason}.`, { cause })
}
