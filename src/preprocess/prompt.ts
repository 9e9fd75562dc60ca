/**
 * Prompts: an item's instruction, text and pictures as one string with a placeholder for each picture and video.
 *
 * - `raw`: instruction and text joined by a space, as they stand. Pictures without any placeholder get theirs in front.
 * - `vlm2vec`: VLM2Vec's `process_input_text`: the same pieces in the same order; what differs are the positions.
 * - `chat`: the chat template of the model directory, with the instruction as the system message.
 */
import { Vlm2VecError } from '../errors.js'
import type { Item } from '../data/item.js'
import type { PromptStyle } from '../model/preset.js'
import type { ChatTemplate } from './chat-template.js'

export interface Placeholders {
  image: string
  video: string
  /** what stands around a placeholder in chat templates */
  visionStart: string
  visionEnd: string
}

export interface Prompt {
  text: string
  /** for each image placeholder of the text, in order, which of the item's images it stands for */
  imageOrder: number[]
}

export interface PromptOptions {
  style: PromptStyle
  /** undefined: a model that takes text only, whatever it says */
  placeholders: Placeholders | undefined
  /** of items that have none of their own */
  instruction?: string | undefined
  /** between instruction and text; default: a space */
  separator?: string | undefined
  /** put at the end */
  suffix?: string | undefined
  /** for the style `chat`, and see Preset */
  chatTemplate?: ChatTemplate | undefined
  instructionEnd?: string | undefined
  emptyText?: string | undefined
}

/** E_DATA, naming `where`: nothing to embed, or not as many placeholders as pictures. */
export function assemblePrompt(item: Item, options: PromptOptions, where: string): Prompt {
  const images = item.images?.length ?? 0
  const videos = item.videos?.length ?? 0
  const instruction = item.instruction ?? options.instruction ?? ''
  // an instruction that is not the item's own says nothing about it
  if (!item.text && !(item.instruction ?? (options.style !== 'chat' && options.instruction)) && images + videos === 0)
    throw new Vlm2VecError('E_DATA', `${where}: nothing to embed. Give the item a "text", "images" or "videos".`)

  const { placeholders } = options
  const pieces = { instruction, text: item.text ?? '' }
  const numbered: Numbered = placeholders
    ? replaceNumbered(pieces, { images, image: placeholders.image }, where)
    : pieces
  const write = options.style === 'chat' ? chat : joined
  const prompt = write(numbered, { images, videos }, options) + (options.suffix ?? '')
  if (placeholders) checkCount(prompt, { images, videos }, { placeholders, where })
  return { text: prompt, imageOrder: numbered.order ?? Array.from({ length: images }, (_, index) => index) }
}

interface Pieces {
  instruction: string
  text: string
}

interface Numbered extends Pieces {
  order?: number[]
}

interface Counts {
  images: number
  videos: number
}

/** `<|image_1|>`, `<|image_2|>`, ... (the placeholders of MMEB's files) to the model's own, and the order they stand in. */
function replaceNumbered(
  pieces: Pieces,
  { images, image }: { images: number; image: string },
  where: string
): Numbered {
  const order: number[] = []
  const replace = (text: string): string =>
    text.replace(/<\|image_(\d+)\|>/g, (_, number: string) => {
      order.push(Number(number) - 1)
      return image
    })
  const instruction = replace(pieces.instruction)
  const text = replace(pieces.text)
  if (order.length === 0) return pieces
  const wrong =
    order.length !== images || new Set(order).size !== images || order.some((each) => each < 0 || each >= images)
  if (wrong || occurrences(instruction + text, image) !== images)
    throw new Vlm2VecError(
      'E_DATA',
      `${where}: the text has the placeholders ${order.map((each) => `<|image_${each + 1}|>`).join(', ')}, but the item has ` +
        `${count(images, 'image')}. Number them from 1, each once, and use no other placeholder beside them.`
    )
  return { instruction, text, order }
}

function joined(
  { instruction, text }: Pieces,
  { images, videos }: Counts,
  { placeholders, separator = ' ' }: PromptOptions
): string {
  let prompt = [instruction, text].filter(Boolean).join(separator)
  if (!placeholders) return prompt
  if (!prompt.includes(placeholders.video)) prompt = `${placeholders.video} `.repeat(videos) + prompt
  if (!prompt.includes(placeholders.image)) prompt = `${placeholders.image} `.repeat(images) + prompt
  return prompt
}

function chat({ instruction, text }: Pieces, { images, videos }: Counts, options: PromptOptions): string {
  const { chatTemplate, placeholders, instructionEnd = '', emptyText = '' } = options
  const missing = <K extends 'video' | 'image'>(type: K, count: number): { type: K }[] =>
    Array.from({ length: placeholders && (instruction + text).includes(placeholders[type]) ? 0 : count }, () => ({
      type
    }))
  const system = instructionEnd ? instruction.trim().replace(/[^\p{P}]$/u, `$&${instructionEnd}`) : instruction
  const content = [
    ...missing('video', videos),
    ...missing('image', images),
    ...(text ? [{ type: 'text' as const, text }] : [])
  ]
  if (content.length === 0 && emptyText) content.push({ type: 'text', text: emptyText })
  const messages = [
    ...(system ? [{ role: 'system', content: [{ type: 'text' as const, text: system }] }] : []),
    { role: 'user', content }
  ]
  return chatTemplate!.render(messages, placeholders)
}

function checkCount(
  prompt: string,
  { images, videos }: Counts,
  { placeholders, where }: { placeholders: Placeholders; where: string }
): void {
  const found = { images: occurrences(prompt, placeholders.image), videos: occurrences(prompt, placeholders.video) }
  if (found.images === images && found.videos === videos) return
  const [kind, has, wants, placeholder] =
    found.images === images
      ? (['video', found.videos, videos, placeholders.video] as const)
      : (['image', found.images, images, placeholders.image] as const)
  throw new Vlm2VecError(
    'E_DATA',
    `${where}: the prompt has ${count(has, 'placeholder')} ${placeholder}, but the item has ${count(wants, kind)}. ` +
      'Give as many placeholders as pictures, or none, and they are put in front.'
  )
}

function occurrences(text: string, part: string): number {
  return text.split(part).length - 1
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`
}
