import { describe, expect, it } from 'vitest'
import type { Item } from '../../../src/data/item.js'
import { taskOf } from '../../../src/evaluate/task.js'
import { withNewlines } from '../../../src/evaluate/tasks/vlm2vec-newlines.js'

const task = (name: string, group: string) =>
  taskOf({ name, meta_task: group, path: 'x', format: 'mmeb' } as Parameters<typeof taskOf>[0])
const cls = task('ImageNet-1K', 'classification')
const images = ['a.png']

describe("the newlines of VLM2Vec's evaluation", () => {
  it.each<[string, Item, 'query' | 'target', ReturnType<typeof task>, Item]>([
    [
      'a classified picture',
      { instruction: '<|image_1|>\nRepresent the image.', images },
      'query',
      cls,
      { text: '<|image_1|>\nRepresent the image.\n', images }
    ],
    [
      'a picture with text',
      { instruction: 'Find it:', text: 'a cat \nand a dog', images },
      'query',
      cls,
      { text: '<|image_1|> Find it: a cat\nand a dog\n', images }
    ],
    [
      'a question about a picture',
      { instruction: '<|image_1|> Answer:', text: 'What?', images },
      'query',
      task('OK-VQA', 'vqa'),
      { text: '<|image_1|>\nAnswer: What?\n', images }
    ],
    [
      'a caption that is searched with',
      { instruction: 'Find:', text: 'a cat' },
      'query',
      cls,
      { text: 'Find: a cat\n' }
    ],
    [
      'a dialogue of VisDial',
      { instruction: 'Find:', text: 'a cat' },
      'query',
      task('VisDial', 'retrieval'),
      { text: 'Find: a cat\n\n' }
    ],
    [
      'a picture as a target, also of questions',
      { instruction: '<|image_1|> Represent it.', images },
      'target',
      task('A-QA', 'vqa'),
      { text: '<|image_1|>  Represent it.\n', images }
    ]
  ])('%s', (_, item, side, of, expected) =>
    expect(withNewlines(item, side, of)).toEqual({ instruction: '', ...expected })
  )

  it.each<[string, Item]>([
    ['a class name', { text: 'cat' }],
    ['a row whose text is the whole prompt', { text: '<|image_1|>\nWhat?\n', images }],
    ['a video', { instruction: 'I', videos: [{ frames: ['f.png'] }] }]
  ])('leave %s alone', (_, item) => {
    expect(withNewlines(item, 'target', cls)).toBe(item)
    expect(withNewlines(item, 'query', cls)).toBe(item)
  })
})
