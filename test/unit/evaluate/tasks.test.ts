import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { validate } from '../../../src/options.js'
import { taskOf, taskOptions, type Task } from '../../../src/evaluate/task.js'
import { beirTask } from '../../../src/evaluate/tasks/beir.js'
import { evenly, mmebTask } from '../../../src/evaluate/tasks/mmeb.js'

const task = (changes: object = {}): Task =>
  taskOf(validate(taskOptions, { name: 't', path: 'rows.jsonl', ...changes }, 'test'))
const located = (rows: Record<string, unknown>[]) =>
  rows.map((record, i) => ({ record, where: `rows.jsonl, record ${i + 1}` }))

describe('MMEB rows', () => {
  it('of the older form: texts and pictures, the answer at index 0', async () => {
    const rows = located([
      { qry_text: '<|image_1|>\nWhat?', qry_img_path: 'a.jpg', tgt_text: ['cat', 'dog'], tgt_img_path: ['', ''] }
    ])
    const { queries, candidates } = await mmebTask(task(), rows, '/pictures')
    expect(queries[0]).toMatchObject({
      item: { text: '<|image_1|>\nWhat?', images: ['/pictures/a.jpg'] },
      candidates: [0, 1],
      relevant: new Map([[0, 1]])
    })
    expect(candidates.map(({ item, name }) => [item, name])).toEqual([
      [{ text: 'cat' }, 'cat'],
      [{ text: 'dog' }, 'dog']
    ])
  })

  it('of the newer form: instructions apart, one for all targets', async () => {
    const rows = located([
      {
        qry_inst: 'Find:',
        qry_text: 'a cat',
        qry_img_path: '',
        tgt_inst: 'Represent.',
        tgt_text: ['', ''],
        tgt_img_path: ['a.jpg', 'b.jpg']
      }
    ])
    const { queries, candidates } = await mmebTask(task(), rows, '/pictures')
    expect(queries[0]!.item).toEqual({ instruction: 'Find:', text: 'a cat' })
    expect(candidates[1]!.item).toEqual({ instruction: 'Represent.', images: ['/pictures/b.jpg'] })
  })

  it('global: all rows rank one pool, each content once, pictures with different captions apart', async () => {
    const rows = located([
      { qry_text: 'q', tgt_text: ['cat', 'dog', 'cat'] },
      { qry_text: 'r', tgt_text: ['fox', 'dog'] },
      { qry_text: 's', tgt_text: ['one', 'two'], tgt_img_path: ['a.jpg', 'a.jpg'] }
    ])
    const { queries, candidates } = await mmebTask(task({ candidates: 'global' }), rows, '/pictures')
    expect(candidates.map(({ name }) => name)).toEqual(['cat', 'dog', 'fox', 'a.jpg:one', 'a.jpg:two'])
    expect(queries.map(({ relevant }) => [...relevant.keys()])).toEqual([[0], [2], [3]])
    expect(queries.some((query) => query.candidates)).toBe(false)
  })

  it('local: a candidate that stands twice in a row is ranked twice', async () => {
    const { queries } = await mmebTask(
      task(),
      located([{ qry_text: 'q', tgt_text: ['cat', 'dog', 'cat'] }]),
      '/pictures'
    )
    expect(queries[0]!.candidates).toEqual([0, 1, 0])
  })

  it.each([
    [{ tgt_text: ['a'] }, 'record 1: the query is empty'],
    [{ qry_text: 'q' }, 'record 1: there are no candidates'],
    [{ qry_text: 'q', tgt_text: ['a', 'b'], tgt_img_path: ['a.jpg'] }, '"tgt_img_path" has 1 entries'],
    [{ qry_text: 'q', tgt_text: ['a', ''] }, 'candidate 1 is empty'],
    [{ qry_text: {}, tgt_text: ['a'] }, 'expected text in "qry_text"']
  ])('that are wrong are refused with their place: %j', async (row, message) => {
    await expect(mmebTask(task(), located([row]), '/pictures')).rejects.toMatchObject({
      code: 'E_DATA',
      message: expect.stringContaining(message)
    })
  })
})

describe('video rows', () => {
  it('take frames evenly from a folder, in numeric order', async () => {
    const root = await mkdtemp(join(tmpdir(), 'vlm2vec-video-'))
    try {
      await mkdir(join(root, 'clip'))
      for (let n = 0; n < 12; n++) await writeFile(join(root, 'clip', `${n}.jpg`), '')
      await writeFile(join(root, 'clip', 'notes.txt'), '')
      const rows = located([{ qry_video: 'clip', qry_text: 'What?', tgt_text: ['run', 'jump'] }])
      const { queries } = await mmebTask(task({ format: 'video', frames: 4, fps: 1 }), rows, root)
      const frames = ['0.jpg', '3.jpg', '7.jpg', '11.jpg'].map((name) => join(root, 'clip', name))
      expect(queries[0]!.item).toEqual({ text: 'What?', videos: [{ frames, fps: 1 }] })
    } finally {
      await rm(root, { recursive: true, force: true })
    }
  })

  it('evenly: the first and the last are among them, and all where there are few', () => {
    expect(evenly([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 4)).toEqual([0, 3, 6, 9])
    expect(evenly([0, 1, 2], 8)).toEqual([0, 1, 2])
    expect(evenly([0, 1, 2], 1)).toEqual([0])
  })
})

describe('BEIR tables', () => {
  const beir = task({ format: 'beir', query_instruction: 'Find a page:', target_instruction: 'Understand:' })
  const tables = {
    corpus: located([
      { 'corpus-id': 7, image: { bytes: new Uint8Array([1]), path: null } },
      { 'corpus-id': 8, title: 'T', text: 'x' }
    ]),
    queries: located([
      { 'query-id': 1, query: 'one' },
      { 'query-id': 2, query: 'two' }
    ]),
    qrels: located([
      { 'query-id': 1, 'corpus-id': 7, score: 1 },
      { 'query-id': 1, 'corpus-id': 7, score: 2 },
      { 'query-id': 1, 'corpus-id': 8, score: 0 },
      { 'query-id': 2, 'corpus-id': 8, score: 0 }
    ])
  }

  it('keep scores above 0, the highest of repeated pairs, and queries that have one', () => {
    const { queries, candidates } = beirTask(beir, tables, '/pictures')
    expect(queries.map(({ item, relevant }) => [item, [...relevant]])).toEqual([
      [{ instruction: 'Find a page:', text: 'one' }, [[0, 2]]]
    ])
    expect(candidates.map(({ item, name }) => [item, name])).toEqual([
      [{ instruction: 'Understand:', images: [new Uint8Array([1])] }, '7'],
      [{ instruction: 'Understand:', text: 'T. x' }, '8']
    ])
  })

  it('are refused where qrels name what is not there', () => {
    const qrels = located([{ 'query-id': 1, 'corpus-id': 99, score: 1 }])
    expect(() => beirTask(beir, { ...tables, qrels }, '/pictures')).toThrow('corpus id 99')
    const unknownQuery = located([{ 'query-id': 5, 'corpus-id': 7, score: 1 }])
    expect(() => beirTask(beir, { ...tables, qrels: unknownQuery }, '/pictures')).toThrow('query 5')
  })

  it('have global candidates and ndcg_linear@5 as their number', () => {
    expect(beir).toMatchObject({ candidates: 'global', metric: 'ndcg_linear@5', modality: 'visdoc' })
    expect(() => task({ format: 'beir', candidates: 'local' })).toThrow('global candidates only')
  })
})
