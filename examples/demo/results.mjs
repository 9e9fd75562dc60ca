/** Scores before and after training as rows of a table, one a meta-task and one for each of its tasks. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { TASKS } from './tasks.mjs'

/** What every meta-task must reach, on either part: this many times chance, and this many points above the base model. */
const TIMES_CHANCE = 5
const POINTS = 20

/** Share of queries whose best candidate is right, in percent: { metaTask, part, task, chance, before, after }. */
export function readResults(output) {
  const score = (folder, name) => JSON.parse(readFileSync(join(output, folder, `${name}_score.json`), 'utf8'))
  const tasks = Object.entries(TASKS).flatMap(([task, { metaTask }]) =>
    ['seen', 'unseen'].map((part) => {
      const [before, after] = ['before', 'after'].map((folder) => score(folder, `${task}-${part}`))
      return { metaTask, part, task, chance: 100 * after.chance, before: hit(before), after: hit(after) }
    })
  )
  const names = [...new Set(tasks.map(({ metaTask }) => metaTask))]
  const metaTasks = names.flatMap((metaTask) =>
    ['seen', 'unseen'].map((part) => {
      const own = tasks.filter((each) => each.metaTask === metaTask && each.part === part)
      const mean = (key) => own.reduce((sum, each) => sum + each[key], 0) / own.length
      const row = { metaTask, part, chance: mean('chance'), before: mean('before'), after: mean('after') }
      return { ...row, reached: row.after >= TIMES_CHANCE * row.chance && row.after >= row.before + POINTS }
    })
  )
  return { metaTasks, tasks }
}

function hit(score) {
  return 100 * score['hit@1']
}

/** The rows of meta-tasks as text. */
export function textTable({ metaTasks }) {
  const header = ['meta-task', 'combinations', 'chance', 'before', 'after']
  const rows = metaTasks.map(({ metaTask, part, chance, before, after }) => [
    metaTask,
    part,
    ...[chance, before, after].map((value) => `${value.toFixed(1)} %`)
  ])
  const widths = header.map((_, i) => Math.max(...[header, ...rows].map((row) => row[i].length)))
  const line = (row) => row.map((cell, i) => (i < 2 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join('   ')
  return [line(header), widths.map((width) => '-'.repeat(width)).join('   '), ...rows.map(line)].join('\n')
}
