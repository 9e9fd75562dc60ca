/**
 * A small byte-level BPE tokenizer in the form of Qwen2's: every text can be written with it, common words of the tests
 * take one token.
 */
import { byteCharacters, tokenizerOf } from '../examples/tokenizer.mjs'

const WORDS =
  'a an the of in on with and is are red green blue yellow circle square triangle left right above below image picture ' +
  'photo video given find represent what which where how many question answer query target caption dog cat car small large'

/** Contents of tokenizer.json, ids of the special tokens, size of the vocabulary. */
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
  return tokenizerOf(vocabulary, merges)
}
