/**
 * Items of dual encoders: the text by itself, without placeholders, and the pictures by themselves; frames of videos count as
 * pictures. A sequence is the text's tokens, then one placeholder for each picture.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { ImageSource, Item } from '../data/item.js'
import { Vlm2VecError } from '../errors.js'
import type { ModelConfig } from '../model/config.js'
import type { Tokenizer } from './tokenizer.js'

export interface DualItem {
  /** '': only pictures */
  text: string
  pictures: ImageSource[]
}

/** Instruction and text joined by a space, their placeholders left out. E_DATA where nothing is left. */
export function dualItem(item: Item, instruction: string | undefined, where: string): DualItem {
  const text = [item.instruction ?? instruction, item.text]
    .map((part) => (part?.includes('<|image_') ? part.replace(/<\|image_\d+\|>/g, '').trim() : part))
    .filter(Boolean)
    .join(' ')
  const pictures = [...(item.images ?? []), ...(item.videos ?? []).flatMap(({ frames }) => frames)]
  if (text === '' && pictures.length === 0)
    throw new Vlm2VecError('E_DATA', `${where}: nothing to embed. Give the item a "text", "images" or "videos".`)
  return { text, pictures }
}

/** Texts to the tokens that a text tower sees, the last of which its vector is taken from. */
export class DualTokens {
  private constructor(
    private readonly tokenizer: Tokenizer,
    private readonly config: ModelConfig,
    private readonly maxLength: number,
    /** what texts are filled up with, and to how many tokens */
    private readonly padding: { token: number; length: number } | undefined
  ) {}

  static async load(
    directory: string,
    config: ModelConfig,
    { tokenizer, maxLength }: { tokenizer: Tokenizer; maxLength: number }
  ): Promise<DualTokens> {
    const { dual, text } = config
    if (dual?.pooling !== 'last') return new DualTokens(tokenizer, config, maxLength, undefined)
    const { padToken, modelMaxLength } = await readTokenizerConfig(directory)
    const token = (padToken === undefined ? undefined : tokenizer.idOf(padToken)) ?? dual.padToken
    const length = Math.min(text.maxPositions, modelMaxLength ?? Infinity)
    return new DualTokens(tokenizer, config, maxLength, { token, length })
  }

  /** E_DATA for a text that is too long. */
  async encode(text: string, where: string): Promise<Int32Array> {
    const ids = await this.tokenizer.encode(text)
    this.tokenizer.requireWithin(ids, this.config.text.vocabSize)
    const most = Math.min(this.maxLength, this.padding?.length ?? Infinity)
    if (ids.length > most)
      throw new Vlm2VecError(
        'E_DATA',
        `${where}: the text is ${ids.length} tokens long; at most ${most} are allowed. Shorten it.`
      )
    if (ids.length === 0 && !this.padding)
      throw new Vlm2VecError('E_DATA', `${where}: the text has no tokens. Give the item another text.`)
    return this.padding ? padded(ids, this.padding) : ids.subarray(0, pooledToken(ids, this.config) + 1)
  }
}

function padded(ids: Int32Array, { token, length }: { token: number; length: number }): Int32Array {
  const filled = new Int32Array(length).fill(token)
  filled.set(ids)
  return filled
}

/** What comes behind it does not matter: attention is causal. */
function pooledToken(ids: Int32Array, { dual }: ModelConfig): number {
  const eos = dual?.pooling === 'eos' ? dual.eosToken : -1
  // files older than transformers 4.31 say 2, whatever the tokenizer does
  return Math.max(0, eos === 2 ? ids.indexOf(ids.reduce((a, b) => Math.max(a, b))) : ids.indexOf(eos))
}

/** `pad_token` and `model_max_length` of tokenizer_config.json, where it says so. */
async function readTokenizerConfig(
  directory: string
): Promise<{ padToken?: string | undefined; modelMaxLength?: number | undefined }> {
  let json: { pad_token?: unknown; model_max_length?: unknown }
  try {
    json = JSON.parse(await readFile(join(directory, 'tokenizer_config.json'), 'utf8')) as typeof json
  } catch {
    return {}
  }
  const pad = (json.pad_token as { content?: unknown } | null | undefined)?.content ?? json.pad_token
  const length = json.model_max_length
  return {
    padToken: typeof pad === 'string' ? pad : undefined,
    modelMaxLength: typeof length === 'number' && length >= 1 ? Math.min(length, 2 ** 31) : undefined
  }
}
