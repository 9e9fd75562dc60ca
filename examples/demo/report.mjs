/** The report: one HTML file with scores, learning curve and pictures found, and nothing outside of it. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { curve } from '../curve.mjs'
import { HELD_OUT } from './scenes.mjs'

/** `facts`: [label, value] pairs; `losses`: [{step, loss}]; `searches`: what searchExamples returns. */
export function htmlReport({ directory, facts, results, losses, searches }) {
  const picture = (image) => `data:image/png;base64,${readFileSync(join(directory, image)).toString('base64')}`
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>vlm2vec-native: demonstration</title>
<style>${STYLE}</style>
<main>
<header>
<h1>A vision-language model learns to embed</h1>
<p>A small Qwen2-VL with random weights was trained contrastively, on the CPU, on scenes of coloured shapes. It was then tested on scenes
that it had never seen: on combinations of shape and colour that occur in training, and on ${HELD_OUT.size} that do not
(${[...HELD_OUT].join(', ')}).</p>
<dl>${facts.map(([label, value]) => `<div><dt>${escape(label)}</dt><dd>${escape(value)}</dd></div>`).join('')}</dl>
</header>
<section>
<h2>First answers that are right</h2>
${scoreTable(results)}
<p class="legend"><span class="key after"></span>after training <span class="key before"></span>before
<span class="key chance"></span>chance</p>
</section>
<section>
<h2>Loss</h2>
${curve({ series: [{ points: smooth(losses) }], x: 'step', y: 'loss' })}
</section>
<section>
<h2>Search in the test scenes</h2>
${searches.map((search) => searchBlock(search, picture)).join('\n')}
</section>
</main>
</html>
`
}

function scoreTable({ metaTasks, tasks }) {
  const row = ({ label, part, chance, before, after, kind }) => `<tr class="${kind}">
<th scope="row">${escape(label)}</th><td>${part === 'seen' ? 'seen' : '<b>unseen</b>'}</td>
<td class="number">${chance.toFixed(1)}</td><td class="number">${before.toFixed(1)}</td><td class="number">${after.toFixed(1)}</td>
<td class="bars"><i class="after" style="width:${after}%"></i><i class="before" style="width:${before}%"></i><i class="chance" style="left:${chance}%"></i></td></tr>`
  const rows = metaTasks.flatMap((group) => {
    const own = tasks.filter((each) => each.metaTask === group.metaTask && each.part === group.part)
    return [
      row({ ...group, label: group.metaTask, kind: 'group' }),
      ...(own.length > 1 ? own.map((each) => row({ ...each, label: each.task, kind: 'task' })) : [])
    ]
  })
  return `<table><thead><tr><th>meta-task</th><th>combinations</th><th class="number">chance %</th><th class="number">before %</th>
<th class="number">after %</th><th></th></tr></thead><tbody>${rows.join('\n')}</tbody></table>`
}

function searchBlock({ title, unseen, query, found }, picture) {
  const asked = [
    query.image ? `<img src="${picture(query.image)}" alt="picture searched with">` : '',
    query.text ? `<q>${escape(query.text)}</q>` : ''
  ]
  const results = found.map(
    ({ image, score, right }) =>
      `<figure class="${right ? 'right' : ''}"><img src="${picture(image)}" alt="picture found"><figcaption>${score.toFixed(3)}</figcaption></figure>`
  )
  return `<div class="search"><div class="query"><h3>${escape(title)}${unseen ? ' <small>unseen combination</small>' : ''}</h3>
${asked.join('')}</div><div class="found">${results.join('')}</div></div>`
}

/** Means over a fiftieth of the run. */
function smooth(losses) {
  const size = Math.max(1, Math.floor(losses.length / 50))
  const points = []
  for (let i = 0; i < losses.length; i += size) {
    const part = losses.slice(i, i + size)
    points.push([part.at(-1).step, part.reduce((sum, { loss }) => sum + loss, 0) / part.length])
  }
  return points
}

function escape(text) {
  return String(text).replace(/[&<>"]/g, (character) => `&#${character.codePointAt(0)};`)
}

const STYLE = `
:root { color-scheme: light dark; --ink: #1c2330; --soft: #667085; --line: #e3e7ee; --page: #f7f8fa; --card: #fff; --after: #2f6fed; --before: #a9b4c6; --chance: #d1495b; --right: #1f9d61 }
@media (prefers-color-scheme: dark) { :root { --ink: #e7eaf0; --soft: #98a2b3; --line: #2a3140; --page: #12161d; --card: #1a202b; --before: #5b677c } }
* { box-sizing: border-box }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 system-ui, sans-serif }
main { max-width: 960px; margin: 0 auto; padding: 40px 20px }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 12px } h2 { font-size: 20px; margin: 0 0 16px } h3 { font-size: 14px; margin: 0 0 8px }
small { color: var(--soft); font-weight: normal; display: block }
section { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 24px; margin-top: 24px; overflow-x: auto }
dl { display: flex; flex-wrap: wrap; gap: 12px 32px; margin: 20px 0 0 } dt { color: var(--soft); font-size: 13px } dd { margin: 0; font-weight: 600 }
table { width: 100%; border-collapse: collapse } th, td { text-align: left; padding: 7px 12px 7px 0; border-bottom: 1px solid var(--line); white-space: nowrap }
thead th { color: var(--soft); font-size: 13px; font-weight: normal } .number { text-align: right; font-variant-numeric: tabular-nums }
tr.task th { font-weight: normal; padding-left: 18px } tr.task { color: var(--soft); font-size: 14px }
.bars { position: relative; width: 34%; min-width: 160px } .bars i { display: block; height: 7px; border-radius: 4px; margin: 2px 0 }
i.after, .key.after { background: var(--after) } i.before, .key.before { background: var(--before) }
.bars i.chance { position: absolute; top: 4px; bottom: 4px; width: 2px; height: auto; margin: 0; background: var(--chance) }
.legend { color: var(--soft); font-size: 13px; margin: 14px 0 0 } .key { display: inline-block; width: 14px; height: 7px; border-radius: 4px; margin: 0 4px 1px 12px } .key.chance { background: var(--chance); width: 2px; height: 12px; margin-bottom: -2px }
.search { display: flex; gap: 24px; padding: 16px 0; border-top: 1px solid var(--line) } .search:first-of-type { border: 0; padding-top: 0 }
.query { flex: 0 0 190px } .query img { width: 84px; height: 84px; border-radius: 8px; display: block; margin-bottom: 6px } .found { display: flex; flex-wrap: wrap; gap: 12px }
figure { margin: 0; text-align: center } figure img { width: 84px; height: 84px; object-fit: contain; background: #0b0d11; border-radius: 8px; border: 3px solid transparent; display: block }
figure.right img { border-color: var(--right) } figcaption { color: var(--soft); font-size: 12px; font-variant-numeric: tabular-nums }
svg { width: 100%; height: auto; max-height: 320px } svg text { fill: var(--soft); font: 12px system-ui, sans-serif } .grid { stroke: var(--line) } .series { fill: none; stroke: var(--after); stroke-width: 2 }
`
