import { copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Tokenizer } from '../../../src/preprocess/tokenizer.js'

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url))
const golden = here('../../golden/model')
/** recorded with Python's tokenizers 0.23.2 and the tokenizer of test/golden/model */
const vectors = JSON.parse(await readFile(here('tokenizer-vectors.json'), 'utf8')) as { text: string; ids: number[] }[]
const data = process.env['VLM2VEC_TEST_DATA']

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tokenizer-'))
})
afterEach(() => rm(directory, { recursive: true }))

interface TokenizerJson {
  model: { vocab: Record<string, number>; merges: (string | [string, string])[] }
  added_tokens: { id: number; content: string; special: boolean }[]
  truncation?: unknown
  padding?: unknown
}
const goldenJson = async (): Promise<TokenizerJson> =>
  JSON.parse(await readFile(join(golden, 'tokenizer.json'), 'utf8')) as TokenizerJson

const json = await goldenJson()

/** The golden tokenizer in the older files. */
async function writeVocabulary(change: (added: TokenizerJson['added_tokens']) => unknown): Promise<void> {
  const { model, added_tokens } = await goldenJson()
  const vocab = Object.fromEntries(
    Object.entries(model.vocab).filter(([, id]) => !added_tokens.some((each) => each.id === id))
  )
  const merges = model.merges.map((merge) => (typeof merge === 'string' ? merge : merge.join(' ')))
  await writeFile(join(directory, 'vocab.json'), JSON.stringify(vocab))
  await writeFile(join(directory, 'merges.txt'), ['#version: 0.2', ...merges, ''].join('\n'))
  await change(added_tokens)
}

const idsOf = async (tokenizer: Tokenizer, text: string): Promise<number[]> => [...(await tokenizer.encode(text))]

describe('Tokenizer', () => {
  it("gives the ids of Python's tokenizers from tokenizer.json", async () => {
    const tokenizer = await Tokenizer.load(golden)
    for (const { text, ids } of vectors) expect([text, await idsOf(tokenizer, text)]).toEqual([text, ids])
  })

  it('gives the same ids from vocab.json, merges.txt and tokenizer_config.json', async () => {
    await writeVocabulary((added) => {
      const decoder = Object.fromEntries(
        added.map(({ id, content, special }) => [id, { content, special, normalized: false }])
      )
      return writeFile(join(directory, 'tokenizer_config.json'), JSON.stringify({ added_tokens_decoder: decoder }))
    })
    const tokenizer = await Tokenizer.load(directory)
    for (const { text, ids } of vectors) expect([text, await idsOf(tokenizer, text)]).toEqual([text, ids])
  })

  it('takes added tokens from added_tokens.json where tokenizer_config.json has none', async () => {
    await writeVocabulary((added) =>
      writeFile(
        join(directory, 'added_tokens.json'),
        JSON.stringify(Object.fromEntries(added.map(({ id, content }) => [content, id])))
      )
    )
    const tokenizer = await Tokenizer.load(directory)
    for (const { text, ids } of vectors) expect([text, await idsOf(tokenizer, text)]).toEqual([text, ids])
  })

  it('refuses added tokens whose ids the library would not give', async () => {
    await writeVocabulary((added) => {
      const decoder = Object.fromEntries(added.map(({ id, content }) => [id + 7, { content, special: true }]))
      return writeFile(join(directory, 'tokenizer_config.json'), JSON.stringify({ added_tokens_decoder: decoder }))
    })
    await expect(Tokenizer.load(directory)).rejects.toMatchObject({
      code: 'E_MODEL',
      message: expect.stringMatching(/tokenizer_config\.json.*should have id/)
    })
  })

  it('never truncates or pads, whatever tokenizer.json says', async () => {
    const json = await goldenJson()
    json.truncation = { direction: 'Right', max_length: 4, strategy: 'LongestFirst', stride: 0 }
    json.padding = {
      strategy: { Fixed: 64 },
      direction: 'Left',
      pad_id: 0,
      pad_type_id: 0,
      pad_token: 'x',
      pad_to_multiple_of: null
    }
    await writeFile(join(directory, 'tokenizer.json'), JSON.stringify(json))
    const { text, ids } = vectors[4]!
    expect(await idsOf(await Tokenizer.load(directory), text)).toEqual(ids)
  })

  it('reads unpaired surrogates as U+FFFD', async () => {
    const tokenizer = await Tokenizer.load(golden)
    expect(await tokenizer.encode('a\ud800b\udc00')).toEqual(await tokenizer.encode('a\ufffdb\ufffd'))
    expect(await tokenizer.encode('\ud83d\ude42')).not.toEqual(await tokenizer.encode('\ufffd\ufffd'))
  })

  it('finds ids of tokens and tokens of ids', async () => {
    const tokenizer = await Tokenizer.load(golden)
    const id = tokenizer.idOf('<|image_pad|>')!
    expect(tokenizer.tokenOf(id)).toBe('<|image_pad|>')
    expect([tokenizer.idOf('<|no such token|>'), tokenizer.tokenOf(1e6)]).toEqual([undefined, undefined])
  })

  it('says that there is no tokenizer', async () => {
    await copyFile(join(golden, 'config.json'), join(directory, 'config.json'))
    await expect(Tokenizer.load(directory)).rejects.toMatchObject({
      code: 'E_MODEL',
      message: expect.stringMatching(/no tokenizer.*tokenizer\.json, or vocab\.json and merges\.txt/)
    })
  })

  it('names a damaged file', async () => {
    await writeFile(join(directory, 'tokenizer.json'), '{"model":')
    await expect(Tokenizer.load(directory)).rejects.toMatchObject({
      code: 'E_MODEL',
      message: expect.stringContaining('tokenizer.json')
    })
    await rm(join(directory, 'tokenizer.json'))
    await writeFile(join(directory, 'vocab.json'), '[]')
    await writeFile(join(directory, 'merges.txt'), '')
    await expect(Tokenizer.load(directory)).rejects.toMatchObject({
      code: 'E_MODEL',
      message: expect.stringContaining('vocab.json')
    })
  })

  const template = (before: string[], after: string[]) => {
    const special = (id: string): object => ({ SpecialToken: { id, type_id: 0 } })
    const sequence = (id: string): object => ({ Sequence: { id, type_id: 0 } })
    const single = [...before.map(special), sequence('A'), ...after.map(special)]
    const token = (id: string) => [id, { id, ids: [idOf(id)], tokens: [id] }]
    return {
      type: 'TemplateProcessing',
      single,
      pair: [...single, sequence('B')],
      special_tokens: Object.fromEntries([...before, ...after].map(token))
    }
  }
  const idOf = (content: string): number => json.added_tokens.find((each) => each.content === content)!.id
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: false, use_regex: false }
  it.each([
    ['TemplateProcessing', template(['<|im_start|>'], ['<|endoftext|>'])],
    ['Sequence', { type: 'Sequence', processors: [byteLevel, template(['<|im_start|>'], ['<|endoftext|>'])] }]
  ])('adds what a post-processor of the kind %s adds', async (_, post_processor) => {
    await writeFile(join(directory, 'tokenizer.json'), JSON.stringify({ ...json, post_processor }))
    const { text, ids } = vectors[4]!
    expect(await idsOf(await Tokenizer.load(directory), text)).toEqual([
      idOf('<|im_start|>'),
      ...ids,
      idOf('<|endoftext|>')
    ])
  })

  it('lets a special token swallow the space behind it where it says so', async () => {
    const added_tokens = json.added_tokens.map((each) => ({ ...each, rstrip: each.content === '<|im_end|>' }))
    await writeFile(join(directory, 'tokenizer.json'), JSON.stringify({ ...json, added_tokens }))
    const tokenizer = await Tokenizer.load(directory)
    expect(await idsOf(tokenizer, 'a<|im_end|> \n\u3000b')).toEqual(await idsOf(tokenizer, 'a<|im_end|>b'))
    expect(await idsOf(tokenizer, 'a<|im_start|> b')).not.toEqual(await idsOf(tokenizer, 'a<|im_start|>b'))
  })

  it.skipIf(!data)("gives Phi-3.5-V's ids (VLM2VEC_TEST_DATA)", async () => {
    const tokenizer = await Tokenizer.load(join(data!, 'reference/data/phi35v_vlm2vec'))
    const published: [string, number[]][] = [
      ['', [1]],
      ['A cat and a dog', [1, 319, 6635, 322, 263, 11203]],
      ['<|user|>\nHi<|end|>\n<|assistant|>\n', [1, 32010, 29871, 13, 18567, 32007, 29871, 13, 32001]],
      ['日本語🙂', [1, 29871, 30325, 30346, 30968, 243, 162, 156, 133]],
      ['  two  spaces\n\n', [1, 259, 1023, 29871, 8162, 13, 13]]
    ]
    for (const [text, ids] of published) expect([text, await idsOf(tokenizer, text)]).toEqual([text, ids])
  })

  it.skipIf(!data)("gives Qwen's published ids (VLM2VEC_TEST_DATA)", async () => {
    const tokenizer = await Tokenizer.load(join(data!, 'reference/data/qwen2vl2b'))
    const { qwen } = JSON.parse(await readFile(join(data!, 'reference/data/tokvec.json'), 'utf8')) as {
      qwen: Record<string, number[]>
    }
    for (const [text, ids] of Object.entries(qwen)) expect([text, await idsOf(tokenizer, text)]).toEqual([text, ids])
    expect(tokenizer.idOf('<|video_pad|>')).toBe(151656)
  })
})
