import { describe, expect, it } from 'vitest'
import { computePrepared, embedBatch } from '../../../src/model/compute.js'
import type { Batch, NativeModel } from '../../../src/native.js'
import type { PreparedItem } from '../../../src/preprocess/prepared.js'

const item = (token: number): PreparedItem => ({
  prompt: '',
  tokens: Int32Array.of(token, token),
  positions: new Int32Array(6),
  visuals: [],
  contentKey: '',
  inputKey: String(token)
})

/** A sequence's vector is its first token and its negative. */
function fakeModel() {
  const batches: number[][] = []
  const embed = async ({ tokens, seqStarts }: Batch) => {
    const firsts = [...seqStarts.subarray(0, -1)].map((start) => tokens[start]!)
    batches.push(firsts)
    await new Promise((resolve) => setTimeout(resolve, 20)) // time for the next batch to fill
    return { embeddings: Float32Array.from(firsts.flatMap((first) => [first, -first])) }
  }
  return { batches, model: { embed } as unknown as NativeModel }
}

describe('embedBatch', () => {
  it('computes with equal items once and gives each its vector', async () => {
    const { batches, model } = fakeModel()
    const vectors = await embedBatch(model, [3, 1, 3, 3, 2].map(item))
    expect(batches).toEqual([[3, 1, 2]])
    expect([...vectors]).toEqual([3, -3, 1, -1, 3, -3, 3, -3, 2, -2])
    expect(await embedBatch(model, [])).toHaveLength(0)
  })
})

describe('computePrepared', () => {
  it.each([
    [{ batchTokens: 5 }, [[1, 2], [3, 4], [5]]],
    [
      { batchItems: 3 },
      [
        [1, 2, 3],
        [4, 5]
      ]
    ]
  ])('fills batches up to %j', async (limit, expected) => {
    const { batches, model } = fakeModel()
    const vectors: number[] = []
    for await (const rows of computePrepared(model, [1, 2, 3, 4, 5].map(item), limit)) vectors.push(...rows)
    expect(batches).toEqual(expected)
    expect(vectors.filter((value) => value > 0)).toEqual([1, 2, 3, 4, 5])
  })
})
