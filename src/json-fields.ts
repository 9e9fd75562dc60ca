/** Typed access to the JSON files of a model directory: E_MODEL names the file, the key and what is supported. */
import { readFile } from 'node:fs/promises'
import { Vlm2VecError } from './errors.js'

type JsonObject = Record<string, unknown>

interface Range {
  min?: number
  max?: number
}

/** A JSON object of a file, or one nested in it. A key whose value is null counts as absent. */
export class Fields {
  constructor(
    readonly file: string,
    private readonly object: JsonObject,
    /** keys that lead to this object: 'vision_config.' */
    private readonly prefix = ''
  ) {}

  has(key: string): boolean {
    return this.object[key] !== undefined && this.object[key] !== null
  }

  keys(): string[] {
    return Object.keys(this.object)
  }

  raw(key: string): unknown {
    return this.object[key]
  }

  integer(key: string, range: Range & { default?: number } = {}): number {
    const value = this.number(key, range)
    if (!Number.isSafeInteger(value)) throw this.error(key, 'a whole number')
    return value
  }

  number(key: string, { min = -Infinity, max = Infinity, ...options }: Range & { default?: number } = {}): number {
    const value = this.object[key] ?? options.default
    if (typeof value !== 'number' || !Number.isFinite(value)) throw this.error(key, 'a number')
    if (value < min || value > max)
      throw this.error(key, max === Infinity ? `a number of at least ${min}` : `a number from ${min} to ${max}`)
    return value
  }

  boolean(key: string, fallback: boolean): boolean {
    const value = this.object[key] ?? fallback
    if (typeof value !== 'boolean') throw this.error(key, 'true or false')
    return value
  }

  string(key: string): string | undefined {
    const value = this.object[key] ?? undefined
    if (value !== undefined && typeof value !== 'string') throw this.error(key, 'text')
    return value
  }

  oneOf<const T extends string>(key: string, allowed: readonly T[], fallback?: T): T {
    const value = this.object[key] ?? fallback
    if (!allowed.includes(value as T)) throw this.error(key, `one of ${allowed.map((each) => `"${each}"`).join(', ')}`)
    return value as T
  }

  /** `length` numbers. */
  numbers(key: string, length: number, fallback?: readonly number[]): number[] {
    const value = this.object[key] ?? fallback
    if (!Array.isArray(value) || value.length !== length || !value.every((each) => Number.isFinite(each)))
      throw this.error(key, `a list of ${length} numbers`)
    return value as number[]
  }

  /** The nested object of that key, if there is one. */
  nested(key: string): Fields | undefined {
    const value = this.object[key] ?? undefined
    if (value === undefined) return undefined
    if (!isObject(value)) throw this.error(key, 'a mapping')
    return new Fields(this.file, value, `${this.prefix}${key}.`)
  }

  /** What was expected of a key, and what is there. */
  error(key: string, expected: string): Vlm2VecError {
    const value = this.object[key]
    const received = value === undefined ? 'nothing' : JSON.stringify(value)
    return new Vlm2VecError(
      'E_MODEL',
      `${this.file}: expected ${expected} for "${this.prefix}${key}", found ${received}.`
    )
  }
}

/** The JSON object of a file; undefined where there is no such file. E_MODEL where it cannot be read or is not an object. */
export async function readJsonObject(path: string): Promise<Fields | undefined> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined
    throw new Vlm2VecError('E_MODEL', `${path}: cannot be read (${message}).`, { cause })
  }
  let value: unknown
  try {
    value = JSON.parse(text.replace(/^\uFEFF/, ''))
  } catch (cause) {
    throw new Vlm2VecError('E_MODEL', `${path}: not valid JSON (${(cause as Error).message}).`, { cause })
  }
  if (!isObject(value)) throw new Vlm2VecError('E_MODEL', `${path}: expected a JSON object.`)
  return new Fields(path, value)
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
