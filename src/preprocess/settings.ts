/**
 * How a model's inputs are prepared and its vectors pooled: what options, the directory's own memory, its
 * sentence-transformers files, the preset and its Hugging Face files say, in this order.
 */
import { Vlm2VecError } from '../errors.js'
import { takesPictures, type ModelConfig } from '../model/config.js'
import {
  PRESET_FILE,
  readPreset,
  type FirstSize,
  type Pooling,
  type PositionRule,
  type Preset,
  type PresetName,
  type PromptStyle
} from '../model/preset.js'
import { framesLikePictures, presetValues } from '../model/presets.js'
import { recognise, type Recognised } from '../model/recognise.js'
import { readSentenceTransformers } from '../model/sentence-transformers.js'
import { DEFAULT_PIXEL_LIMIT } from './image.js'
import { readImageSettings, type ImageSettings, type Triple } from './image-settings.js'

/** What options, directories and presets may say. */
type Sayable = Omit<Preset, 'preset' | 'dimension'>
type Key = keyof Sayable

/** Absent: see `resolveSettings`. */
export type ProcessorOptions = { [K in Key as K extends 'positions' ? never : K]?: Sayable[K] | undefined } & {
  /** auto (the default): by what the directory holds */
  preset?: 'auto' | PresetName | undefined
  /** auto (the default): what the directory says, else sequential with the prompt vlm2vec and mrope otherwise */
  positions?: 'auto' | PositionRule | undefined
  /** pixels of a picture before resizing */
  pixelLimit?: number | undefined
  /** bytes that decoded pictures may take, which are kept for the next time; default 0 */
  pictureCache?: number | undefined
  /** a PEFT directory; what it remembers goes before what the model directory does */
  adapterDirectory?: string | undefined
}

export interface ProcessorSettings {
  preset: Recognised
  prompt: PromptStyle
  positions: PositionRule
  instruction: string | undefined
  separator: string
  /** undefined: the directory's own */
  chatTemplate: string | undefined
  generationPrompt: boolean
  instructionEnd: string | undefined
  emptyText: string | undefined
  suffix: string | undefined
  maxLength: number
  pixelLimit: number
  firstSize: FirstSize
  /** tiles of a picture at most, of models that cut pictures into as many as they are asked to */
  numCrops: number | undefined
  pooling: Pooling
  normalize: boolean
  image: ImageSettings['image']
  video: ImageSettings['video']
  fit: ImageSettings['fit']
  filter: ImageSettings['filter']
  mean: Triple
  std: Triple
  /** where each came from, in words: 'option', 'default', 'preset NAME', or the file */
  sources: { readonly [K in Key]: string }
}

/** E_OPTION: options that contradict each other. E_MODEL: a file of the directory says something that is not supported. */
export async function resolveSettings(
  directory: string,
  config: ModelConfig,
  options: ProcessorOptions
): Promise<ProcessorSettings> {
  const { preset, layers } = await layersOf(directory, config, options)
  const files = await readImageSettings(directory, config)
  const sized = takesPictures(config) && !files.fit
  if (!sized && (options.minPixels !== undefined || options.maxPixels !== undefined))
    throw new Vlm2VecError(
      'E_OPTION',
      `${files.fit ? 'The pictures of this model have one size' : `A ${config.family} model takes no pictures`}; ` +
        'leave minPixels and maxPixels out.'
    )
  if (files.numCrops === undefined && options.numCrops !== undefined)
    throw new Vlm2VecError('E_OPTION', 'This model does not cut pictures into a number of crops; leave numCrops out.')
  const sources: Partial<Record<Key, string>> = {}
  const first = <K extends Key, T>(key: K, fallback: T, source = 'default'): NonNullable<Sayable[K]> | T => {
    const layer = layers.find(({ says }) => says[key] !== undefined)
    sources[key] = layer?.source ?? source
    return (layer?.says[key] as NonNullable<Sayable[K]> | undefined) ?? fallback
  }
  const prompt = first('prompt', 'raw' as const)
  const sequential = prompt === 'vlm2vec' ? 'sequential' : 'mrope'
  const image = {
    minPixels: first('minPixels', files.image.minPixels, files.imageFile),
    maxPixels: first('maxPixels', files.image.maxPixels, files.imageFile)
  }
  const settings: ProcessorSettings = {
    preset,
    prompt,
    positions: first('positions', sequential, `default of the prompt ${prompt}`),
    instruction: first('instruction', undefined),
    separator: first('separator', ' '),
    chatTemplate: first('chatTemplate', undefined),
    generationPrompt: first('generationPrompt', true),
    instructionEnd: first('instructionEnd', undefined),
    emptyText: first('emptyText', undefined),
    suffix: first('suffix', undefined),
    maxLength: first('maxLength', config.text.maxPositions, 'config.json'),
    pixelLimit: options.pixelLimit ?? DEFAULT_PIXEL_LIMIT,
    firstSize: first('firstSize', 'none' as const),
    numCrops: first('numCrops', files.numCrops, files.imageFile),
    pooling: first('pooling', 'last' as const),
    normalize: first('normalize', true),
    image,
    video: files.video,
    fit: files.fit,
    filter: files.filter,
    mean: files.mean,
    std: files.std,
    sources: sources as ProcessorSettings['sources']
  }
  settings.video = videoBudget(settings, files)
  check(settings)
  const { window = Infinity } = config.text
  if (settings.maxLength > window)
    throw new Vlm2VecError(
      'E_OPTION',
      `maxLength ${settings.maxLength} (${sources.maxLength}): layers of this model attend to ${window} tokens at a time ` +
        '(sliding_window in config.json), which is not supported for longer items.'
    )
  return settings
}

function check({ image, sources, ...settings }: ProcessorSettings): void {
  checkRange('minPixels', image.minPixels)
  checkRange('maxPixels', image.maxPixels)
  for (const key of ['maxLength', 'pixelLimit', 'numCrops'] as const)
    if (settings[key] !== undefined) checkRange(key, settings[key])
  if (typeof settings.firstSize === 'number') checkRange('firstSize', settings.firstSize)
  if (image.minPixels > image.maxPixels)
    throw new Vlm2VecError(
      'E_OPTION',
      `At least ${image.minPixels} pixels (${sources.minPixels}) and at most ${image.maxPixels} (${sources.maxPixels}) ` +
        'cannot both hold; give minPixels and maxPixels together.'
    )
}

/** What was said of pictures as a whole holds for frames too; what a file or a preset says of pictures only does not. */
function videoBudget({ image, sources, preset }: ProcessorSettings, { video }: ImageSettings): ImageSettings['video'] {
  const holds = (source: string): boolean =>
    source === 'option' ||
    source.endsWith(PRESET_FILE) ||
    (source === sourceOf(preset.name) && framesLikePictures(preset.name))
  const maxPixels = holds(sources.maxPixels) ? image.maxPixels : video.maxPixels
  const minPixels = holds(sources.minPixels) ? image.minPixels : video.minPixels
  return { ...video, maxPixels, minPixels: Math.min(minPixels, maxPixels) }
}

interface Layer {
  says: Sayable
  source: string
}

const sourceOf = (name: PresetName): string => (name === 'plain' ? 'default' : `preset ${name}`)

/**
 * Options, then a preset that was asked for; else what the adapter directory and then the model directory remember, and the
 * preset that they need; sentence-transformers files of a directory that remembers nothing.
 */
async function layersOf(
  directory: string,
  { family, dual }: ModelConfig,
  options: ProcessorOptions
): Promise<{ preset: Recognised; layers: Layer[] }> {
  const { preset: asked = 'auto', positions, adapterDirectory, pixelLimit: _, pictureCache: __, ...rest } = options
  const own = { ...rest, ...(positions !== undefined && positions !== 'auto' && { positions }) }
  const places = [adapterDirectory, directory].filter((each) => each !== undefined)
  const preset: Recognised = asked === 'auto' ? await recognise(places) : { name: asked, reason: 'it was asked for' }
  const named: Layer = { says: presetValues(preset.name, family), source: sourceOf(preset.name) }
  const layers: Layer[] = [{ says: own as Sayable, source: 'option' }]
  if (asked !== 'auto') layers.push(named)
  for (const place of places) {
    const remembered = await readPreset(place)
    if (remembered) layers.push({ says: remembered, source: `${place}/${PRESET_FILE}` })
  }
  if (asked === 'auto' && preset.name !== 'plain') layers.push(named)
  const known = layers.some(({ source }) => source === `${directory}/${PRESET_FILE}`)
  const module = known || dual || asked !== 'auto' ? undefined : await readSentenceTransformers(directory)
  if (module) layers.push({ says: module, source: `${directory}/modules.json` })
  if (preset.name === 'plain') layers.push(named)
  return { preset, layers }
}

function checkRange(name: string, value: number): void {
  if (!Number.isSafeInteger(value) || value < 1)
    throw new Vlm2VecError('E_OPTION', `Expected a whole number of at least 1 for "${name}", received ${value}.`)
}
