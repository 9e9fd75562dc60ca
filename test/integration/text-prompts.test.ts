/** Prompts of text decoders by themselves: chat templates, and files of sentence-transformers. */
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { command, embedRows, golden, readJson, temporaryFolder } from './golden.js'
import { runCli } from './run-cli.js'

const folder = temporaryFolder()

/** A copy of a tiny decoder with more files. */
function decoder(family: string, files: Record<string, unknown> = {}): string {
  const model = mkdtempSync(join(folder, `${family}-`))
  cpSync(golden(family, 'model'), model, { recursive: true })
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(join(model, name, '..'), { recursive: true })
    writeFileSync(join(model, name), typeof content === 'string' ? content : JSON.stringify(content))
  }
  return model
}

function itemsFile(...items: object[]): string {
  const path = join(mkdtempSync(join(folder, 'items-')), 'items.jsonl')
  writeFileSync(path, items.map((item) => `${JSON.stringify(item)}\n`).join(''))
  return path
}

const embed = (model: string, items: object[], ...flags: string[]): Promise<Float32Array[]> =>
  embedRows(folder, '--model', model, '--input', itemsFile(...items), ...flags)

const idsOf = async (model: string, item: object, ...flags: string[]): Promise<number[]> => {
  const [line] = await command('inspect', '--model', model, '--input', itemsFile(item), '--json', ...flags)
  return (JSON.parse(line!) as { input_ids: number[] }).input_ids
}

describe('a chat template of a text model', () => {
  // as transformers' apply_chat_template, which tokenizes without special tokens
  it('gets nothing added by the tokenizer', async () => {
    const mistral = decoder('mistral', { 'chat_template.jinja': '{{ bos_token }}{{ messages[0].content }}</s>' })
    const ids = await idsOf(mistral, { text: 'circle' }, '--prompt', 'chat')
    expect(ids.filter((id) => id === 1)).toEqual([1])
    expect([ids[0], ids.at(-1)]).toEqual([1, 2])
    const qwen = decoder('qwen3', { 'chat_template.jinja': '{{ messages[0].content }}' })
    const raw = await idsOf(qwen, { text: 'circle' })
    expect(await idsOf(qwen, { text: 'circle' }, '--prompt', 'chat')).toEqual(raw.slice(0, -1))
  })
})

/** As sentence-transformers up to 5 has saved it, with the prompts of a Qwen3-Embedding. */
const QWEN3_EMBEDDING = {
  'modules.json': ['Transformer', 'Pooling', 'Normalize'].map((kind, idx) => ({
    idx,
    name: String(idx),
    path: idx === 0 ? '' : `${idx}_${kind}`,
    type: `sentence_transformers.models.${kind}`
  })),
  '1_Pooling/config.json': { word_embedding_dimension: 32, pooling_mode_lasttoken: true, include_prompt: true },
  'config_sentence_transformers.json': {
    prompts: { query: 'Instruct: Find it\nQuery:', document: '' },
    default_prompt_name: null,
    similarity_fn_name: 'cosine'
  }
}

describe('files of sentence-transformers beside a text model', () => {
  it('say how texts are embedded: prompts stand in front as they are', async () => {
    const model = decoder('qwen3', QWEN3_EMBEDDING)
    const plain = await embed(decoder('qwen3'), [{ text: 'a circle' }, { text: 'Instruct: Find it\nQuery:a circle' }])
    const prompted = { instruction: 'Instruct: Find it\nQuery:', text: 'a circle' }
    expect(await embed(model, [{ text: 'a circle' }, prompted])).toEqual(plain)
    const byDefault = {
      ...QWEN3_EMBEDDING['config_sentence_transformers.json'],
      default_prompt_name: 'query'
    }
    const queries = decoder('qwen3', { ...QWEN3_EMBEDDING, 'config_sentence_transformers.json': byDefault })
    expect(await embed(queries, [{ text: 'a circle' }])).toEqual([plain[1]])
  })

  it('are written so that they say all that vlm2vec.json says', async () => {
    const output = join(folder, 'sentences')
    const flags = ['--model', golden('mistral', 'model'), '--format', 'sentence-transformers', '--output']
    await command('export', ...flags, output, '--instruction', 'Find:')
    const ours = await embed(output, [{ text: 'a circle' }])
    rmSync(join(output, 'vlm2vec.json'))
    expect(await embed(output, [{ text: 'a circle' }])).toEqual(ours)
    expect(await embed(golden('mistral', 'model'), [{ text: 'Find: a circle' }])).toEqual(ours)
    const { modality_config } = readJson<{ modality_config: object }>(join(output, 'sentence_bert_config.json'))
    expect(Object.keys(modality_config)).toEqual(['text'])

    const refused = await runCli(['export', ...flags, join(folder, 'none'), '--suffix', '!'])
    expect(refused).toMatchObject({ code: 2, stderr: expect.stringContaining('nothing behind') })
  })
})
