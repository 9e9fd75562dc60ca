import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { readPreset, writePreset } from '../../../src/model/preset.js'

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'preset-'))
})
afterEach(() => rm(directory, { recursive: true }))

describe('vlm2vec.json', () => {
  it('reads what was written, and leaves nothing else behind', async () => {
    const preset = {
      prompt: 'chat',
      positions: 'sequential',
      instruction: 'Find:',
      minPixels: 784,
      maxPixels: 1e6,
      maxLength: 512,
      preset: 'gme',
      suffix: '!',
      instructionEnd: '.',
      emptyText: 'NULL',
      firstSize: 'qwen',
      numCrops: 4,
      pooling: 'mean',
      normalize: false,
      dimension: 8
    } as const
    await writePreset(directory, preset)
    expect(await readPreset(directory)).toEqual(preset)
    expect(await readdir(directory)).toEqual(['vlm2vec.json'])
    expect(JSON.parse(await readFile(join(directory, 'vlm2vec.json'), 'utf8'))).toMatchObject({ min_pixels: 784 })
  })

  it('says nothing where there is no file or a key is absent', async () => {
    expect(await readPreset(directory)).toBeUndefined()
    await writePreset(directory, { prompt: 'raw' })
    expect(await readPreset(directory)).toEqual({ prompt: 'raw' })
  })

  it.each([
    ['{"promt": "raw"}', /unknown key "promt"; known are preset, prompt, positions/],
    ['{"prompt": "poem"}', /"raw", "vlm2vec", "chat" for "prompt", found "poem"/],
    ['{"positions": "auto"}', /"mrope", "sequential"/],
    ['{"preset": "best"}', /"plain" for "preset"/],
    ['{"pooling": "max"}', /"last", "mean", "cls"/],
    ['{"normalize": "yes"}', /true or false/],
    ['{"first_size": 0}', /at least 1 for "first_size"/],
    ['{"first_size": "big"}', /"none", "vlm2vec", "qwen"/],
    ['{"max_pixels": 0}', /at least 1 for "max_pixels"/],
    ['{"instruction": 3}', /text for "instruction"/]
  ])('refuses %s', async (text, message) => {
    await writeFile(join(directory, 'vlm2vec.json'), text)
    await expect(readPreset(directory)).rejects.toMatchObject({
      code: 'E_MODEL',
      message: expect.stringMatching(message)
    })
  })
})
