/** `evaluate` on a tiny random model, against a ranking by hand. */
import { mkdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { parquetWriteFile } from 'hyparquet-writer'
import { beforeAll, describe, expect, it } from 'vitest'
import { Embedder, evaluate, type Item } from '../../src/index.js'
import { command, readJson, readJsonl, temporaryFolder } from './golden.js'
import { ONE_THREAD, SCENES, spawnCli, writeConfig, writeExample, writeRows } from './tiny.js'

type Score = Record<string, number> & { fingerprint: string }

const folder = temporaryFolder()
const file = (...path: string[]): string => join(folder, ...path)
/** Each query has its picture at index 0, and three others. */
const rows = SCENES.map((_, i) => ({
  qry_inst: 'Find:',
  qry_text: `picture ${i}`,
  qry_img_path: '',
  tgt_inst: 'Represent.',
  tgt_text: ['', '', '', ''],
  tgt_img_path: [0, 1, 2, 3].map((shift) => SCENES[(i + shift) % SCENES.length]!)
}))

beforeAll(() => {
  writeExample(folder)
  writeRows(file('pictures.jsonl'), rows)
  writeRows(file('ties.jsonl'), [{ qry_text: 'red', tgt_text: ['red', 'blue', 'red', 'red'] }])
  mkdirSync(file('pages'))
  writeRows(file('pages', 'queries.jsonl'), [{ 'query-id': 'q', query: 'a page' }])
  writeRows(
    file('pages', 'qrels.jsonl'),
    SCENES.slice(0, 2).map((_, i) => ({ 'query-id': 'q', 'corpus-id': String(i), score: i + 1 }))
  )
  const bytes = SCENES.map((name) => new Uint8Array(readFileSync(file('pictures', name))))
  parquetWriteFile({
    filename: file('pages', 'corpus.parquet'),
    columnData: [
      { name: 'corpus-id', data: SCENES.map((_, i) => String(i)), type: 'STRING' },
      { name: 'image', data: bytes, type: 'BYTE_ARRAY' }
    ]
  })
  writeRows(file('tasks.yaml'), [
    {
      tasks: [
        { name: 'pictures', meta_task: 'retrieval', path: 'pictures.jsonl', image_root: 'pictures' },
        {
          name: 'pool',
          meta_task: 'retrieval',
          split: 'ood',
          path: 'pictures.jsonl',
          image_root: 'pictures',
          candidates: 'global'
        },
        { name: 'ties', meta_task: 'words', path: 'ties.jsonl' },
        { name: 'pages', meta_task: 'documents', path: 'pages', format: 'beir' }
      ]
    }
  ])
})

const run = (...flags: string[]) =>
  command(
    'evaluate',
    '--model',
    file('base'),
    '--config',
    file('tasks.yaml'),
    '--device',
    'cpu',
    ...ONE_THREAD,
    '--quiet',
    ...flags
  )
const scoreOf = (output: string, task: string): Score => readJson(file(output, `${task}_score.json`))

/** Places (from 0) of the right candidates, by brute force. */
async function placesByHand(candidatesOf: (i: number) => string[]): Promise<number[]> {
  const embedder = await Embedder.load(file('base'), { device: 'cpu', threads: 1 })
  const vector = async (item: Item): Promise<Float32Array> => (await embedder.embed([item])).data
  const places: number[] = []
  for (const [i, { qry_text }] of rows.entries()) {
    const query = await vector({ instruction: 'Find:', text: qry_text })
    const scores = await Promise.all(
      candidatesOf(i).map(async (name) => {
        const target = await vector({ instruction: 'Represent.', images: [file('pictures', name)] })
        return target.reduce((sum, value, d) => sum + value * query[d]!, 0)
      })
    )
    places.push(scores.filter((score) => score > scores[candidatesOf(i).indexOf(SCENES[i]!)]!).length)
  }
  await embedder.close()
  return places
}
const mean = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length

describe('evaluate', () => {
  beforeAll(() => run('--output', file('out')))

  it('ranks local and global candidates as by hand', async () => {
    const local = await placesByHand((i) => rows[i]!.tgt_img_path)
    expect(scoreOf('out', 'pictures')['hit@1']).toBeCloseTo(mean(local.map((place) => Number(place === 0))), 12)
    expect(scoreOf('out', 'pictures')['mrr@5']).toBeCloseTo(mean(local.map((place) => 1 / (place + 1))), 12)
    const pool = await placesByHand(() => SCENES)
    expect(scoreOf('out', 'pool')['mrr@10']).toBeCloseTo(mean(pool.map((place) => 1 / (place + 1))), 12)
    expect(scoreOf('out', 'pool')).toMatchObject({ num_data: 6, num_pred: 6, num_candidates: 6, chance: 1 / 6 })
  })

  it('puts the right one last among equal scores', () => {
    const score = scoreOf('out', 'ties')
    expect([score['hit@1'], score['mrr@5']]).toEqual([0, 1 / 3])
  })

  it('reads BEIR tables with graded relevance, pictures in Parquet', () => {
    const score = scoreOf('out', 'pages')
    expect(score).toMatchObject({ num_candidates: 6, 'recall@10': 1, metric: 'ndcg_linear@5', modality: 'visdoc' })
    const [{ label, rel_scores, prediction }] = readJsonl(file('out', 'pages_pred.jsonl')) as [
      { label: string[]; rel_scores: number[]; prediction: string[] }
    ]
    expect([label, rel_scores, [...prediction].sort()]).toEqual([
      ['0', '1'],
      [1, 2],
      ['0', '1', '2', '3', '4', '5']
    ])
  })

  it('writes reports in three forms', () => {
    const report = readJson<{ metadata: object; metrics: Record<string, object> }>(file('out', 'report.json'))
    expect(Object.keys(report.metrics['image']!)).toEqual(['pictures', 'pool', 'ties'])
    expect(Object.keys(report.metrics['visdoc']!)).toEqual(['pages'])
    expect(report.metadata).toMatchObject({ model_name: 'base', embedding_dimension: 64 })
    expect(readFileSync(file('out', 'report.md'), 'utf8')).toContain('| retrieval | 2 |')
    expect(readFileSync(file('out', 'report.html'), 'utf8')).toContain('data:image/jpeg;base64,')
  })

  it('keeps what is done, unless the model or the options are others', async () => {
    const changed = (): number => statSync(file('out', 'pictures_score.json')).mtimeMs
    const before = changed()
    await run('--output', file('out'))
    expect(changed()).toBe(before)
    await run('--output', file('out'), '--max-pixels', '3136', '--tasks', 'pictures')
    expect(changed()).toBeGreaterThan(before)
  })

  it('scores an adapter, from the API as from the command line', async () => {
    await command(
      'train',
      '--config',
      writeConfig(folder, 'run', { train: { max_steps: 2 } }),
      ...ONE_THREAD,
      '--quiet'
    )
    const adapter = file('run', 'final')
    const tasks = [{ name: 'pictures', path: file('pictures.jsonl'), image_root: file('pictures') }]
    const { scores } = await evaluate({
      model: file('base'),
      adapter,
      output: file('api'),
      tasks,
      device: 'cpu',
      threads: 1
    })
    await run('--output', file('cli'), '--adapter', adapter, '--tasks', 'pictures')
    expect(scores[0]!['mrr@5']).toBe(scoreOf('cli', 'pictures')['mrr@5'])
  })

  it('prints a line of JSON a task with --json, and the table without', async () => {
    const lines = await run('--output', file('json'), '--tasks', 'ties', '--json')
    expect(lines.map((line) => (JSON.parse(line) as { name: string }).name)).toEqual(['ties'])
    expect((await run('--output', file('json'), '--tasks', 'ties')).join('\n')).toContain('| ties | words |')
  })

  it('ends with 2 for an unknown task and 4 for a picture that is missing, and says which', async () => {
    const flags = ['evaluate', '--model', file('base'), '--output', file('wrong'), '--quiet']
    const unknown = await spawnCli([...flags, '--config', file('tasks.yaml'), '--tasks', 'none'])
    expect([unknown.code, unknown.stderr]).toEqual([2, expect.stringContaining('pictures, pool, ties, pages')])
    writeRows(file('missing.jsonl'), [{ qry_text: 'a', tgt_img_path: ['none.png'] }])
    writeRows(file('missing.yaml'), [{ tasks: [{ name: 'missing', path: 'missing.jsonl' }] }])
    const missing = await spawnCli([...flags, '--config', file('missing.yaml')])
    expect([missing.code, missing.stderr]).toEqual([4, expect.stringMatching(/record 1.*none\.png/s)])
  })
})
