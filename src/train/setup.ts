/** Everything that a run needs before its first step, checked: model, adapter, prompts, data. Loads no weights. */
import { resolve } from 'node:path'
import { tensorNames } from '../data/safetensors.js'
import { Mixture, type MixtureRow } from '../data/mixture.js'
import { resolveDevice } from '../device.js'
import { Vlm2VecError } from '../errors.js'
import { adapterTargets, readAdapterConfig, type AdapterConfig } from '../model/adapter.js'
import type { ModelConfig } from '../model/config.js'
import { findModel, type ModelFiles } from '../model/directory.js'
import type { HubRun } from '../model/hub/snapshot.js'
import { CANONICAL_TREE, treeOf, type ModuleTree } from '../model/module-tree.js'
import { native, type AdapterModule, type DeviceOptions, type LinearModule } from '../native.js'
import { preparationOf } from '../prompt-options.js'
import { ByteBudget } from '../preprocess/byte-budget.js'
import { Processor } from '../preprocess/processor.js'
import type { Prepare } from './batches.js'
import type { TrainOptions } from './options.js'

export interface RunSetup {
  options: TrainOptions
  device: DeviceOptions
  base: ModelFiles
  config: ModelConfig
  processor: Processor
  /** mode lora */
  adapter?: AdapterPlan
  rows: Mixture
  prepare: Prepare<MixtureRow>
  maxSteps: number
  /** what is worth a second look, in sentences */
  warnings: string[]
}

export interface AdapterPlan {
  config: AdapterConfig
  modules: AdapterModule[]
  linear: LinearModule[]
  tree: ModuleTree
}

export async function prepareRun(options: TrainOptions, threads: number, run: HubRun = {}): Promise<RunSetup> {
  const base = await findModel(options.model.path, options.model.adapter, run)
  checkTuning(options, base)
  const processor = await Processor.load(base.directory, {
    ...preparationOf(options.prompt, options.prompt.style),
    pictureCache: options.train.picture_cache_mib * 2 ** 20,
    adapterDirectory: base.adapter?.directory
  })
  const { config } = processor
  if (config.dual)
    throw new Vlm2VecError(
      'E_MODEL',
      `${base.directory}: a ${config.family} model, which is for \`embed\` and \`evaluate\` only; train one with a text decoder.`
    )
  checkPooling(processor)
  const warnings: string[] = []
  const adapter = options.tune.mode === 'lora' ? await planAdapter(options, base, config, warnings) : undefined
  const rows = await openRows(options)
  return {
    options,
    device: { device: resolveDevice(options.model.device), threads },
    base,
    config,
    processor,
    ...(adapter && { adapter }),
    rows,
    prepare: preparation(options, processor),
    maxSteps: options.train.max_steps ?? Math.ceil((options.train.epochs * rows.length) / options.train.batch_size),
    warnings
  }
}

function checkTuning({ tune, model }: TrainOptions, base: ModelFiles): void {
  if (tune.mode === 'full' && model.quantize !== 'none')
    throw new Vlm2VecError(
      'E_OPTION',
      `model.quantize ${model.quantize} holds weights that are not trained; use it with tune.mode: lora.`
    )
  if (tune.mode === 'full' && base.adapter)
    throw new Vlm2VecError(
      'E_OPTION',
      `tune.mode full trains the weights of a whole model; ${base.adapter.directory} is an adapter. Merge it first ` +
        '(`vlm2vec-native export`), or train with tune.mode: lora.'
    )
  if (tune.mode === 'full' && new Set(tune.freeze).size === 3)
    throw new Vlm2VecError('E_OPTION', 'tune.freeze names all parts of the model; nothing would be trained.')
}

function checkPooling({ settings: { pooling, normalize, sources } }: Processor): void {
  if (pooling === 'last' && normalize) return
  const [what, source] =
    pooling === 'last' ? ['normalize is false', sources.normalize] : [`pooling is ${pooling}`, sources.pooling]
  throw new Vlm2VecError(
    'E_OPTION',
    `${what} (${source}): training is possible with the last token's vector, normalised; set prompt.pooling: last and ` +
      'prompt.normalize: true.'
  )
}

/** A new adapter, or the one that is gone on with, whose own configuration then holds (but for dropout). */
async function planAdapter(
  { tune, model }: TrainOptions,
  base: ModelFiles,
  config: ModelConfig,
  warnings: string[]
): Promise<AdapterPlan> {
  const linear = native().linearModules(config)
  const given = base.adapter && (await readAdapterConfig(base.adapter))
  const tree = base.adapter ? treeOf(await tensorNames(base.adapter.weights), linear) : CANONICAL_TREE
  const adapter: AdapterConfig = {
    ...(given ?? {
      rank: tune.rank,
      alpha: tune.alpha,
      dora: tune.dora,
      rslora: tune.rslora,
      targetModules: tune.target_modules,
      rankPattern: tune.rank_pattern,
      alphaPattern: tune.alpha_pattern,
      initialization: tune.initialization
    }),
    dropout: tune.dropout,
    // PEFT finds the base by this name: a hub id, or a path that holds from any directory.
    baseModel: base.adapter ? resolve(base.directory) : nameOf(model.path, base.directory)
  }
  const { modules, unmatched } = adapterTargets(adapter, linear, tree, given ? 'E_MODEL' : 'E_OPTION')
  if (unmatched.length > 0) warnings.push(`tune.target_modules: ${unmatched.join(', ')} match no module of this model.`)
  return { config: adapter, modules, linear, tree }
}

/** A hub id stays as it is, so that the adapter is found on other machines too. */
function nameOf(path: string, directory: string): string {
  return resolve(path) === resolve(directory) ? resolve(directory) : path
}

async function openRows({ data, train }: TrainOptions): Promise<Mixture> {
  const names = data.map(nameOfSource)
  const twice = names.find((name, i) => names.indexOf(name) !== i)
  if (twice !== undefined)
    throw new Vlm2VecError('E_OPTION', `Two sources of data are called ${twice}; give each a name of its own.`)
  const rows = await Mixture.open(
    data.map((source, i) => ({
      name: names[i]!,
      path: source.path,
      weight: source.weight,
      limit: source.limit,
      imageRoot: source.image_root ?? undefined
    })),
    { shuffle: train.shuffle, seed: train.seed }
  )
  if (rows.length >= train.batch_size) return rows
  await rows.close()
  throw new Vlm2VecError(
    'E_OPTION',
    `train.batch_size is ${train.batch_size}, but there are only ${rows.length} rows of data: a row would be its own ` +
      'negative. Lower train.batch_size or add data.'
  )
}

export const nameOfSource = ({ name, path }: TrainOptions['data'][number]): string => name || path

/** Items to inputs; what is random about a picture depends on its row, its epoch and its place alone. */
function preparation({ data, train }: TrainOptions, processor: Processor): Prepare<MixtureRow> {
  const sources = new Map(data.map((source) => [nameOfSource(source), source]))
  const decoding = new ByteBudget() // prepared items are bounded by the batches that wait (batches.ts)
  return async (item, { source, where, epoch, row }, place) => {
    const { flip, crop } = sources.get(source)!
    const augment = flip > 0 || crop < 1 ? { flip, crop, seed: train.seed, epoch, row, item: place } : undefined
    const slot = decoding.open()
    try {
      return await processor.prepare(item, { imageRoot: '.', label: where, augment, slot })
    } finally {
      slot.keep(0)
    }
  }
}
