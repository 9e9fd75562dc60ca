/** Options of commands that load a model and prepare items for it. */
import type { CommandContext } from '../command.js'
import type { Embedder } from '../index.js'
import { modelPath, nullable, oneOf, option, path, required, type Values } from '../options.js'
import { preparationOf, preparationOptions, promptStyle } from '../prompt-options.js'

export const modelOptions = {
  model: required(modelPath, 'directory in Hugging Face layout, or hub id (owner/name[@revision])'),
  adapter: option(nullable(modelPath), null, 'PEFT directory or hub id'),
  dtype: option(oneOf('f32', 'bf16'), 'f32', 'number type of computing'),
  quantize: option(oneOf('none', 'int8', 'nf4'), 'none', 'hold linear layers in 8 or 4 bits a number')
}

/** How an item becomes the model's input. */
export const promptOptions = {
  prompt: promptStyle,
  ...preparationOptions,
  image_root: option(
    nullable(path),
    null,
    'folder that relative paths of pictures start from; default: that of the file'
  )
}

export type PromptValues = Values<typeof promptOptions>

/** The same for `Processor.load` and `Embedder.load`. */
export const preparation = (options: PromptValues) => preparationOf(options, options.prompt)

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
