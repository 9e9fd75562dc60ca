/**
 * Text to token ids with Hugging Face's own Rust library, from tokenizer.json, from vocab.json and merges.txt, or from
 * tokenizer.model. No truncation, no padding; what the tokenizer itself adds (a post-processor in tokenizer.json) is added.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { BPE, Tokenizer as RustTokenizer } from 'tokenizers'
import { Vlm2VecError } from '../errors.js'
import { readJsonObject } from '../json-fields.js'
import { addTokens } from './added-tokens.js'
import { CLIP_SPECIAL, CLIP_STAGES, CLIP_SUFFIX, clipPostProcessor } from './clip-tokenizer.js'
import { sentencePieceTokenizer } from './sentencepiece.js'

export class Tokenizer {
  private constructor(
    private readonly tokenizer: RustTokenizer,
    /** the file that it was read from */
    readonly file: string
  ) {}

  /** E_MODEL: no tokenizer in the directory, or one that cannot be read. */
  static async load(directory: string, kind: 'qwen2' | 'clip' = 'qwen2'): Promise<Tokenizer> {
    const file = join(directory, 'tokenizer.json')
    const vocab = join(directory, 'vocab.json')
    const merges = join(directory, 'merges.txt')
    if (existsSync(file)) return new Tokenizer(fromTokenizerJson(file), file)
    if (existsSync(vocab) && existsSync(merges)) return new Tokenizer(await fromVocabulary(directory, kind), vocab)
    const pieces = join(directory, 'tokenizer.model')
    if (existsSync(pieces)) return new Tokenizer(await fromSentencePiece(directory, pieces), pieces)
    const unigram = join(directory, 'spiece.model')
    if (existsSync(unigram))
      throw new Vlm2VecError(
        'E_MODEL',
        `${unigram}: a vocabulary in SentencePiece's own format is not read. Save the tokenizer as tokenizer.json.`
      )
    throw new Vlm2VecError(
      'E_MODEL',
      `${directory}: no tokenizer. Expected tokenizer.json, or vocab.json and merges.txt, or tokenizer.model; copy them from the base model.`
    )
  }

  /** Unpaired surrogates, which no encoding can hold, become U+FFFD. `bare`: without what the tokenizer itself adds. */
  async encode(text: string, { bare = false }: { bare?: boolean } = {}): Promise<Int32Array> {
    const encoding = await this.tokenizer.encode(text.replace(/\p{Surrogate}/gu, '\uFFFD'), null, {
      addSpecialTokens: !bare
    })
    return Int32Array.from(encoding.getIds())
  }

  /** E_MODEL for ids that the model has no embedding of. */
  requireWithin(ids: Int32Array, vocabSize: number): void {
    const id = ids.find((each) => each >= vocabSize)
    if (id === undefined) return
    throw new Vlm2VecError(
      'E_MODEL',
      `${this.file}: gives token ${id} (${JSON.stringify(this.tokenOf(id))}), but config.json says vocab_size ${vocabSize}; ` +
        'they belong to different models.'
    )
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

async function fromSentencePiece(directory: string, file: string): Promise<RustTokenizer> {
  const stages = await sentencePieceTokenizer(file, await readJsonObject(join(directory, 'tokenizer_config.json')))
  const tokenizer = RustTokenizer.fromString(JSON.stringify(stages))
  await addTokens(tokenizer, directory)
  return tokenizer
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

async function fromVocabulary(directory: string, kind: string): Promise<RustTokenizer> {
  const clip = kind === 'clip'
  const vocab = join(directory, 'vocab.json')
  const merges = join(directory, 'merges.txt')
  const tokenizer = RustTokenizer.fromString(JSON.stringify(clip ? CLIP_STAGES : QWEN2_STAGES))
  try {
    tokenizer.setModel(await BPE.fromFile(vocab, merges, clip ? CLIP_SUFFIX : {}))
  } catch (cause) {
    throw new Vlm2VecError(
      'E_MODEL',
      `${vocab}, ${merges}: no vocabulary that can be read (${(cause as Error).message}).`,
      {
        cause
      }
    )
  }
  if (clip) tokenizer.addSpecialTokens(CLIP_SPECIAL)
  await addTokens(tokenizer, directory)
  if (clip) tokenizer.setPostProcessor(clipPostProcessor(tokenizer, vocab))
  return tokenizer
}
