/**
 * Writes a small Qwen2-VL with random weights as a model directory in Hugging Face layout: the base of a training from
 * scratch. `sizes`: text {width, layers, heads, keyValueHeads, mlpWidth}, vision {width, depth, heads, mlpRatio, patch}.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

export function writeBaseModel(directory, { tokenizer, sizes, pixels, random }) {
  mkdirSync(directory, { recursive: true })
  const write = (name, value) => writeFileSync(join(directory, name), `${JSON.stringify(value, null, 2)}\n`)
  write('config.json', configOf(tokenizer, sizes))
  write('tokenizer.json', tokenizer.json)
  write('tokenizer_config.json', {
    tokenizer_class: 'Qwen2Tokenizer',
    model_max_length: 4096,
    pad_token: '<|endoftext|>',
    eos_token: '<|endoftext|>'
  })
  write('preprocessor_config.json', {
    image_processor_type: 'Qwen2VLImageProcessor',
    patch_size: sizes.vision.patch,
    temporal_patch_size: 2,
    merge_size: 2,
    min_pixels: pixels.min,
    max_pixels: pixels.max
  })
  const tensors = tensorsOf(tokenizer.size, sizes)
  writeFileSync(join(directory, 'model.safetensors'), safetensors(tensors, random))
  return tensors.reduce((sum, { shape }) => sum + countOf(shape), 0)
}

/** The flat form of Qwen2-VL's config.json, as on the hub. */
function configOf(tokenizer, { text, vision }) {
  const headSize = text.width / text.heads
  const time = Math.round(headSize / 8)
  const space = (headSize / 2 - time) / 2
  return {
    architectures: ['Qwen2VLForConditionalGeneration'],
    model_type: 'qwen2_vl',
    vocab_size: tokenizer.size,
    hidden_size: text.width,
    intermediate_size: text.mlpWidth,
    num_hidden_layers: text.layers,
    num_attention_heads: text.heads,
    num_key_value_heads: text.keyValueHeads,
    hidden_act: 'silu',
    rms_norm_eps: 1e-6,
    rope_theta: 10000,
    rope_scaling: { type: 'mrope', mrope_section: [time, space, space] },
    max_position_embeddings: 4096,
    tie_word_embeddings: true,
    use_sliding_window: false,
    torch_dtype: 'float32',
    bos_token_id: tokenizer.ids['<|endoftext|>'],
    eos_token_id: tokenizer.ids['<|endoftext|>'],
    vision_start_token_id: tokenizer.ids['<|vision_start|>'],
    vision_end_token_id: tokenizer.ids['<|vision_end|>'],
    vision_token_id: tokenizer.ids['<|vision_pad|>'],
    image_token_id: tokenizer.ids['<|image_pad|>'],
    video_token_id: tokenizer.ids['<|video_pad|>'],
    vision_config: {
      model_type: 'qwen2_vl',
      depth: vision.depth,
      embed_dim: vision.width,
      hidden_size: text.width,
      mlp_ratio: vision.mlpRatio,
      num_heads: vision.heads,
      in_chans: 3,
      in_channels: 3,
      patch_size: vision.patch,
      spatial_merge_size: 2,
      temporal_patch_size: 2,
      hidden_act: 'quick_gelu'
    }
  }
}

/** Every tensor by its checkpoint name. `spread`: standard deviation of its random values; without one it is `constant`. */
function tensorsOf(vocabulary, { text, vision }) {
  const tensors = []
  const matrix = (name, shape, scale = 1) =>
    tensors.push({ name, shape, spread: scale * countOf(shape.slice(1)) ** -0.5 })
  const vector = (name, size, constant) => tensors.push({ name, shape: [size], constant })
  const linear = (name, rows, columns, scale = 1) => {
    matrix(`${name}.weight`, [rows, columns], scale)
    vector(`${name}.bias`, rows, 0)
  }
  // What adds to the residual stream starts smaller, so that the stream does not grow with depth (GPT-2, section 2.3).
  const residual = (depth) => (2 * depth) ** -0.5
  const norm = (name, size) => {
    vector(`${name}.weight`, size, 1)
    vector(`${name}.bias`, size, 0)
  }
  const { width: E, patch } = vision
  matrix('visual.patch_embed.proj.weight', [E, 3, 2, patch, patch])
  for (let i = 0; i < vision.depth; i++) {
    const block = `visual.blocks.${i}`
    norm(`${block}.norm1`, E)
    norm(`${block}.norm2`, E)
    linear(`${block}.attn.qkv`, 3 * E, E)
    linear(`${block}.attn.proj`, E, E, residual(vision.depth))
    linear(`${block}.mlp.fc1`, vision.mlpRatio * E, E)
    linear(`${block}.mlp.fc2`, E, vision.mlpRatio * E, residual(vision.depth))
  }
  norm('visual.merger.ln_q', E)
  linear('visual.merger.mlp.0', 4 * E, 4 * E)
  linear('visual.merger.mlp.2', text.width, 4 * E)

  const keyValueWidth = (text.width / text.heads) * text.keyValueHeads
  tensors.push({ name: 'model.embed_tokens.weight', shape: [vocabulary, text.width], spread: 0.5 })
  for (let i = 0; i < text.layers; i++) {
    const layer = `model.layers.${i}`
    vector(`${layer}.input_layernorm.weight`, text.width, 1)
    vector(`${layer}.post_attention_layernorm.weight`, text.width, 1)
    linear(`${layer}.self_attn.q_proj`, text.width, text.width)
    linear(`${layer}.self_attn.k_proj`, keyValueWidth, text.width)
    linear(`${layer}.self_attn.v_proj`, keyValueWidth, text.width)
    matrix(`${layer}.self_attn.o_proj.weight`, [text.width, text.width], residual(text.layers))
    matrix(`${layer}.mlp.gate_proj.weight`, [text.mlpWidth, text.width])
    matrix(`${layer}.mlp.up_proj.weight`, [text.mlpWidth, text.width])
    matrix(`${layer}.mlp.down_proj.weight`, [text.width, text.mlpWidth], residual(text.layers))
  }
  vector('model.norm.weight', text.width, 1)
  return tensors
}

/** The file format of safetensors: length of the header, header, values. */
function safetensors(tensors, random) {
  const header = { __metadata__: { format: 'pt' } }
  let end = 0
  for (const { name, shape } of tensors) {
    const begin = end
    end += 4 * countOf(shape)
    header[name] = { dtype: 'F32', shape, data_offsets: [begin, end] }
  }
  let json = JSON.stringify(header)
  json += ' '.repeat(-json.length & 7)
  const file = Buffer.alloc(8 + json.length + end)
  file.writeBigUInt64LE(BigInt(json.length), 0)
  file.write(json, 8)
  const values = new Float32Array(end / 4)
  let at = 0
  for (const { shape, spread, constant } of tensors) {
    const count = countOf(shape)
    for (let i = 0; i < count; i++) values[at + i] = spread === undefined ? constant : spread * random.normal()
    at += count
  }
  Buffer.from(values.buffer).copy(file, 8 + json.length)
  return file
}

function countOf(shape) {
  return shape.reduce((product, size) => product * size, 1)
}
