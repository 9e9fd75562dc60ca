/** Readers of config.json of Qwen2.5-VL and Qwen3-VL: what they have that Qwen2-VL has not. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { configFolder, EXPECTED, FLAT, TEXT, TOKENS } from './config-files.js'

const { read } = configFolder()

describe('readModelConfig', () => {
  const VISION_25 = { depth: 4, hidden_size: 32, num_heads: 2, intermediate_size: 44, out_hidden_size: 64 }

  it('reads Qwen2.5-VL, flat and nested', async () => {
    const vision_config = { ...VISION_25, window_size: 56, fullatt_block_indexes: [1, 7], tokens_per_second: 2 }
    const config = { ...FLAT, model_type: 'qwen2_5_vl', vision_config }
    const expected = {
      ...EXPECTED,
      family: 'qwen2_5_vl',
      vision: {
        ...EXPECTED.vision,
        kind: 'qwen2_5',
        depth: 4,
        intermediateSize: 44,
        activation: 'silu',
        windowSize: 56,
        fullAttentionBlocks: [1],
        tokensPerSecond: 2
      }
    }
    expect(await read(config)).toEqual(expected)
    const { rope_theta, rope_scaling, ...rest } = config
    const text_config = { ...TEXT, rope_parameters: { ...rope_scaling, rope_theta } }
    expect(await read({ ...rest, text_config })).toEqual(expected)
  })

  it('reads Qwen3-VL, whose heads have a size of their own', async () => {
    const vision_config = { ...VISION_25, num_position_embeddings: 49, deepstack_visual_indexes: [2, 0] }
    const rope_scaling = { rope_type: 'default', mrope_interleaved: true, mrope_section: [4, 3, 3] }
    const text_config = { ...TEXT, head_dim: 20, rope_theta: 5000, rope_scaling, tie_word_embeddings: true }
    expect(await read({ model_type: 'qwen3_vl', ...TOKENS, text_config, vision_config })).toEqual({
      ...EXPECTED,
      family: 'qwen3_vl',
      text: {
        ...EXPECTED.text,
        headSize: 20,
        attentionBias: false,
        qkNorm: true,
        rope: { kind: 'interleaved', theta: 5000, sections: [4, 3, 3] }
      },
      vision: {
        ...EXPECTED.vision,
        kind: 'qwen3',
        depth: 4,
        intermediateSize: 44,
        patchSize: 16,
        activation: 'gelu_pytorch_tanh',
        positionEmbeddings: 49,
        deepstackBlocks: [2, 0]
      }
    })
  })

  it.each([
    ['vision_config.window_size', 'qwen2_5_vl', { window_size: 20 }, /at least 28/],
    ['vision_config.fullatt_block_indexes', 'qwen2_5_vl', { fullatt_block_indexes: [1, 1] }, /different/],
    ['vision_config.hidden_act', 'qwen2_5_vl', { hidden_act: 'gelu' }, /silu/],
    ['vision_config.deepstack_visual_indexes', 'qwen3_vl', { deepstack_visual_indexes: [4] }, /depth/],
    ['vision_config.out_hidden_size', 'qwen3_vl', { deepstack_visual_indexes: [], out_hidden_size: 8 }, /\(64\)/]
  ])('refuses "%s" of %s', async (key, model_type, change, message) => {
    const reading = read({ ...FLAT, model_type, head_dim: 16, vision_config: { ...VISION_25, ...change } })
    await expect(reading).rejects.toMatchObject({ code: 'E_MODEL', message: expect.stringContaining(`"${key}"`) })
    await expect(reading).rejects.toThrow(message)
  })

  const data = process.env['VLM2VEC_TEST_DATA']
  it.skipIf(!data)('reads the file of Qwen3-VL-Embedding-8B (VLM2VEC_TEST_DATA)', async () => {
    const config = await read(await readFile(join(data!, 'reference/data/qwen3vlemb8b/config.json'), 'utf8'))
    expect(config).toMatchObject({
      text: { hiddenSize: 4096, headSize: 128, rope: { kind: 'interleaved', theta: 5e6, sections: [24, 20, 20] } },
      vision: { depth: 27, outputSize: 4096, deepstackBlocks: [8, 16, 24], positionEmbeddings: 2304 }
    })
  })
})
