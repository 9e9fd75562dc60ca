/** `data verify`: reads every row and decodes every picture, and lists what is wrong. */
import { defineCommand } from '../command.js'
import { Vlm2VecError } from '../errors.js'
import { integer, nullable, option } from '../options.js'
import { dataOptions, printReport, reportOf } from './data-report.js'

export const command = defineCommand({
  options: {
    ...dataOptions,
    pixel_limit: option(
      nullable(integer(1)),
      null,
      'pictures with more pixels than this are refused; default: 256 million'
    )
  },
  positionals: ['input'],
  examples: ['data verify train.jsonl'],
  run: async (options, context) => {
    const { decodePicture, readPicture } = await import('../preprocess/image.js')
    const report = await reportOf(
      options,
      async (source, where) => {
        const bytes = await readPicture(source, '.', where)
        const name = source instanceof Uint8Array ? where : `${where}: ${String(source).slice(0, 200)}`
        return decodePicture(bytes, { name, pixelLimit: options.pixel_limit ?? undefined })
      },
      context
    )
    if (options.json) await context.print(JSON.stringify(report))
    else await printReport(report, context)
    const wrong = report.rows - report.valid
    if (wrong > 0) throw new Vlm2VecError('E_DATA', `${options.input}: ${wrong} of ${report.rows} rows cannot be used.`)
  }
})
