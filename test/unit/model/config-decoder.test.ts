import { describe, expect, it } from 'vitest'
import { takesPictures } from '../../../src/model/config.js'
import { configFolder } from './config-files.js'

const { read } = configFolder()

const QWEN = { kvHeads: 32, vocabSize: 151936, intermediateSize: 22016, maxPositions: 32768, rmsNormEps: 1e-6 }

describe('decoders by themselves', () => {
  it.each([
    ['qwen2', { ...QWEN, headSize: 128, attentionBias: true, qkNorm: false, fusedProjections: false }],
    ['qwen3', { ...QWEN, headSize: 128, attentionBias: false, qkNorm: true, fusedProjections: false }],
    ['mistral', { kvHeads: 8, vocabSize: 32000, intermediateSize: 14336, window: 4096, maxPositions: 4096 }],
    [
      'phi3',
      { hiddenSize: 3072, headSize: 96, kvHeads: 32, fusedProjections: true, rmsNormEps: 1e-5, maxPositions: 4096 }
    ]
  ])("have, in %s, transformers' defaults for absent keys, and no tower", async (model_type, text) => {
    const config = await read({ model_type })
    expect(config).toMatchObject({ family: model_type, text, tokens: { image: -1, video: -1 } })
    expect(takesPictures(config)).toBe(false)
  })

  it('may have heads of any size, and rotary parameters in either spelling', async () => {
    const sizes = { model_type: 'qwen3', hidden_size: 40, num_attention_heads: 4, head_dim: 16, num_key_value_heads: 2 }
    const text = { headSize: 16, heads: 4, kvHeads: 2, rope: { kind: 'plain', theta: 5e5 } }
    expect((await read({ ...sizes, rope_theta: 5e5, rope_scaling: null })).text).toMatchObject(text)
    const rope_parameters = { rope_type: 'default', rope_theta: 5e5 }
    expect((await read({ ...sizes, rope_parameters })).text).toMatchObject(text)
  })

  it.each([
    ['no layer', { use_sliding_window: false, sliding_window: 64 }, undefined],
    ['no layer', { use_sliding_window: true, sliding_window: 64, max_window_layers: 32 }, undefined],
    ['no layer', { use_sliding_window: true, sliding_window: null, max_window_layers: 0 }, undefined],
    ['the last layers', { use_sliding_window: true, sliding_window: 64, max_window_layers: 31 }, 64],
    [
      'some layers',
      { use_sliding_window: true, sliding_window: 64, layer_types: ['full_attention', 'sliding_attention'] },
      64
    ]
  ])('see a window in %s of Qwen with %j', async (_, keys, window) => {
    for (const model_type of ['qwen2', 'qwen3'])
      expect((await read({ model_type, ...keys })).text).toMatchObject({ maxPositions: window ?? 32768 })
    expect((await read({ model_type: 'qwen2', ...keys })).text.window).toBe(window)
  })

  it.each([
    ['rope_scaling.rope_type', { model_type: 'qwen3', rope_scaling: { rope_type: 'yarn', factor: 4 } }],
    ['rope_scaling.type', { model_type: 'phi3', rope_scaling: { type: 'yarn' } }],
    ['partial_rotary_factor', { model_type: 'phi3', partial_rotary_factor: 0.75 }],
    ['attention_bias', { model_type: 'qwen3', attention_bias: true }],
    ['num_attention_heads', { model_type: 'mistral', hidden_size: 40, num_attention_heads: 3 }],
    ['hidden_act', { model_type: 'mistral', hidden_act: 'gelu' }]
  ])('refuse %s where other numbers would come out', async (key, config) => {
    await expect(read(config)).rejects.toMatchObject({ code: 'E_MODEL', message: expect.stringContaining(`"${key}"`) })
  })
})
