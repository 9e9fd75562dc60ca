/** What can be measured: of each kind the keys of a case with their defaults, the cases that are measured unasked, and how. */
import type { DType, DeviceOptions } from '../native.js'
import { validate, type Given, type Table, type Values } from '../options.js'
import type { Job } from './measure.js'

export interface BenchContext {
  device: DeviceOptions
  dtype: DType
  /** aborted at the first Ctrl-C */
  signal?: AbortSignal | undefined
}

export interface Kind<T extends Table = Table> {
  /** keys of a case */
  options: T
  /** cases where none is given */
  cases: readonly Given<T>[]
  open(values: Values<T>, context: BenchContext): Promise<Job>
}

export function defineKind<const T extends Table>(kind: Kind<T>): Kind<T> {
  return kind
}

/** Kernels and jobs by name; each is loaded when it is measured. */
export const KINDS = {
  loss: () => import('./loss.js').then(({ loss }) => loss as unknown as Kind),
  attention: () => import('./kernels.js').then(({ attention }) => attention as unknown as Kind),
  matmul: () => import('./kernels.js').then(({ matmul }) => matmul as unknown as Kind),
  linear: () => import('./kernels.js').then(({ linear }) => linear as unknown as Kind),
  layers: () => import('./kernels.js').then(({ layers }) => layers as unknown as Kind),
  embed: () => import('./jobs.js').then(({ embed }) => embed as unknown as Kind),
  train: () => import('./jobs.js').then(({ train }) => train as unknown as Kind),
  images: () => import('./images.js').then(({ images }) => images as unknown as Kind)
}
export type KindName = keyof typeof KINDS

/** The cases of a kind, checked: those of `given` (key=value texts), else the kind's own. E_OPTION. */
export function casesOf(name: KindName, kind: Kind, given: readonly Record<string, string>[]): Values<Table>[] {
  const where = `a case of ${name}`
  if (given.length === 0) return kind.cases.map((values) => validate(kind.options, values, where))
  return given.map((texts) => {
    const entries = Object.entries(texts).map(([key, text]): [string, unknown] => {
      const entry = Object.hasOwn(kind.options, key) ? kind.options[key] : undefined
      return [
        key,
        entry && 'check' in entry
          ? (entry as { check: { fromText(text: string): unknown } }).check.fromText(text)
          : text
      ]
    })
    return validate(kind.options, Object.fromEntries(entries), where)
  })
}

/** 'attention B=4 heads=12 ...': what a baseline is found by. */
export function nameOf(name: KindName, values: Values<Table>): string {
  const parts = Object.entries(values).flatMap(([key, value]) => (value === null ? [] : [`${key}=${String(value)}`]))
  return [name, ...parts].join(' ')
}
