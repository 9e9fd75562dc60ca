/**
 * Options: one table makes type, default, check, flag, environment variable and documentation of each.
 *
 *   const table = { model: required(path, 'model directory'), train: { batch_size: option(integer(1), 16, 'rows a step') } }
 *   Values<typeof table>                  { model: string, train: { batch_size: number } }
 *   Given<typeof table>                   { model: string, train?: { batch_size?: number } }
 *   --train.batch-size 8                  the flag, which overrides
 *   VLM2VEC_TRAIN_BATCH_SIZE=8            the variable, which overrides
 *   train: { batch_size: 8 }              the config file
 */
import { dirname } from 'node:path'
import { Vlm2VecError } from './errors.js'
import { list, read, rejected, type Check, type Place } from './option-checks.js'

export * from './option-checks.js'

export interface Option<T, G = T> {
  readonly check: Check<T, G>
  /** absent: the option must be given */
  readonly default?: T
  readonly doc: string
}
export interface OptionWithDefault<T, G = T> extends Option<T, G> {
  readonly default: T
}

export type Group = { readonly [key: string]: Option<unknown> }
export type Table = { readonly [key: string]: Option<unknown> | Group }

type ValueOf<O> = O extends Option<infer T, unknown> ? T : O extends Group ? { [K in keyof O]: ValueOf<O[K]> } : never
type GivenOf<O> = O extends Option<unknown, infer G> ? G : O extends Group ? Given<O> : never
/** Keys of options without default, and of groups that have one. */
type NeededKey<T extends Table> = {
  [K in keyof T]: T[K] extends OptionWithDefault<unknown>
    ? never
    : T[K] extends Group
      ? [NeededKey<T[K]>] extends [never]
        ? never
        : K
      : K
}[keyof T]

/** The values of a table after checking: every key is there. */
export type Values<T extends Table> = { [K in keyof T]: ValueOf<T[K]> }
/** What a caller passes for a table: keys with a default may be absent. */
export type Given<T extends Table> = { [K in NeededKey<T>]: GivenOf<T[K]> } & {
  [K in Exclude<keyof T, NeededKey<T>>]?: GivenOf<T[K]>
}

export function option<T, G>(check: Check<T, G>, fallback: NoInfer<T>, doc: string): OptionWithDefault<T, G> {
  return { check, default: fallback, doc }
}

export function required<T, G>(check: Check<T, G>, doc: string): Option<T, G> {
  return { check, doc }
}

/** A list of mappings, each checked against `table` (such as the sources of training data). In flags: JSON. */
export function tables<T extends Group>(table: T): Check<Values<T>[], Given<T> | Given<T>[]> {
  const entry: Check<Values<T>, Given<T>> = {
    expected: `a mapping with ${Object.keys(table).join(', ')}`,
    flag: 'string',
    read: (value, place) =>
      isMapping(value) ? collect(table, rawOf(table, value, place), { ...place, key: `${place.key}.` }) : undefined,
    fromText: JSON.parse
  }
  return {
    ...list(entry),
    fromText: (text) => {
      try {
        return JSON.parse(text) as unknown
      } catch {
        return text
      }
    }
  }
}

/** Every option of a table by its flat key (`train.batch_size`), in the table's order. */
export function flatten(table: Table): Map<string, Option<unknown>> {
  const flat = new Map<string, Option<unknown>>()
  for (const [key, entry] of Object.entries(table)) {
    if (isOption(entry)) flat.set(key, entry)
    else for (const [inner, nested] of Object.entries(entry)) flat.set(`${key}.${inner}`, nested)
  }
  return flat
}

/** `train.batch_size` -> `train.batch-size` */
export const flagOf = (key: string): string => key.replaceAll('_', '-')
/** `train.batch_size` -> `VLM2VEC_TRAIN_BATCH_SIZE` */
export const variableOf = (key: string): string => `VLM2VEC_${key.replaceAll('.', '_').toUpperCase()}`

/** Checks a value of config form. `where` is the file or call that holds it; relative paths start from `base`. */
export function validate<T extends Table>(table: T, given: unknown, where: string, base?: string): Values<T> {
  const place = { key: '', where, base }
  return collect(table, rawOf(table, given, place), place)
}

export interface Sources {
  /** texts by flag name (`train.batch-size`), as many as the flag was repeated */
  flags?: Record<string, string[]>
  environment?: NodeJS.ProcessEnv
  /** a parsed config file */
  config?: { path: string; values: unknown } | undefined
}

/** Values of a table: flags override environment variables, which override the config file, which overrides defaults. */
export function resolve<T extends Table>(table: T, { flags = {}, environment = {}, config }: Sources): Values<T> {
  const raw = config
    ? rawOf(table, config.values, { key: '', where: config.path, base: dirname(config.path) })
    : new Map<string, Raw>()
  const options = flatten(table)
  const keys = new Map([...options.keys()].map((key) => [flagOf(key), key]))
  for (const [key, { check }] of options) {
    const text = environment[variableOf(key)]
    if (text !== undefined && text !== '')
      raw.set(key, { value: check.fromText(text), place: { key, where: variableOf(key) } })
  }
  for (const [flag, texts] of Object.entries(flags)) {
    const key = keys.get(flagOf(flag))
    if (key === undefined) throw unknownFlag(flag, [...keys.keys()])
    const place = { key, where: `--${flag}` }
    raw.set(key, { value: flagValue(options.get(key)!.check, texts, place), place })
  }
  return collect(table, raw, { key: '', where: config ? config.path : 'the command line' })
}

export function unknownFlag(flag: string, known: string[]): Vlm2VecError {
  const nearest = nearestOf(flag, known)
  return new Vlm2VecError(
    'E_OPTION',
    `Unknown flag --${flag}${nearest ? ` (did you mean --${nearest}?)` : ''}. Known flags: ${known.map((name) => `--${name}`).join(', ')}.`
  )
}

function flagValue(check: Check<unknown>, texts: string[], place: Place): unknown {
  const values = texts.map((text) => check.fromText(text))
  if (check.flag === 'array') return values.length === 1 ? values[0] : values.flat()
  if (values.length > 1)
    throw new Vlm2VecError('E_OPTION', `${place.where} was given ${values.length} times; it takes one value.`)
  return values[0]
}

interface Raw {
  value: unknown
  place: Place
}

/** Raw values of a mapping by flat key; refuses keys that the table doesn't have. */
function rawOf(table: Table, given: unknown, place: Place): Map<string, Raw> {
  const raw = new Map<string, Raw>()
  const known = [...flatten(table).keys()]
  const walk = (value: unknown, prefix: string, entries: Table): void => {
    if (value === undefined || value === null) return
    if (!isMapping(value)) {
      const name = prefix ? ` for "${place.key}${prefix.slice(0, -1)}"` : ''
      throw new Vlm2VecError(
        'E_OPTION',
        `Expected a mapping${name} in ${place.where}, received ${JSON.stringify(value)}.`
      )
    }
    for (const [key, inner] of Object.entries(value)) {
      const entry = Object.hasOwn(entries, key) ? entries[key] : undefined
      if (entry === undefined) throw unknownKey(`${prefix}${key}`, known, place)
      if (!isOption(entry)) walk(inner, `${key}.`, entry)
      else if (inner !== undefined)
        raw.set(`${prefix}${key}`, {
          value: inner,
          place: { ...place, key: `${place.key}${place.key ? '.' : ''}${prefix}${key}` }
        })
    }
  }
  walk(given, '', table)
  return raw
}

function unknownKey(key: string, known: string[], place: Place): Vlm2VecError {
  const nearest = nearestOf(key, known)
  const inside = place.key ? ` of "${place.key}"` : ''
  return new Vlm2VecError(
    'E_OPTION',
    `Unknown key "${key}"${inside} in ${place.where}${nearest ? ` (did you mean "${nearest}"?)` : ''}. Known keys: ${known.join(', ')}.`
  )
}

function collect<T extends Table>(table: T, raw: Map<string, Raw>, from: Place): Values<T> {
  const value = (key: string, { check, default: fallback }: Option<unknown>): unknown => {
    const found = raw.get(key)
    if (found) return read(check, found.value, found.place)
    if (fallback === undefined) throw rejected(check, undefined, { ...from, key: `${from.key}${key}` })
    return structuredClone(fallback)
  }
  const entries = Object.entries(table).map(([key, entry]) => {
    if (isOption(entry)) return [key, value(key, entry)] as const
    const inner = Object.entries(entry).map(([name, nested]) => [name, value(`${key}.${name}`, nested)] as const)
    return [key, Object.fromEntries(inner)] as const
  })
  return Object.fromEntries(entries) as Values<T>
}

/** The known name with the fewest edits, where these are few enough to be a slip. */
export function nearestOf(name: string, known: string[]): string | undefined {
  let best: string | undefined
  let fewest = Math.floor(name.length / 3) + 2
  for (const candidate of known) {
    const distance = Math.min(editDistance(name, candidate), editDistance(name, candidate.split('.').at(-1)!) + 1)
    if (distance < fewest) [best, fewest] = [candidate, distance]
  }
  return best
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++)
      next[j] = Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1))
    row = next
  }
  return row[b.length]!
}

function isOption(entry: Option<unknown> | Group): entry is Option<unknown> {
  return typeof (entry as Option<unknown>).doc === 'string'
}

function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
