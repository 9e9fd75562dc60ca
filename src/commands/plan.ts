/** `plan`: what `train` would do, without doing it. */
import { defineCommand } from '../command.js'
import { duration } from '../log.js'
import { boolean, option } from '../options.js'
import { trainOptions } from '../train/options.js'
import type { Plan } from '../train/plan.js'

export const command = defineCommand({
  options: {
    ...trainOptions,
    measure: option(boolean, true, 'load the model and time one chunk, for the estimate of time')
  },
  aliases: { device: 'model.device' },
  examples: ['plan --config train.yaml', 'plan --config train.yaml --train.chunk-size 16 --no-measure'],
  run: async ({ threads, json, quiet: _quiet, debug: _debug, measure, ...options }, { print, log, signal }) => {
    const { planRun } = await import('../train/plan.js')
    const plan = await planRun(options, { threads, measure, signal })
    for (const warning of plan.warnings) log.warn(warning)
    await print(json ? JSON.stringify(plan) : table(plan))
  }
})

/** Two columns: what, and how much. */
function table(plan: Plan): string {
  const { memory_mib: memory } = plan
  const mib = (value: number): string => `${value < 10 ? value.toFixed(1) : Math.round(value)} MiB`
  const round = (value: number): string => (Number.isInteger(value) ? String(value) : value.toFixed(1))
  const rows: [string, string][] = [
    ['model', plan.family],
    ['mode', plan.mode === 'full' ? 'full' : `lora, ${plan.adapted_modules} modules`],
    ['rows', `${plan.rows}, each seen ${round(plan.epochs)} times`],
    ['steps', `${plan.steps}, with ${plan.checkpoints} checkpoints`],
    ['effective batch', `${plan.effective_batch} rows, ${round(plan.candidates)} candidates`],
    [
      'negatives per query',
      `${round(plan.negatives_per_query)}, about ${round(plan.masked_per_query)} of them left out as equal`
    ],
    ['chunks', `${plan.chunks_per_step} a step`],
    [
      'tokens',
      `${round(plan.tokens_per_item.mean)} an item (at most ${plan.tokens_per_item.most}), ${Math.round(plan.tokens_per_step)} a step`
    ],
    ['patches', `${Math.round(plan.patches_per_step)} a step`],
    ...Object.entries(memory).map(([kind, value]): [string, string] => [
      kind === 'total' ? 'memory' : `  ${kind}`,
      mib(value)
    ])
  ]
  if (plan.seconds !== undefined && plan.seconds_per_step !== undefined)
    rows.push(['time', `${duration(plan.seconds)}, ${plan.seconds_per_step.toPrecision(3)} s a step (from one chunk)`])
  rows.push(['sample', `${plan.sampled_items} items`])
  const width = Math.max(...rows.map(([name]) => name.length))
  return rows.map(([name, value]) => `${name.padEnd(width)}  ${value}`).join('\n')
}
