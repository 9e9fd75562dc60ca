/**
 * A small byte-level BPE tokenizer in the form of Qwen2's: every text can be written with it, common words of the tests
 * take one token.
 */

export const SPECIAL_TOKENS = [
  '<|endoftext|>',
  '<|im_start|>',
  '<|im_end|>',
  '<|vision_start|>',
  '<|vision_end|>',
  '<|vision_pad|>',
  '<|image_pad|>',
  '<|video_pad|>'
]

const WORDS =
  'a an the of in on with and is are red green blue yellow circle square triangle left right above below image picture ' +
  'photo video given find represent what which where how many question answer query target caption dog cat car small large'

/** The pieces of GPT-2's tokenizers: contractions, words, numbers, punctuation, space. */
const PIECES =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

/** The printable character that stands for each byte: itself where it is printable, else one from U+0100 on. */
export function byteCharacters() {
  const printable = (byte) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174
  let next = 256
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(printable(byte) ? byte : next++))
}

/** Vocabulary, merges and tokenizer.json. Ids: the bytes, the merges in order, then the special tokens. */
export function tinyTokenizer() {
  const vocabulary = new Map(byteCharacters().map((character, id) => [character, id]))
  const merges = []
  for (const word of WORDS.split(' ').flatMap((each) => [`\u0120${each}`, each])) {
    let left = word[0]
    for (const right of word.slice(1)) {
      if (!vocabulary.has(left + right)) {
        merges.push([left, right])
        vocabulary.set(left + right, vocabulary.size)
      }
      left += right
    }
  }
  const first = vocabulary.size
  const ids = Object.fromEntries(SPECIAL_TOKENS.map((token, index) => [token, first + index]))
  return { size: first + SPECIAL_TOKENS.length, ids, json: tokenizerJson(vocabulary, merges, ids) }
}

function tokenizerJson(vocabulary, merges, ids) {
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: false, use_regex: false }
  const plain = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: Object.entries(ids).map(([content, id]) => ({ id, content, ...plain })),
    normalizer: { type: 'NFC' },
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [{ type: 'Split', pattern: { Regex: PIECES }, behavior: 'Isolated', invert: false }, byteLevel]
    },
    post_processor: byteLevel,
    decoder: byteLevel,
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: '',
      end_of_word_suffix: '',
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(vocabulary),
      merges
    }
  }
}
