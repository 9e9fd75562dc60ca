/**
 * The addon, loaded at first use, and its typed interface (native/). Calls on one object run in the order in which they are
 * made, on a thread of the device; typed arrays that are passed in are read in place and must not change until the promise
 * settles.
 */
import { Vlm2VecError, type ErrorCode } from './errors.js'
import { loadAddon } from './native-loader.js'
import type { Addon } from './native/addon.js'

export type * from './native/addon.js'
export type * from './native/batch.js'
export type * from './native/bench.js'
export type * from './native/device.js'
export type * from './native/images.js'
export type * from './native/model.js'
export type * from './native/similarity.js'
export type * from './native/trainer.js'

let loaded: Addon | undefined

/** The addon, loaded at first use. */
export function native(): Addon {
  return (loaded ??= wrap(loadAddon()))
}

/**
 * Errors cross the boundary as plain errors with a `code`; here they become Vlm2VecError whose stack is that of the
 * caller, with the native one as cause.
 */
export function wrap<T extends object>(target: T): T {
  return new Proxy(target, {
    get(object, name) {
      const value = Reflect.get(object, name) as unknown
      if (typeof value !== 'function') return value
      return (...args: unknown[]) => {
        const here = new Error()
        const translate = (cause: unknown): never => {
          if (!(cause instanceof Error) || cause instanceof TypeError) throw cause
          const code = ((cause as { code?: string }).code ?? 'E_INTERNAL') as ErrorCode
          const error = new Vlm2VecError(code, cause.message, { cause })
          if (here.stack) error.stack = `Vlm2VecError: ${cause.message}\n${here.stack.split('\n').slice(2).join('\n')}`
          throw error
        }
        try {
          const result: unknown = Reflect.apply(value, object, args)
          if (result instanceof Promise)
            return result.then((settled: unknown) => (isHandle(settled) ? wrap(settled) : settled), translate)
          return result
        } catch (error) {
          return translate(error)
        }
      }
    }
  })
}

/** Native objects with methods (Model, Trainer), as opposed to plain results. */
function isHandle(value: unknown): value is object {
  return typeof value === 'object' && value !== null && typeof (value as { close?: unknown }).close === 'function'
}
