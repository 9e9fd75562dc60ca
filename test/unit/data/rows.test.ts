import { describe, expect, it } from 'vitest'
import { readRow } from '../../../src/data/rows.js'

const row = (value: unknown): unknown => readRow(value, 'train.jsonl: record 5')
const refusal = (message: RegExp): unknown =>
  expect.objectContaining({
    code: 'E_DATA',
    message: expect.stringMatching(new RegExp(`^train\\.jsonl: record 5.*${message.source}`))
  })

describe('readRow: queries and targets', () => {
  it('reads a target as the only positive', () => {
    expect(row({ query: { text: 'q' }, target: { images: ['t.png'] } })).toEqual({
      query: { text: 'q' },
      positives: [{ images: ['t.png'] }],
      negatives: []
    })
  })

  it('reads several positives and negatives', () => {
    const value = { query: { text: 'q' }, positives: [{ text: 'a' }, { text: 'b' }], negatives: [{ text: 'c' }] }
    expect(row({ ...value, target: null })).toEqual(value)
  })

  it.each([
    [{ target: { text: 't' } }, /no query/],
    [{ query: { text: 'q' } }, /no target/],
    [{ query: { text: 'q' }, positives: [] }, /no target/],
    [{ query: { text: 'q' }, target: { text: 't' }, positives: [{ text: 't' }] }, /both "target" and "positives"/],
    [{ query: { text: '' }, target: { text: 't' } }, /nothing in "query"/],
    [{ query: { text: 'q' }, target: {} }, /nothing in "target"/],
    [{ query: { text: 'q' }, target: { text: 't' }, negatives: [{ text: 'n' }, {}] }, /nothing in "negatives\[1\]"/],
    [{ query: { text: 'q' }, target: { text: 't' }, negatives: { text: 'n' } }, /"negatives" is not a list/],
    [
      { query: { text: 'q' }, target: { text: 't' }, label: 1 },
      /unknown key "label"; known are query, target, positives, negatives/
    ],
    [{ query: { txt: 'q' }, target: { text: 't' } }, /query: unknown key "txt"/],
    [{ query: 'q', target: { text: 't' } }, /query: expected a mapping/],
    [[], /a mapping/]
  ])('refuses %j', (value, message) => {
    expect(() => row(value)).toThrow(refusal(message))
  })
})

describe("readRow: MMEB's columns", () => {
  const base = { qry: '<|image_1|>\nq\n', qry_image_path: 'q.png', pos_text: 'p', pos_image_path: '' }

  it('reads text and pictures, empty text as absent', () => {
    expect(row(base)).toEqual({
      query: { text: '<|image_1|>\nq\n', images: ['q.png'] },
      positives: [{ text: 'p' }],
      negatives: []
    })
    expect(row({ qry: 'q', pos_image_path: 'p.png', pos_text: null, dataset: 'other columns are left alone' })).toEqual(
      {
        query: { text: 'q' },
        positives: [{ images: ['p.png'] }],
        negatives: []
      }
    )
  })

  it('reads one negative as text, several as lists, and leaves empty ones out', () => {
    const negatives = (columns: object): unknown => (row({ ...base, ...columns }) as { negatives: unknown }).negatives
    expect(negatives({ neg_text: 'n', neg_image_path: '' })).toEqual([{ text: 'n' }])
    expect(negatives({ neg_text: '', neg_image_path: 'n.png' })).toEqual([{ images: ['n.png'] }])
    expect(negatives({ neg_text: '', neg_image_path: '' })).toEqual([])
    expect(negatives({ neg_text: ['a', '', 'c'], neg_image_path: ['', null, 'c.png'] })).toEqual([
      { text: 'a' },
      { text: 'c', images: ['c.png'] }
    ])
    expect(negatives({ neg_text: ['a', 'b'] })).toEqual([{ text: 'a' }, { text: 'b' }])
    expect(negatives({ neg_text: ['a', 'b'], neg_image_path: [] })).toEqual([{ text: 'a' }, { text: 'b' }])
  })

  it.each([
    [{ ...base, qry: '', qry_image_path: '' }, /no query: "qry" and "qry_image_path" are empty/],
    [{ ...base, pos_text: '' }, /no target/],
    [{ ...base, pos_txt: 'p' }, /unknown column "pos_txt"; known are qry,/],
    [{ ...base, qry: 3 }, /"qry" is not text/],
    [{ ...base, neg_text: [3] }, /"neg_text" is neither text nor a list/],
    [{ ...base, neg_text: ['a', 'b'], neg_image_path: ['c'] }, /2 entries of "neg_text", but 1 of "neg_image_path"/]
  ])('refuses %j', (value, message) => {
    expect(() => row(value)).toThrow(refusal(message))
  })
})
