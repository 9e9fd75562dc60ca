/** Tokens that a directory adds to a vocabulary: `added_tokens_decoder` of tokenizer_config.json, else added_tokens.json. */
import { join } from 'node:path'
import { AddedToken, type Tokenizer as RustTokenizer } from 'tokenizers'
import { Vlm2VecError } from '../errors.js'
import { readJsonObject, type Fields } from '../json-fields.js'

/** E_MODEL where one would get another id than the directory says. */
export async function addTokens(tokenizer: RustTokenizer, directory: string): Promise<void> {
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

/** In order of ids. */
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
