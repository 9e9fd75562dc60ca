import { describe, expect, it } from 'vitest'
import { dualItem } from '../../../src/preprocess/dual.js'

const item = (value: Parameters<typeof dualItem>[0], instruction?: string) => dualItem(value, instruction, 'record 3')

describe('dualItem', () => {
  it('joins instruction and text, and leaves placeholders out', () => {
    expect(item({ instruction: 'A photo of', text: 'a cat' }).text).toBe('A photo of a cat')
    expect(item({ text: '<|image_1|>\nWhat is it?', images: ['a.png'] })).toEqual({
      text: 'What is it?',
      pictures: ['a.png']
    })
    expect(item({ instruction: 'Compare <|image_1|> and <|image_2|>', images: ['a', 'b'] }).text).toBe('Compare  and')
    expect(item({ images: ['a'], text: '<|image_1|>' }).text).toBe('')
    expect(item({ text: 'x' }, 'Find:').text).toBe('Find: x')
    expect(item({ text: ' as it stands ' }).text).toBe(' as it stands ')
  })

  it('counts frames of videos as pictures', () => {
    const value = { images: ['a'], videos: [{ frames: ['b', 'c'] }, { frames: ['d'] }] }
    expect(item(value)).toEqual({ text: '', pictures: ['a', 'b', 'c', 'd'] })
  })

  it('refuses what is empty', () => {
    expect(() => item({ text: '' })).toThrow(/record 3: nothing to embed/)
  })
})
