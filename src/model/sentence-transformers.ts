/**
 * What the files of sentence-transformers say of a directory: pooling, normalisation, prompts, and whether everything becomes
 * a chat message. Forms of versions up to 5 and of version 6 (which since then has modalities).
 */
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Vlm2VecError } from '../errors.js'
import { TensorFile } from '../data/tensor-file.js'
import { readJsonObject, type Fields } from '../json-fields.js'
import type { Pooling, Preset } from './preset.js'

interface Module {
  /** `Transformer`, `Pooling`, ... */
  kind: string
  folder: string
}

/** Undefined: there are none, or their first module is code of the model's own. E_MODEL: a module that is not supported. */
export async function readSentenceTransformers(directory: string): Promise<Preset | undefined> {
  const modules = await readModules(directory)
  if (modules?.[0]?.kind !== 'Transformer') return undefined
  const says: Preset = { pooling: 'mean', normalize: false, ...(await promptsOf(directory)) }
  for (const { kind, folder } of modules.slice(1)) {
    const cut = kind === 'Dense' && !says.normalize ? await cutOf(folder) : undefined
    if (kind === 'Pooling') says.pooling = await poolingOf(folder)
    else if (kind === 'Normalize') says.normalize = true
    else if (cut !== undefined) says.dimension = cut
    else if (kind !== 'Dropout')
      throw new Vlm2VecError(
        'E_MODEL',
        `${join(directory, 'modules.json')}: the module ${kind} is not supported; Transformer, Pooling, Normalize, and a Dense ` +
          'that keeps the first numbers are. Ask for a preset (--preset plain) to leave these files alone.'
      )
  }
  return says
}

async function readModules(directory: string): Promise<Module[] | undefined> {
  const path = join(directory, 'modules.json')
  if (!existsSync(path)) return undefined
  const broken = (why: string): Vlm2VecError => new Vlm2VecError('E_MODEL', `${path}: ${why}.`)
  let json: unknown
  try {
    json = JSON.parse(await readFile(path, 'utf8'))
  } catch (cause) {
    throw broken(`not valid JSON (${(cause as Error).message})`)
  }
  if (!Array.isArray(json) || json.length === 0) throw broken('expected a list of modules')
  return (json as ({ type?: unknown; path?: unknown } | null)[]).map((module) => {
    if (typeof module?.type !== 'string' || typeof module.path !== 'string' || module.path.includes('..'))
      throw broken('each module needs a "type" and a "path"')
    return { kind: module.type.split('.').at(-1)!, folder: join(directory, module.path) }
  })
}

const MODES: Record<string, Pooling> = { lasttoken: 'last', mean: 'mean', cls: 'cls' }
const FLAGS: Record<string, Pooling> = {
  pooling_mode_lasttoken: 'last',
  pooling_mode_mean_tokens: 'mean',
  pooling_mode_cls_token: 'cls'
}

/** Version 6 names one mode, earlier ones have a flag for each. */
async function poolingOf(folder: string): Promise<Pooling> {
  const fields = await readJsonObject(join(folder, 'config.json'))
  if (!fields) throw new Vlm2VecError('E_MODEL', `${join(folder, 'config.json')}: no such file.`)
  const wanted = `one of ${Object.keys(MODES).join(', ')}`
  if (fields.has('pooling_mode')) {
    const mode = MODES[String(fields.raw('pooling_mode'))]
    if (!mode) throw fields.error('pooling_mode', wanted)
    return mode
  }
  const set = fields.keys().filter((key) => key.startsWith('pooling_mode_') && fields.boolean(key, false))
  if (set.length > 1 || (set[0] !== undefined && !FLAGS[set[0]])) throw fields.error(set.at(-1)!, `false (${wanted})`)
  return set[0] === undefined ? 'mean' : FLAGS[set[0]]!
}

/** How many numbers a linear layer keeps that does nothing but keep the first ones; undefined: it does something else. */
async function cutOf(folder: string): Promise<number | undefined> {
  const fields = await readJsonObject(join(folder, 'config.json'))
  const path = join(folder, 'model.safetensors')
  if (!fields || fields.boolean('bias', true) || !existsSync(path)) return undefined
  if (!/\bIdentity$/.test(fields.string('activation_function') ?? '')) return undefined
  const file = await TensorFile.open(path)
  try {
    const [rows, width] = file.shape('linear.weight') ?? []
    const weight = await file.numbers('linear.weight')
    const keeps = weight?.every((value, i) => value === (i % width! === Math.floor(i / width!) ? 1 : 0))
    return keeps && rows! <= width! ? rows : undefined
  } finally {
    await file.close()
  }
}

/** Texts get the default prompt in front, as it stands; messages get it as that of the system. */
async function promptsOf(directory: string): Promise<Preset> {
  const config = await readJsonObject(join(directory, 'config_sentence_transformers.json'))
  const name = config?.string('default_prompt_name')
  const instruction = name === undefined ? undefined : config?.nested('prompts')?.string(name)
  const transformer = await readJsonObject(join(directory, 'sentence_bert_config.json'))
  const messages = transformer?.nested('modality_config')?.has('message') ?? false
  return {
    ...(instruction !== undefined && { instruction }),
    ...(messages ? { prompt: 'chat', ...chatOf(transformer!) } : { prompt: 'raw', separator: '' })
  }
}

function chatOf(transformer: Fields): Preset {
  const options = transformer.nested('processing_kwargs')?.nested('chat_template')
  const template =
    options?.string('chat_template') ?? transformer.nested('processor_kwargs')?.string('chat_template') ?? undefined
  return {
    generationPrompt: options?.boolean('add_generation_prompt', false) ?? false,
    ...(template !== undefined && { chatTemplate: template })
  }
}
