/** `data stats`: what a data set consists of, without looking into its pictures. */
import { defineCommand } from '../command.js'
import { dataOptions, printReport, reportOf } from './data-report.js'

export const command = defineCommand({
  options: dataOptions,
  positionals: ['input'],
  examples: ['data stats train.jsonl --json'],
  run: async (options, context) => {
    const report = await reportOf(options, undefined, context)
    if (options.json) await context.print(JSON.stringify(report))
    else await printReport(report, context)
  }
})
