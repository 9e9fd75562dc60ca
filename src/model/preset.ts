/**
 * What a model or adapter directory remembers of how it was trained: `vlm2vec.json`, a small mapping of our own beside the
 * Hugging Face files. Python ignores it.
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

export const PRESET_FILE = 'vlm2vec.json'

/** Absent: the directory doesn't say. */
export interface Preset {
  prompt?: PromptStyle
  positions?: PositionRule
  /** of items that have no instruction of their own */
  instruction?: string
  /** pixels of a picture after resizing */
  minPixels?: number
  maxPixels?: number
  /** tokens of an item */
  maxLength?: number
  /** the first numbers of a vector, which are kept and normalised again */
  dimension?: number
}

const KEYS: { readonly [K in keyof Required<Preset>]: string } = {
  prompt: 'prompt',
  positions: 'positions',
  instruction: 'instruction',
  minPixels: 'min_pixels',
  maxPixels: 'max_pixels',
  maxLength: 'max_length',
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
  if (fields.has('prompt')) preset.prompt = fields.oneOf('prompt', PROMPT_STYLES)
  if (fields.has('positions')) preset.positions = fields.oneOf('positions', POSITION_RULES)
  const instruction = fields.string('instruction')
  if (instruction !== undefined) preset.instruction = instruction
  for (const name of ['minPixels', 'maxPixels', 'maxLength', 'dimension'] as const)
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
