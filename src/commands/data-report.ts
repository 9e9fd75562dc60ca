/** What `data verify` and `data stats` share: opening the rows, going through them, and printing what was found. */
import type { CommandContext } from '../command.js'
import { Mixture } from '../data/mixture.js'
import { verifyData, type DataReport, type ItemStatistics, type Spread, type VerifyOptions } from '../data/verify.js'
import { nullable, option, path, required } from '../options.js'

export const dataOptions = {
  input: required(path, 'rows as JSONL or Parquet'),
  image_root: option(nullable(path), null, 'folder that picture paths start from; default: that of the file')
}

export async function reportOf(
  { input, image_root }: { input: string; image_root: string | null },
  picture: VerifyOptions['picture'],
  { log, signal }: CommandContext
): Promise<DataReport> {
  const source = { name: input, path: input, imageRoot: image_root ?? undefined }
  const data = await Mixture.open([source], { shuffle: false, seed: 0 })
  const progress = log.progress('Reading', 'rows', data.length)
  try {
    const report = await verifyData(data, { picture, signal, progress: (rows) => progress.update(rows) })
    progress.end(report.rows)
    return report
  } finally {
    await data.close()
  }
}

export async function printReport(report: DataReport, { print }: CommandContext): Promise<void> {
  await print(`${report.valid} of ${report.rows} rows can be trained on`)
  for (const kind of ['queries', 'targets', 'negatives'] as const)
    if (report[kind].items > 0) await print(`${kind.padEnd(9)} ${statisticsText(report[kind])}`)
  if (report.repeatedTargets > 0) await print(`${report.repeatedTargets} rows have a target that another row has too`)
  for (const { message } of report.problems) await print(`  ${message}`)
  if (report.moreProblems > 0) await print(`  and ${report.moreProblems} more`)
}

function statisticsText(statistics: ItemStatistics): string {
  const { items, withText, withImages, withVideos, characters, width, height } = statistics
  const parts = [`${items}: ${withText} with text, ${withImages} with images, ${withVideos} with videos`]
  if (characters.count > 0) parts.push(`characters ${spreadText(characters)}`)
  if (width.count > 0) parts.push(`width ${spreadText(width)}, height ${spreadText(height)}`)
  return parts.join('; ')
}

const spreadText = ({ min, mean, max }: Spread): string => `${min} to ${max} (mean ${mean.toFixed(1)})`
