import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ChatTemplate } from '../../../src/preprocess/chat-template.js'
import { assemblePrompt } from '../../../src/preprocess/prompt.js'

// In the manner of instruction-tuned Qwen2-VL models.
const TEMPLATE = `{% for message in messages %}
{% if loop.first and message['role'] != 'system' %}
<|im_start|>system
You are helpful.<|im_end|>
{% endif %}
<|im_start|>{{ message['role'] }}
{% for part in message['content'] %}{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% elif part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>
{% endfor %}
{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}`

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'template-'))
})
afterEach(() => rm(directory, { recursive: true }))

const write = (name: string, value: unknown): Promise<void> =>
  writeFile(join(directory, name), typeof value === 'string' ? value : JSON.stringify(value))

const marks = {
  image: '<|image_pad|>',
  video: '<|video_pad|>',
  visionStart: '<|vision_start|>',
  visionEnd: '<|vision_end|>'
}
const user = [{ role: 'user', content: [{ type: 'text' as const, text: 'x' }] }]
const rendered = async (): Promise<string | undefined> => (await ChatTemplate.load(directory))?.render(user, marks)

describe('ChatTemplate', () => {
  it('reads chat_template.jinja, chat_template.json and tokenizer_config.json, in that order', async () => {
    expect(await ChatTemplate.load(directory)).toBeUndefined()
    await write('tokenizer_config.json', { chat_template: 'config', eos_token: { content: '</s>' }, bos_token: '<s>' })
    expect(await rendered()).toBe('config')
    await write('chat_template.json', { chat_template: 'json {{ bos_token }}{{ eos_token }}' })
    expect(await rendered()).toBe('json <s></s>')
    await write('chat_template.jinja', 'jinja')
    expect(await rendered()).toBe('jinja')
  })

  it('gives one text to a template that takes no parts', async () => {
    // as Phi-3.5-vision's
    await write(
      'chat_template.jinja',
      "{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}{% endfor %}" +
        "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
    )
    const chatTemplate = (await ChatTemplate.load(directory))!
    const options = { style: 'chat' as const, placeholders: { ...marks, image: '<|image_#|>' }, chatTemplate }
    const item = { instruction: 'Look.', text: 'What?', images: ['a.png', 'b.png'] }
    expect(assemblePrompt(item, options, 'item 1').text).toBe(
      '<|system|>\nLook.<|end|>\n<|user|>\n<|image_#|>\n<|image_#|>\nWhat?<|end|>\n<|assistant|>\n'
    )
  })

  it('takes the default of several named templates', async () => {
    const named = [
      { name: 'tool_use', template: 'tools' },
      { name: 'default', template: 'plain' }
    ]
    await write('tokenizer_config.json', { chat_template: named })
    expect(await rendered()).toBe('plain')
    await write('tokenizer_config.json', { chat_template: named.slice(0, 1) })
    await expect(rendered()).rejects.toMatchObject({ code: 'E_MODEL', message: expect.stringContaining('"default"') })
  })

  it('says which file holds a template that cannot be parsed, fails, or gives nothing', async () => {
    for (const [template, message] of [
      ['{% for', /cannot be parsed/],
      ["{{ raise_exception('no images') }}", /no images/],
      ['{% for content in messages %}{% if content.type %}x{% endif %}{% endfor %}', /empty prompt.*--prompt raw/]
    ] as const) {
      await write('chat_template.jinja', template)
      await expect(rendered()).rejects.toMatchObject({ code: 'E_MODEL', message: expect.stringMatching(message) })
      await expect(rendered()).rejects.toThrow('chat_template.jinja')
    }
  })
})

describe('assemblePrompt, chat', () => {
  const prompt = async (item: Parameters<typeof assemblePrompt>[0]): Promise<string> => {
    await write('chat_template.jinja', TEMPLATE)
    const chatTemplate = await ChatTemplate.load(directory)
    const placeholders = {
      image: '<|image_pad|>',
      video: '<|video_pad|>',
      visionStart: '<|vision_start|>',
      visionEnd: '<|vision_end|>'
    }
    return assemblePrompt(item, { style: 'chat', placeholders, chatTemplate }, 'here').text
  }

  it('makes the instruction the system message, and videos, pictures and text the message of the user', async () => {
    const item = { instruction: 'Represent it.', text: 'What?', images: ['a'], videos: [{ frames: ['f'] }] }
    expect(await prompt(item)).toBe(
      '<|im_start|>system\nRepresent it.<|im_end|>\n<|im_start|>user\n<|vision_start|><|video_pad|><|vision_end|>' +
        '<|vision_start|><|image_pad|><|vision_end|>What?<|im_end|>\n<|im_start|>assistant\n'
    )
  })

  it('leaves the system message to the template where there is no instruction', async () => {
    expect(await prompt({ text: 'Hi' })).toBe(
      '<|im_start|>system\nYou are helpful.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n'
    )
  })

  it('adds no picture where the text says where it stands', async () => {
    const text = await prompt({ text: 'See <|image_1|>!', images: ['a'] })
    expect(text).toContain('user\nSee <|image_pad|>!<|im_end|>')
  })
})
