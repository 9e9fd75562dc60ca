/** PEFT adapter directories: adapter_config.json and adapter_model.safetensors, LoRA and DoRA. */
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Vlm2VecError } from '../errors.js'
import type { AdapterModule, LinearModule } from '../native.js'
import { isAllLinear, patternValue, selects, type ModuleSelection } from './module-pattern.js'
import { CANONICAL_TREE, spell, type ModuleTree } from './module-tree.js'
import { asSafetensors } from './pickled-weights.js'

export interface AdapterConfig extends ModuleSelection {
  rank: number
  alpha: number
  /** of the input of each adapter while training, 0 to 1 */
  dropout: number
  dora: boolean
  /** scale by alpha / sqrt(rank) instead of alpha / rank */
  rslora: boolean
  rankPattern: Record<string, number>
  alphaPattern: Record<string, number>
  initialization: 'kaiming' | 'gaussian'
  baseModel?: string | undefined
}

export interface AdapterFiles {
  directory: string
  config: string
  weights: string
}

/** The files of an adapter in DIR or DIR/lora (where VLM2Vec's repositories keep it); undefined where there is none. */
export function findAdapter(directory: string): AdapterFiles | undefined {
  const found = [directory, join(directory, 'lora')].find((each) => existsSync(join(each, 'adapter_config.json')))
  if (found === undefined) return undefined
  return {
    directory: found,
    config: join(found, 'adapter_config.json'),
    weights: join(found, 'adapter_model.safetensors')
  }
}

/**
 * As `findAdapter`; E_MODEL where there is no adapter or its weights are missing. Weights that are only there as
 * adapter_model.bin are read too (E_CHECKPOINT where that is damaged or holds anything but tensors).
 */
export async function requireAdapter(directory: string): Promise<AdapterFiles> {
  const files = findAdapter(directory)
  if (!files)
    throw new Vlm2VecError(
      'E_MODEL',
      `${directory} holds no adapter: there is no adapter_config.json in it or in its folder lora.`
    )
  if (existsSync(files.weights)) return files
  const pickled = join(files.directory, 'adapter_model.bin')
  if (existsSync(pickled)) return { ...files, weights: await asSafetensors(pickled) }
  throw new Vlm2VecError(
    'E_MODEL',
    `${files.directory}: adapter_model.safetensors (or adapter_model.bin) is missing; it is incomplete.`
  )
}

/** What PEFT can be told and this engine cannot do: other numbers would come out, so it is refused. */
const UNSUPPORTED = [
  'modules_to_save',
  'layer_replication',
  'trainable_token_indices',
  'target_parameters',
  'alora_invocation_tokens',
  'use_qalora',
  'use_bdlora',
  'arrow_config',
  'kasa_config',
  'monteclora_config',
  'velora_config',
  'lora_bias'
]

/** These initialisations leave the base weights as they are; others (pissa, olora, loftq, ...) change them on loading. */
const HARMLESS_INITIALIZATIONS: unknown[] = [true, false, null, undefined, 'gaussian', 'eva', 'orthogonal']

/** Reads adapter_config.json. Unknown keys are ignored, as PEFT writes new ones with every version. */
export async function readAdapterConfig({ config: path }: AdapterFiles): Promise<AdapterConfig> {
  const json = await readJson(path)
  const refuse = (what: string): never => {
    throw new Vlm2VecError('E_MODEL', `${path}: ${what}.`)
  }
  if (json['peft_type'] !== 'LORA')
    refuse(`peft_type is ${JSON.stringify(json['peft_type'])}; only "LORA" is supported`)
  if ((json['bias'] ?? 'none') !== 'none') refuse(`bias is ${JSON.stringify(json['bias'])}; only "none" is supported`)
  for (const key of UNSUPPORTED) if (isSet(json[key])) refuse(`${key} is set, which is not supported`)
  if (!HARMLESS_INITIALIZATIONS.includes(json['init_lora_weights']))
    refuse(
      `init_lora_weights ${JSON.stringify(json['init_lora_weights'])} changes base weights, which is not supported`
    )
  const positive = (key: string): number => {
    const value = json[key]
    return typeof value === 'number' && value > 0
      ? value
      : refuse(`${key} must be a number above 0, not ${JSON.stringify(value)}`)
  }
  const target = json['target_modules']
  if (!isNames(target)) refuse(`target_modules must be a list of names or a regular expression`)
  const exclude = json['exclude_modules']
  const layers = json['layers_to_transform']
  const layersPattern = json['layers_pattern']
  return {
    rank: positive('r'),
    alpha: positive('lora_alpha'),
    dropout: Number(json['lora_dropout'] ?? 0),
    dora: json['use_dora'] === true,
    rslora: json['use_rslora'] === true,
    targetModules: target as string | string[],
    excludeModules: isNames(exclude) ? exclude : undefined,
    layersToTransform: layers === null || layers === undefined ? undefined : ([layers].flat() as number[]),
    layersPattern: isNames(layersPattern) ? [layersPattern].flat() : undefined,
    rankPattern: (json['rank_pattern'] ?? {}) as Record<string, number>,
    alphaPattern: (json['alpha_pattern'] ?? {}) as Record<string, number>,
    initialization: json['init_lora_weights'] === 'gaussian' ? 'gaussian' : 'kaiming',
    baseModel: typeof json['base_model_name_or_path'] === 'string' ? json['base_model_name_or_path'] : undefined
  }
}

export interface AdapterTargets {
  modules: AdapterModule[]
  /** entries of a target list that match no module; PEFT allows them, and they may be slips */
  unmatched: string[]
}

/**
 * The modules that an adapter works on. Names are compared as they are spelled in `tree`, the module tree that the adapter
 * was trained in. Where nothing matches, the fault is that of the adapter's files (E_MODEL) or of who asked for a new one
 * (E_OPTION).
 */
export function adapterTargets(
  config: AdapterConfig,
  linear: LinearModule[],
  tree: ModuleTree = CANONICAL_TREE,
  fault: 'E_MODEL' | 'E_OPTION' = 'E_MODEL'
): AdapterTargets {
  const chosen = linear.filter((module) => selects(config, spell(module, tree)))
  if (chosen.length === 0) {
    const suffixes = [...new Set(linear.map(({ name }) => name.split('.').slice(-2).join('.')))]
    throw new Vlm2VecError(
      fault,
      `The adapter's target_modules ${JSON.stringify(config.targetModules)} match no module of this model. ` +
        `Its linear modules end in: ${suffixes.join(', ')}; a full name is ${linear[0]?.name ?? 'missing'}.`
    )
  }
  const modules = chosen.map((module) => {
    const spelled = spell(module, tree)
    const rank = patternValue(config.rankPattern, spelled) ?? config.rank
    const alpha = patternValue(config.alphaPattern, spelled) ?? config.alpha
    return { module: module.name, rank, scale: alpha / (config.rslora ? Math.sqrt(rank) : rank), dora: config.dora }
  })
  const entries = Array.isArray(config.targetModules) ? config.targetModules : []
  const unmatched = entries.filter(
    (entry) => !linear.some((module) => selects({ targetModules: [entry] }, spell(module, tree)))
  )
  return { modules, unmatched }
}

/** adapter_config.json as peft 0.21 reads it, for weights that are written by the names of transformers 5. */
export function adapterConfigJson(
  config: AdapterConfig,
  linear: LinearModule[],
  tree: ModuleTree = CANONICAL_TREE
): string {
  const { modules } = adapterTargets(config, linear, tree)
  const portable = isPortable(config, modules, linear) ? config : spelledOut(config, modules, { linear, tree })
  const json = {
    peft_type: 'LORA',
    base_model_name_or_path: config.baseModel ?? null,
    task_type: null,
    inference_mode: true,
    bias: 'none',
    fan_in_fan_out: false,
    r: portable.rank,
    lora_alpha: portable.alpha,
    lora_dropout: portable.dropout,
    use_dora: portable.dora,
    use_rslora: portable.rslora,
    init_lora_weights: portable.initialization === 'gaussian' ? 'gaussian' : true,
    target_modules: portable.targetModules,
    exclude_modules: portable.excludeModules ?? null,
    layers_to_transform: portable.layersToTransform ?? null,
    layers_pattern: portable.layersPattern ?? null,
    rank_pattern: portable.rankPattern,
    alpha_pattern: portable.alphaPattern,
    modules_to_save: null
  }
  return `${JSON.stringify(json, null, 2)}\n`
}

/** Whether the patterns mean the same modules by the names of transformers 5. */
function isPortable(config: AdapterConfig, modules: AdapterModule[], linear: LinearModule[]): boolean {
  if (isAllLinear(config.targetModules)) return false
  try {
    return JSON.stringify(adapterTargets(config, linear).modules) === JSON.stringify(modules)
  } catch {
    return false
  }
}

/** The same adapter with every module named in full. */
function spelledOut(
  config: AdapterConfig,
  modules: AdapterModule[],
  { linear, tree }: { linear: LinearModule[]; tree: ModuleTree }
): AdapterConfig {
  const escape = (name: string): string => name.replaceAll('.', '\\.')
  const alphas = modules.map(({ module }) => [
    module,
    patternValue(
      config.alphaPattern,
      spell(
        linear.find(({ name }) => name === module)!,
        tree
      )
    ) ?? config.alpha
  ])
  return {
    ...config,
    targetModules: modules.map(({ module }) => module),
    excludeModules: undefined,
    layersToTransform: undefined,
    layersPattern: undefined,
    rankPattern: Object.fromEntries(
      modules.filter(({ rank }) => rank !== config.rank).map(({ module, rank }) => [escape(module), rank])
    ),
    alphaPattern: Object.fromEntries(
      (alphas as [string, number][])
        .filter(([, alpha]) => alpha !== config.alpha)
        .map(([name, alpha]) => [escape(name), alpha])
    )
  }
}

const isSet = (value: unknown): boolean =>
  value !== undefined && value !== null && value !== false && !(Array.isArray(value) && value.length === 0)

const isNames = (value: unknown): value is string | string[] =>
  typeof value === 'string' || (Array.isArray(value) && value.every((each) => typeof each === 'string'))

async function readJson(path: string): Promise<Record<string, unknown>> {
  try {
    return JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>
  } catch (cause) {
    throw new Vlm2VecError('E_MODEL', `${path} is not valid JSON: ${(cause as Error).message}.`, { cause })
  }
}
