/** CLIP's stages around the vocabulary of vocab.json and merges.txt (transformers' CLIPTokenizer). */
import { robertaProcessing, type Processor, type Tokenizer } from 'tokenizers'
import { Vlm2VecError } from '../errors.js'

const START = '<|startoftext|>'
const END = '<|endoftext|>'

const PATTERN = "<\\|startoftext\\|>|<\\|endoftext\\|>|'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+"

const BYTE_LEVEL = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true }

export const CLIP_STAGES = {
  version: '1.0',
  truncation: null,
  padding: null,
  added_tokens: [],
  normalizer: {
    type: 'Sequence',
    normalizers: [{ type: 'NFC' }, { type: 'Replace', pattern: { Regex: '\\s+' }, content: ' ' }, { type: 'Lowercase' }]
  },
  pre_tokenizer: {
    type: 'Sequence',
    pretokenizers: [{ type: 'Split', pattern: { Regex: PATTERN }, behavior: 'Removed', invert: true }, BYTE_LEVEL]
  },
  post_processor: null,
  decoder: BYTE_LEVEL,
  model: { type: 'BPE', vocab: {}, merges: [] }
}

export const CLIP_SUFFIX = { unkToken: END, continuingSubwordPrefix: '', endOfWordSuffix: '</w>' }
export const CLIP_SPECIAL = [START, END]

/** Every text stands between the start and the end token. */
export function clipPostProcessor(tokenizer: Tokenizer, file: string): Processor {
  const [start, end] = [START, END].map((token) => {
    const id = tokenizer.tokenToId(token)
    if (id === null)
      throw new Vlm2VecError('E_MODEL', `${file}: the token ${token} is missing; it is no vocabulary of CLIP.`)
    return [token, id] as [string, number]
  })
  return robertaProcessing(end!, start!, false, false)
}
