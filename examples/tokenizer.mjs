/**
 * A byte-level BPE tokenizer (Sennrich et al. 2016), trained on the texts of the data set and written as tokenizer.json in
 * the form of Qwen2's, so that transformers and this package read it alike.
 */
export const SPECIAL = [
  '<|endoftext|>',
  '<|im_start|>',
  '<|im_end|>',
  '<|vision_start|>',
  '<|vision_end|>',
  '<|vision_pad|>',
  '<|image_pad|>',
  '<|video_pad|>'
]
const PATTERN =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
const JS_PATTERN = new RegExp(PATTERN.replace(/\(\?i:[^)]*\)/, "'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])"), 'gu')

/** The contents of tokenizer.json, and the id of each special token. */
export function trainTokenizer(texts) {
  const vocabulary = new Map(byteCharacters().map((character, id) => [character, id]))
  const merges = learnMerges(piecesOf(texts))
  for (const [left, right] of merges) vocabulary.set(left + right, vocabulary.size)
  return tokenizerOf(vocabulary, merges)
}

/** `vocabulary`: ids by token, the bytes first and then the merges in order; the special tokens come behind them. */
export function tokenizerOf(vocabulary, merges) {
  const ids = Object.fromEntries(SPECIAL.map((content, i) => [content, vocabulary.size + i]))
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: false, use_regex: false }
  const plain = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }
  const json = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: Object.entries(ids).map(([content, id]) => ({ id, content, ...plain })),
    normalizer: { type: 'NFC' },
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [{ type: 'Split', pattern: { Regex: PATTERN }, behavior: 'Isolated', invert: false }, byteLevel]
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
      vocab: Object.fromEntries(vocabulary),
      merges
    }
  }
  return { json, ids, size: vocabulary.size + SPECIAL.length }
}

/** GPT-2's characters for bytes: printable ones stand for themselves, the others are moved above 255. */
export function byteCharacters() {
  const printable = (byte) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174
  let moved = 256
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(printable(byte) ? byte : moved++))
}

/** Every piece of the texts as characters for its bytes, with the number of times that it occurs. */
function piecesOf(texts) {
  const characters = byteCharacters()
  const counts = new Map()
  for (const text of texts)
    for (const [piece] of text.normalize('NFC').matchAll(JS_PATTERN)) counts.set(piece, (counts.get(piece) ?? 0) + 1)
  return [...counts].map(([piece, count]) => ({
    symbols: [...Buffer.from(piece, 'utf8')].map((byte) => characters[byte]),
    count
  }))
}

/** Joins the most frequent pair, again and again, until every piece that occurs more than once is one token. */
function learnMerges(pieces) {
  const merges = []
  for (;;) {
    const pairs = new Map()
    for (const { symbols, count } of pieces)
      for (let i = 0; i + 1 < symbols.length; i++) {
        const pair = `${symbols[i]} ${symbols[i + 1]}`
        pairs.set(pair, (pairs.get(pair) ?? 0) + count)
      }
    // Equal counts in order of the pair, so that the result does not depend on the order of the texts.
    const [best, count] = [...pairs].reduce((a, b) => (b[1] > a[1] || (b[1] === a[1] && b[0] < a[0]) ? b : a), ['', 0])
    if (count < 2) return merges
    const [left, right] = best.split(' ')
    merges.push([left, right])
    for (const piece of pieces) piece.symbols = joined(piece.symbols, left, right)
  }
}

function joined(symbols, left, right) {
  const result = []
  for (let i = 0; i < symbols.length; i++) {
    if (symbols[i] === left && symbols[i + 1] === right) result.push(symbols[i++] + right)
    else result.push(symbols[i])
  }
  return result
}
