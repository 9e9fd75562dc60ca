/**
 * Work in order with several things going on at once: items are prepared ahead of time, a bounded number, while batches of
 * them are computed with. Nothing waits for items that have not come: when the source pauses, what there is goes on.
 */
import { availableParallelism } from 'node:os'

/** Items in preparation at a time: enough for all cores, but each may hold tens of megabytes of decoded pictures. */
export const PREPARED_AHEAD = Math.min(32, 4 * availableParallelism())

/** Maps up to `window` values at a time; results come in the order of the source. `ending`: nothing more will be taken. */
export async function* mapOrdered<A, B>(
  source: AsyncIterable<A> | Iterable<A>,
  map: (value: A, index: number) => Promise<B>,
  window: number,
  ending: () => void = nothing
): AsyncGenerator<B> {
  const iterator = iterate(source)
  const queue: Promise<B>[] = []
  let pull: Promise<IteratorResult<A>> | undefined
  let ended = false
  let index = 0
  try {
    for (;;) {
      if (!ended && queue.length < window) pull ??= settleLater(iterator.next())
      const [head] = queue
      if (!head && !pull) return
      // The source comes first, so that one that is ready fills the window.
      const first = await Promise.race(
        [pull?.then(() => 'pull'), head?.then(() => 'head')].filter((each) => each !== undefined)
      )
      if (first === 'pull') {
        const { value, done } = await pull!
        pull = undefined
        if (done) ended = true
        else queue.push(settleLater(map(value, index++)))
      } else {
        yield await queue.shift()!
      }
    }
  } finally {
    ending()
    await Promise.allSettled(queue)
    if (!ended) await iterator.return?.()
  }
}

export interface Batching<Item, Result> {
  sizeOf: (item: Item) => number
  /** a batch holds items up to this size together, and at least one */
  limit: number
  compute: (batch: Item[]) => Promise<Result>
}

/**
 * Gathers batches and computes with one while the next one is gathered. A batch is as large as the limit allows, or as
 * what has come when the computation before it ends.
 */
export async function* computeBatches<Item, Result>(
  source: AsyncIterable<Item>,
  { sizeOf, limit, compute }: Batching<Item, Result>
): AsyncGenerator<Result> {
  const iterator = source[Symbol.asyncIterator]()
  let next = settleLater(iterator.next())
  let running: Promise<Result> | undefined
  let done = false

  const gather = async (): Promise<Item[]> => {
    const batch: Item[] = []
    let size = 0
    while (!done) {
      const idle = running ? running.then(nothing, nothing) : new Promise((resolve) => setImmediate(resolve))
      const came = await Promise.race([next.then(() => true), idle.then(() => false)])
      if (!came && (batch.length > 0 || running)) return batch
      const { value, done: last } = await next
      if (last) done = true
      else if (batch.length > 0 && size + sizeOf(value) > limit) return batch
      else {
        batch.push(value)
        size += sizeOf(value)
        next = settleLater(iterator.next())
      }
    }
    return batch
  }

  try {
    while (!done || running) {
      const batch = await gather()
      const previous = running
      running = batch.length > 0 ? settleLater((previous ?? Promise.resolve()).then(() => compute(batch))) : undefined
      if (previous) yield await previous
    }
  } finally {
    await running?.catch(nothing)
    await iterator.return?.()
  }
}

const nothing = (): undefined => undefined

/** A rejection that is looked at only later is no unhandled one. */
function settleLater<T>(promise: Promise<T>): Promise<T> {
  promise.catch(nothing)
  return promise
}

function iterate<A>(source: AsyncIterable<A> | Iterable<A>): AsyncIterator<A> {
  if (Symbol.asyncIterator in source) return source[Symbol.asyncIterator]()
  const iterator = source[Symbol.iterator]()
  return {
    next: async () => iterator.next(),
    return: async () => iterator.return?.() ?? { value: undefined, done: true }
  }
}
