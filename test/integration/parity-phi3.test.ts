/** Phi-3.5-V against its parts in transformers and peft (f32): ids, vectors, six steps of training. */
import { cpSync, mkdtempSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { describeTraining, Family } from './family-parity.js'
import { command, cosineDistance, golden, readJson, readJsonl, readTensors, writeTensors } from './golden.js'

const family = new Family('phi3_v', 7e-5)

/** A copy of the model with other files. */
function changed(change: (model: string) => void): string {
  const model = mkdtempSync(join(family.folder, 'changed-'))
  cpSync(family.path('model'), model, { recursive: true })
  change(model)
  return model
}

describe('Phi-3.5-V', () => {
  let ours: Float32Array[]
  beforeAll(async () => {
    ours = await family.embed(family.path('model'))
  })

  it.each(family.inputs.map(({ id }, index) => ({ id, index })))(
    'has the vector of the reference for "$id"',
    ({ index }) => family.expectRecorded(ours[index]!, index)
  )

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
  ])('is told from what the reference gives with the error "$error"', ({ error, spares }) => {
    expect(family.passing(ours, error).filter((id) => !spares.includes(id))).toEqual([])
  })

  it('embeds to the same bits alone, and close to them in bf16', async () => {
    expect(await family.embed(family.path('model'), { more: ['--batch-tokens', '1'] })).toEqual(ours)
    const narrow = await family.embed(family.path('model'), { dtype: 'bf16' })
    for (const [i, vector] of narrow.entries()) expect(cosineDistance(vector, ours[i]!)).toBeLessThanOrEqual(1e-2)
  })

  const rename = (model: string, name: (name: string) => string): void => {
    const weights = [...readTensors(family.path('model', 'model.safetensors'))]
    writeTensors(join(model, 'model.safetensors'), new Map(weights.map(([key, tensor]) => [name(key), tensor])))
  }
  it.each([
    { naming: 'of CLIP in transformers 5', name: (name: string) => name.replace('.vision_model.', '.') },
    { naming: 'of embeddings within the vision part', name: (name: string) => name.replace('model.embed_tokens.', 'model.vision_embed_tokens.wte.') }, // prettier-ignore
    { naming: 'of the bare model', name: (name: string) => name.replace(/^model\./, '') }
  ])('embeds to the same bits with the names $naming', async ({ name }) => {
    expect(await family.embed(changed((model) => rename(model, name)))).toEqual(ours)
  })

  it('reads a checkpoint that holds the embeddings under both of their names', async () => {
    const both = changed((model) => {
      const weights = readTensors(family.path('model', 'model.safetensors'))
      weights.set('model.vision_embed_tokens.wte.weight', weights.get('model.embed_tokens.weight')!)
      writeTensors(join(model, 'model.safetensors'), weights)
    })
    expect(await family.embed(both)).toEqual(ours)
  })

  it('cuts into as many tiles as preprocessor_config.json or --num-crops says', async () => {
    const input = ['--input', family.path('items.jsonl'), '--image-root', golden('pictures')]
    const sizes = async (model: string, ...more: string[]): Promise<unknown[]> =>
      (await command('inspect', '--model', model, '--prompt', 'raw', ...input, ...more, '--json'))
        .map((line) => JSON.parse(line) as { image_sizes?: unknown })
        .flatMap(({ image_sizes }) => (image_sizes ? [image_sizes] : []))
    const one = changed((model) => {
      const path = join(model, 'preprocessor_config.json')
      writeFileSync(path, JSON.stringify({ ...readJson<object>(path), num_crops: 1 }))
    })
    expect(await sizes(one)).toEqual(await sizes(family.path('model'), '--num-crops', '1'))
    expect(await sizes(one)).not.toEqual(await sizes(family.path('model')))
    const items = readJsonl<{ images?: string[] }>(family.path('items.jsonl')).filter(({ images }) => images)
    expect(await sizes(one)).toEqual(items.map(({ images }) => images!.map(() => [28, 28])))
  })
})

describeTraining(family)
