/** Text decoders by themselves against transformers and peft (f32): ids, vectors, namings, windows, six steps of training. */
import { cpSync, mkdtempSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { describeTraining, Family } from './family-parity.js'
import { command, cosineDistance, largestDifference, readJson, readTensors, writeTensors } from './golden.js'
import { runCli } from './run-cli.js'

/** What each has that others have not: without it, these items alone would be as before. */
const OWN: Record<string, { error: string; spares: string[] }> = {
  qwen2: { error: 'without_bias', spares: [] },
  qwen3: { error: 'without_head_norms', spares: [] },
  mistral: { error: 'narrow_window', spares: ['word'] },
  phi3: { error: 'short_factors', spares: ['text', 'word'] }
}

describe.each(Object.keys(OWN))('%s', (name) => {
  const family = new Family(name, 5e-5)
  let ours: Float32Array[]
  beforeAll(async () => {
    ours = await family.embed(family.path('model'))
  })

  /** A copy of the model with some keys of its config.json changed, or its tensors by other names. */
  function changed(config: object, rename = (tensor: string): string => tensor): string {
    const model = mkdtempSync(join(family.folder, 'changed-'))
    cpSync(family.path('model'), model, { recursive: true })
    const path = join(model, 'config.json')
    writeFileSync(path, JSON.stringify({ ...readJson<object>(path), ...config }))
    const tensors = [...readTensors(family.path('model', 'model.safetensors'))]
    writeTensors(join(model, 'model.safetensors'), new Map(tensors.map(([key, tensor]) => [rename(key), tensor])))
    return model
  }

  it.each(family.inputs.map(({ id }, index) => ({ id, index })))(
    'has the vector of transformers for "$id"',
    ({ index }) => family.expectRecorded(ours[index]!, index)
  )

  it('has the ids of its tokenizer, and one position a token', async () => {
    const inspected = await family.inspect()
    for (const [i, { prompt, input_ids }] of family.inputs.entries())
      expect(inspected[i]).toMatchObject({ prompt, input_ids, positions: input_ids.map((_, position) => position) })
  })

  it.each([OWN[name]!, { error: 'without_turning', spares: [] }, { error: 'without_text_layer', spares: [] }])(
    'is told from what transformers gives with the error "$error"',
    ({ error, spares }) => {
      expect(family.passing(ours, error)).toEqual(spares)
    }
  )

  it('is shown by inspect without anything of pictures', async () => {
    const lines = await command('inspect', '--model', family.path('model'), '--json')
    const { settings, settings_from, ...shown } = JSON.parse(lines[0]!) as Record<string, object>
    expect(shown).toMatchObject({ family: name })
    expect(settings).toMatchObject({ pooling: 'last', normalize: true })
    expect(JSON.stringify([settings, settings_from, Object.keys(shown)])).not.toMatch(/vision|image|pixel|positions/i)
  })

  it('embeds to the same bits alone, and close to them in bf16', async () => {
    expect(await family.embed(family.path('model'), { more: ['--batch-tokens', '1'] })).toEqual(ours)
    const narrow = await family.embed(family.path('model'), { dtype: 'bf16' })
    for (const [i, vector] of narrow.entries()) expect(cosineDistance(vector, ours[i]!)).toBeLessThanOrEqual(1e-2)
  })

  it('embeds to the same bits with the names of the bare model, and what it trains has them', async () => {
    const bare = changed({}, (tensor) => tensor.replace(/^model\./, ''))
    expect(await family.embed(bare)).toEqual(ours)
    const output = join(family.folder, 'exported')
    await command('export', '--model', bare, '--output', output)
    expect([...readTensors(join(output, 'model.safetensors')).keys()].sort()).toEqual(
      [...readTensors(join(bare, 'model.safetensors')).keys()].sort()
    )
  })

  it('takes an adapter that was trained on the bare model', async () => {
    const adapter = family.path('training', 'dora', 'adapter')
    const bare = mkdtempSync(join(family.folder, 'adapter-'))
    cpSync(adapter, bare, { recursive: true })
    const tensors = [...readTensors(join(adapter, 'adapter_model.safetensors'))]
    const renamed = tensors.map(([key, tensor]) => [key.replace('model.model.model.', 'model.model.'), tensor] as const)
    writeTensors(join(bare, 'adapter_model.safetensors'), new Map(renamed))
    const adapted = await family.embed(family.path('model'), { more: ['--adapter', adapter] })
    expect(await family.embed(family.path('model'), { more: ['--adapter', bare] })).toEqual(adapted)
    expect(adapted).not.toEqual(ours)
  })

  it('refuses pictures and options for them, naming the architecture', async () => {
    const items = join(family.folder, 'pictured.jsonl')
    writeFileSync(items, '{"text": "a", "images": ["x.png"]}\n')
    const argv = ['embed', '--model', family.path('model'), '--input', items, '--output', '-']
    expect(await runCli(argv)).toMatchObject({
      code: 4,
      stderr: expect.stringContaining(`a ${name} model takes text only`)
    })
    expect(await runCli([...argv, '--max-pixels', '784'])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining(`A ${name} model takes no pictures`)
    })
  })

  const longest = Math.max(...family.inputs.map(({ input_ids }) => input_ids.length))
  const window = { use_sliding_window: true, max_window_layers: 0, sliding_window: longest }
  it('embeds items that fit into a sliding window, and refuses longer ones, whatever --max-length says', async () => {
    expect(await family.embed(changed(window))).toEqual(ours)
    const narrow = changed({ ...window, sliding_window: longest - 1 })
    const argv = ['embed', '--model', narrow, '--input', family.path('items.jsonl'), '--output', '-']
    expect(await runCli(argv)).toMatchObject({ code: 4, stderr: expect.stringContaining(`at most ${longest - 1}`) })
    expect(await runCli([...argv, '--max-length', `${longest}`])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('sliding_window')
    })
  })

  describeTraining(family)

  if (name === 'qwen2')
    it('embeds with attention in both directions where config.json says that it is not causal', async () => {
      const both = await family.embed(changed({ is_causal: false }))
      for (const [i, theirs] of family.rows('bidirectional').entries())
        expect(largestDifference(both[i]!, theirs)).toBeLessThanOrEqual(family.bound)
      expect(family.passing(ours, 'bidirectional')).toEqual([])
    })
})
