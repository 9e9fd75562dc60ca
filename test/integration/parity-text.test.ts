/** Text decoders by themselves against transformers and peft (f32): ids, vectors, namings, windows, six steps of training. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { describeTraining, describeVectors, Family } from './family-parity.js'
import { changeJson, command, largestDifference, readTensors } from './golden.js'
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
  /** A copy of the model with some keys of its config.json changed. */
  const changed = (config: object): string => family.changed((copy) => changeJson(join(copy, 'config.json'), config))

  describeVectors(family)

  it('has the ids of its tokenizer, and one position a token', async () => {
    const inspected = await family.inspect()
    for (const [i, { prompt, input_ids }] of family.inputs.entries())
      expect(inspected[i]).toMatchObject({ prompt, input_ids, positions: input_ids.map((_, position) => position) })
  })

  it.each([OWN[name]!, { error: 'without_turning', spares: [] }, { error: 'without_text_layer', spares: [] }])(
    'is told from what transformers gives with the error "$error"',
    async ({ error, spares }) => {
      expect(await family.passing(error)).toEqual(spares)
    }
  )

  it('is shown by inspect without anything of pictures', async () => {
    const lines = await command('inspect', '--model', family.path('model'), '--json')
    const { settings, settings_from, ...shown } = JSON.parse(lines[0]!) as Record<string, object>
    expect(shown).toMatchObject({ family: name })
    expect(settings).toMatchObject({ pooling: 'last', normalize: true })
    expect(JSON.stringify([settings, settings_from, Object.keys(shown)])).not.toMatch(/vision|image|pixel|positions/i)
  })

  it('embeds to the same bits with the names of the bare model, and what it trains has them', async () => {
    const bare = family.renamed((tensor) => tensor.replace(/^model\./, ''))
    expect(await family.embed(bare)).toEqual(await family.vectors())
    const output = join(family.folder, 'exported')
    await command('export', '--model', bare, '--output', output)
    expect([...readTensors(join(output, 'model.safetensors')).keys()].sort()).toEqual(
      [...readTensors(join(bare, 'model.safetensors')).keys()].sort()
    )
  })

  it('takes an adapter that was trained on the bare model', async () => {
    const adapter = family.path('training', 'dora', 'adapter')
    const bare = family.renamed((tensor) => tensor.replace('model.model.model.', 'model.model.'), adapter)
    const adapted = await family.embed(family.path('model'), { more: ['--adapter', adapter] })
    expect(await family.embed(family.path('model'), { more: ['--adapter', bare] })).toEqual(adapted)
    expect(adapted).not.toEqual(await family.vectors())
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
    expect(await family.embed(changed(window))).toEqual(await family.vectors())
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
      expect(await family.passing('bidirectional')).toEqual([])
    })
})
