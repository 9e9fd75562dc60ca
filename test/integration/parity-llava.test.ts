/** LLaVA-NeXT against transformers and peft (f32): ids, vectors, six steps of training. */
import { cpSync, mkdtempSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { describeTraining, Family } from './family-parity.js'
import { cosineDistance, readTensors, writeTensors } from './golden.js'

const family = new Family('llava_next', 5e-5)

describe('LLaVA-NeXT', () => {
  let ours: Float32Array[]
  beforeAll(async () => {
    ours = await family.embed(family.path('model'))
  })

  it.each(family.inputs.map(({ id }, index) => ({ id, index })))(
    'has the vector of transformers for "$id"',
    ({ index }) => family.expectRecorded(ours[index]!, index)
  )

  it('has the prompts, ids and picture sizes of its processor', async () => {
    const inspected = await family.inspect()
    for (const [i, { prompt, input_ids, image_sizes }] of family.inputs.entries())
      expect(inspected[i]).toMatchObject({ prompt, input_ids, ...(image_sizes.length > 0 && { image_sizes }) })
  })

  it.each([
    { error: 'turned', spares: ['text', 'unicode', 'dot'] },
    { error: 'without_vision_layer', spares: ['text', 'unicode'] },
    { error: 'without_text_layer', spares: [] as string[] }
  ])('is told from what transformers gives with the error "$error"', ({ error, spares }) => {
    expect(family.passing(ours, error).filter((id) => !spares.includes(id))).toEqual([])
  })

  it('embeds to the same bits alone, and close to them in bf16', async () => {
    expect(await family.embed(family.path('model'), { more: ['--batch-tokens', '1'] })).toEqual(ours)
    const narrow = await family.embed(family.path('model'), { dtype: 'bf16' })
    for (const [i, vector] of narrow.entries()) expect(cosineDistance(vector, ours[i]!)).toBeLessThanOrEqual(1e-2)
  })

  const memory = (name: string): string =>
    name
      .replace(/^language_model\.model\./, 'model.language_model.')
      .replace(/^language_model\.lm_head\./, 'lm_head.')
      .replace(/^(vision_tower|multi_modal_projector|image_newline)/, 'model.$1')
  const saved = (name: string): string => name.replace('vision_tower.vision_model.', 'vision_tower.')
  it.each([
    { naming: 'of transformers 4.52', rename: memory },
    { naming: 'that transformers 5 saves', rename: saved },
    { naming: 'of transformers 5 in memory', rename: (name: string) => saved(memory(name)) }
  ])('embeds to the same bits with the names $naming', async ({ rename }) => {
    const model = mkdtempSync(join(family.folder, 'named-'))
    cpSync(family.path('model'), model, { recursive: true })
    const weights = [...readTensors(family.path('model', 'model.safetensors'))]
    writeTensors(join(model, 'model.safetensors'), new Map(weights.map(([name, tensor]) => [rename(name), tensor])))
    expect(await family.embed(model)).toEqual(ours)
  })
})

describe('an adapter of LLaVA-NeXT', () => {
  const adapter = family.path('training', 'dora', 'adapter')
  const hub = (name: string): string =>
    name
      .replace('model.model.language_model.', 'model.language_model.model.')
      .replace('model.model.vision_tower.', 'model.vision_tower.vision_model.')
      .replace('model.model.multi_modal', 'model.multi_modal')

  it('embeds to the same bits with the module names of transformers 4', async () => {
    const old = mkdtempSync(join(family.folder, 'adapter-'))
    cpSync(adapter, old, { recursive: true })
    const tensors = [...readTensors(join(adapter, 'adapter_model.safetensors'))]
    expect(tensors.every(([name]) => hub(name) !== name)).toBe(true)
    writeTensors(join(old, 'adapter_model.safetensors'), new Map(tensors.map(([name, tensor]) => [hub(name), tensor])))
    const adapted = await family.embed(family.path('model'), { more: ['--adapter', adapter] })
    expect(await family.embed(family.path('model'), { more: ['--adapter', old] })).toEqual(adapted)
    expect(adapted).not.toEqual(await family.embed(family.path('model')))
  })
})

describeTraining(family)
