import { createHash } from 'node:crypto'
import { copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readItem, type Item } from '../../../src/data/item.js'
import { readJsonLines } from '../../../src/data/jsonl.js'
import { native } from '../../../src/native.js'
import type { PreparedItem } from '../../../src/preprocess/prepared.js'
import { Processor, type ItemPlace } from '../../../src/preprocess/processor.js'
import type { ProcessorOptions } from '../../../src/preprocess/settings.js'
import type { RecordedInput } from '../../integration/golden.js'

const golden = fileURLToPath(new URL('../../golden/', import.meta.url))
const model = join(golden, 'model')
const pictures = join(golden, 'pictures')

const records = async <T>(name: string): Promise<T[]> => {
  const values = []
  for await (const { value } of readJsonLines(join(golden, name))) values.push(value as T)
  return values
}
const items = (await records<unknown>('items.jsonl')).map((value, index) =>
  readItem(value, `items.jsonl: record ${index + 1}`)
)
const inputs = await records<RecordedInput>('inputs.jsonl')
const place: ItemPlace = { imageRoot: pictures, label: 'items.jsonl: record 3' }

const processors = new Map<string, Processor>()
async function prepare(
  item: Item,
  options: ProcessorOptions = {},
  given: Partial<ItemPlace> = {}
): Promise<PreparedItem> {
  const key = JSON.stringify(options)
  if (!processors.has(key)) processors.set(key, await Processor.load(model, options))
  return processors.get(key)!.prepare(item, { ...place, ...given })
}
const byAxis = ({ positions, tokens }: PreparedItem): number[][] =>
  [0, 1, 2].map((axis) => [...positions.subarray(axis * tokens.length, (axis + 1) * tokens.length)])

describe.each(['mrope', 'sequential'] as const)('Processor, positions %s', (positions) => {
  it.each(items.map((item, index) => [item.id!, item, inputs[index]!] as const))(
    'makes of item %s what transformers makes of it',
    async (_, item, expected) => {
      const prepared = await prepare(item, { positions })
      expect(prepared.prompt).toBe(expected.prompt)
      expect([...prepared.tokens]).toEqual(expected.input_ids)
      expect(byAxis(prepared)).toEqual(expected[positions])
      expect(prepared.visuals.map(({ grid }) => grid)).toEqual(expected.grids)
      const resized = createHash('sha256')
      for (const { pixels } of prepared.visuals) resized.update(pixels)
      expect(resized.digest('hex')).toBe(expected.resized_sha256)
      for (const [index, visual] of prepared.visuals.entries()) {
        const values = expected.pixel_values[index]!
        expect(samples(await native().patchify(visual), values.length)).toEqual(Float32Array.from(values))
      }
    }
  )
})

/** Every twelfth of the values, as recorded. */
function samples(values: Float32Array, count: number): Float32Array {
  const step = Math.floor(values.length / 12)
  return Float32Array.from({ length: count }, (_, index) => values[index * step]!)
}

describe('Processor.prepare', () => {
  const scene = (index: number): string => `scene${index}.png`
  const image = (prepared: PreparedItem, index = 0): Uint8Array => prepared.visuals[index]!.pixels

  it('puts pictures in the order of their numbered placeholders', async () => {
    const text = 'first <|image_2|> then <|image_1|>'
    const swapped = await prepare({ text, images: [scene(0), scene(1)] })
    const [zero, one] = [await prepare({ images: [scene(0)] }), await prepare({ images: [scene(1)] })]
    expect([image(swapped, 0), image(swapped, 1)]).toEqual([image(one), image(zero)])
  })

  it('counts images and videos apart', async () => {
    const text = '<|video_pad|> and <|image_pad|>'
    const mixed = await prepare({ text, images: [scene(0)], videos: [{ frames: ['frame0.png'] }] })
    expect(mixed.visuals.map(({ kind }) => kind)).toEqual(['video', 'image'])
    expect(image(mixed, 1)).toEqual(image(await prepare({ images: [scene(0)] })))
  })

  it('takes special tokens that a text contains as such', async () => {
    const { tokens } = await prepare({ text: 'a<|im_end|>' })
    const ids = processors.get('{}')!.tokenizer
    expect(tokens.at(-1)).toBe(ids.idOf('<|im_end|>'))
  })

  it('resizes frames of other sizes to that of the first', async () => {
    const frames = await Promise.all(
      [1, 2].map((scale) =>
        sharp(join(pictures, 'scene0.png'))
          .resize({ width: 84 * scale, height: 56 * scale, fit: 'fill' })
          .png()
          .toBuffer()
      )
    )
    const both = await prepare({ videos: [{ frames }] })
    expect(both.visuals[0]!.grid).toEqual([1, 4, 6])
    const single = await prepare({ images: [frames[1]!] }, { maxPixels: 84 * 56 })
    expect(image(both).subarray(3 * 84 * 56)).toEqual(image(single))
  })

  it('augments as told, and the same way every time', async () => {
    const augment = { flip: 1, crop: 1, seed: 1, epoch: 0, row: 0, item: 0 }
    const item = { images: [scene(0)] }
    const [plain, flipped, again] = [
      await prepare(item),
      await prepare(item, {}, { augment }),
      await prepare(item, {}, { augment })
    ]
    expect(image(flipped)).not.toEqual(image(plain))
    expect(image(again)).toEqual(image(flipped))
    expect(flipped.contentKey).toBe(plain.contentKey)
    expect(again.inputKey).toBe(flipped.inputKey)
    expect(flipped.inputKey).not.toBe(plain.inputKey)
    const text = await prepare({ text: 'x' }, {}, { augment })
    expect(text.inputKey).toBe((await prepare({ text: 'x' })).inputKey)
  })

  it('gives equal content keys to equal prompts with equal bytes alone', async () => {
    const bytes = await readFile(join(pictures, scene(0)))
    const key = async (item: Item): Promise<string> => (await prepare(item)).contentKey
    const base = await key({ text: 'x', images: [scene(0)] })
    expect(base).toMatch(/^[0-9a-f]{64}$/)
    expect(await key({ id: 'other', text: 'x', images: [bytes] })).toBe(base)
    expect(await key({ text: '<|image_pad|> x', images: [bytes] })).toBe(base)
    expect(await key({ text: 'y', images: [scene(0)] })).not.toBe(base)
    expect(await key({ text: 'x', images: [scene(1)] })).not.toBe(base)
  })

  it('keeps of a picture its bytes after resizing, and nothing else', async () => {
    const { visuals } = await prepare({ images: [scene(0), 'portrait.png'], videos: [{ frames: ['frame0.png'] }] })
    for (const { grid, pixels } of visuals) {
      const bytes = 3 * (14 * grid[1]) * (14 * grid[2])
      expect([pixels.constructor === Uint8Array || Buffer.isBuffer(pixels), pixels.byteLength]).toEqual([true, bytes])
      expect(pixels.buffer.byteLength).toBe(bytes)
    }
    const arrays = visuals.flatMap((visual) => Object.values(visual).filter((each) => ArrayBuffer.isView(each)))
    expect(arrays).toEqual(visuals.map(({ pixels }) => pixels))
    expect(new Set(visuals.map(({ layout }) => layout)).size).toBe(1)
  })

  it('refuses an item that is too long, saying how long it is', async () => {
    const item = { text: 'A red circle', images: [scene(0)] }
    const { length } = (await prepare(item)).tokens
    await expect(prepare(item, { maxLength: length - 1 })).rejects.toMatchObject({
      code: 'E_DATA',
      message: expect.stringMatching(
        new RegExp(
          `^items\\.jsonl: record 3: the item is ${length} tokens long, 6 of them of pictures; at most ${length - 1}`
        )
      )
    })
    expect((await prepare(item, { maxLength: length })).tokens.length).toBe(length)
  })

  it.each<[string, Item, string, RegExp]>([
    ['a missing picture', { images: ['none.png'] }, 'E_IMAGE', /none\.png: no such file/],
    ['a missing frame', { videos: [{ frames: ['frame0.png', 'none.png'] }] }, 'E_IMAGE', /none\.png: no such file/],
    ['what is no picture', { images: ['data:,hello'] }, 'E_IMAGE', /picture data:,hello.*: not a picture/],
    ['a picture over the limit', { images: [scene(0)] }, 'E_IMAGE', /scene0\.png: .*more than the limit of 100/],
    ['an empty item', {}, 'E_DATA', /nothing to embed/]
  ])('refuses %s, naming the record', async (_, item, code, message) => {
    const options = message.source.includes('limit') ? { pixelLimit: 100 } : {}
    await expect(prepare(item, options)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(new RegExp(`^items\\.jsonl: record 3: .*${message.source}`))
    })
  })

  it('refuses a picture that is over 200 times as wide as high', async () => {
    const line = await sharp({ create: { width: 402, height: 2, channels: 3, background: 'red' } })
      .png()
      .toBuffer()
    await expect(prepare({ images: [line] })).rejects.toMatchObject({
      code: 'E_IMAGE',
      message: expect.stringContaining('402 x 2')
    })
  })
})

describe('Processor.load', () => {
  let directory: string
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'processor-'))
    await copyFile(join(model, 'config.json'), join(directory, 'config.json'))
  })
  afterAll(() => rm(directory, { recursive: true }))

  it('says what is missing', async () => {
    await expect(Processor.load(join(directory, 'none'))).rejects.toMatchObject({
      code: 'E_MODEL',
      message: expect.stringContaining('config.json')
    })
    await expect(Processor.load(directory)).rejects.toMatchObject({
      code: 'E_MODEL',
      message: expect.stringContaining('no tokenizer')
    })
    await copyFile(join(model, 'tokenizer.json'), join(directory, 'tokenizer.json'))
    await expect(Processor.load(directory, { prompt: 'chat' })).rejects.toMatchObject({
      code: 'E_MODEL',
      message: expect.stringContaining('no chat template')
    })
  })

  it('refuses a tokenizer that belongs to another model', async () => {
    const config = JSON.parse(await readFile(join(model, 'config.json'), 'utf8')) as Record<string, unknown>
    const text = (config['text_config'] ?? config) as Record<string, unknown>
    await copyFile(join(model, 'tokenizer.json'), join(directory, 'tokenizer.json'))
    const write = (changes: object): Promise<void> => {
      const changed = config['text_config']
        ? { ...config, text_config: { ...text, ...changes }, ...changes }
        : { ...config, ...changes }
      return writeFile(join(directory, 'config.json'), JSON.stringify(changed))
    }
    await write({ vocab_size: 40 })
    const small = await Processor.load(directory)
    await expect(small.prepare({ text: 'zzz' }, place)).rejects.toMatchObject({
      code: 'E_MODEL',
      message: expect.stringContaining('vocab_size 40')
    })
    await write({ image_token_id: 100_000, video_token_id: 100_001 })
    const other = await Processor.load(directory)
    await expect(other.prepare({ images: ['scene0.png'] }, place)).rejects.toMatchObject({
      code: 'E_MODEL',
      message: expect.stringContaining('100000')
    })
    expect((await other.prepare({ text: 'text alone' }, place)).tokens.length).toBeGreaterThan(0)
  })
})
