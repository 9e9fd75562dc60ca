/** The chat template of a model directory: chat_template.jinja, chat_template.json, or within tokenizer_config.json. */
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Template } from '@huggingface/jinja'
import { Vlm2VecError } from '../errors.js'
import { readJsonObject, type Fields } from '../json-fields.js'

export interface Message {
  role: string
  content: ({ type: 'text'; text: string } | { type: 'image' } | { type: 'video' })[]
}

export class ChatTemplate {
  private constructor(
    private readonly template: Template,
    readonly source: string,
    private readonly file: string,
    private readonly options: { specialTokens: Record<string, string>; generationPrompt: boolean }
  ) {}

  /** Undefined: the directory has none. E_MODEL: it cannot be parsed. */
  static async load(
    directory: string,
    { chatTemplate, generationPrompt = true }: { chatTemplate?: string | undefined; generationPrompt?: boolean } = {}
  ): Promise<ChatTemplate | undefined> {
    const config = await readJsonObject(join(directory, 'tokenizer_config.json'))
    const own = chatTemplate === undefined ? undefined : { source: chatTemplate, file: `${directory}: chat_template` }
    const found = own ?? (await find(directory, config))
    if (!found) return undefined
    const options = { specialTokens: config ? specialTokensOf(config) : {}, generationPrompt }
    try {
      return new ChatTemplate(new Template(found.source), found.source, found.file, options)
    } catch (cause) {
      throw new Vlm2VecError(
        'E_MODEL',
        `${found.file}: the chat template cannot be parsed (${(cause as Error).message}).`,
        { cause }
      )
    }
  }

  /**
   * The prompt, by default up to where the assistant would answer. A template that takes a message as one text (Phi's) gets
   * it so, placeholders of pictures on lines of their own in front. E_MODEL where the template gives nothing.
   */
  render(messages: readonly Message[], placeholders: { image: string; video: string } | undefined): string {
    const text = ({ role, content }: Message): object => ({
      role,
      content: content.map((part) => (part.type === 'text' ? part.text : `${placeholders![part.type]}\n`)).join('')
    })
    let prompt: string
    try {
      prompt = this.fill(this.wantsText() ? messages.map(text) : messages)
    } catch (cause) {
      throw new Vlm2VecError('E_MODEL', `${this.file}: the chat template fails (${(cause as Error).message}).`, {
        cause
      })
    }
    if (prompt === '')
      throw new Vlm2VecError(
        'E_MODEL',
        `${this.file}: the chat template gives an empty prompt; that of a base model only joins pieces. Use --prompt raw, or ` +
          'the chat template of the instruction-tuned model.'
      )
    return prompt
  }

  /** Whether a prompt begins with the tokenizer's token of beginnings. */
  hasBeginning(prompt: string): boolean {
    const { bos_token: token } = this.options.specialTokens
    return token !== undefined && prompt.startsWith(token)
  }

  private fill(messages: readonly object[]): string {
    const { generationPrompt, specialTokens } = this.options
    return this.template.render({ messages, add_generation_prompt: generationPrompt, ...specialTokens })
  }

  /** Whether a message shows only where its content is text, and not a list of parts. */
  private wantsText(): boolean {
    const shows = (content: unknown): boolean => {
      try {
        const filled = this.fill([{ role: 'user', content }])
        return filled.includes('probe') && !filled.includes('"probe"') // a list in place of a text is written as JSON
      } catch {
        return false
      }
    }
    return !shows([{ type: 'text', text: 'probe' }]) && shows('probe')
  }
}

async function find(
  directory: string,
  config: Fields | undefined
): Promise<{ source: string; file: string } | undefined> {
  const jinja = join(directory, 'chat_template.jinja')
  if (existsSync(jinja)) return { source: await readFile(jinja, 'utf8'), file: jinja }
  for (const fields of [await readJsonObject(join(directory, 'chat_template.json')), config]) {
    const source = fields?.has('chat_template') ? namedDefault(fields) : undefined
    if (source !== undefined) return { source, file: fields!.file }
  }
  return undefined
}

/** One template, or a list of named ones with one that is called "default". */
function namedDefault(fields: Fields): string {
  const value = fields.raw('chat_template')
  const named = Array.isArray(value)
    ? (value as { name?: unknown; template?: unknown }[]).find((each) => each?.name === 'default')?.template
    : value
  if (typeof named !== 'string') throw fields.error('chat_template', 'a template, or a list with one named "default",')
  return named
}

/** `bos_token`, `eos_token`, ...: text, or {"content": text}. */
function specialTokensOf(config: Fields): Record<string, string> {
  const tokens: Record<string, string> = {}
  for (const key of config.keys().filter((each) => each.endsWith('_token'))) {
    const value = config.raw(key) as { content?: unknown } | string | null | undefined
    const text = typeof value === 'string' ? value : value?.content
    if (typeof text === 'string') tokens[key] = text
  }
  return tokens
}
