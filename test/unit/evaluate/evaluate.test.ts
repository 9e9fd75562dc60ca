/** The engine is replaced by histograms of tokens and a plain ranking: texts of the same words are near. */
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { writeTinyModel } from '../../../scripts/tiny-model.mjs'
import { evaluate } from '../../../src/evaluate/evaluate.js'
import type { EvaluateConfig } from '../../../src/evaluate/options.js'
import type { Batch, TopKInput } from '../../../src/native.js'

const HIDDEN = 64
let loads = 0
let embedded = 0
vi.mock('../../../src/native.js', () => ({
  native: () => ({
    loadModel: () => {
      loads++
      return Promise.resolve({
        embed: (batch: Batch) => Promise.resolve({ embeddings: histograms(batch) }),
        close: () => Promise.resolve()
      })
    },
    topK: (input: TopKInput) => Promise.resolve(plainTopK(input))
  })
}))

function histograms({ tokens, seqStarts }: Batch): Float32Array {
  const count = seqStarts.length - 1
  embedded += count
  const rows = new Float32Array(count * HIDDEN)
  for (let i = 0; i < count; i++) {
    const row = rows.subarray(i * HIDDEN, (i + 1) * HIDDEN)
    for (const token of tokens.subarray(seqStarts[i], seqStarts[i + 1])) row[token % HIDDEN]! += 1
    const norm = Math.hypot(...row)
    row.forEach((value, j) => (row[j] = value / norm))
  }
  return rows
}

function plainTopK({ queries, targets, dimension, k, candidateStarts, candidates, lastStarts, last }: TopKInput) {
  const count = queries.length / dimension
  const indices = new Int32Array(count * k).fill(-1)
  const scores = new Float32Array(count * k).fill(-Infinity)
  const dot = (i: number, j: number): number => {
    let sum = 0
    for (let d = 0; d < dimension; d++) sum += queries[i * dimension + d]! * targets[j * dimension + d]!
    return Math.fround(sum)
  }
  for (let i = 0; i < count; i++) {
    const all = candidates
      ? [...candidates.subarray(candidateStarts![i], candidateStarts![i + 1])]
      : Array.from({ length: targets.length / dimension }, (_, j) => j)
    const right = new Set(last!.subarray(lastStarts![i], lastStarts![i + 1]))
    const order = all.map((j, place) => ({ j, place, score: dot(i, j), right: Number(right.has(j)) }))
    order.sort((a, b) => b.score - a.score || a.right - b.right || a.place - b.place)
    order.slice(0, k).forEach(({ j, score }, place) => {
      indices[i * k + place] = j
      scores[i * k + place] = score
    })
  }
  return { indices, scores }
}

let folder = ''
beforeEach(async () => {
  loads = embedded = 0
  folder = await mkdtemp(join(tmpdir(), 'vlm2vec-evaluate-'))
  writeTinyModel(join(folder, 'model'))
  await rows('colours', [
    { qry_text: 'red circle', tgt_text: ['red circle', 'blue square', 'green dot'] },
    // the right one has no word in common with the query, and ranks last
    { qry_text: 'blue square', tgt_text: ['green dot', 'blue square', 'red circle'] }
  ])
  // The right one is as good as a wrong one: it must not be counted as first.
  await rows('ties', [{ qry_text: 'red', tgt_text: ['red', 'red', 'blue'] }])
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const rows = (name: string, values: object[]) =>
  writeFile(join(folder, `${name}.jsonl`), values.map((value) => `${JSON.stringify(value)}\n`).join(''))
const config = (changes: Partial<EvaluateConfig> = {}): EvaluateConfig => ({
  model: join(folder, 'model'),
  output: join(folder, 'out'),
  tasks: ['colours', 'ties'].map((name) => ({ name, path: join(folder, `${name}.jsonl`), meta_task: 'words' })),
  ...changes
})
const read = async (name: string): Promise<unknown> => JSON.parse(await readFile(join(folder, 'out', name), 'utf8'))

describe('evaluate', () => {
  it('scores tasks, and writes scores, predictions and reports', async () => {
    const { scores } = await evaluate(config())
    expect(scores.map((score) => [score.name, score['hit@1'], score['hit@5'], score['mrr@5']])).toEqual([
      ['colours', 0.5, 1, expect.closeTo((1 + 1 / 3) / 2, 12)],
      ['ties', 0, 1, 0.5]
    ])
    expect((await readdir(join(folder, 'out'))).sort()).toEqual([
      'colours_examples.json',
      'colours_pred.jsonl',
      'colours_score.json',
      'report.html',
      'report.json',
      'report.md',
      'ties_examples.json',
      'ties_pred.jsonl',
      'ties_score.json'
    ])
    expect(await read('colours_score.json')).toMatchObject({
      num_data: 2,
      num_pred: 2,
      num_candidates: 3,
      chance: 1 / 3
    })
    expect(await read('report.json')).toMatchObject({
      metrics: { image: { colours: { 'hit@1': 0.5 }, ties: { 'hit@1': 0 } } }
    })
    const [first] = (await readFile(join(folder, 'out', 'colours_pred.jsonl'), 'utf8')).split('\n')
    expect(JSON.parse(first!)).toMatchObject({ query: 'red circle', label: ['red circle'], rel_scores: [1] })
  })

  it('embeds equal items once', async () => {
    await evaluate(config())
    // colours: three contents; ties: red, blue
    expect(embedded).toBe(5)
  })

  it('keeps finished tasks while model, options, task and data are the same', async () => {
    await evaluate(config())
    await evaluate(config())
    expect(loads).toBe(1)
    await evaluate(config({ dimension: 32 }))
    expect(loads).toBe(2)
    await rows('ties', [{ qry_text: 'red', tgt_text: ['red', 'blue'] }])
    embedded = 0
    await evaluate(config({ dimension: 32 }))
    expect(embedded).toBe(2)
    await writeFile(join(folder, 'model', 'vlm2vec.json'), '{"instruction": "Find:"}')
    await evaluate(config({ dimension: 32 }))
    expect(loads).toBe(4)
  })

  it('runs only the tasks asked for, and only the first rows', async () => {
    const { scores } = await evaluate(config({ only: ['colours'], limit: 1 }))
    expect(scores.map(({ name, num_data }) => [name, num_data])).toEqual([['colours', 1]])
    await expect(evaluate(config({ only: ['colors'] }))).rejects.toMatchObject({
      code: 'E_OPTION',
      message: expect.stringContaining('colours, ties')
    })
  })

  it('ranks all candidates of a task with global candidates', async () => {
    const tasks = [{ name: 'colours', path: join(folder, 'colours.jsonl'), candidates: 'global' as const }]
    const { scores } = await evaluate(config({ tasks }))
    expect(scores[0]).toMatchObject({ num_candidates: 3, candidates: 'global', chance: 1 / 3 })
  })

  it('refuses tasks of the same name, no tasks, and a row that is wrong, with its place', async () => {
    const [task] = config().tasks
    await expect(evaluate(config({ tasks: [task!, task!] }))).rejects.toMatchObject({ code: 'E_OPTION' })
    await expect(evaluate(config({ tasks: [] }))).rejects.toMatchObject({ code: 'E_OPTION' })
    await rows('ties', [{ qry_text: 'red', tgt_text: ['red'] }, { qry_text: 'red' }])
    await expect(evaluate(config())).rejects.toMatchObject({
      code: 'E_DATA',
      message: expect.stringContaining('record 2')
    })
  })
})
