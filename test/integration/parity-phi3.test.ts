/** Phi-3.5-V against its parts in transformers and peft (f32): ids, vectors, six steps of training. */
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { describeTraining, describeVectors, Family } from './family-parity.js'
import { changeJson, command, golden, readJsonl, readTensors, writeTensors } from './golden.js'

const family = new Family('phi3_v', 7e-5)

describe('Phi-3.5-V', () => {
  describeVectors(family)

  it('has the prompts, ids and picture sizes of its processor', async () => {
    const inspected = await family.inspect()
    for (const [i, { prompt, input_ids, image_sizes }] of family.inputs.entries()) {
      expect(inspected[i]).toMatchObject({ prompt, input_ids, ...(image_sizes.length > 0 && { image_sizes }) })
      expect(inspected[i]).toMatchObject({ positions: input_ids.map((_, position) => position) })
    }
  })

  it.each([
    { error: 'turned', spares: ['text', 'unicode', 'dot'] },
    { error: 'without_vision_layer', spares: ['text', 'unicode'] },
    { error: 'short_factors', spares: ['text'] },
    { error: 'without_text_layer', spares: [] }
  ])('is told from what the reference gives with the error "$error"', async ({ error, spares }) => {
    expect((await family.passing(error)).filter((id) => !spares.includes(id))).toEqual([])
  })

  it.each([
    { naming: 'of CLIP in transformers 5', rename: (name: string) => name.replace('.vision_model.', '.') },
    { naming: 'of embeddings within the vision part', rename: (name: string) => name.replace('model.embed_tokens.', 'model.vision_embed_tokens.wte.') }, // prettier-ignore
    { naming: 'of the bare model', rename: (name: string) => name.replace(/^model\./, '') }
  ])('embeds to the same bits with the names $naming', async ({ rename }) => {
    expect(await family.embed(family.renamed(rename))).toEqual(await family.vectors())
  })

  it('reads a checkpoint that holds the embeddings under both of their names', async () => {
    const both = family.changed((model) => {
      const weights = readTensors(family.path('model', 'model.safetensors'))
      weights.set('model.vision_embed_tokens.wte.weight', weights.get('model.embed_tokens.weight')!)
      writeTensors(join(model, 'model.safetensors'), weights)
    })
    expect(await family.embed(both)).toEqual(await family.vectors())
  })

  it('cuts into as many tiles as preprocessor_config.json or --num-crops says', async () => {
    const input = ['--input', family.path('items.jsonl'), '--image-root', golden('pictures')]
    const sizes = async (model: string, ...more: string[]): Promise<unknown[]> =>
      (await command('inspect', '--model', model, '--prompt', 'raw', ...input, ...more, '--json'))
        .map((line) => JSON.parse(line) as { image_sizes?: unknown })
        .flatMap(({ image_sizes }) => (image_sizes ? [image_sizes] : []))
    const one = family.changed((model) => changeJson(join(model, 'preprocessor_config.json'), { num_crops: 1 }))
    expect(await sizes(one)).toEqual(await sizes(family.path('model'), '--num-crops', '1'))
    expect(await sizes(one)).not.toEqual(await sizes(family.path('model')))
    const items = readJsonl<{ images?: string[] }>(family.path('items.jsonl')).filter(({ images }) => images)
    expect(await sizes(one)).toEqual(items.map(({ images }) => images!.map(() => [28, 28])))
  })
})

describeTraining(family)
