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

  /** The prompt, by default up to where the assistant would answer. E_MODEL where the template gives nothing. */
  render(messages: readonly Message[]): string {
    let prompt: string
    try {
      prompt = this.template.render({
        messages,
        add_generation_prompt: this.options.generationPrompt,
        ...this.options.specialTokens
      })
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
