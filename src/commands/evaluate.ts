/** `evaluate`: ranking tasks to scores and a report. */
import { join } from 'node:path'
import { defineCommand } from '../command.js'
import { evaluateOptions, readTasksFile } from '../evaluate/options.js'

export const command = defineCommand({
  options: evaluateOptions,
  readConfig: readTasksFile,
  examples: ['evaluate --model runs/x/final --config tasks.yaml --output scores --tasks shapes,colours'],
  run: async (
    { device, threads, json, quiet: _quiet, debug: _debug, tasks, definitions, ...options },
    { print, log, signal }
  ) => {
    const { evaluate } = await import('../evaluate/evaluate.js')
    const { headline, percent } = await import('../evaluate/report.js')
    const { readFile } = await import('node:fs/promises')
    const config = { ...options, only: tasks, tasks: definitions, device, threads }
    await evaluate(config, {
      signal,
      log,
      onScore: (score) =>
        json ? print(JSON.stringify(score)) : log.info(`${score.name}: ${score.metric} ${percent(headline(score))} %`)
    })
    if (!json) await print(await readFile(join(options.output, 'report.md'), 'utf8'))
    log.info(`Wrote ${join(options.output, 'report.html')}.`)
  }
})
