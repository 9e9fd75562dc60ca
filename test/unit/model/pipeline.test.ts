import { describe, expect, it } from 'vitest'
import { computeBatches, mapOrdered } from '../../../src/model/pipeline.js'

const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

async function* from<T>(values: T[]): AsyncGenerator<T> {
  yield* values
}

async function all<T>(source: AsyncIterable<T>): Promise<T[]> {
  const values: T[] = []
  for await (const value of source) values.push(value)
  return values
}

describe('mapOrdered', () => {
  it('keeps the order of the source, whatever ends first', async () => {
    const waits = [5, 1, 3, 0, 2]
    const map = async (wait: number, index: number): Promise<number> => {
      for (let i = 0; i < wait; i++) await tick()
      return index
    }
    expect(await all(mapOrdered(waits, map, 3))).toEqual([0, 1, 2, 3, 4])
  })

  it('has no more than the window in work', async () => {
    let working = 0
    let most = 0
    const map = async (): Promise<void> => {
      most = Math.max(most, ++working)
      await tick()
      working--
    }
    await all(mapOrdered(Array.from({ length: 20 }), map, 4))
    expect(most).toBe(4)
  })

  it('gives a result before the source has another value', async () => {
    const results: number[] = []
    async function* source(): AsyncGenerator<number> {
      for (let i = 0; i < 3; i++) {
        expect(results).toHaveLength(i)
        yield i
        for (let n = 0; n < 3; n++) await tick()
      }
    }
    for await (const value of mapOrdered(source(), async (x) => x, 8)) results.push(value)
    expect(results).toEqual([0, 1, 2])
  })

  it('passes errors of source and map on, and ends the source', async () => {
    let ended = false
    function* source(): Generator<number> {
      try {
        yield 1
        yield 2
        yield 3
      } finally {
        ended = true
      }
    }
    const map = async (x: number): Promise<number> => {
      if (x === 2) throw new Error('two')
      return x
    }
    await expect(all(mapOrdered(source(), map, 2))).rejects.toThrow('two')
    expect(ended).toBe(true)
  })
})

describe('computeBatches', () => {
  const options = { sizeOf: (x: number) => x, limit: 10 }

  it('fills batches up to the limit, in order, each item once', async () => {
    const batches: number[][] = []
    const compute = async (batch: number[]): Promise<number[]> => {
      batches.push(batch)
      for (let i = 0; i < 50; i++) await tick()
      return batch
    }
    const values = [4, 4, 4, 20, 1, 2, 3, 4, 5]
    const results = await all(computeBatches(from(values), { ...options, compute }))
    expect(results.flat()).toEqual(values)
    expect(batches).toEqual([[4, 4], [4], [20], [1, 2, 3, 4], [5]])
  })

  it('computes one batch at a time', async () => {
    let working = 0
    const compute = async (): Promise<void> => {
      expect(++working).toBe(1)
      await tick()
      working--
    }
    await all(computeBatches(from([9, 9, 9, 9]), { ...options, compute }))
  })

  it('does not wait for a source that waits for the result', async () => {
    const results: number[] = []
    async function* source(): AsyncGenerator<number> {
      for (let i = 1; i <= 3; i++) {
        yield i
        while (results.length < i) await tick()
      }
    }
    for await (const [value] of computeBatches(source(), { ...options, compute: async (batch) => batch }))
      results.push(value!)
    expect(results).toEqual([1, 2, 3])
  })

  it('passes on errors of the computation and of the source', async () => {
    const fail = async (): Promise<never> => {
      throw new Error('broken')
    }
    await expect(all(computeBatches(from([1]), { ...options, compute: fail }))).rejects.toThrow('broken')
    async function* bad(): AsyncGenerator<number> {
      yield 1
      throw new Error('source')
    }
    await expect(all(computeBatches(bad(), { ...options, compute: async (x) => x }))).rejects.toThrow('source')
    expect(await all(computeBatches(from<number>([]), { ...options, compute: fail }))).toEqual([])
  })
})
