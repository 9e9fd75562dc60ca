import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readModelConfig } from '../../../src/model/config.js'

const TEXT = {
  vocab_size: 512,
  hidden_size: 64,
  intermediate_size: 96,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 1024,
  rms_norm_eps: 1e-6
}
const VISION = { depth: 2, embed_dim: 32, num_heads: 2, mlp_ratio: 4, in_chans: 3, hidden_size: 64, patch_size: 14 }
const TOKENS = { image_token_id: 500, video_token_id: 501, vision_start_token_id: 502, vision_end_token_id: 503 }
/** transformers 4: one flat mapping */
const FLAT = {
  model_type: 'qwen2_vl',
  torch_dtype: 'bfloat16',
  tie_word_embeddings: true,
  ...TEXT,
  ...TOKENS,
  rope_theta: 5000,
  rope_scaling: { type: 'mrope', mrope_section: [2, 3, 3] },
  vision_config: VISION
}
const EXPECTED = {
  family: 'qwen2_vl',
  text: {
    vocabSize: 512,
    hiddenSize: 64,
    intermediateSize: 96,
    layers: 2,
    heads: 4,
    kvHeads: 2,
    headSize: 16,
    rmsNormEps: 1e-6,
    attentionBias: true,
    qkNorm: false,
    fusedProjections: false,
    rope: { kind: 'sections', theta: 5000, sections: [2, 3, 3] },
    maxPositions: 1024,
    tiedEmbeddings: true
  },
  vision: {
    kind: 'qwen2',
    depth: 2,
    embedDim: 32,
    heads: 2,
    intermediateSize: 128,
    inChannels: 3,
    patchSize: 14,
    temporalPatchSize: 2,
    mergeSize: 2,
    outputSize: 64,
    activation: 'quick_gelu',
    normEps: 1e-6
  },
  tokens: { image: 500, video: 501, visionStart: 502, visionEnd: 503 }
}

let directory: string
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'config-'))
})
afterAll(() => rm(directory, { recursive: true }))

async function read(config: unknown): Promise<unknown> {
  await writeFile(join(directory, 'config.json'), typeof config === 'string' ? config : JSON.stringify(config))
  return readModelConfig(directory)
}

describe('readModelConfig', () => {
  it('reads the flat form of transformers 4', async () => {
    expect(await read(FLAT)).toEqual(EXPECTED)
  })

  it('reads a nested text_config with rope_scaling, tied embeddings within it', async () => {
    const text_config = { ...TEXT, rope_theta: 5000, rope_scaling: { rope_type: 'default', mrope_section: [2, 3, 3] } }
    const config = { model_type: 'qwen2_vl', ...TOKENS, vision_config: VISION }
    expect(await read({ ...config, text_config: { ...text_config, tie_word_embeddings: true } })).toEqual(EXPECTED)
  })

  it('reads rope_parameters of transformers 5, nested and flat', async () => {
    const rope_parameters = { rope_type: 'default', type: 'mrope', rope_theta: 5000, mrope_section: [2, 3, 3] }
    const { in_chans: _, ...vision } = VISION
    const vision_config = { ...vision, in_channels: 3, rope_parameters: { rope_type: 'axial', rope_theta: 10000 } }
    const shared = { model_type: 'qwen2_vl', dtype: 'float32', tie_word_embeddings: true, ...TOKENS, vision_config }
    expect(await read({ ...shared, text_config: { ...TEXT, rope_parameters } })).toEqual(EXPECTED)
    expect(await read({ ...shared, ...TEXT, rope_parameters })).toEqual(EXPECTED)
  })

  it("takes transformers' defaults for absent keys", async () => {
    const config = await readDefault()
    expect(config).toMatchObject({
      text: {
        vocabSize: 152064,
        layers: 80,
        heads: 64,
        kvHeads: 8,
        rmsNormEps: 1e-5,
        rope: { theta: 1e6 },
        headSize: 128
      },
      vision: { depth: 32, embedDim: 1280, intermediateSize: 5120, activation: 'quick_gelu' },
      tokens: { image: 151655, video: 151656, visionStart: 151652, visionEnd: 151653 }
    })
  })

  const readDefault = (): Promise<unknown> => read({ model_type: 'qwen2_vl', vision_config: { hidden_size: 8192 } })

  it('takes as many key-value heads as query heads where they are null', async () => {
    expect(await read({ ...FLAT, num_key_value_heads: null })).toMatchObject({ text: { kvHeads: 4 } })
  })

  it('takes sizes of patches that are given per axis', async () => {
    const config = await read({ ...FLAT, vision_config: { ...VISION, patch_size: [16, 16], temporal_patch_size: [2] } })
    expect(config).toMatchObject({ vision: { patchSize: 16, temporalPatchSize: 2 } })
  })

  it('accepts a sliding window that cuts nothing off', async () => {
    const window = { use_sliding_window: true, sliding_window: 1024, max_window_layers: 0 }
    expect(await read({ ...FLAT, ...window })).toEqual(EXPECTED)
    expect(await read({ ...FLAT, ...window, sliding_window: 64, max_window_layers: 2 })).toEqual(EXPECTED)
  })

  it.each([
    ['model_type', { model_type: 'llama' }, /found "llama".*/],
    ['model_type', { model_type: undefined }, /supported architecture \(.*qwen2_vl.*\).*found nothing/],
    ['num_attention_heads', { num_attention_heads: 5 }, /divisor of hidden_size \(64\)/],
    ['num_key_value_heads', { num_key_value_heads: 3 }, /divisor of num_attention_heads \(4\)/],
    ['head_dim', { head_dim: 32 }, /= 16/],
    ['hidden_size', { hidden_size: '64' }, /a number.*found "64"/],
    ['hidden_size', { hidden_size: 64.5 }, /whole number/],
    ['num_hidden_layers', { num_hidden_layers: 0 }, /1 to/],
    ['hidden_act', { hidden_act: 'gelu' }, /"silu"/],
    [
      'rope_scaling.mrope_section',
      { rope_scaling: { type: 'mrope', mrope_section: [2, 3, 4] } },
      /half the head size \(8\)/
    ],
    ['rope_scaling.mrope_section', { rope_scaling: { mrope_section: [8] } }, /3 numbers/],
    ['rope_scaling.rope_type', { rope_scaling: { rope_type: 'yarn', factor: 4 } }, /"yarn"/],
    ['use_sliding_window', { use_sliding_window: true, sliding_window: 16, max_window_layers: 1 }, /sliding/],
    ['quantization_config', { quantization_config: { bits: 4 } }, /quantized/],
    ['vision_config.hidden_size', { vision_config: { ...VISION, hidden_size: 96 } }, /text model \(64\)/],
    ['vision_config.num_heads', { vision_config: { ...VISION, num_heads: 16 } }, /multiple of 4/],
    ['vision_config.in_chans', { vision_config: { ...VISION, in_chans: 1 } }, /3 \(red/],
    ['vision_config.patch_size', { vision_config: { ...VISION, patch_size: [14, 16] } }, /equal ones/],
    ['vision_config.hidden_act', { vision_config: { ...VISION, hidden_act: 'relu' } }, /quick_gelu/],
    ['vision_config', { vision_config: [] }, /a mapping/],
    ['video_token_id', { video_token_id: 500 }, /differs/]
  ])('refuses an unsupported "%s" and names it', async (key, change, message) => {
    const error = await read({ ...FLAT, ...change }).then(
      () => undefined,
      (caught: Error) => caught
    )
    expect(error).toMatchObject({ code: 'E_MODEL' })
    expect(error!.message).toContain(`"${key}"`)
    expect(error!.message).toContain(join(directory, 'config.json'))
    expect(error!.message).toMatch(message)
  })

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

  it('says which file is missing or is no JSON object', async () => {
    await expect(read('{')).rejects.toMatchObject({
      code: 'E_MODEL',
      message: expect.stringMatching(/config\.json: not valid JSON/)
    })
    await expect(read('[]')).rejects.toMatchObject({ code: 'E_MODEL', message: expect.stringMatching(/JSON object/) })
    await expect(readModelConfig(join(directory, 'absent'))).rejects.toMatchObject({
      code: 'E_MODEL',
      message: expect.stringMatching(/absent.config\.json: no such file/)
    })
  })

  const data = process.env['VLM2VEC_TEST_DATA']
  it.skipIf(!data)('reads the file of Qwen2-VL-2B (VLM2VEC_TEST_DATA)', async () => {
    const config = await read(await readFile(join(data!, 'reference/data/qwen2vl2b/config.json'), 'utf8'))
    expect(config).toMatchObject({
      text: { hiddenSize: 1536, kvHeads: 2, headSize: 128, rope: { sections: [16, 24, 24] }, tiedEmbeddings: true },
      vision: { depth: 32, outputSize: 1536, activation: 'quick_gelu' }
    })
  })

  it.skipIf(!data)('reads the file of Qwen3-VL-Embedding-8B (VLM2VEC_TEST_DATA)', async () => {
    const config = await read(await readFile(join(data!, 'reference/data/qwen3vlemb8b/config.json'), 'utf8'))
    expect(config).toMatchObject({
      text: { hiddenSize: 4096, headSize: 128, rope: { kind: 'interleaved', theta: 5e6, sections: [24, 20, 20] } },
      vision: { depth: 27, outputSize: 4096, deepstackBlocks: [8, 16, 24], positionEmbeddings: 2304 }
    })
  })
})
