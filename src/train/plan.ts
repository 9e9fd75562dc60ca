/** What a run would do and take, without doing it: data checked, inputs sampled, memory computed, one chunk timed. */
import { stat } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { verifyData } from '../data/verify.js'
import { Vlm2VecError } from '../errors.js'
import { native, type MemoryUse } from '../native.js'
import { packBatch } from '../preprocess/batch.js'
import { PREPARED_BYTES } from '../preprocess/byte-budget.js'
import { patchesOf, pixelBytes } from '../preprocess/pictures.js'
import type { PreparedItem } from '../preprocess/prepared.js'
import { batches } from './batches.js'
import { contrastOf, type PreparedExample } from './contrast.js'
import type { TrainOptions } from './options.js'
import { prepareRun, type RunSetup } from './setup.js'
import { createTrainer } from './trainer.js'

export interface PlanOptions {
  threads: number
  /** load the model and time a chunk */
  measure: boolean
  signal?: AbortSignal | undefined
}

export interface Plan {
  family: string
  mode: 'lora' | 'full'
  /** linear modules with an adapter; absent in mode full */
  adapted_modules?: number
  rows: number
  steps: number
  /** rows that are gone through, in passes over all rows */
  epochs: number
  checkpoints: number
  /** rows whose embeddings one loss compares */
  effective_batch: number
  /** candidates of a step, as the mean of the sample */
  candidates: number
  negatives_per_query: number
  /** of these, left out because they equal a positive; in the sample */
  masked_per_query: number
  chunks_per_step: number
  /** items that the numbers below come from */
  sampled_items: number
  tokens_per_item: { mean: number; most: number }
  tokens_per_step: number
  patches_per_step: number
  /**
   * MiB by kind, over what the process takes anyway; `inputs`: prepared batches that wait; `pictures`: decoded ones that are
   * kept for the next epoch; `embeddings`: of a step, with their gradients. Without the loss's workspace, which is gone
   * before the second pass begins (153 MiB at most for 1,536 numbers an embedding, docs/kernels.md)
   */
  memory_mib: Record<keyof MemoryUse | 'inputs' | 'pictures' | 'embeddings' | 'total', number>
  /** absent where nothing was measured */
  seconds_per_step?: number
  seconds?: number
  warnings: string[]
}

/** Rows whose inputs are prepared. */
const SAMPLE = 64
const MIB = 2 ** 20

/** E_OPTION, E_MODEL, E_DATA (with the first of all rows that are wrong), E_IMAGE: what `train` would stop with. */
export async function planRun(options: TrainOptions, { threads, measure, signal }: PlanOptions): Promise<Plan> {
  const setup = await prepareRun(options, threads, { signal })
  try {
    await checkRows(setup, signal)
    const sample = await sampleRows(setup)
    const items = sample.flatMap(({ query, positives, negatives }) => [query, ...positives, ...negatives])
    const plan = describe(setup, sample, items)
    if (!measure) return plan
    try {
      const seconds = (await secondsPerToken(setup, items, plan.tokens_per_step)) * plan.tokens_per_step
      return { ...plan, seconds_per_step: seconds, seconds: seconds * plan.steps }
    } catch (error) {
      if (!(error instanceof Vlm2VecError) || !['E_MEMORY', 'E_CUDA'].includes(error.code)) throw error
      plan.warnings.push(`There is no time estimate: ${error.message}`)
      return plan
    }
  } finally {
    await setup.rows.close()
  }
}

/** Reads all rows, and looks whether their pictures are there. */
async function checkRows({ rows }: RunSetup, signal: AbortSignal | undefined): Promise<void> {
  const picture = async (source: unknown, where: string) => {
    const text = String(source)
    const isFile = typeof source === 'string' ? !/^(data:|https?:)/i.test(text) : source instanceof URL
    const path = text.startsWith('file:') ? fileURLToPath(text) : text
    if (isFile && !(await stat(path).catch(() => undefined))?.isFile())
      throw new Vlm2VecError('E_DATA', `${where}: there is no picture ${path}.`)
    return { width: 0, height: 0 }
  }
  const { problems, moreProblems, rows: count } = await verifyData(rows, { picture, signal, maxProblems: 1 })
  const [first] = problems
  if (!first) return
  const more =
    moreProblems > 0 ? ` ${moreProblems} more of the ${count} rows are wrong; \`data verify\` lists them.` : ''
  throw new Vlm2VecError('E_DATA', `${first.message}${more}`)
}

/** The first rows of the run's order. */
async function sampleRows({ rows, prepare, options }: RunSetup): Promise<PreparedExample[]> {
  const count = Math.min(rows.length, Math.max(SAMPLE, Math.min(options.train.batch_size, 4 * SAMPLE)))
  const sample: PreparedExample[] = []
  for await (const batch of batches(rows, prepare, { first: 0, end: count, batchSize: 1, prefetch: 4 }))
    sample.push(...batch)
  return sample
}

function describe(setup: RunSetup, sample: PreparedExample[], items: PreparedItem[]): Plan {
  const { options, adapter, config, maxSteps: steps, rows } = setup
  const { batch_size: batch, chunk_size: chunk, prefetch } = options.train
  const perRow = (total: number): number => (total / sample.length) * batch
  const contrast = contrastOf(sample, options.train.duplicates)
  const candidates = perRow(contrast.targets.length)
  const tokens = items.map((item) => item.tokens.length)
  const batchBytes = perRow(sum(items.map(pixelBytes)))
  const ahead = Math.max(0, Math.min(prefetch, Math.floor(PREPARED_BYTES / Math.max(batchBytes, 1))))
  const cache = options.train.picture_cache_mib * MIB
  const [stepTokens, stepPatches] = [perRow(sum(tokens)), perRow(sum(items.map(patchesOf)))]
  const { save_every: every } = options.output
  return {
    family: config.family,
    mode: options.tune.mode,
    ...(adapter && { adapted_modules: adapter.modules.length }),
    rows: rows.length,
    steps,
    epochs: (steps * batch) / rows.length,
    checkpoints: every === 0 ? 1 : Math.ceil(steps / every),
    effective_batch: batch,
    candidates,
    negatives_per_query: candidates - contrast.positives.length / sample.length,
    masked_per_query: maskedPerQuery(sample.slice(0, batch), options.train.duplicates),
    chunks_per_step: Math.ceil((batch + candidates) / chunk),
    sampled_items: items.length,
    tokens_per_item: { mean: sum(tokens) / items.length, most: Math.max(...tokens) },
    tokens_per_step: stepTokens,
    patches_per_step: stepPatches,
    memory_mib: memoryOf(
      setup,
      { items, stepTokens: Math.ceil(stepTokens), stepPatches: Math.ceil(stepPatches) },
      {
        inputs: (ahead + 1) * batchBytes,
        pictures: Math.min(cache, (setup.processor.pictures.bytes / sample.length) * rows.length),
        embeddings: 2 * 4 * (batch + candidates) * config.text.hiddenSize
      }
    ),
    warnings: setup.warnings
  }
}

/** Bytes by kind for the largest chunk of the sample, in MiB. */
function memoryOf(
  { options, adapter, config }: RunSetup,
  { items, ...step }: { items: PreparedItem[]; stepTokens: number; stepPatches: number },
  own: Pick<Plan['memory_mib'], 'inputs' | 'pictures' | 'embeddings'>
): Plan['memory_mib'] {
  const most = (of: (item: PreparedItem) => number): number => largest(items, of, options.train.chunk_size)
  const use = native().trainingMemory({
    config,
    dtype: options.model.dtype,
    quantize: options.model.quantize,
    mode: options.tune.mode,
    freeze: options.tune.freeze,
    adapters: adapter?.modules ?? [],
    activationMemory: options.train.activation_memory_mib * MIB,
    tokens: most(({ tokens }) => tokens.length),
    patches: most(patchesOf),
    sequences: Math.min(options.train.chunk_size, items.length),
    ...step
  })
  const bytes = { ...use, ...own }
  const total = sum(Object.values(bytes))
  return Object.fromEntries(
    Object.entries({ ...bytes, total }).map(([kind, value]) => [kind, value / MIB])
  ) as Plan['memory_mib']
}

/** The largest sum of `count` items. */
function largest(items: readonly PreparedItem[], of: (item: PreparedItem) => number, count: number): number {
  const values = items.map(of).sort((a, b) => b - a)
  return sum(values.slice(0, count))
}

/** Candidates a query that equal one of its positives without being one. */
function maskedPerQuery(sample: PreparedExample[], duplicates: 'mask' | 'keep'): number {
  const { duplicates: ids, positives, positiveStarts, queries } = contrastOf(sample, duplicates)
  if (!ids) return 0
  const uses = new Map<number, number>()
  for (const id of ids.targetIds) uses.set(id, (uses.get(id) ?? 0) + 1)
  const masked = queries.map((_, i) => {
    const own = positives.subarray(positiveStarts[i], positiveStarts[i + 1])
    const equal = new Set([...own].map((target) => ids.targetIds[target]!))
    return sum([...equal].map((id) => uses.get(id)!)) - own.length
  })
  return sum(masked) / queries.length
}

/** Times embedding and backward of a chunk, the second time: the first one lays weights out. */
async function secondsPerToken(setup: RunSetup, items: PreparedItem[], stepTokens: number): Promise<number> {
  const stride = Math.max(1, Math.floor(items.length / setup.options.train.chunk_size))
  const chunk = items.filter((_, i) => i % stride === 0).slice(0, setup.options.train.chunk_size)
  const batch = packBatch(chunk)
  const trainer = await createTrainer(setup, undefined)
  try {
    let seconds = Infinity
    for (const step of [1, 2]) {
      const place = { step, chunk: 0, firstToken: 0, firstPatch: 0, stepTokens: Math.ceil(stepTokens) }
      const start = performance.now()
      const embeddings = await trainer.embed(batch, place)
      await trainer.backward(batch, new Float32Array(embeddings.length).fill(1e-3), place)
      seconds = (performance.now() - start) / 1000
    }
    return seconds / batch.tokens.length
  } finally {
    await trainer.close()
  }
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}
