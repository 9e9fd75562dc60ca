import { describe, expect, it } from 'vitest'
import { htmlReport } from '../../../src/evaluate/report-html.js'
import { groupsOf, leaderboardReport, markdownReport, type TaskScore } from '../../../src/evaluate/report.js'
import { meanScores } from '../../../src/evaluate/metrics.js'

const score = (name: string, place: number, changes: Partial<TaskScore> = {}): TaskScore => ({
  ...meanScores([{ gains: Array.from({ length: 10 }, (_, i) => (i === place ? 1 : 0)), ideal: [1] }]),
  name,
  meta_task: 'classification',
  split: 'ind',
  modality: 'image',
  metric: 'hit@1',
  candidates: 'local',
  num_pred: 10,
  num_data: 10,
  num_candidates: 4,
  chance: 0.25,
  fingerprint: 'f',
  ...changes
})
const scores = [
  score('A', 0),
  score('B', 1),
  score('C', 0, { meta_task: 'retrieval', split: 'ood' }),
  score('D', 1, { meta_task: 'retrieval', modality: 'visdoc', metric: 'ndcg_linear@5' })
]
const model = {
  model_name: 'tiny <model>',
  model_backbone: 'qwen2_vl',
  model_size: 0.001,
  embedding_dimension: 32,
  max_length_tokens: 512,
  url: ''
}

describe('reports', () => {
  it('average tasks alike within a meta-task, a split, and over all', () => {
    const { metaTasks, totals } = groupsOf(scores)
    const second = 1 / Math.log2(3)
    expect(metaTasks.map(({ label, mean }) => [label, mean])).toEqual([
      ['classification', 0.5],
      ['retrieval', (1 + second) / 2]
    ])
    expect(totals.map(({ label, mean }) => [label, expect.closeTo(mean, 12)])).toEqual([
      ['in distribution', expect.closeTo((1 + second) / 3, 12)],
      ['out of distribution', 1],
      ['all', expect.closeTo((2 + second) / 4, 12)]
    ])
  })

  it('leave splits out where there is only one', () => {
    expect(groupsOf(scores.slice(0, 2)).totals.map(({ label }) => label)).toEqual(['all'])
  })

  it('JSON has the form of the leaderboard: metadata, and scores by modality and task', () => {
    const report = leaderboardReport(model, scores, new Date('2026-01-02T03:04:05Z')) as {
      metadata: Record<string, unknown>
      metrics: Record<string, Record<string, Record<string, unknown>>>
    }
    expect(report.metadata).toMatchObject({
      model_name: 'tiny <model>',
      model_backbone: 'qwen2_vl',
      embedding_dimension: 32,
      data_source: 'Self-Reported',
      report_generated_date: '2026-01-02T03:04:05.000Z'
    })
    expect(Object.keys(report.metrics)).toEqual(['image', 'visdoc'])
    expect(Object.keys(report.metrics['image']!)).toEqual(['A', 'B', 'C'])
    expect(report.metrics['visdoc']!['D']).toMatchObject({ 'ndcg_linear@5': 1 / Math.log2(3), num_data: 10 })
  })

  it('Markdown has a line a group and a line a task', () => {
    const text = markdownReport(model, scores)
    expect(text).toContain('| classification | 2 | 50.0 | 25.0 |')
    expect(text).toContain('| D | retrieval | ind | ndcg_linear@5 | 63.1 |')
  })

  it('HTML stands alone and escapes what it shows', () => {
    const examples = new Map([
      ['A', [{ query: { text: '<b>', pictures: [] }, found: [{ text: 'a&b', pictures: [], right: true, score: 0.5 }] }]]
    ])
    const text = htmlReport(model, scores, examples)
    expect(text).toContain('<h1>tiny &lt;model&gt;</h1>')
    expect(text).toContain('&lt;b&gt;')
    expect(text).toContain('a&amp;b')
    expect(text).not.toMatch(/(src|href)="(?!data:)/)
    expect(text.match(/<section>/g)).toHaveLength(3)
  })
})
