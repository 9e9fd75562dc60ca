/**
 * Writes a small random Qwen2-VL: the files of a real checkpoint, at sizes at which tests take milliseconds.
 *
 *   node scripts/tiny-model.mjs DIRECTORY [--seed 1] [--scale 8] [--hidden 64] [--layers 2] [--naming hub] [--shards 1] ...
 *
 * With `scale` 1, weights have the usual deviation of 0.02, which hides errors (every layer is nearly the identity); tests
 * use 8.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { tinyTokenizer } from './tiny-tokenizer.mjs'

export const TINY_DEFAULTS = {
  seed: 1,
  scale: 8,
  /** text model */
  hidden: 64,
  intermediate: 96,
  layers: 2,
  heads: 4,
  kvHeads: 2,
  /** vision tower */
  depth: 2,
  embed: 32,
  visionHeads: 2,
  patch: 14,
  minPixels: 784,
  maxPixels: 50176,
  maxPositions: 4096,
  tied: true,
  /** names of tensors: hub (published checkpoints), transformers-5, bare */
  naming: 'hub',
  /** spelling of config.json: flat, nested, rope-parameters */
  form: 'flat',
  dtype: 'f32',
  shards: 1
}

/**
 * Writes the directory and returns the options that it was written with.
 *
 * @param {string} directory
 * @param {Partial<typeof TINY_DEFAULTS>} given
 */
export function writeTinyModel(directory, given = {}) {
  const unknown = Object.keys(given).filter((key) => !(key in TINY_DEFAULTS))
  if (unknown.length > 0) throw new Error(`Unknown options ${unknown}; known: ${Object.keys(TINY_DEFAULTS)}`)
  const options = { ...TINY_DEFAULTS, ...given }
  const tokenizer = tinyTokenizer()
  mkdirSync(directory, { recursive: true })
  const json = (name, value) => writeFileSync(join(directory, name), `${JSON.stringify(value, null, 2)}\n`)
  json('config.json', tinyConfig(options, tokenizer))
  json('tokenizer.json', tokenizer.json)
  json('tokenizer_config.json', tokenizerConfig(tokenizer))
  json('preprocessor_config.json', preprocessorConfig(options))
  json('chat_template.json', { chat_template: CHAT_TEMPLATE })
  writeWeights(directory, tinyTensors(options, tokenizer.size), options)
  return options
}

const CHAT_TEMPLATE =
  "{% for message in messages %}<|im_start|>{{ message['role'] }}\n" +
  "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}" +
  "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>" +
  "{% elif part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>" +
  "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}" +
  '{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}'

// ---- configuration files ---------------------------------------------------------------------------------------------

function tinyConfig(options, { ids, size }) {
  const half = options.hidden / options.heads / 2
  const section = [half - 2 * Math.floor((half * 3) / 8), Math.floor((half * 3) / 8), Math.floor((half * 3) / 8)]
  const rope =
    options.form === 'rope-parameters'
      ? { rope_parameters: { rope_type: 'default', rope_theta: 1e6, mrope_section: section } }
      : { rope_theta: 1e6, rope_scaling: { type: 'mrope', mrope_section: section } }
  const text = {
    hidden_act: 'silu',
    hidden_size: options.hidden,
    intermediate_size: options.intermediate,
    max_position_embeddings: options.maxPositions,
    num_attention_heads: options.heads,
    num_hidden_layers: options.layers,
    num_key_value_heads: options.kvHeads,
    rms_norm_eps: 1e-6,
    use_sliding_window: false,
    vocab_size: size,
    ...rope
  }
  return {
    architectures: ['Qwen2VLForConditionalGeneration'],
    model_type: 'qwen2_vl',
    ...(options.form === 'flat' ? text : { text_config: { model_type: 'qwen2_vl_text', ...text } }),
    bos_token_id: ids['<|endoftext|>'],
    eos_token_id: ids['<|im_end|>'],
    vision_start_token_id: ids['<|vision_start|>'],
    vision_end_token_id: ids['<|vision_end|>'],
    vision_token_id: ids['<|vision_pad|>'],
    image_token_id: ids['<|image_pad|>'],
    video_token_id: ids['<|video_pad|>'],
    tie_word_embeddings: options.tied,
    torch_dtype: { f32: 'float32', bf16: 'bfloat16' }[options.dtype],
    vision_config: {
      depth: options.depth,
      embed_dim: options.embed,
      mlp_ratio: 2,
      num_heads: options.visionHeads,
      in_chans: 3,
      hidden_size: options.hidden,
      patch_size: options.patch,
      spatial_merge_size: 2,
      spatial_patch_size: options.patch,
      temporal_patch_size: 2
    }
  }
}

function tokenizerConfig({ ids }) {
  const token = (content) => ({
    content,
    lstrip: false,
    normalized: false,
    rstrip: false,
    single_word: false,
    special: true
  })
  return {
    added_tokens_decoder: Object.fromEntries(Object.entries(ids).map(([content, id]) => [id, token(content)])),
    tokenizer_class: 'Qwen2Tokenizer',
    add_prefix_space: false,
    bos_token: null,
    eos_token: '<|im_end|>',
    pad_token: '<|endoftext|>',
    unk_token: null,
    model_max_length: 4096
  }
}

function preprocessorConfig({ minPixels, maxPixels, patch }) {
  return {
    min_pixels: minPixels,
    max_pixels: maxPixels,
    patch_size: patch,
    temporal_patch_size: 2,
    merge_size: 2,
    image_mean: [0.48145466, 0.4578275, 0.40821073],
    image_std: [0.26862954, 0.26130258, 0.27577711],
    image_processor_type: 'Qwen2VLImageProcessor',
    processor_class: 'Qwen2VLProcessor'
  }
}

// ---- weights ---------------------------------------------------------------------------------------------------------

/** Names (of transformers 5) and shapes, in an order that fixes the random numbers. */
function tinyTensors(options, vocabulary) {
  const tensors = []
  const add = (name, ...shape) => tensors.push({ name, shape })
  const linear = (name, out, inputs, bias) => {
    add(`${name}.weight`, out, inputs)
    if (bias) add(`${name}.bias`, out)
  }
  const norm = (name, width, bias) => {
    add(`${name}.weight`, width)
    if (bias) add(`${name}.bias`, width)
  }
  const { embed, hidden, intermediate, patch } = options
  add('model.visual.patch_embed.proj.weight', embed, 3, 2, patch, patch)
  for (let i = 0; i < options.depth; i++) {
    const block = `model.visual.blocks.${i}`
    norm(`${block}.norm1`, embed, true)
    norm(`${block}.norm2`, embed, true)
    linear(`${block}.attn.qkv`, 3 * embed, embed, true)
    linear(`${block}.attn.proj`, embed, embed, true)
    linear(`${block}.mlp.fc1`, 2 * embed, embed, true)
    linear(`${block}.mlp.fc2`, embed, 2 * embed, true)
  }
  norm('model.visual.merger.ln_q', embed, true)
  linear('model.visual.merger.mlp.0', 4 * embed, 4 * embed, true)
  linear('model.visual.merger.mlp.2', hidden, 4 * embed, true)
  add('model.language_model.embed_tokens.weight', vocabulary, hidden)
  const kv = (hidden / options.heads) * options.kvHeads
  for (let i = 0; i < options.layers; i++) {
    const layer = `model.language_model.layers.${i}`
    norm(`${layer}.input_layernorm`, hidden, false)
    linear(`${layer}.self_attn.q_proj`, hidden, hidden, true)
    linear(`${layer}.self_attn.k_proj`, kv, hidden, true)
    linear(`${layer}.self_attn.v_proj`, kv, hidden, true)
    linear(`${layer}.self_attn.o_proj`, hidden, hidden, false)
    norm(`${layer}.post_attention_layernorm`, hidden, false)
    linear(`${layer}.mlp.gate_proj`, intermediate, hidden, false)
    linear(`${layer}.mlp.up_proj`, intermediate, hidden, false)
    linear(`${layer}.mlp.down_proj`, hidden, intermediate, false)
  }
  norm('model.language_model.norm', hidden, false)
  if (!options.tied) linear('lm_head', vocabulary, hidden, false)
  return tensors
}

const NAMINGS = {
  'transformers-5': (name) => name,
  hub: (name) => name.replace(/^model\.(visual\.)/, '$1').replace(/^model\.language_model\./, 'model.'),
  bare: (name) => name.replace(/^model\./, '')
}

function writeWeights(directory, tensors, { seed, scale, naming, dtype, shards }) {
  const normal = normalNumbers(seed)
  const rename = NAMINGS[naming]
  const filled = tensors.map(({ name, shape }) => {
    const values = new Float32Array(shape.reduce((product, size) => product * size, 1))
    const isNormWeight = shape.length === 1 && name.endsWith('.weight')
    for (let i = 0; i < values.length; i++) values[i] = (isNormWeight ? 1 : 0) + 0.02 * scale * normal()
    return { name: rename(name), shape, data: dtype === 'bf16' ? toBf16(values) : values, dtype: dtype.toUpperCase() }
  })
  if (shards === 1) return writeFileSync(join(directory, 'model.safetensors'), safetensors(filled))
  const map = {}
  const file = (index) =>
    `model-${String(index + 1).padStart(5, '0')}-of-${String(shards).padStart(5, '0')}.safetensors`
  for (let shard = 0; shard < shards; shard++) {
    const part = filled.filter((_, index) => index % shards === shard)
    for (const { name } of part) map[name] = file(shard)
    writeFileSync(join(directory, file(shard)), safetensors(part))
  }
  const size = filled.reduce((sum, { data }) => sum + data.byteLength, 0)
  const index = { metadata: { total_size: size }, weight_map: map }
  writeFileSync(join(directory, 'model.safetensors.index.json'), `${JSON.stringify(index, null, 2)}\n`)
}

/** The bytes of a safetensors file: length of the header, header, data. */
export function safetensors(tensors) {
  let offset = 0
  const header = { __metadata__: { format: 'pt' } }
  for (const { name, shape, data, dtype } of tensors)
    header[name] = { dtype, shape, data_offsets: [offset, (offset += data.byteLength)] }
  let text = Buffer.from(JSON.stringify(header))
  text = Buffer.concat([text, Buffer.alloc((8 - (text.length % 8)) % 8, ' ')])
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(text.length))
  return Buffer.concat([
    length,
    text,
    ...tensors.map(({ data }) => Buffer.from(data.buffer, data.byteOffset, data.byteLength))
  ])
}

/** Rounds to the nearest, ties to even. */
function toBf16(values) {
  const bits = new Uint32Array(values.buffer)
  return Uint16Array.from(bits, (each) => (each + 0x7fff + ((each >>> 16) & 1)) >>> 16)
}

/** Normally distributed numbers from a seed (mulberry32, Box-Muller): the same on every machine. */
function normalNumbers(seed) {
  let state = seed >>> 0
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let x = Math.imul(state ^ (state >>> 15), 1 | state)
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32
  }
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform())
}

// ---- command ---------------------------------------------------------------------------------------------------------

function main() {
  const definitions = Object.fromEntries(Object.keys(TINY_DEFAULTS).map((key) => [key, { type: 'string' }]))
  const { values, positionals } = parseArgs({ options: definitions, allowPositionals: true })
  if (positionals.length !== 1)
    throw new Error('One directory is needed: node scripts/tiny-model.mjs DIRECTORY [--seed 1] ...')
  const typed = Object.entries(values).map(([key, text]) => {
    const kind = typeof TINY_DEFAULTS[key]
    return [key, kind === 'number' ? Number(text) : kind === 'boolean' ? text === 'true' : text]
  })
  writeTinyModel(positionals[0], Object.fromEntries(typed))
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) main()
