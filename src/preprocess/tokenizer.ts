/**
 * Text to token ids with Hugging Face's own Rust library, from tokenizer.json or from vocab.json and merges.txt. No
 * truncation, no padding; what the tokenizer itself adds (a post-processor in tokenizer.json) is added.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { AddedToken, BPE, Tokenizer as RustTokenizer } from 'tokenizers'
import { Vlm2VecError } from '../errors.js'
import { readJsonObject, type Fields } from '../json-fields.js'

export class Tokenizer {
  private constructor(
    private readonly tokenizer: RustTokenizer,
    /** the file that it was read from */
    readonly file: string
  ) {}

  /** E_MODEL: no tokenizer in the directory, or one that cannot be read. */
  static async load(directory: string): Promise<Tokenizer> {
    const file = join(directory, 'tokenizer.json')
    const vocab = join(directory, 'vocab.json')
    const merges = join(directory, 'merges.txt')
    if (existsSync(file)) return new Tokenizer(fromTokenizerJson(file), file)
    if (existsSync(vocab) && existsSync(merges)) return new Tokenizer(await fromVocabulary(directory), vocab)
    throw new Vlm2VecError(
      'E_MODEL',
      `${directory}: no tokenizer. Expected tokenizer.json, or vocab.json and merges.txt; copy them from the base model.`
    )
  }

  /** Unpaired surrogates, which no encoding can hold, become U+FFFD. */
  async encode(text: string): Promise<Int32Array> {
    return Int32Array.from((await this.tokenizer.encode(text.replace(/\p{Surrogate}/gu, '\uFFFD'))).getIds())
  }

  /** The id of a token; undefined where there is no such token. */
  idOf(token: string): number | undefined {
    return this.tokenizer.tokenToId(token) ?? undefined
  }

  tokenOf(id: number): string | undefined {
    return this.tokenizer.idToToken(id) ?? undefined
  }
}

function fromTokenizerJson(file: string): RustTokenizer {
  try {
    const tokenizer = RustTokenizer.fromFile(file)
    tokenizer.disableTruncation()
    tokenizer.disablePadding()
    return tokenizer
  } catch (cause) {
    throw new Vlm2VecError('E_MODEL', `${file}: not a tokenizer that can be read (${(cause as Error).message}).`, {
      cause
    })
  }
}

// ---- vocab.json and merges.txt ---------------------------------------------------------------------------------------

/** Qwen2's pieces (models from Qwen2 to Qwen3 split text alike). */
const QWEN2_PATTERN =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

const BYTE_LEVEL = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: false, use_regex: false }

/** The stages around the model. The library builds a split by regular expression from JSON only. */
const QWEN2_STAGES = {
  version: '1.0',
  truncation: null,
  padding: null,
  added_tokens: [],
  normalizer: { type: 'NFC' },
  pre_tokenizer: {
    type: 'Sequence',
    pretokenizers: [
      { type: 'Split', pattern: { Regex: QWEN2_PATTERN }, behavior: 'Isolated', invert: false },
      BYTE_LEVEL
    ]
  },
  post_processor: BYTE_LEVEL,
  decoder: BYTE_LEVEL,
  model: { type: 'BPE', vocab: {}, merges: [] }
}

async function fromVocabulary(directory: string): Promise<RustTokenizer> {
  const vocab = join(directory, 'vocab.json')
  const merges = join(directory, 'merges.txt')
  const tokenizer = RustTokenizer.fromString(JSON.stringify(QWEN2_STAGES))
  try {
    tokenizer.setModel(await BPE.fromFile(vocab, merges))
  } catch (cause) {
    throw new Vlm2VecError(
      'E_MODEL',
      `${vocab}, ${merges}: no vocabulary that can be read (${(cause as Error).message}).`,
      {
        cause
      }
    )
  }
  const added = await addedTokens(directory)
  tokenizer.addAddedTokens(added.map(({ content, special, ...options }) => new AddedToken(content, special, options)))
  for (const { content, id, file } of added) {
    const got = tokenizer.tokenToId(content)
    if (got !== id)
      throw new Vlm2VecError(
        'E_MODEL',
        `${file}: the added token ${JSON.stringify(content)} should have id ${id}, but is given ${got}, the next free one. ` +
          'Save the tokenizer as tokenizer.json.'
      )
  }
  return tokenizer
}

interface Added {
  content: string
  id: number
  file: string
  special: boolean
  leftStrip: boolean
  rightStrip: boolean
  singleWord: boolean
  normalized: boolean
}

/** `added_tokens_decoder` of tokenizer_config.json, else added_tokens.json, in order of ids. */
async function addedTokens(directory: string): Promise<Added[]> {
  const config = await readJsonObject(join(directory, 'tokenizer_config.json'))
  const decoder = config?.nested('added_tokens_decoder')
  const added = decoder ? fromDecoder(decoder) : await fromAddedTokensJson(join(directory, 'added_tokens.json'))
  return added.sort((a, b) => a.id - b.id)
}

function fromDecoder(decoder: Fields): Added[] {
  return decoder.keys().map((key) => {
    const token = decoder.nested(key)!
    const content = token.string('content')
    if (content === undefined || content === '') throw token.error('content', 'the text of the token')
    const special = token.boolean('special', false)
    return {
      content,
      id: Number(key),
      file: decoder.file,
      special,
      leftStrip: token.boolean('lstrip', false),
      rightStrip: token.boolean('rstrip', false),
      singleWord: token.boolean('single_word', false),
      normalized: token.boolean('normalized', !special)
    }
  })
}

async function fromAddedTokensJson(file: string): Promise<Added[]> {
  const tokens = await readJsonObject(file)
  const plain = { file, special: true, leftStrip: false, rightStrip: false, singleWord: false, normalized: false }
  return tokens ? tokens.keys().map((content) => ({ content, id: tokens.integer(content, { min: 0 }), ...plain })) : []
}
