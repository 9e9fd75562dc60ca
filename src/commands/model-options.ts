/** Options of commands that load a model and prepare items for it. */
import type { CommandContext } from '../command.js'
import type { Embedder } from '../index.js'
import { integer, modelPath, nullable, oneOf, option, path, required, string, type Values } from '../options.js'

export const modelOptions = {
  model: required(modelPath, 'directory in Hugging Face layout, or hub id (owner/name[@revision])'),
  adapter: option(nullable(modelPath), null, 'PEFT directory or hub id'),
  dtype: option(oneOf('f32', 'bf16'), 'f32', 'number type of computing'),
  quantize: option(oneOf('none', 'int8', 'nf4'), 'none', 'hold linear layers in 8 or 4 bits a number')
}

/** How an item becomes the model's input. Null: what the model directory says. */
export const promptOptions = {
  prompt: option(
    oneOf('auto', 'raw', 'vlm2vec', 'chat'),
    'auto',
    "how prompts are put together; auto: the model's own, else raw"
  ),
  positions: option(
    oneOf('auto', 'mrope', 'sequential'),
    'auto',
    'how picture tokens without <|vision_start|> are placed'
  ),
  instruction: option(nullable(string), null, 'for items that have none of their own'),
  min_pixels: option(nullable(integer(1)), null, "smaller pictures are enlarged to this; default: the model's"),
  max_pixels: option(nullable(integer(1)), null, "larger pictures are reduced to this; default: the model's"),
  pixel_limit: option(
    nullable(integer(1)),
    null,
    'pictures with more pixels than this are refused; default: 256 million'
  ),
  max_length: option(nullable(integer(1)), null, 'longest item in tokens; default: what the model takes'),
  image_root: option(
    nullable(path),
    null,
    'folder that relative paths of pictures start from; default: that of the file'
  )
}

export type PromptValues = Values<typeof promptOptions>

/** The same for `Processor.load` and `Embedder.load`. */
export function preparation(options: PromptValues) {
  const { prompt, positions, instruction, min_pixels, max_pixels, pixel_limit, max_length } = options
  return {
    prompt: prompt === 'auto' ? undefined : prompt,
    positions,
    instruction: instruction ?? undefined,
    minPixels: min_pixels ?? undefined,
    maxPixels: max_pixels ?? undefined,
    pixelLimit: pixel_limit ?? undefined,
    maxLength: max_length ?? undefined
  }
}

export type LoadValues = Values<typeof modelOptions> & PromptValues & { device: string; threads: number }

export interface EmbedValues extends LoadValues {
  dimension?: number | null
  batch_tokens?: number
}

export async function loadEmbedder(
  options: EmbedValues,
  { log, signal }: Pick<CommandContext, 'log' | 'signal'>
): Promise<Embedder> {
  const { Embedder } = await import('../index.js')
  return Embedder.load(options.model, {
    ...preparation(options),
    log,
    signal,
    adapter: options.adapter,
    dtype: options.dtype,
    quantize: options.quantize,
    device: options.device,
    threads: options.threads,
    ...(options.dimension !== undefined && { dimension: options.dimension }),
    ...(options.batch_tokens !== undefined && { batchTokens: options.batch_tokens })
  })
}
