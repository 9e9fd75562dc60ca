/** Options of every command that prepares items for a model. Null and auto: what the preset or the model directory says. */
import { boolean, either, integer, nullable, oneOf, option, string, type Values } from './options.js'

export const preparationOptions = {
  preset: option(
    oneOf('auto', 'vlm2vec-v1', 'vlm2vec-v2', 'qwen3-vl-embedding', 'gme', 'plain'),
    'auto',
    'how inputs are prepared and pooled, as a whole; auto: by what the directory holds (`inspect` says what and why)'
  ),
  positions: option(
    oneOf('auto', 'mrope', 'sequential'),
    'auto',
    'how picture tokens without <|vision_start|> are placed'
  ),
  instruction: option(nullable(string), null, 'for items that have none of their own'),
  suffix: option(nullable(string), null, 'put at the end of every prompt'),
  min_pixels: option(nullable(integer(1)), null, 'smaller pictures are enlarged to this'),
  max_pixels: option(nullable(integer(1)), null, 'larger pictures are reduced to this'),
  first_size: option(
    nullable(either(integer(1), oneOf('none', 'vlm2vec', 'qwen'))),
    null,
    'size that pictures are given first: a square of so many pixels a side, or the rule of VLM2Vec 2 or qwen-vl-utils'
  ),
  num_crops: option(nullable(integer(1)), null, 'most tiles that a picture is cut into, for models that cut pictures'),
  pixel_limit: option(
    nullable(integer(1)),
    null,
    'pictures with more pixels than this are refused; default: 256 million'
  ),
  max_length: option(nullable(integer(1)), null, 'longest item in tokens'),
  pooling: option(
    nullable(oneOf('last', 'mean', 'cls')),
    null,
    "which outputs become the vector: the last token's, the mean of all, the first token's"
  ),
  normalize: option(nullable(boolean), null, 'scale vectors to length 1')
}

export const promptStyle = option(
  oneOf('auto', 'raw', 'vlm2vec', 'chat'),
  'auto',
  "how prompts are put together; auto: the preset's"
)

export type PreparationValues = Values<typeof preparationOptions>

/** The same for `Processor.load` and `Embedder.load`. */
export function preparationOf(options: PreparationValues, prompt: 'auto' | 'raw' | 'vlm2vec' | 'chat') {
  return {
    preset: options.preset,
    prompt: prompt === 'auto' ? undefined : prompt,
    positions: options.positions,
    instruction: options.instruction ?? undefined,
    suffix: options.suffix ?? undefined,
    minPixels: options.min_pixels ?? undefined,
    maxPixels: options.max_pixels ?? undefined,
    firstSize: options.first_size ?? undefined,
    numCrops: options.num_crops ?? undefined,
    pixelLimit: options.pixel_limit ?? undefined,
    maxLength: options.max_length ?? undefined,
    pooling: options.pooling ?? undefined,
    normalize: options.normalize ?? undefined
  }
}
