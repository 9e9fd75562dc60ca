/**
 * Files that let `SentenceTransformer(directory)` (6.0) load a model directory and give the same vectors: all input as messages,
 * which a chat template turns into this model's prompts; pooling; a cut to the dimension; normalisation.
 */
import { existsSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { writeWhole } from '../atomic.js'
import { writeTensors } from '../data/safetensors.js'
import type { Processor } from '../preprocess/processor.js'
import { takesPictures } from './config.js'

const POOLING = { last: 'lasttoken', mean: 'mean', cls: 'cls' } as const

/** Why it cannot load this model with these settings; undefined: it can. */
export function unfitForSentenceTransformers({ config, rules, settings }: Processor): string | undefined {
  if (config.dual) return `it loads a ${config.family} directory as it is, and needs no files of its own`
  if (rules.imagePlaceholder !== undefined)
    return `the processor of a ${config.family} model is code that transformers lacks`
  if (isPlainText({ config, settings }) && settings.suffix)
    return 'it puts prompts in front of a text, but nothing behind; leave the suffix out'
  return undefined
}

/** Whether the tokenizer takes texts as they stand: what a template gives, transformers' tokenizers add nothing to. */
const isPlainText = ({ config, settings }: Pick<Processor, 'config' | 'settings'>): boolean =>
  !takesPictures(config) && settings.prompt !== 'chat'

/** Adds to `directory`, which holds a model that transformers loads. */
export async function writeSentenceTransformers(
  directory: string,
  processor: Processor,
  dimension: number
): Promise<void> {
  const { hiddenSize } = processor.config.text
  const { pooling, normalize } = processor.settings
  const instruction = promptOf(processor)
  const json = (name: string, value: unknown): Promise<void> =>
    writeWhole(join(directory, name), `${JSON.stringify(value, null, 2)}\n`)
  const kinds = [
    'Transformer',
    'Pooling',
    ...(dimension < hiddenSize ? ['Dense'] : []),
    ...(normalize ? ['Normalize'] : [])
  ]
  const modules = kinds.map((kind, idx) => ({
    idx,
    name: String(idx),
    path: idx === 0 ? '' : `${idx}_${kind}`,
    type: `sentence_transformers.models.${kind}`
  }))
  await json('modules.json', modules)
  await json('config_sentence_transformers.json', {
    __version__: {},
    model_type: 'SentenceTransformer',
    prompts: instruction === undefined ? {} : { default: instruction },
    default_prompt_name: instruction === undefined ? null : 'default',
    similarity_fn_name: 'cosine'
  })
  await json('sentence_bert_config.json', transformerConfig(processor))
  const { processorConfig } = processor.rules
  if (processorConfig && !existsSync(join(directory, 'processor_config.json')))
    await json('processor_config.json', processorConfig)
  for (const { path } of modules.slice(1)) await mkdir(join(directory, path), { recursive: true })
  // in the form that versions before 6 read too
  await json('1_Pooling/config.json', {
    word_embedding_dimension: hiddenSize,
    ...Object.fromEntries(
      ['cls_token', 'mean_tokens', 'max_tokens', 'mean_sqrt_len_tokens', 'weightedmean_tokens', 'lasttoken'].map(
        (mode) => [`pooling_mode_${mode}`, mode.replace(/_tokens?$/, '') === POOLING[pooling]]
      )
    ),
    include_prompt: true
  })
  if (dimension < hiddenSize) await writeCut(directory, hiddenSize, dimension)
  if (normalize) await json(`${modules.at(-1)!.path}/config.json`, {})
}

function promptOf(processor: Processor): string | undefined {
  const { instruction, separator } = processor.settings
  return instruction !== undefined && isPlainText(processor) ? instruction + separator : instruction
}

function transformerConfig(processor: Processor): object {
  const { config, settings } = processor
  const forward = { method: 'forward', method_output_name: 'last_hidden_state' }
  const outputs = { transformer_task: 'feature-extraction', module_output_name: 'token_embeddings' }
  if (isPlainText(processor)) return { ...outputs, modality_config: { text: forward } }
  const { image, sources } = settings
  const fromFile = [sources.minPixels, sources.maxPixels].every((source) => source.endsWith('processor_config.json'))
  const template = chatTemplate(processor)
  return {
    ...outputs,
    modality_config: {
      text: forward,
      ...(config.tokens.image >= 0 && { image: forward }),
      ...(config.tokens.video >= 0 && { video: forward }),
      message: { ...forward, format: 'structured' }
    },
    // pictures as Pillow resizes them; torchvision moves vectors by some thousandths
    ...(takesPictures(config) && { processor_kwargs: { use_fast: false } }),
    processing_kwargs: {
      chat_template: {
        add_generation_prompt: settings.prompt === 'chat' && settings.generationPrompt,
        ...(template !== undefined && { chat_template: template })
      },
      ...(!fromFile &&
        config.tokens.image >= 0 && {
          image: { size: { shortest_edge: image.minPixels, longest_edge: image.maxPixels } }
        })
    }
  }
}

/** Undefined: the directory's own template does it. */
function chatTemplate({ settings, placeholders, chatTemplate: own }: Processor): string | undefined {
  const end = settings.suffix === undefined ? '' : `{{- ${JSON.stringify(settings.suffix)} -}}`
  if (settings.prompt === 'chat')
    return settings.chatTemplate !== undefined || end !== '' ? own!.source + end : undefined
  // Of what only this package does with pictures, other numbers would come out.
  const reason =
    settings.positions === 'sequential'
      ? 'its positions of pictures'
      : settings.firstSize === 'none' || settings.firstSize === 'vlm2vec'
        ? undefined
        : 'its first resize of pictures'
  const refuse = `{{- raise_exception("sentence-transformers does not have ${reason}: embed pictures with vlm2vec-native") -}}`
  const front = (kind: 'image' | 'video'): string => JSON.stringify(`${placeholders![kind]} `)
  return [
    '{%- set ns = namespace(instruction="", text="", images="", videos="") -%}',
    '{%- for message in messages -%}',
    '{%- set parts = [{"type": "text", "text": message.content}] if message.content is string else message.content -%}',
    '{%- for part in parts -%}',
    `{%- if part.type == "image" -%}{%- set ns.images = ns.images + ${front('image')} -%}`,
    `{%- elif part.type == "video" -%}{%- set ns.videos = ns.videos + ${front('video')} -%}`,
    '{%- elif message.role == "system" -%}{%- set ns.instruction = ns.instruction + part.text -%}',
    '{%- else -%}{%- set ns.text = ns.text + part.text -%}{%- endif -%}',
    '{%- endfor -%}{%- endfor -%}',
    ...(reason === undefined ? [] : [`{%- if ns.images or ns.videos -%}${refuse}{%- endif -%}`]),
    `{%- set between = ${JSON.stringify(settings.separator)} if ns.instruction and ns.text else "" -%}`,
    '{%- set body = ns.instruction + between + ns.text -%}',
    ...(['video', 'image'] as const).map(
      (kind) =>
        `{%- if ${JSON.stringify(placeholders![kind])} not in body -%}{%- set body = ns.${kind}s + body -%}{%- endif -%}`
    ),
    `{{- body -}}${end}`
  ].join('')
}

/** A linear layer that keeps the first numbers. */
async function writeCut(directory: string, from: number, to: number): Promise<void> {
  const config = {
    in_features: from,
    out_features: to,
    bias: false,
    activation_function: 'torch.nn.modules.linear.Identity'
  }
  await writeWhole(join(directory, '2_Dense/config.json'), `${JSON.stringify(config, null, 2)}\n`)
  const weight = new Float32Array(to * from)
  for (let row = 0; row < to; row++) weight[row * from + row] = 1
  await writeTensors(join(directory, '2_Dense/model.safetensors'), (add) =>
    add({ name: 'linear.weight', shape: [to, from], data: weight })
  )
}
