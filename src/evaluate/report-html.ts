/** report.html: one file without references to others; numbers, bars and, where there are any, examples with pictures. */
import { CUTOFFS, METRICS, type MetricName } from './metrics.js'
import { groupsOf, headline, percent, type Group, type ModelInfo, type TaskScore } from './report.js'

/** A query and what was found for it. */
export interface Example {
  query: Shown
  /** best first */
  found: (Shown & { right: boolean; score: number })[]
}

export interface Shown {
  text: string
  /** data: URLs of small pictures */
  pictures: string[]
}

export function htmlReport(
  model: ModelInfo,
  scores: readonly TaskScore[],
  examples: ReadonlyMap<string, Example[]> = new Map()
): string {
  const { metaTasks, totals } = groupsOf(scores)
  const facts = [
    model.model_backbone,
    `${model.model_size} B parameters`,
    `dimension ${model.embedding_dimension}`,
    `${scores.length} tasks`,
    `${scores.reduce((sum, { num_data }) => sum + num_data, 0)} queries`
  ]
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escape(model.model_name)}: evaluation</title>
<style>${STYLE}</style>
</head>
<body>
<header>
<h1>${escape(model.model_name)}</h1>
<p class="facts">${facts.map(escape).join(' · ')}</p>
</header>
<main>
<section class="cards">${[...totals].reverse().map(card).join('')}</section>
<section>
<h2>By group</h2>
${groupTable(metaTasks)}
<p class="note">Mean of the tasks' scores in percent. The mark on a bar is the hit@1 of a random order.</p>
</section>
${metaTasks.map((group) => groupSection(group, examples)).join('\n')}
</main>
</body>
</html>
`
}

function card({ label, tasks, mean }: Group): string {
  const count = `${tasks.length} ${tasks.length === 1 ? 'task' : 'tasks'}`
  return `<div class="card"><b>${percent(mean)}</b><span>${escape(label)}</span><small>${count}</small></div>`
}

function groupTable(groups: Group[]): string {
  const rows = groups.map(
    ({ label, tasks, mean, chance }) =>
      `<tr><td>${escape(label)}</td><td class="n">${tasks.length}</td><td class="n"><b>${percent(mean)}</b></td>${bar(mean, chance)}</tr>`
  )
  return `<table><thead><tr><th>group</th><th class="n">tasks</th><th class="n">score</th><th></th></tr></thead><tbody>${rows.join('')}</tbody></table>`
}

function groupSection({ label, tasks, mean }: Group, examples: ReadonlyMap<string, Example[]>): string {
  const rows = tasks.map(
    (score) =>
      `<tr><td>${escape(score.name)}</td><td>${score.split === 'ood' ? '<i class="tag">ood</i>' : ''}</td><td>${score.metric}</td>` +
      `<td class="n"><b>${percent(headline(score))}</b></td>${bar(headline(score), score.chance)}` +
      `<td class="n">${score.num_data}</td><td class="n">${score.num_candidates}</td></tr>`
  )
  const head =
    '<tr><th>task</th><th></th><th>metric</th><th class="n">score</th><th></th><th class="n">queries</th><th class="n">candidates</th></tr>'
  return `<section>
<h2>${escape(label)} <small>${percent(mean)}</small></h2>
<table><thead>${head}</thead><tbody>${rows.join('')}</tbody></table>
${tasks.map((score) => details(score, examples.get(score.name) ?? [])).join('\n')}
</section>`
}

function details(score: TaskScore, examples: Example[]): string {
  const value = (metric: string, k: number): number => score[`${metric}@${k}` as MetricName]
  const rows = METRICS.map(
    (metric) =>
      `<tr><td>${metric}</td>${CUTOFFS.map((k) => `<td class="n">${percent(value(metric, k))}</td>`).join('')}</tr>`
  )
  const head = `<tr><th></th>${CUTOFFS.map((k) => `<th class="n">@${k}</th>`).join('')}</tr>`
  return `<details><summary>${escape(score.name)}: all metrics${examples.length > 0 ? ' and examples' : ''}</summary>
<table class="small"><thead>${head}</thead><tbody>${rows.join('')}</tbody></table>
${examples.map(exampleRow).join('\n')}
</details>`
}

function exampleRow({ query, found }: Example): string {
  const results = found.map(
    (each) => `<li class="${each.right ? 'right' : ''}">${shown(each)}<small>${each.score.toFixed(3)}</small></li>`
  )
  return `<div class="example"><div class="query">${shown(query)}</div><ol>${results.join('')}</ol></div>`
}

function shown({ text, pictures }: Shown): string {
  const images = pictures.map((url) => `<img src="${escape(url)}" alt="">`).join('')
  return `${images}${text ? `<p>${escape(text)}</p>` : ''}`
}

function bar(share: number, chance: number): string {
  return `<td class="bar"><div><span style="width:${percent(share)}%"></span><i style="left:${percent(chance)}%"></i></div></td>`
}

export function escape(text: string): string {
  const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }
  return text.replace(/[&<>"']/g, (character) => entities[character]!)
}

const STYLE = `
:root { color-scheme: light dark; --ink: #1c2330; --soft: #667085; --line: #e3e7ee; --page: #f6f7f9; --sheet: #fff; --accent: #3461d1; --good: #1f9d61; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --soft: #98a2b3; --line: #2c3440; --page: #12161c; --sheet: #1a2029; --accent: #7ea2ff; --good: #4cc38a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
header, main { max-width: 980px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 40px; }
h1 { margin: 0; font-size: 28px; letter-spacing: -.01em; overflow-wrap: anywhere; }
h2 { margin: 0 0 12px; font-size: 18px; } h2 small { color: var(--soft); font-weight: 400; margin-left: 6px; }
.facts, .note, small { color: var(--soft); } .note { font-size: 13px; margin: 10px 0 0; }
section { background: var(--sheet); border: 1px solid var(--line); border-radius: 10px; padding: 20px; margin: 20px 0; overflow-x: auto; }
.cards { display: flex; gap: 16px; padding: 0; border: 0; background: none; flex-wrap: wrap; }
.card { flex: 1 1 180px; background: var(--sheet); border: 1px solid var(--line); border-radius: 10px; padding: 16px 20px; display: grid; }
.card b { font-size: 32px; line-height: 1.2; font-variant-numeric: tabular-nums; }
table { border-collapse: collapse; width: 100%; } th { text-align: left; color: var(--soft); font-weight: 500; font-size: 13px; }
th, td { padding: 6px 10px; border-bottom: 1px solid var(--line); white-space: nowrap; } tbody tr:last-child td { border-bottom: 0; }
.n { text-align: right; font-variant-numeric: tabular-nums; } .small { width: auto; font-size: 13px; margin: 8px 0; }
.bar { width: 34%; min-width: 120px; } .bar div { position: relative; height: 10px; border-radius: 5px; background: var(--line); }
.bar span { position: absolute; inset: 0 auto 0 0; border-radius: 5px; background: var(--accent); }
.bar i { position: absolute; top: -3px; bottom: -3px; width: 2px; background: var(--ink); opacity: .55; }
.tag { font-style: normal; font-size: 12px; border: 1px solid var(--line); border-radius: 4px; padding: 0 5px; color: var(--soft); }
details { margin-top: 10px; } summary { cursor: pointer; color: var(--soft); }
.example { display: grid; grid-template-columns: 150px 1fr; gap: 14px; border-top: 1px solid var(--line); padding: 12px 0; }
.example ol { display: flex; gap: 10px; list-style: none; margin: 0; padding: 0; } .example li { width: 124px; padding: 6px; border: 2px solid var(--line); border-radius: 8px; }
.example li.right { border-color: var(--good); } .example img { width: 100%; border-radius: 4px; display: block; }
.example p { margin: 4px 0 0; font-size: 12px; line-height: 1.35; overflow-wrap: anywhere; white-space: normal; }
`
