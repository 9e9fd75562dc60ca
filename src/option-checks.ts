/** What values options take. A check reads a raw value (of a config file, or the text of a flag) or says what it expected. */
import { existsSync } from 'node:fs'
import { isAbsolute, join } from 'node:path'
import { Vlm2VecError } from './errors.js'
import { parseHubId } from './hub-id.js'

/** Where a value stands, for messages and for relative paths. */
export interface Place {
  /** `train.batch_size` */
  key: string
  /** the file, flag or variable that holds the value */
  where: string
  /** folder that relative paths start from; absent: the working directory */
  base?: string | undefined
}

/** `G` is what a caller may give for a `T`: the same, but for what has defaults or short forms. */
export interface Check<T, G = T> {
  /** what is expected, as it reads in "Expected X for ..." */
  readonly expected: string
  /** how a flag takes it */
  readonly flag: 'string' | 'boolean' | 'array'
  /** The value, or `undefined` where `value` is not of this kind. Nested values throw their own errors. */
  read(value: unknown, place: Place): T | undefined
  /** The raw value that the text of a flag or variable stands for; it is then read like that of a file. */
  fromText(text: string): unknown
  /** carries the type `G`; no check has a value here */
  readonly given?: G
}

const same = (text: string): unknown => text

export function rejected(check: Check<unknown>, value: unknown, place: Place): Vlm2VecError {
  const received = value === undefined ? 'nothing' : JSON.stringify(value)
  return new Vlm2VecError(
    'E_OPTION',
    `Expected ${check.expected} for "${place.key}" in ${place.where}, received ${received}.`
  )
}

/** The checked value; E_OPTION where it is not of the check's kind. */
export function read<T>(check: Check<T, unknown>, value: unknown, place: Place): T {
  const result = check.read(value, place)
  if (result === undefined) throw rejected(check, value, place)
  return result
}

export const string: Check<string> = {
  expected: 'text',
  flag: 'string',
  read: (value) => (typeof value === 'string' ? value : undefined),
  fromText: same
}

/** Relative to the file that names it; in flags and variables, to the working directory. `-` is standard input or output. */
export const path: Check<string> = {
  expected: 'a path',
  flag: 'string',
  read: (value, { base }) => {
    if (typeof value !== 'string' || value === '') return undefined
    return base === undefined || value === '-' || isAbsolute(value) ? value : join(base, value)
  },
  fromText: same
}

/** A directory, or the id of a model on the hub: `owner/name[@revision]` that is no directory stays as it is. */
export const modelPath: Check<string> = {
  expected: 'a model directory or hub id',
  flag: 'string',
  read: (value, place) => {
    const resolved = path.read(value, place)
    const isHubId = typeof value === 'string' && parseHubId(value) !== undefined
    return resolved !== undefined && isHubId && !existsSync(resolved) ? value : resolved
  },
  fromText: same
}

function range(minimum: number, maximum: number): string {
  if (maximum !== Infinity) return minimum === -Infinity ? ` of at most ${maximum}` : ` from ${minimum} to ${maximum}`
  return minimum === -Infinity ? '' : ` of at least ${minimum}`
}

/** Text that is no number stays text, and is then refused with the text in the message. */
function numberFromText(text: string): unknown {
  const value = Number(text)
  return text.trim() === '' || Number.isNaN(value) ? text : value
}

/** Bounds are inclusive. */
export function number(minimum = -Infinity, maximum = Infinity): Check<number> {
  return {
    expected: `a number${range(minimum, maximum)}`,
    flag: 'string',
    read: (value) =>
      typeof value === 'number' && Number.isFinite(value) && value >= minimum && value <= maximum ? value : undefined,
    fromText: numberFromText
  }
}

/** Bounds are inclusive. */
export function integer(minimum = -Infinity, maximum = Infinity): Check<number> {
  const inner = number(minimum, maximum)
  return {
    ...inner,
    expected: `a whole number${range(minimum, maximum)}`,
    read: (value, place) => (Number.isSafeInteger(value) ? inner.read(value, place) : undefined)
  }
}

const WORDS: Record<string, boolean> = {
  true: true,
  yes: true,
  on: true,
  1: true,
  false: false,
  no: false,
  off: false,
  0: false
}

export const boolean: Check<boolean> = {
  expected: 'true or false',
  flag: 'boolean',
  read: (value) => (typeof value === 'boolean' ? value : undefined),
  fromText: (text) => WORDS[text.toLowerCase()] ?? text
}

export function oneOf<const T extends string>(...choices: T[]): Check<T> {
  return {
    expected: choices.length === 1 ? `"${choices[0]}"` : `one of ${choices.join(', ')}`,
    flag: 'string',
    read: (value) => (choices.includes(value as T) ? (value as T) : undefined),
    fromText: same
  }
}

export function matching(pattern: RegExp, expected: string): Check<string> {
  return {
    expected,
    flag: 'string',
    read: (value) => (typeof value === 'string' && pattern.test(value) ? value : undefined),
    fromText: same
  }
}

/** A list; a single value stands for a list of one; in flags, values are separated by commas or the flag is repeated. */
export function list<T, G>(inner: Check<T, G>): Check<T[], G | G[]> {
  return {
    expected: `a list (each: ${inner.expected})`,
    flag: 'array',
    read: (value, place) =>
      (Array.isArray(value) ? value : [value]).map((entry, n) =>
        read(inner, entry, { ...place, key: `${place.key}[${n}]` })
      ),
    fromText: (text) => (text === '' ? [] : text.split(',').map((part) => inner.fromText(part.trim())))
  }
}

/** Also takes `null` (in flags: `none`), for "not set". */
export function nullable<T, G>(inner: Check<T, G>): Check<T | null, G | null> {
  return {
    expected: `${inner.expected}, or null`,
    flag: inner.flag,
    read: (value, place) => (value === null ? null : inner.read(value, place)),
    fromText: (text) => (text === 'none' || text === 'null' ? null : inner.fromText(text))
  }
}

/** One check or another, in this order. */
export function either<A, B, GA, GB>(first: Check<A, GA>, second: Check<B, GB>): Check<A | B, GA | GB> {
  return {
    expected: `${first.expected}, or ${second.expected}`,
    flag: first.flag === 'array' ? second.flag : first.flag,
    read: (value, place) => attempt(first, value, place) ?? second.read(value, place),
    fromText: (text) => {
      const value = first.fromText(text)
      return attempt(first, value, { key: '', where: '' }) === undefined ? second.fromText(text) : value
    }
  }
}

function attempt<T>(check: Check<T, unknown>, value: unknown, place: Place): T | undefined {
  try {
    return check.read(value, place)
  } catch (error) {
    if (error instanceof Vlm2VecError) return undefined
    throw error
  }
}
