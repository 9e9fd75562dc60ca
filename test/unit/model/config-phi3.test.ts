import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { writeTensors } from '../../../src/data/safetensors.js'
import { readModelConfig } from '../../../src/model/config.js'

/** What the hub's file of Phi-3.5-vision-instruct says (models.md 5.1); the factors shortened. */
const HUB = {
  model_type: 'phi3_v',
  vocab_size: 32064,
  hidden_size: 3072,
  intermediate_size: 8192,
  num_hidden_layers: 32,
  num_attention_heads: 32,
  num_key_value_heads: 32,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  max_position_embeddings: 131072,
  original_max_position_embeddings: 4096,
  sliding_window: 262144,
  tie_word_embeddings: false,
  rope_scaling: { type: 'su', short_factor: Array(48).fill(1.08), long_factor: Array(48).fill(64.8) },
  embd_layer: {
    embedding_cls: 'image',
    hd_transform_order: 'sub_glb',
    projection_cls: 'mlp',
    use_hd_transform: true,
    with_learnable_separator: true
  },
  img_processor: {
    image_dim_out: 1024,
    model_name: 'openai/clip-vit-large-patch14-336',
    name: 'clip_vision_model',
    num_img_tokens: 144
  }
}

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'phi3-'))
})
afterEach(() => rm(directory, { recursive: true }))

async function read(changes: object = {}) {
  await writeFile(join(directory, 'config.json'), JSON.stringify({ ...HUB, ...changes }))
  return readModelConfig(directory)
}

describe('readModelConfig of phi3_v', () => {
  it("reads the hub's file: CLIP's large model, LongRoPE, features of the last block but one", async () => {
    const { text, vision, tokens } = await read()
    expect(text).toMatchObject({ headSize: 96, maxPositions: 131072, fusedProjections: true, attentionBias: false })
    expect(text.rope).toMatchObject({ kind: 'plain', theta: 10000, longRope: { originalPositions: 4096 } })
    const { longRope } = text.rope as { longRope: { attentionFactor: number; short: number[]; long: number[] } }
    expect(longRope.attentionFactor).toBeCloseTo(1.1902380714238083, 12)
    expect([longRope.short[0], longRope.long[47]]).toEqual([1.08, 64.8])
    expect(vision).toMatchObject({ depth: 24, embedDim: 1024, heads: 16, intermediateSize: 4096, imageSize: 336 })
    expect(vision).toMatchObject({ patchSize: 14, mergeSize: 2, featureBlocks: 23, separators: 2, outputSize: 3072 })
    expect(tokens).toMatchObject({ image: -1, numbered: true })
  })

  it('takes rope_parameters of transformers 5 too, the factor of its kind, and no scaling', async () => {
    const { type: _, ...factors } = HUB.rope_scaling
    const nested = { ...factors, rope_theta: 500, original_max_position_embeddings: 2048 }
    const of = async (rope_parameters: object) =>
      (await read({ rope_scaling: null, rope_theta: undefined, rope_parameters })).text.rope
    expect(await of({ ...nested, rope_type: 'longrope' })).toMatchObject({
      theta: 500,
      longRope: { originalPositions: 2048, attentionFactor: Math.sqrt(1 + Math.log(64) / Math.log(2048)) }
    })
    expect(await of({ ...nested, rope_type: 'yarn' })).toMatchObject({
      longRope: { attentionFactor: 0.1 * Math.log(64) + 1 }
    })
    expect(await of({ rope_type: 'default', rope_theta: 500 })).toEqual({ kind: 'plain', theta: 500 })
  })

  it('takes the sizes of a smaller tower from its tensors, and its heads from the file', async () => {
    const prefix = 'model.vision_embed_tokens.img_processor.vision_model.'
    await writeTensors(join(directory, 'model.safetensors'), async (add) => {
      const tensor = (name: string, shape: number[]) =>
        add({ name: prefix + name, shape, data: new Float32Array(shape.reduce((a, b) => a * b, 1)) })
      await tensor('embeddings.patch_embedding.weight', [24, 3, 4, 4])
      await tensor('embeddings.position_embedding.weight', [37, 24])
      await tensor('encoder.layers.0.mlp.fc1.weight', [31, 24])
      await tensor('encoder.layers.4.mlp.fc1.weight', [31, 24])
    })
    const image = { ...HUB.img_processor, image_dim_out: 24, num_attention_heads: 3 }
    const { vision } = await read({ img_processor: image })
    expect(vision).toMatchObject({
      embedDim: 24,
      patchSize: 4,
      imageSize: 24,
      intermediateSize: 31,
      depth: 5,
      heads: 3
    })
  })

  it.each([
    ['rope_scaling', { rope_scaling: { ...HUB.rope_scaling, type: 'linear' } }],
    ['short_factor', { rope_scaling: { ...HUB.rope_scaling, short_factor: [1] } }],
    ['use_hd_transform', { embd_layer: { ...HUB.embd_layer, use_hd_transform: false } }],
    ['projection_cls', { embd_layer: { ...HUB.embd_layer, projection_cls: 'linear' } }],
    ['image_dim_out', { img_processor: { ...HUB.img_processor, image_dim_out: 768 } }],
    ['type_feature', { img_processor: { ...HUB.img_processor, type_feature: 'cls_patch' } }]
  ])('refuses what would give other numbers: %s', async (key, changes) => {
    await expect(read(changes)).rejects.toMatchObject({ code: 'E_MODEL', message: expect.stringContaining(key) })
  })
})
