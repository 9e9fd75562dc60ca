/** How a model directory's inputs are prepared: what options, the directory's own memory and its Hugging Face files say. */
import { Vlm2VecError } from '../errors.js'
import type { ModelConfig } from '../model/config.js'
import { readPreset, PRESET_FILE, type PositionRule, type Preset, type PromptStyle } from '../model/preset.js'
import { DEFAULT_PIXEL_LIMIT } from './image.js'
import { readImageSettings, type ImageSettings, type Triple } from './image-settings.js'

export interface ProcessorOptions {
  prompt?: PromptStyle | undefined
  /** auto (the default): what the directory says, else sequential with the prompt vlm2vec and mrope otherwise */
  positions?: 'auto' | PositionRule | undefined
  /** pixels of a picture after resizing */
  minPixels?: number | undefined
  maxPixels?: number | undefined
  /** tokens of an item; default: what the model takes */
  maxLength?: number | undefined
  /** pixels of a picture before resizing */
  pixelLimit?: number | undefined
  /** of items that have none of their own */
  instruction?: string | undefined
  /** bytes that decoded pictures may take, which are kept for the next time; default 0 */
  pictureCache?: number | undefined
  /** a PEFT directory; what it remembers goes before what the model directory does */
  adapterDirectory?: string | undefined
}

export interface ProcessorSettings {
  prompt: PromptStyle
  positions: PositionRule
  instruction: string | undefined
  maxLength: number
  pixelLimit: number
  image: ImageSettings['image']
  video: ImageSettings['video']
  filter: ImageSettings['filter']
  mean: Triple
  std: Triple
  /** where each came from, in words: 'option', 'default' or the file */
  sources: { readonly [K in 'prompt' | 'positions' | 'instruction' | 'maxLength' | 'minPixels' | 'maxPixels']: string }
}

/** E_OPTION: options that contradict each other. E_MODEL: a file of the directory says something that is not supported. */
export async function resolveSettings(
  directory: string,
  config: ModelConfig,
  options: ProcessorOptions
): Promise<ProcessorSettings> {
  const layers = await presetLayers(directory, options)
  const files = await readImageSettings(directory, config)
  const prompt = first<PromptStyle>(layers, 'prompt', { value: 'raw', source: 'default' })
  const positions = first<PositionRule>(layers, 'positions', {
    value: prompt.value === 'vlm2vec' ? 'sequential' : 'mrope',
    source: `default of the prompt ${prompt.value}`
  })
  const instruction = first<string | undefined>(layers, 'instruction', { value: undefined, source: 'default' })
  const maxLength = first(layers, 'maxLength', { value: config.text.maxPositions, source: 'config.json' })
  const minPixels = first(layers, 'minPixels', { value: files.image.minPixels, source: files.imageFile })
  const maxPixels = first(layers, 'maxPixels', { value: files.image.maxPixels, source: files.imageFile })
  checkRange('minPixels', minPixels.value)
  checkRange('maxPixels', maxPixels.value)
  checkRange('maxLength', maxLength.value)
  if (minPixels.value > maxPixels.value)
    throw new Vlm2VecError(
      'E_OPTION',
      `At least ${minPixels.value} pixels (${minPixels.source}) and at most ${maxPixels.value} (${maxPixels.source}) ` +
        'cannot both hold; give minPixels and maxPixels together.'
    )
  const pixelLimit = options.pixelLimit ?? DEFAULT_PIXEL_LIMIT
  checkRange('pixelLimit', pixelLimit)
  return {
    prompt: prompt.value,
    positions: positions.value,
    instruction: instruction.value,
    maxLength: maxLength.value,
    pixelLimit,
    image: { minPixels: minPixels.value, maxPixels: maxPixels.value },
    video: videoBudget(files, minPixels, maxPixels),
    filter: files.filter,
    mean: files.mean,
    std: files.std,
    sources: {
      prompt: prompt.source,
      positions: positions.source,
      instruction: instruction.source,
      maxLength: maxLength.source,
      minPixels: minPixels.source,
      maxPixels: maxPixels.source
    }
  }
}

interface Sourced {
  value: number
  source: string
}

/** What was said of pictures as a whole holds for frames too; what a file says of pictures only does not. */
function videoBudget({ video, imageFile }: ImageSettings, min: Sourced, max: Sourced): ImageSettings['video'] {
  const maxPixels = max.source === imageFile ? video.maxPixels : max.value
  const minPixels = min.source === imageFile ? video.minPixels : min.value
  return { ...video, maxPixels, minPixels: Math.min(minPixels, maxPixels) }
}

type Layer = { preset: Preset; source: string }

/** Options, then the adapter directory, then the model directory. */
async function presetLayers(directory: string, options: ProcessorOptions): Promise<Layer[]> {
  const { positions, adapterDirectory, pixelLimit: _, ...rest } = options
  const own = { ...rest, ...(positions === undefined || positions === 'auto' ? {} : { positions }) } as Preset
  const layers: Layer[] = [{ preset: own, source: 'option' }]
  for (const place of [adapterDirectory, directory]) {
    const preset = place === undefined ? undefined : await readPreset(place)
    if (preset) layers.push({ preset, source: `${place}/${PRESET_FILE}` })
  }
  return layers
}

function first<T extends Preset[keyof Preset]>(
  layers: readonly Layer[],
  key: keyof Preset,
  fallback: { value: T; source: string }
): { value: T; source: string } {
  const layer = layers.find(({ preset }) => preset[key] !== undefined)
  return layer ? { value: layer.preset[key] as T, source: layer.source } : fallback
}

function checkRange(name: string, value: number): void {
  if (!Number.isSafeInteger(value) || value < 1)
    throw new Vlm2VecError('E_OPTION', `Expected a whole number of at least 1 for "${name}", received ${value}.`)
}
