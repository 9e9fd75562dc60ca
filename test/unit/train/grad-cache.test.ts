/** The engine is replaced by a linear model and a plain loss, so that the algorithm stands alone. */
import { beforeEach, describe, expect, it, vi } from 'vitest'
import type { Batch, ChunkPlace, ContrastiveLossInput, NativeTrainer } from '../../../src/native.js'
import type { PreparedItem, PreparedVisual } from '../../../src/preprocess/prepared.js'
import { contrastOf } from '../../../src/train/contrast.js'
import { accumulateGradients } from '../../../src/train/grad-cache.js'

const DIMENSION = 2
const losses: ContrastiveLossInput[] = []
let loss = 0.5

vi.mock('../../../src/native.js', () => ({
  native: () => ({
    contrastiveLoss: (input: ContrastiveLossInput) => {
      losses.push(input)
      // Every embedding's gradient names it: row number, times 10 for targets.
      const rows = (values: Float32Array, factor: number) =>
        values.map((_, i) => factor * (Math.floor(i / DIMENSION) + 1))
      return Promise.resolve({
        loss,
        dTemperature: 0,
        dQueries: rows(input.queries, 1),
        dTargets: rows(input.targets, 10)
      })
    }
  })
}))

const picture = (key: string): PreparedVisual => ({
  kind: 'image',
  key,
  grid: [1, 2, 2],
  pixels: new Uint8Array(4 * 3).fill(key.charCodeAt(0)),
  layout: { patchSize: 1, temporalPatchSize: 1, mergeSize: 2, mean: [0, 0, 0], std: [1, 1, 1] },
  features: 1
})
const item = (token: number, length = 1): PreparedItem => ({
  prompt: '',
  tokens: new Int32Array(length).fill(token),
  positions: new Int32Array(3 * length),
  visuals: token === 3 ? [picture('a')] : [],
  contentKey: String(token),
  inputKey: String(token)
})
const rows = [1, 2, 3].map((n) => ({ query: item(n, n), positives: [item(10 * n)], negatives: [] }))

class LinearTrainer {
  readonly calls: { kind: string; place: ChunkPlace; firsts: number[]; gradients?: number[]; batch: Batch }[] = []

  embed(batch: Batch, place: ChunkPlace): Promise<Float32Array> {
    this.calls.push({ kind: 'embed', place, firsts: firstsOf(batch), batch })
    return Promise.resolve(Float32Array.from(firstsOf(batch).flatMap((first) => [first, -first])))
  }

  backward(batch: Batch, dEmbeddings: Float32Array, place: ChunkPlace): Promise<void> {
    this.calls.push({
      kind: 'backward',
      place,
      firsts: firstsOf(batch),
      gradients: [...dEmbeddings],
      batch
    })
    return Promise.resolve()
  }
}

const firstsOf = ({ tokens, seqStarts }: Batch): number[] =>
  [...seqStarts.subarray(0, -1)].map((start) => tokens[start]!)

async function step(chunkSize: number, duplicates: 'mask' | 'keep' = 'keep') {
  const trainer = new LinearTrainer()
  const options = {
    chunkSize,
    temperature: 0.1,
    dtype: 'f32' as const,
    shareEqual: 'items' as const,
    device: 'cpu',
    threads: 1
  }
  const result = await accumulateGradients(
    trainer as unknown as NativeTrainer,
    contrastOf(rows, duplicates),
    7,
    options
  )
  return { result, calls: trainer.calls }
}

beforeEach(() => {
  losses.length = 0
  loss = 0.5
})

describe('accumulateGradients', () => {
  it('embeds all chunks, computes one loss over the whole batch, then goes back through all chunks', async () => {
    const { result, calls } = await step(4)
    expect(calls.map(({ kind, firsts }) => [kind, firsts])).toEqual([
      ['embed', [1, 2, 3, 10]],
      ['embed', [20, 30]],
      ['backward', [20, 30]],
      ['backward', [1, 2, 3, 10]]
    ])
    expect(result).toEqual({ loss: 0.5, tokens: 9 })
    expect(losses).toHaveLength(1)
    expect([...losses[0]!.queries]).toEqual([1, -1, 2, -2, 3, -3])
    expect([...losses[0]!.targets]).toEqual([10, -10, 20, -20, 30, -30])
  })

  it.each([1, 2, 4, 6, 100])('gives every sequence its own gradient with chunks of %i', async (chunkSize) => {
    const { calls } = await step(chunkSize)
    const backward = calls.filter(({ kind }) => kind === 'backward').toReversed()
    expect(backward.flatMap(({ firsts }) => firsts)).toEqual([1, 2, 3, 10, 20, 30])
    expect(backward.flatMap(({ gradients }) => gradients)).toEqual([1, 1, 2, 2, 3, 3, 10, 10, 20, 20, 30, 30])
  })

  it('places each chunk by its first token and patch in the whole batch, the same way both times', async () => {
    const { calls } = await step(2)
    expect(calls.slice(0, 3).map(({ place }) => place)).toEqual([
      { step: 7, chunk: 0, firstToken: 0, firstPatch: 0, stepTokens: 9 },
      { step: 7, chunk: 1, firstToken: 3, firstPatch: 0, stepTokens: 9 },
      { step: 7, chunk: 2, firstToken: 7, firstPatch: 4, stepTokens: 9 }
    ])
    const again = calls.slice(3).toReversed()
    expect(again.map(({ place }) => place)).toEqual(calls.slice(0, 3).map(({ place }) => place))
  })

  it('passes ids of contents on only when duplicates are masked', async () => {
    await step(4, 'mask')
    await step(4, 'keep')
    expect([...losses[0]!.targetIds!]).toEqual([0, 1, 2])
    expect(losses[1]).not.toHaveProperty('targetIds')
  })

  it('computes with equal items once, and adds their gradients up', async () => {
    const shared = { query: item(4), positives: [item(10)], negatives: [item(20), item(10)] }
    const contrast = contrastOf([...rows, shared], 'keep')
    const trainer = new LinearTrainer()
    const options = {
      chunkSize: 4,
      temperature: 0.1,
      dtype: 'f32' as const,
      shareEqual: 'items' as const,
      device: 'cpu',
      threads: 1
    }
    const { tokens } = await accumulateGradients(trainer as unknown as NativeTrainer, contrast, 7, options)
    expect(trainer.calls.map(({ kind, firsts }) => [kind, firsts])).toEqual([
      ['embed', [1, 2, 3, 4]],
      ['embed', [10, 20, 30]],
      ['backward', [10, 20, 30]],
      ['backward', [1, 2, 3, 4]]
    ])
    // targets are 10, 20, 30, 10, 20, 10, whose gradients the loss makes 10, 20, ..., 60
    expect([...losses[0]!.targets]).toEqual([10, -10, 20, -20, 30, -30, 10, -10, 20, -20, 10, -10])
    expect(trainer.calls[2]!.gradients).toEqual([110, 110, 70, 70, 30, 30])
    expect(tokens).toBe(13)

    const separate = new LinearTrainer()
    await accumulateGradients(separate as unknown as NativeTrainer, contrast, 7, { ...options, shareEqual: 'none' })
    expect(separate.calls.flatMap(({ kind, firsts }) => (kind === 'embed' ? firsts : []))).toHaveLength(10)
  })

  it('brings equal pictures once, in the first chunk that shows them, which goes backward last', async () => {
    const show = (token: number, ...keys: string[]) => ({ ...item(token), visuals: keys.map(picture) })
    const pairs = [
      { query: show(1, 'a', 'b'), positives: [item(10)], negatives: [] },
      { query: show(2, 'a'), positives: [show(20, 'c', 'b')], negatives: [show(21, 'a', 'a')] }
    ]
    const run = async (shareEqual: 'items' | 'pictures' | 'none') => {
      const trainer = new LinearTrainer()
      const options = { chunkSize: 2, temperature: 0.1, dtype: 'f32' as const, shareEqual, device: 'cpu', threads: 1 }
      await accumulateGradients(trainer as unknown as NativeTrainer, contrastOf(pairs, 'keep'), 7, options)
      return trainer.calls.map(
        ({ place: { chunk, brought, known, firstPatch }, batch: { pictures, featureRows } }) => ({
          chunk,
          brought,
          known,
          firstPatch,
          pictures: pictures.map(({ pixels }) => String.fromCharCode(pixels[0]!)).join(''),
          rows: featureRows && [...featureRows]
        })
      )
    }
    // chunks: [a b, a], [-, c b], [a a]
    for (const share of ['items', 'pictures'] as const) {
      const calls = await run(share)
      expect(calls.slice(0, 3)).toEqual([
        { chunk: 0, brought: [0, 1], known: undefined, firstPatch: 0, pictures: 'ab', rows: [0, 1, 0] },
        { chunk: 1, brought: undefined, known: [1], firstPatch: 8, pictures: 'c', rows: [0, 1] },
        { chunk: 2, brought: undefined, known: [0], firstPatch: 12, pictures: '', rows: [0, 0] }
      ])
      expect(calls.slice(3)).toEqual(calls.slice(0, 3).toReversed())
    }
    expect((await run('none')).slice(0, 3).map(({ pictures }) => pictures)).toEqual(['aba', 'cb', 'aa'])
  })

  it.each([NaN, Infinity])('stops at a loss of %d before anything goes backward', async (value) => {
    loss = value
    const trainer = new LinearTrainer()
    const options = {
      chunkSize: 2,
      temperature: 0.1,
      dtype: 'f32' as const,
      shareEqual: 'items' as const,
      device: 'cpu',
      threads: 1
    }
    const failing = accumulateGradients(trainer as unknown as NativeTrainer, contrastOf(rows, 'keep'), 7, options)
    await expect(failing).rejects.toMatchObject({ code: 'E_NUMERIC', message: expect.stringContaining('step 7') })
    expect(trainer.calls.every(({ kind }) => kind === 'embed')).toBe(true)
  })
})
