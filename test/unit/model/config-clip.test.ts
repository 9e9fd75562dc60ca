/** Readers of config.json whose vision tower is CLIP's or SigLIP's. */
import { describe, expect, it } from 'vitest'
import { embeddingSize } from '../../../src/model/config.js'
import { configFolder } from './config-files.js'

const { read } = configFolder()

/** llava-v1.6-mistral-7b-hf, what differs from the classes' defaults as its file has it. */
const LLAVA = {
  model_type: 'llava_next',
  image_grid_pinpoints: [
    [336, 672],
    [672, 336],
    [672, 672],
    [1008, 336],
    [336, 1008]
  ],
  image_token_index: 32000,
  projector_hidden_act: 'gelu',
  text_config: {
    model_type: 'mistral',
    intermediate_size: 14336,
    max_position_embeddings: 32768,
    num_key_value_heads: 8,
    rms_norm_eps: 1e-5,
    rope_theta: 1000000.0,
    sliding_window: null,
    vocab_size: 32064
  },
  vision_config: {
    model_type: 'clip_vision_model',
    hidden_size: 1024,
    image_size: 336,
    intermediate_size: 4096,
    num_attention_heads: 16,
    num_hidden_layers: 24,
    patch_size: 14,
    projection_dim: 768
  },
  vision_feature_layer: -2,
  vision_feature_select_strategy: 'default'
}

describe('LLaVA-NeXT', () => {
  it('is read from the file of the hub', async () => {
    expect(await read(LLAVA)).toMatchObject({
      family: 'llava_next',
      text: { hiddenSize: 4096, layers: 32, heads: 32, kvHeads: 8, headSize: 128, maxPositions: 32768 },
      vision: { kind: 'llava', depth: 24, featureBlocks: 23, positionEmbeddings: 577, outputSize: 4096, separators: 1 },
      tokens: { image: 32000, video: -1 }
    })
  })

  it('reads rope_parameters of transformers 5, and takes a window as the longest item', async () => {
    const text = { ...LLAVA.text_config, rope_theta: undefined, sliding_window: undefined }
    const rope_parameters = { rope_theta: 5e5, rope_type: 'default' }
    expect(await read({ ...LLAVA, text_config: { ...text, rope_parameters } })).toMatchObject({
      text: { rope: { kind: 'plain', theta: 5e5 }, maxPositions: 4096 }
    })
  })

  it('counts layers of features from either end', async () => {
    expect((await read({ ...LLAVA, vision_feature_layer: 3 })).vision?.featureBlocks).toBe(3)
    expect((await read({ ...LLAVA, vision_feature_layer: -1 })).vision?.featureBlocks).toBe(24)
  })

  it('reads the other decoders', async () => {
    const llama = await read({ ...LLAVA, text_config: { model_type: 'llama', num_attention_heads: 32 } })
    expect(llama.text).toMatchObject({ kvHeads: 32, attentionBias: false, intermediateSize: 11008 })
    const qwen2 = await read({ ...LLAVA, text_config: { model_type: 'qwen2', num_key_value_heads: 4 } })
    expect(qwen2.text).toMatchObject({ kvHeads: 4, attentionBias: true })
  })

  it.each([
    ['text_config.model_type', { text_config: { model_type: 'gemma' } }],
    [
      'text_config.rope_scaling.rope_type',
      { text_config: { ...LLAVA.text_config, rope_scaling: { rope_type: 'llama3' } } }
    ],
    ['vision_config.model_type', { vision_config: { ...LLAVA.vision_config, model_type: 'siglip_vision_model' } }],
    ['vision_feature_select_strategy', { vision_feature_select_strategy: 'full' }],
    ['vision_feature_layer', { vision_feature_layer: [-2, -5] }],
    ['vision_feature_layer', { vision_feature_layer: -26 }],
    ['image_grid_pinpoints', { image_grid_pinpoints: [[336, 500]] }]
  ])('refuses an unsupported "%s"', async (key, change) => {
    await expect(read({ ...LLAVA, ...change })).rejects.toMatchObject({
      code: 'E_MODEL',
      message: expect.stringContaining(`"${key}"`)
    })
  })
})

describe('CLIP', () => {
  it('takes the defaults of its classes', async () => {
    const config = await read({ model_type: 'clip' })
    expect(config).toMatchObject({
      text: { hiddenSize: 512, layers: 12, heads: 8, maxPositions: 77, activation: 'quick_gelu', causal: true },
      vision: { embedDim: 768, depth: 12, patchSize: 32, positionEmbeddings: 50, classToken: true },
      dual: { pooling: 'eos', eosToken: 49407 },
      tokens: { image: 49408 }
    })
    expect(embeddingSize(config)).toBe(512)
  })

  it('lets text_config_dict and vision_config_dict of old files go before, with the defaults of what they leave out', async () => {
    const config = await read({
      model_type: 'clip',
      projection_dim: 768,
      text_config: { hidden_size: 512, eos_token_id: 2 },
      text_config_dict: { hidden_size: 768, num_attention_heads: 12 },
      vision_config: { patch_size: 16 },
      vision_config_dict: null
    })
    expect(config).toMatchObject({
      text: { hiddenSize: 768, heads: 12 },
      vision: { patchSize: 16 },
      dual: { eosToken: 49407 },
      embeddingSize: 768
    })
  })
})

describe('SigLIP', () => {
  it('takes the defaults of its classes', async () => {
    const config = await read({ model_type: 'siglip' })
    expect(config).toMatchObject({
      text: { hiddenSize: 768, maxPositions: 64, activation: 'gelu_pytorch_tanh', causal: false, rmsNormEps: 1e-6 },
      vision: { patchSize: 16, positionEmbeddings: 196, classToken: false },
      dual: { pooling: 'last', padToken: 1 }
    })
    expect(embeddingSize(config)).toBe(768)
  })

  it.each([
    ['text_config.projection_size', { text_config: { projection_size: 512 } }],
    ['vision_config.vision_use_head', { vision_config: { vision_use_head: false } }]
  ])('refuses an unsupported "%s"', async (key, change) => {
    await expect(read({ model_type: 'siglip', ...change })).rejects.toMatchObject({
      code: 'E_MODEL',
      message: expect.stringContaining(`"${key}"`)
    })
  })
})
