/**
 * How a model's inputs are prepared and its output becomes a vector, and what a model or adapter directory remembers of it:
 * `vlm2vec.json`, a small mapping of our own beside the Hugging Face files. Python ignores it.
 */
import { join } from 'node:path'
import { writeWhole } from '../atomic.js'
import { Vlm2VecError } from '../errors.js'
import { readJsonObject } from '../json-fields.js'

export const PROMPT_STYLES = ['raw', 'vlm2vec', 'chat'] as const
/** How an item becomes a prompt; see preprocess/prompt.ts. */
export type PromptStyle = (typeof PROMPT_STYLES)[number]

export const POSITION_RULES = ['mrope', 'sequential'] as const
/** How the tokens of pictures are placed; see preprocess/positions.ts. */
export type PositionRule = (typeof POSITION_RULES)[number]

export const POOLINGS = ['last', 'mean', 'cls'] as const
/** Which outputs of the text model become the vector: that of the last token, the mean of all, that of the first token. */
export type Pooling = (typeof POOLINGS)[number]

/** The size that a picture is given before the model's own rule; see preprocess/first-size.ts. */
export type FirstSize = 'none' | 'vlm2vec' | 'qwen' | number

export const PRESETS = ['vlm2vec-v1', 'vlm2vec-v2', 'qwen3-vl-embedding', 'gme', 'plain'] as const
export type PresetName = (typeof PRESETS)[number]

export const PRESET_FILE = 'vlm2vec.json'

/** Absent: nothing is said of it. */
export interface Preset {
  /** the preset that what is absent is taken from */
  preset?: PresetName
  prompt?: PromptStyle
  positions?: PositionRule
  /** of items that have no instruction of their own */
  instruction?: string
  /** between instruction and text of the prompts raw and vlm2vec; a space where nothing is said */
  separator?: string
  /** of the prompt `chat`, instead of the directory's own */
  chatTemplate?: string
  /** whether the prompt `chat` ends with the beginning of an answer; it does where nothing is said */
  generationPrompt?: boolean
  /** added to an instruction of the prompt `chat` that doesn't end in punctuation */
  instructionEnd?: string
  /** the user's message of the prompt `chat` where an item has neither text nor pictures */
  emptyText?: string
  /** put at the end of every prompt */
  suffix?: string
  /** pixels of a picture after resizing */
  minPixels?: number
  maxPixels?: number
  firstSize?: FirstSize
  /** most tiles that a picture is cut into, for models that cut pictures */
  numCrops?: number
  /** tokens of an item */
  maxLength?: number
  pooling?: Pooling
  /** whether vectors are scaled to length 1 */
  normalize?: boolean
  /** the first numbers of a vector, which are kept and normalised again */
  dimension?: number
}

const KEYS: { readonly [K in keyof Required<Preset>]: string } = {
  preset: 'preset',
  prompt: 'prompt',
  positions: 'positions',
  instruction: 'instruction',
  separator: 'separator',
  chatTemplate: 'chat_template',
  generationPrompt: 'generation_prompt',
  instructionEnd: 'instruction_end',
  emptyText: 'empty_text',
  suffix: 'suffix',
  minPixels: 'min_pixels',
  maxPixels: 'max_pixels',
  firstSize: 'first_size',
  numCrops: 'num_crops',
  maxLength: 'max_length',
  pooling: 'pooling',
  normalize: 'normalize',
  dimension: 'dimension'
}

/** Undefined: the directory has no vlm2vec.json. E_MODEL: unknown keys or values. */
export async function readPreset(directory: string): Promise<Preset | undefined> {
  const fields = await readJsonObject(join(directory, PRESET_FILE))
  if (!fields) return undefined
  const known = Object.values(KEYS)
  const unknown = fields.keys().find((key) => !known.includes(key))
  if (unknown !== undefined)
    throw new Vlm2VecError('E_MODEL', `${fields.file}: unknown key "${unknown}"; known are ${known.join(', ')}.`)
  const preset: Preset = {}
  if (fields.has('preset')) preset.preset = fields.oneOf('preset', PRESETS)
  if (fields.has('prompt')) preset.prompt = fields.oneOf('prompt', PROMPT_STYLES)
  if (fields.has('positions')) preset.positions = fields.oneOf('positions', POSITION_RULES)
  if (fields.has('pooling')) preset.pooling = fields.oneOf('pooling', POOLINGS)
  for (const name of ['normalize', 'generationPrompt'] as const)
    if (fields.has(KEYS[name])) preset[name] = fields.boolean(KEYS[name], true)
  if (fields.has('first_size'))
    preset.firstSize =
      typeof fields.raw('first_size') === 'number'
        ? fields.integer('first_size', { min: 1 })
        : fields.oneOf('first_size', ['none', 'vlm2vec', 'qwen'])
  for (const name of ['instruction', 'separator', 'chatTemplate', 'instructionEnd', 'emptyText', 'suffix'] as const) {
    const text = fields.string(KEYS[name])
    if (text !== undefined) preset[name] = text
  }
  for (const name of ['minPixels', 'maxPixels', 'numCrops', 'maxLength', 'dimension'] as const)
    if (fields.has(KEYS[name])) preset[name] = fields.integer(KEYS[name], { min: 1 })
  return preset
}

/** Writes vlm2vec.json, whole or not at all. */
export async function writePreset(directory: string, preset: Preset): Promise<void> {
  const named = Object.entries(preset)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => [KEYS[name as keyof Preset], value] as const)
  await writeWhole(join(directory, PRESET_FILE), `${JSON.stringify(Object.fromEntries(named), null, 2)}\n`)
}
