/**
 * Scores of all tasks as a report: JSON in the form that the MMEB leaderboard takes, and tables for people. A mean over
 * tasks weighs every task alike, whatever its number of queries; "all" is the mean over tasks, not over groups.
 */
import type { Scores } from './metrics.js'
import type { Task } from './task.js'

/** What `<task>_score.json` holds. */
export type TaskScore = Scores &
  Pick<Task, 'name' | 'meta_task' | 'split' | 'modality' | 'metric' | 'candidates'> & {
    /** rankings made, and queries of the task */
    num_pred: number
    num_data: number
    num_candidates: number
    /** expected hit@1 of a random order */
    chance: number
    /** of model, adapter, prompt options, task and data */
    fingerprint: string
  }

export interface ModelInfo {
  model_name: string
  model_backbone: string
  /** parameters in 10^9 */
  model_size: number
  embedding_dimension: number
  max_length_tokens: number
  url: string
}

/** `scores` by modality and task, as the leaderboard wants them. */
export function leaderboardReport(model: ModelInfo, scores: readonly TaskScore[], date: Date): object {
  const metrics: Record<string, Record<string, TaskScore>> = {}
  for (const modality of ['image', 'video', 'visdoc'] as const) {
    const own = scores.filter((score) => score.modality === modality)
    if (own.length > 0) metrics[modality] = Object.fromEntries(own.map((score) => [score.name, score]))
  }
  const { url, ...rest } = model
  return {
    metadata: {
      ...rest,
      model_release_date: date.toISOString().slice(0, 10),
      data_source: 'Self-Reported',
      url,
      report_generated_date: date.toISOString()
    },
    metrics
  }
}

export interface Group {
  label: string
  tasks: TaskScore[]
  /** mean of the tasks' headline numbers, 0 to 1 */
  mean: number
  /** mean of the chances of the tasks */
  chance: number
}

/** Meta-tasks in order of appearance, then in and out of distribution where there are both, then all. */
export function groupsOf(scores: readonly TaskScore[]): { metaTasks: Group[]; totals: Group[] } {
  const group = (label: string, tasks: TaskScore[]): Group => ({
    label,
    tasks,
    mean: meanOf(tasks.map(headline)),
    chance: meanOf(tasks.map(({ chance }) => chance))
  })
  const names = [...new Set(scores.map(({ meta_task }) => meta_task))]
  const metaTasks = names.map((name) =>
    group(
      name,
      scores.filter(({ meta_task }) => meta_task === name)
    )
  )
  const splits = [
    group(
      'in distribution',
      scores.filter(({ split }) => split === 'ind')
    ),
    group(
      'out of distribution',
      scores.filter(({ split }) => split === 'ood')
    )
  ]
  const both = splits.every(({ tasks }) => tasks.length > 0)
  return { metaTasks, totals: [...(both ? splits : []), group('all', [...scores])] }
}

/** The number that a task is known by. */
export const headline = (score: TaskScore): number => score[score.metric]

export const percent = (share: number): string => (100 * share).toFixed(1)

export function markdownReport(model: ModelInfo, scores: readonly TaskScore[]): string {
  const { metaTasks, totals } = groupsOf(scores)
  const groups = [...metaTasks, ...totals].map(({ label, tasks, mean, chance }) => [
    label,
    String(tasks.length),
    percent(mean),
    percent(chance)
  ])
  const tasks = scores.map((score) => [
    score.name,
    score.meta_task,
    score.split,
    score.metric,
    percent(headline(score)),
    percent(score['hit@1']),
    percent(score['hit@5']),
    percent(score['mrr@10']),
    percent(score['ndcg_linear@10']),
    String(score.num_data),
    String(score.num_candidates)
  ])
  return [
    `# ${model.model_name}`,
    '',
    `${model.model_backbone}, dimension ${model.embedding_dimension}. Scores in percent; chance is the hit@1 of a random order.`,
    '',
    table(['group', 'tasks', 'score', 'chance'], groups, 1),
    '',
    table(
      ['task', 'group', 'split', 'metric', 'score', 'hit@1', 'hit@5', 'mrr@10', 'ndcg@10', 'queries', 'candidates'],
      tasks,
      4
    ),
    ''
  ].join('\n')
}

/** Columns from `firstNumber` on are aligned to the right. */
function table(head: string[], rows: string[][], firstNumber: number): string {
  const line = (cells: string[]): string => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
  const rule = head.map((_, column) => (column < firstNumber ? '---' : '---:'))
  return [line(head), line(rule), ...rows.map(line)].join('\n')
}

function meanOf(values: number[]): number {
  return values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length
}
