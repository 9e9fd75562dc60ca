/** The reader of config.json, as all families share it, and that of Qwen2-VL. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { readModelConfig } from '../../../src/model/config.js'
import { configFolder, EXPECTED, FLAT, TEXT, TOKENS, VISION } from './config-files.js'

const { directory, read } = configFolder()

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
})
