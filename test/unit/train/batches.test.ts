import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import type { Example, Item } from '../../../src/data/item.js'
import type { PreparedItem } from '../../../src/preprocess/prepared.js'
import { batches, type Rows } from '../../../src/train/batches.js'

interface Row {
  example: Example
  where: string
}
const rows: Rows<Row> = {
  at: (position) =>
    Promise.resolve({
      example: {
        query: { text: `q${position}` },
        positives: [{ text: `p${position}` }],
        negatives: [{ text: `n${position}` }]
      },
      where: `record ${position}`
    })
}
const prepared = ({ text = '' }: Item): PreparedItem => ({
  prompt: text,
  tokens: new Int32Array(1),
  positions: new Int32Array(3),
  visuals: [],
  contentKey: text,
  inputKey: text
})
const span = { first: 2, end: 5, batchSize: 3 }

async function prompts(delay: () => number, prefetch: number): Promise<string[][]> {
  const prepare = async (item: Item): Promise<PreparedItem> => {
    await sleep(delay())
    return prepared(item)
  }
  const all: string[][] = []
  for await (const batch of batches(rows, prepare, { ...span, prefetch }))
    all.push(
      batch.map(({ query, positives, negatives }) => [query, ...positives, ...negatives].map((i) => i.prompt).join())
    )
  return all
}

describe('batches', () => {
  it('batch k is rows k·B to k·B + B - 1', async () => {
    expect(await prompts(() => 0, 0)).toEqual([
      ['q6,p6,n6', 'q7,p7,n7', 'q8,p8,n8'],
      ['q9,p9,n9', 'q10,p10,n10', 'q11,p11,n11'],
      ['q12,p12,n12', 'q13,p13,n13', 'q14,p14,n14']
    ])
  })

  it('the order does not depend on how long rows take, nor on prefetching', async () => {
    let calls = 0
    expect(await prompts(() => (calls++ * 7) % 5, 2)).toEqual(await prompts(() => 0, 0))
  })

  it('prepares at most `prefetch` batches ahead of the one in use', async () => {
    let started = 0
    const prepare = (item: Item): Promise<PreparedItem> => {
      started++
      return Promise.resolve(prepared(item))
    }
    const iterator = batches(rows, prepare, { first: 0, end: 10, batchSize: 2, prefetch: 1 })
    await iterator.next()
    await sleep(5)
    expect(started).toBe(2 * 2 * 3)
    await iterator.return(undefined)
  })

  it('prepares fewer ahead where they would take more bytes than allowed', async () => {
    const layout = { patchSize: 1, temporalPatchSize: 1, mergeSize: 1, mean: [0, 0, 0], std: [1, 1, 1] } as const
    const picture = {
      kind: 'image',
      key: '',
      grid: [1, 1, 1],
      pixels: new Uint8Array(100),
      layout,
      features: 1
    } as const
    let started = 0
    const prepare = (item: Item): Promise<PreparedItem> => {
      started++
      return Promise.resolve({
        ...prepared(item),
        visuals: item.text!.startsWith('q') ? [picture] : []
      })
    }
    const options = { first: 0, end: 10, batchSize: 2, prefetch: 4 } // 200 bytes a batch
    for (const [prefetchBytes, ahead] of [
      [100, 0],
      [399, 1],
      [400, 2],
      [undefined, 4]
    ] as const) {
      started = 0
      const iterator = batches(rows, prepare, { ...options, ...(prefetchBytes && { prefetchBytes }) })
      await iterator.next()
      await sleep(5)
      expect(started, String(prefetchBytes)).toBe((1 + ahead) * 2 * 3)
      await iterator.return(undefined)
    }
  })

  it('prepares each item as part of its row, by its place in it', async () => {
    const calls: [string, string, number][] = []
    const prepare = (item: Item, row: Row, place: number): Promise<PreparedItem> => {
      calls.push([item.text!, row.where, place])
      return Promise.resolve(prepared(item))
    }
    for await (const _ of batches(rows, prepare, { first: 1, end: 2, batchSize: 1, prefetch: 0 }));
    expect(calls).toEqual([
      ['q1', 'record 1', 0],
      ['p1', 'record 1', 1],
      ['n1', 'record 1', 2]
    ])
  })

  it('reports a failure when it is the batch’s turn, and only then', async () => {
    const prepare = (item: Item, { where }: Row): Promise<PreparedItem> =>
      item.text === 'n9' ? Promise.reject(new Error(`${where}: broken`)) : Promise.resolve(prepared(item))
    const iterator = batches(rows, prepare, { ...span, prefetch: 3 })
    expect((await iterator.next()).value).toHaveLength(3)
    await expect(iterator.next()).rejects.toThrow('record 9: broken')
  })
})
