/** `export`: a model with its adapter merged, as a directory for transformers or sentence-transformers. */
import { defineCommand } from '../command.js'
import { integer, nullable, oneOf, option, path, required } from '../options.js'
import { loadEmbedder, modelOptions, promptOptions } from './model-options.js'

export const command = defineCommand({
  options: {
    model: modelOptions.model,
    adapter: option(modelOptions.adapter.check, null, 'PEFT directory, which is merged into the weights'),
    output: required(path, 'directory to write; it must not hold anything yet'),
    format: option(
      oneOf('huggingface', 'sentence-transformers'),
      'huggingface',
      'files for transformers, or also those of sentence-transformers'
    ),
    dimension: option(nullable(integer(1)), null, 'the exported model keeps the first N numbers of each vector'),
    dtype: option(
      oneOf('base', 'f32', 'bf16'),
      'base',
      'number type of the written weights; base: as in the base model'
    ),
    ...promptOptions
  },
  examples: ['export --model base-dir --adapter runs/x/final --output merged'],
  run: async ({ dtype, format, output, ...options }, context) => {
    const embedder = await loadEmbedder({ ...options, dtype: 'f32', quantize: 'none' }, context)
    try {
      const { exportModel } = await import('../model/export.js')
      await exportModel(embedder, output, { format, dtype, name: options.model })
    } finally {
      await embedder.close()
    }
    if (options.json) await context.print(JSON.stringify({ output, format, dimension: embedder.dimension }))
    else context.log.info(`${output}: written in the form of ${format}.`)
  }
})
