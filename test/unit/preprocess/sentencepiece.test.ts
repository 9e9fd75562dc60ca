import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Tokenizer } from '../../../src/preprocess/tokenizer.js'

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'sentencepiece-'))
})
afterEach(() => rm(directory, { recursive: true }))

// ---- a small model, as a protocol buffer

const varint = (value: number): Buffer =>
  value < 128 ? Buffer.from([value]) : Buffer.concat([Buffer.from([128 | (value & 127)]), varint(value >> 7)])
const bytesField = (field: number, value: Uint8Array): Buffer =>
  Buffer.concat([varint(field * 8 + 2), varint(value.length), value])
const numberField = (field: number, value: number): Buffer => Buffer.concat([varint(field * 8), varint(value)])

type Piece = [text: string, score: number, type?: number]
function piece([text, score, type = 1]: Piece): Buffer {
  const float = Buffer.alloc(4)
  float.writeFloatLE(score)
  const parts = [bytesField(1, Buffer.from(text)), Buffer.concat([varint(2 * 8 + 5), float]), numberField(3, type)]
  return bytesField(1, Buffer.concat(parts))
}
const model = (pieces: Piece[], { kind = 2, strips = 0, prepends = 1 } = {}): Buffer =>
  Buffer.concat([
    ...pieces.map(piece),
    bytesField(2, numberField(3, kind)),
    bytesField(3, Buffer.concat([numberField(3, prepends), numberField(4, strips)]))
  ])

const bytes: Piece[] = Array.from({ length: 256 }, (_, byte) => [
  `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`,
  0,
  6
])
const PIECES: Piece[] = [
  ['<unk>', 0, 2],
  ['<s>', 0, 3],
  ['</s>', 0, 3],
  ...bytes,
  ['ab', -1],
  ['bc', -2],
  ['\u2581ab', -3],
  ['abc', -4],
  ...[...'\u2581abc'].map((each, index): Piece => [each, -10 - index])
]
const idOf = (text: string): number => PIECES.findIndex(([each]) => each === text)
const ids = (...texts: string[]): number[] => texts.map(idOf)

async function encoder(pieces: Buffer, config?: object): Promise<(text: string) => Promise<number[]>> {
  await writeFile(join(directory, 'tokenizer.model'), pieces)
  if (config) await writeFile(join(directory, 'tokenizer_config.json'), JSON.stringify(config))
  const tokenizer = await Tokenizer.load(directory)
  return async (text) => [...(await tokenizer.encode(text))]
}

describe('tokenizer.model', () => {
  it('joins the pair with the highest score first, spaces being characters', async () => {
    const encode = await encoder(model(PIECES))
    expect(await encode('abc')).toEqual(ids('<s>', '\u2581ab', 'c'))
    expect(await encode('cabc bc')).toEqual(ids('<s>', '\u2581', 'c', 'abc', '\u2581', 'bc'))
    expect(await encode('')).toEqual(ids('<s>'))
  })

  it('writes as bytes what no piece has', async () => {
    const encode = await encoder(model(PIECES))
    expect(await encode('aé')).toEqual(ids('<s>', '\u2581', 'a', '<0xC3>', '<0xA9>'))
  })

  it('begins and ends texts as tokenizer_config.json says, and adds its tokens', async () => {
    const added = { [PIECES.length]: { content: '<image>', special: true } }
    const encode = await encoder(model(PIECES), {
      add_bos_token: false,
      add_eos_token: true,
      eos_token: { content: '</s>' },
      added_tokens_decoder: added
    })
    // every text between special tokens has a space of its own in front
    expect(await encode('a<image>a')).toEqual([...ids('\u2581', 'a'), PIECES.length, ...ids('\u2581', 'a', '</s>')])
  })

  it('puts a space before the first text only where the tokenizer is no legacy one', async () => {
    const encode = await encoder(model(PIECES), { legacy: false })
    expect(await encode('a</s>a')).toEqual(ids('<s>', '\u2581', 'a', '</s>', 'a'))
  })

  it.each([
    ['another kind than BPE', model(PIECES, { kind: 1 })],
    ['removes spaces', model(PIECES, { strips: 1 })],
    ['damaged', model(PIECES).subarray(0, 100)],
    ['no pieces', Buffer.alloc(0)]
  ])('refuses a model: %s', async (reason, pieces) => {
    await expect(encoder(pieces)).rejects.toMatchObject({
      code: 'E_MODEL',
      message: expect.stringMatching(new RegExp(`tokenizer\\.model.*${reason}`))
    })
  })

  const data = process.env['VLM2VEC_TEST_DATA']
  it.skipIf(!data)("gives Mistral's ids (VLM2VEC_TEST_DATA)", async () => {
    await copyFile(join(data!, 'reference/data/mistral/tokenizer.model.v1'), join(directory, 'tokenizer.model'))
    const tokenizer = await Tokenizer.load(directory)
    const vectors: [string, number[]][] = [
      ['A cat and a dog', [330, 5255, 304, 264, 3914]],
      [' Represent the given image.', [28705, 17891, 272, 2078, 3469, 28723]],
      ['日本語🙂', [28705, 29142, 29119, 30321, 29340]]
    ]
    for (const [text, expected] of vectors) expect([...(await tokenizer.encode(text))]).toEqual([1, ...expected])
  })
})
