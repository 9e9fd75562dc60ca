/** LLaVA-NeXT against transformers and peft (f32): ids, vectors, every naming, six steps of training. */
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { describeTraining, describeVectors, Family } from './family-parity.js'
import { command, readJson } from './golden.js'

const family = new Family('llava_next', 5e-5)

describe('LLaVA-NeXT', () => {
  describeVectors(family)

  it('has the prompts and ids of its processor', async () => {
    const inspected = await family.inspect()
    for (const [i, { prompt, input_ids }] of family.inputs.entries())
      expect(inspected[i]).toMatchObject({ prompt, input_ids })
  })

  it.each([
    { error: 'turned', spares: ['text', 'unicode', 'dot'] },
    { error: 'without_vision_layer', spares: ['text', 'unicode'] },
    { error: 'without_text_layer', spares: [] as string[] }
  ])('is told from what transformers gives with the error "$error"', async ({ error, spares }) => {
    expect((await family.passing(error)).filter((id) => !spares.includes(id))).toEqual([])
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
    expect(await family.embed(family.renamed(rename))).toEqual(await family.vectors())
  })

  it('embeds to the same bits with an adapter that has the module names of transformers 4', async () => {
    const adapter = family.path('training', 'dora', 'adapter')
    const old = family.renamed(
      (name) =>
        name
          .replace('model.model.language_model.', 'model.language_model.model.')
          .replace('model.model.vision_tower.', 'model.vision_tower.vision_model.'),
      adapter
    )
    const adapted = await family.embed(family.path('model'), { more: ['--adapter', adapter] })
    expect(await family.embed(family.path('model'), { more: ['--adapter', old] })).toEqual(adapted)
    expect(adapted).not.toEqual(await family.vectors())
  })
})

describe('LLaVA-NeXT for sentence-transformers', () => {
  it('has what its processor must know of the tower, where the base does not say so', async () => {
    const output = join(family.folder, 'sentences')
    await command('export', '--model', family.path('model'), '--format', 'sentence-transformers', '--output', output)
    expect(readJson(join(output, 'processor_config.json'))).toMatchObject({
      patch_size: 7,
      num_additional_image_tokens: 1
    })
  })
})

describeTraining(family)
