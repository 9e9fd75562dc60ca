/**
 * What makes two configurations the same run: everything but `output`, `evaluate`, the length of the run and paths, so that a run may
 * be moved and made longer, but not changed under its checkpoints.
 */
import { createHash } from 'node:crypto'
import type { TrainOptions } from './options.js'

const LEFT_OUT = [
  /^(output|evaluate)\./,
  /^train\.(max_steps|epochs)$/,
  /^model\.(path|adapter)$/,
  /^data\[\d+\]\.(path|image_root)$/
]

export type Identity = Map<string, string>

/** Values as JSON by flat key, such as `train.batch_size` and `data[0].weight`. */
export function identityOf(options: TrainOptions): Identity {
  const identity: Identity = new Map()
  const put = (key: string, value: unknown): void => {
    if (!LEFT_OUT.some((pattern) => pattern.test(key))) identity.set(key, canonical(value))
  }
  for (const [section, values] of Object.entries(options)) {
    const groups = Array.isArray(values)
      ? values.map((each, i) => [`${section}[${i}]`, each] as const)
      : [[section, values] as const]
    for (const [prefix, group] of groups)
      for (const [key, value] of Object.entries(group as object)) put(`${prefix}.${key}`, value)
  }
  // An adapter that is gone on with decides about the tuning; its path does not, but whether there is one does.
  put('model.has_adapter', options.model.adapter !== null)
  return identity
}

/** One line a key that differs: `train.batch_size was 16, is now 32`. */
export function differences(before: Identity, now: Identity): string[] {
  const keys = new Set([...before.keys(), ...now.keys()])
  return [...keys]
    .filter((key) => before.get(key) !== now.get(key))
    .map((key) => `${key} was ${before.get(key) ?? 'absent'}, is now ${now.get(key) ?? 'absent'}`)
}

export function fingerprintOf(identity: Identity): string {
  const lines = [...identity].map(([key, value]) => `${key}=${value}`).sort()
  return createHash('sha256').update(lines.join('\n')).digest('hex')
}

/** JSON with the keys of mappings in order. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner
  )
}
