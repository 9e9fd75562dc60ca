import { describe, expect, it } from 'vitest'
import type { Item } from '../../../src/data/item.js'
import type { PromptStyle } from '../../../src/model/preset.js'
import type { ChatTemplate } from '../../../src/preprocess/chat-template.js'
import { assemblePrompt } from '../../../src/preprocess/prompt.js'

const placeholders = {
  image: '<|image_pad|>',
  video: '<|video_pad|>',
  visionStart: '<|vision_start|>',
  visionEnd: '<|vision_end|>'
}
const clip = { frames: ['f.png'] }

const prompt = (item: Item, style: PromptStyle = 'raw', instruction?: string): string =>
  assemblePrompt(item, { style, placeholders, instruction }, 'items.jsonl: record 3').text

describe.each(['raw', 'vlm2vec'] as const)('assemblePrompt, %s', (style) => {
  it.each<[string, Item, string]>([
    ['uses text as it stands', { text: ' A\n\ttext ' }, ' A\n\ttext '],
    ['joins instruction and text by a space', { instruction: 'Find it:', text: 'a cat' }, 'Find it: a cat'],
    ['takes an instruction alone', { instruction: 'Find it' }, 'Find it'],
    ['puts a picture in front, followed by a space', { images: ['a'] }, '<|image_pad|> '],
    [
      'puts pictures in front of the instruction',
      { images: ['a', 'b'], instruction: 'I', text: 'T' },
      '<|image_pad|> <|image_pad|> I T'
    ],
    ['puts pictures before videos', { images: ['a'], videos: [clip], text: 'T' }, '<|image_pad|> <|video_pad|> T'],
    ['leaves placeholders where they are', { images: ['a'], text: 'the <|image_pad|>.' }, 'the <|image_pad|>.'],
    [
      'leaves wrapped placeholders alone',
      { images: ['a'], text: '<|vision_start|><|image_pad|><|vision_end|>x' },
      '<|vision_start|><|image_pad|><|vision_end|>x'
    ],
    ['accepts numbered placeholders', { images: ['a'], text: '<|image_1|>\nWhat?\n' }, '<|image_pad|>\nWhat?\n'],
    [
      'accepts them in the instruction',
      { images: ['a'], instruction: '<|image_1|> Is it', text: 'red?' },
      '<|image_pad|> Is it red?'
    ],
    [
      'adds only the kind that has none',
      { images: ['a'], videos: [clip], text: 'in <|video_pad|>' },
      '<|image_pad|> in <|video_pad|>'
    ]
  ])('%s', (_, item, expected) => {
    expect(prompt(item, style)).toBe(expected)
  })
})

describe('assemblePrompt', () => {
  it('gives the default instruction to items that have none', () => {
    expect(prompt({ text: 'T' }, 'raw', 'Default:')).toBe('Default: T')
    expect(prompt({ text: 'T', instruction: 'Own:' }, 'raw', 'Default:')).toBe('Own: T')
    expect(prompt({ text: 'T', instruction: '' }, 'raw', 'Default:')).toBe('T')
  })

  it('puts a suffix at the end', () => {
    const options = { style: 'raw', placeholders, suffix: '<|endoftext|>' } as const
    expect(assemblePrompt({ text: 'T' }, options, '').text).toBe('T<|endoftext|>')
  })

  it('ends instructions of a chat in punctuation, and says something where there is nothing', () => {
    const chatTemplate = { render: (messages: unknown) => JSON.stringify(messages) } as unknown as ChatTemplate
    const options = { style: 'chat', placeholders, chatTemplate, instructionEnd: '.', emptyText: 'NULL' } as const
    const texts = (item: Item, instruction?: string): string[] =>
      (JSON.parse(assemblePrompt(item, { ...options, instruction }, '').text) as { content: { text: string }[] }[]).map(
        ({ content }) => content[0]!.text
      )
    expect(texts({ text: 'T', instruction: ' Find it ' })).toEqual(['Find it.', 'T'])
    expect(texts({ text: 'T', instruction: 'Really?' })).toEqual(['Really?', 'T'])
    expect(texts({ text: 'T', instruction: '找到它。' })).toEqual(['找到它。', 'T'])
    expect(texts({ instruction: 'Find $' })).toEqual(['Find $.', 'NULL'])
    expect(() => texts({}, 'Default')).toThrow('nothing to embed')
  })

  it('says which picture each numbered placeholder stands for', () => {
    const item = { images: ['a', 'b', 'c'], text: '<|image_2|> and <|image_3|>, then <|image_1|>' }
    const { text, imageOrder } = assemblePrompt(item, { style: 'raw', placeholders }, '')
    expect(text).toBe('<|image_pad|> and <|image_pad|>, then <|image_pad|>')
    expect(imageOrder).toEqual([1, 2, 0])
  })

  it.each<[string, Item, RegExp]>([
    ['too few placeholders', { images: ['a', 'b'], text: '<|image_pad|>' }, /1 placeholder <\|image_pad\|>.* 2 images/],
    [
      'too many placeholders',
      { images: ['a'], text: '<|image_pad|><|image_pad|>' },
      /2 placeholders <\|image_pad\|>.* 1 image\./
    ],
    ['a placeholder without a picture', { text: 'x <|image_pad|>' }, /1 placeholder.* 0 images/],
    ['a placeholder without a video', { text: 'x <|video_pad|>' }, /1 placeholder <\|video_pad\|>.* 0 videos/],
    ['a numbered placeholder without a picture', { text: '<|image_1|>' }, /<\|image_1\|>.* 0 images/],
    ['a number beyond the pictures', { images: ['a'], text: '<|image_2|>' }, /<\|image_2\|>.* 1 image\./],
    ['the number zero', { images: ['a'], text: '<|image_0|>' }, /<\|image_0\|>/],
    ['the same number twice', { images: ['a', 'b'], text: '<|image_1|><|image_1|>' }, /each once/],
    [
      'numbered and other placeholders together',
      { images: ['a', 'b'], text: '<|image_1|><|image_pad|>' },
      /no other placeholder/
    ],
    ['nothing at all', {}, /nothing to embed/],
    ['empty text alone', { text: '' }, /nothing to embed/]
  ])('refuses %s', (_, item, message) => {
    expect(() => prompt(item)).toThrow(
      expect.objectContaining({
        code: 'E_DATA',
        message: expect.stringMatching(new RegExp(`record 3: .*${message.source}`))
      })
    )
  })
})
