/**
 * How PEFT says which modules of a model it means: suffixes or regular expressions over module names. Follows peft 0.21,
 * tuners_utils.check_target_module_exists and utils.other.get_pattern_key.
 */
import { Vlm2VecError } from '../errors.js'

export interface ModuleSelection {
  /** suffixes, one regular expression that matches the whole name, or 'all-linear' */
  targetModules: string | string[]
  excludeModules?: string | string[] | undefined
  /** layers by number; only together with a list of suffixes */
  layersToTransform?: number[] | undefined
  /** names of the lists that these numbers count in; absent: the first numbered one */
  layersPattern?: string[] | undefined
}

export const isAllLinear = (target: string | string[]): boolean =>
  typeof target === 'string' && target.toLowerCase() === 'all-linear'

/** Whether a selection means the module of this name. */
export function selects(selection: ModuleSelection, name: string): boolean {
  const { targetModules, excludeModules, layersToTransform = [] } = selection
  if (excludeModules !== undefined && excludeModules.length > 0 && matchesTarget(excludeModules, name)) return false
  if (isAllLinear(targetModules)) return true
  if (!matchesTarget(targetModules, name)) return false
  if (typeof targetModules === 'string' || targetModules.includes(name) || layersToTransform.length === 0) return true
  return layersToTransform.includes(layerOf(name, selection.layersPattern ?? []))
}

function matchesTarget(target: string | string[], name: string): boolean {
  if (typeof target === 'string') return new RegExp(`^(?:${fromPython(target)})$`).test(name)
  return target.some((suffix) => name === suffix || name.endsWith(`.${suffix}`))
}

/** The number of the module's layer; NaN where its name holds none. */
function layerOf(name: string, patterns: string[]): number {
  if (patterns.length === 0) return Number(/^.*?\.[^.]*\.(\d+)\./.exec(name)?.[1] ?? NaN)
  for (const pattern of patterns) {
    const match = new RegExp(`^(?:|.*?\\.)${fromPython(pattern)}\\.(?<peftLayer>\\d+)\\.`).exec(name)
    if (match) return Number(match.groups?.['peftLayer'])
  }
  return NaN
}

/** The value of the first pattern that the end of `name` matches: PEFT's `rank_pattern` and `alpha_pattern`. */
export function patternValue(patterns: Record<string, number>, name: string): number | undefined {
  for (const [pattern, value] of Object.entries(patterns))
    if (new RegExp(`^(.*\\.)?(${fromPython(pattern)})$`).test(name)) return value
  return undefined
}

/** A Python regular expression in JavaScript's spelling; E_MODEL where there is none. */
export function fromPython(pattern: string): string {
  const flags = /^\(\?[aiLmsux]+\)/.exec(pattern)
  const text = translateClasses(flags ? pattern.slice(flags[0].length) : pattern)
    .replace(/\(\?P</g, '(?<')
    .replace(/\(\?P=(\w+)\)/g, '\\k<$1>')
    .replace(/\(\?#[^)]*\)/g, '')
    .replace(/(?<=^|[^\\](?:\\\\)*)\\Z/g, '(?![^])')
    .replace(/(?<=^|[^\\](?:\\\\)*)\\A/g, '(?<![^])')
    .replace(/(?<=^|[^\\](?:\\\\)*)\{,(\d+)\}/g, '{0,$1}')
  try {
    if (flags && /[ix]/.test(flags[0])) throw new Error(`flags ${flags[0]} are not supported`)
    new RegExp(text)
    return text
  } catch (cause) {
    const reason = (cause as Error).message
    throw new Vlm2VecError('E_MODEL', `The module pattern ${JSON.stringify(pattern)} cannot be used: ${reason}.`, {
      cause
    })
  }
}

/** In Python a `]` that comes first in a class stands for itself. */
function translateClasses(pattern: string): string {
  let result = ''
  for (let i = 0; i < pattern.length; i++) {
    const rest = pattern.slice(i)
    const first = /^\[\^?\]/.exec(rest)?.[0]
    if (pattern[i] === '\\') result += rest.slice(0, 2)
    else if (first) result += `${first.slice(0, -1)}\\]`
    else result += pattern[i]
    if (pattern[i] === '\\') i++
    else if (first) i += first.length - 1
  }
  return result
}
