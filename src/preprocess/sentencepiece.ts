/**
 * tokenizer.model, a SentencePiece model of the kind BPE, as Llama and Mistral have it: read (a protocol buffer) and turned
 * into the stages that transformers' converter writes to tokenizer.json.
 */
import { readFile } from 'node:fs/promises'
import { Vlm2VecError } from '../errors.js'
import type { Fields } from '../json-fields.js'

interface Piece {
  text: string
  score: number
  type: number
}

const NORMAL = 1
const UNKNOWN = 2
const CONTROL = 3
const USER_DEFINED = 4
const BPE = 2

/** A tokenizer in the form of tokenizer.json. `config`: tokenizer_config.json. E_MODEL: damaged, or of a kind that is not supported. */
export async function sentencePieceTokenizer(file: string, config: Fields | undefined): Promise<object> {
  const { pieces, kind, stripsSpaces, prependsSpace } = readModel(await readFile(file), file)
  const refuse = (what: string): never => {
    throw new Vlm2VecError('E_MODEL', `${file}: ${what}. Save the tokenizer as tokenizer.json with transformers.`)
  }
  if (kind !== BPE) refuse('a SentencePiece model of another kind than BPE')
  if (stripsSpaces) refuse('a SentencePiece model that removes spaces')
  const vocab = new Map(pieces.map(({ text }, id) => [text, id]))
  if (vocab.size < pieces.length) refuse('a SentencePiece model with a piece that is there twice')
  const unknown = pieces.find(({ type }) => type === UNKNOWN)?.text
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: pieces.flatMap(({ text, type }, id) =>
      [UNKNOWN, CONTROL, USER_DEFINED].includes(type)
        ? [{ id, content: text, single_word: false, lstrip: false, rstrip: false, normalized: false, special: type !== USER_DEFINED }] // prettier-ignore
        : []
    ),
    ...spaceStages(config?.boolean('legacy', true) ?? true, prependsSpace),
    post_processor: template(vocab, config),
    decoder: null,
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: unknown ?? null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: true,
      vocab: Object.fromEntries(vocab),
      merges: mergesOf(pieces, vocab)
    }
  }
}

/** Spaces become U+2581. `legacy`: one more in front of every text between special tokens, else of the first only. */
function spaceStages(legacy: boolean, prepends: boolean): object {
  if (!legacy) {
    const scheme = prepends ? 'first' : 'never'
    return {
      normalizer: null,
      pre_tokenizer: { type: 'Metaspace', replacement: '\u2581', prepend_scheme: scheme, split: false }
    }
  }
  const replace = { type: 'Replace', pattern: { String: ' ' }, content: '\u2581' }
  const prepend = prepends ? [{ type: 'Prepend', prepend: '\u2581' }] : []
  return { normalizer: { type: 'Sequence', normalizers: [...prepend, replace] }, pre_tokenizer: null }
}

/** The beginning and the end of a text that tokenizer_config.json asks for; transformers' default is `<s>` in front. */
function template(vocab: ReadonlyMap<string, number>, config: Fields | undefined): object | null {
  const token = (key: string, fallback: string): { text: string; id: number } => {
    const value = config?.raw(key) as string | { content?: string } | null | undefined
    const text = (typeof value === 'string' ? value : value?.content) ?? fallback
    const id = vocab.get(text)
    if (id === undefined) throw config!.error(key, 'a token of tokenizer.model')
    return { text, id }
  }
  const before = (config?.boolean('add_bos_token', true) ?? true) ? [token('bos_token', '<s>')] : []
  const after = (config?.boolean('add_eos_token', false) ?? false) ? [token('eos_token', '</s>')] : []
  if (before.length + after.length === 0) return null
  const special = ({ text }: { text: string }): object => ({ SpecialToken: { id: text, type_id: 0 } })
  const sequence = (id: 'A' | 'B'): object => ({ Sequence: { id, type_id: 0 } })
  const single = (id: 'A' | 'B'): object[] => [...before.map(special), sequence(id), ...after.map(special)]
  return {
    type: 'TemplateProcessing',
    single: single('A'),
    pair: [...single('A'), ...single('B')],
    special_tokens: Object.fromEntries(
      [...before, ...after].map(({ text, id }) => [text, { id: text, ids: [id], tokens: [text] }])
    )
  }
}

/**
 * SentencePiece joins the pair whose piece has the highest score; in tokenizer.json the order of the list of pairs decides.
 * Equal scores: the longer left part first, as transformers' converter has it.
 */
function mergesOf(pieces: readonly Piece[], vocab: ReadonlyMap<string, number>): [string, string][] {
  const merges: { left: string; right: string; score: number; lengths: [number, number] }[] = []
  for (const { text, score, type } of pieces) {
    if (type !== NORMAL && type !== USER_DEFINED) continue
    const characters = [...text]
    for (let cut = 1, at = 0; cut < characters.length; cut++) {
      at += characters[cut - 1]!.length
      const [left, right] = [text.slice(0, at), text.slice(at)]
      if (vocab.has(left) && vocab.has(right))
        merges.push({ left, right, score, lengths: [cut, characters.length - cut] })
    }
  }
  merges.sort((a, b) => b.score - a.score || b.lengths[0] - a.lengths[0] || b.lengths[1] - a.lengths[1])
  return merges.map(({ left, right }) => [left, right])
}

// ---- protocol buffer -------------------------------------------------------------------------------------------------

/** ModelProto: 1 pieces; 2 trainer_spec; 3 normalizer_spec. */
function readModel(bytes: Buffer, file: string) {
  const model = { pieces: [] as Piece[], kind: 1, stripsSpaces: true, prependsSpace: true }
  try {
    for (const [field, value] of messageFields(bytes)) {
      if (field === 1) model.pieces.push(readPiece(value as Buffer))
      else if (field === 2) model.kind = numberOf(value as Buffer, 3, 1)
      else if (field === 3) {
        model.prependsSpace = numberOf(value as Buffer, 3, 1) === 1
        model.stripsSpaces = numberOf(value as Buffer, 4, 1) === 1
      }
    }
  } catch (cause) {
    throw new Vlm2VecError('E_MODEL', `${file}: not a SentencePiece model, or damaged (${(cause as Error).message}).`, {
      cause
    })
  }
  if (model.pieces.length === 0)
    throw new Vlm2VecError('E_MODEL', `${file}: not a SentencePiece model: it has no pieces.`)
  return model
}

function readPiece(bytes: Buffer): Piece {
  const piece = { text: '', score: 0, type: NORMAL }
  for (const [field, value] of messageFields(bytes)) {
    if (field === 1) piece.text = (value as Buffer).toString('utf8')
    else if (field === 2) piece.score = (value as Buffer).readFloatLE()
    else if (field === 3) piece.type = value as number
  }
  return piece
}

function numberOf(bytes: Buffer, wanted: number, fallback: number): number {
  let found = fallback
  for (const [field, value] of messageFields(bytes)) if (field === wanted) found = value as number
  return found
}

/** Fields by number: whole numbers, or the bytes of everything else. */
function* messageFields(bytes: Buffer): Generator<[number, number | Buffer]> {
  let at = 0
  const varint = (): number => {
    let value = 0
    for (let shift = 0; ; shift += 7) {
      const byte = bytes.readUInt8(at++)
      value += (byte & 127) * 2 ** shift
      if (byte < 128) return value
    }
  }
  while (at < bytes.length) {
    const key = varint()
    const [field, wire] = [Math.floor(key / 8), key % 8]
    if (wire === 0) yield [field, varint()]
    else {
      const length = wire === 2 ? varint() : wire === 5 ? 4 : wire === 1 ? 8 : NaN
      if (!(at + length <= bytes.length)) throw new Error('a field ends behind the file')
      yield [field, bytes.subarray(at, (at += length))]
    }
  }
}
