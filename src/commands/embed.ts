/** `embed`: items to a file of vectors, or to standard output as JSONL. */
import { defineCommand, type CommandContext } from '../command.js'
import { checkVectorPath, vectorLine, writeVectors, type VectorSink } from '../data/vector-file.js'
import { Vlm2VecError } from '../errors.js'
import type { Embedder } from '../index.js'
import { integer, nullable, oneOf, option, path, required } from '../options.js'
import { openItems, shardCheck, type ItemSource } from './items.js'
import { loadEmbedder, modelOptions, promptOptions } from './model-options.js'

export const command = defineCommand({
  options: {
    ...modelOptions,
    input: required(path, 'items as JSONL or Parquet; - reads JSONL from standard input'),
    output: required(path, 'file to write: .npy, .jsonl or .parquet; - writes JSONL to standard output'),
    ...promptOptions,
    dimension: option(nullable(integer(1)), null, 'keep the first N numbers of each vector and normalise again'),
    batch_tokens: option(integer(1), 4096, 'tokens computed with at a time: speed and memory, never the result'),
    shard: option(nullable(shardCheck), null, 'embed only part I of N equal parts of the file; I counts from 0'),
    on_error: option(
      oneOf('stop', 'skip'),
      'stop',
      'skip: leave out items that cannot be embedded, and list why at the end'
    )
  },
  examples: ['embed --model model-dir --input items.jsonl --output vectors.npy'],
  run: async (options, context) => {
    if (options.output !== '-') checkVectorPath(options.output)
    const source = await openItems({
      input: options.input,
      imageRoot: options.image_root,
      shard: options.shard,
      stdin: context.stdin
    })
    try {
      const embedder = await loadEmbedder(options, context)
      try {
        const job = { embedder, source, skip: options.on_error === 'skip', context }
        const summary = await embedTo(options.output, job)
        if (options.output === '-') return
        const { dimension } = embedder
        if (options.json) await context.print(JSON.stringify({ output: options.output, ...summary, dimension }))
        else context.log.info(`${options.output}: ${summary.items} x ${dimension}`)
      } finally {
        await embedder.close()
      }
    } finally {
      await source.close()
    }
  }
})

interface Job {
  embedder: Embedder
  source: ItemSource
  skip: boolean
  context: CommandContext
}

interface Summary {
  items: number
  seconds: number
  /** why items were skipped */
  skipped: string[]
}

async function embedTo(output: string, job: Job): Promise<Summary> {
  let summary: Summary | undefined
  const fill = async (sink: VectorSink): Promise<void> => {
    summary = await embedInto(job, sink)
  }
  const { print } = job.context
  if (output === '-') await fill({ add: async (id, vector) => vector && print(vectorLine(id, vector)) })
  else await writeVectors(output, job.embedder.dimension, fill)
  warnOfSkipped(summary!, job.context)
  return summary!
}

/** An item without an id is known by its place in the file, from 0. */
async function embedInto({ embedder, source, skip, context }: Job, sink: VectorSink): Promise<Summary> {
  const start = performance.now()
  const progress = context.log.progress('Embedding', 'items', source.count)
  const skipped: string[] = []
  let items = 0
  for await (const { index, id, vector, error } of embedder.run(source.items, { signal: context.signal, skip })) {
    await sink.add(id ?? String(source.first + index), vector)
    if (error) skipped.push(error.message)
    progress.update(++items)
  }
  progress.end()
  if (items === 0) throw new Vlm2VecError('E_DATA', 'standard input: there are no items.')
  return { items, seconds: (performance.now() - start) / 1000, skipped }
}

const MOST_REASONS = 20

function warnOfSkipped({ items, skipped }: Summary, { log }: CommandContext): void {
  if (skipped.length === 0) return
  const more = skipped.length - MOST_REASONS
  const reasons = skipped.slice(0, MOST_REASONS).map((reason) => `  ${reason}`)
  const rest = more > 0 ? [`  and ${more} more`] : []
  log.warn([`${skipped.length} of ${items} items were skipped:`, ...reasons, ...rest].join('\n'))
}
