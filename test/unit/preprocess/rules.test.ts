import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { readModelConfig } from '../../../src/model/config.js'
import { inputRules } from '../../../src/preprocess/rules.js'

const rulesOf = async (family: string) =>
  inputRules(await readModelConfig(fileURLToPath(new URL(`../../golden/${family}/model`, import.meta.url))))
const qwen25 = await rulesOf('qwen2_5_vl')
const qwen3 = await rulesOf('qwen3_vl')
const placeholders = { image: '<|image_pad|>', video: '<V>', visionStart: '<S>', visionEnd: '<E>' }

describe('positions of Qwen2.5-VL', () => {
  const times = (frames: number, fps: number): number[] => {
    const grid = [frames / 2, 2, 2] as const
    const tokens = new Int32Array(frames / 2 + 1)
    return [...qwen25.positions(tokens, [{ kind: 'video', start: 1, grid, fps }], 'mrope').subarray(1, tokens.length)]
  }

  // 2 positions a second, of two frames each; transformers 5.18 gives the same
  it.each([
    [8, 2, [1, 3, 5, 7]],
    [8, 4, [1, 2, 3, 4]],
    [12, 3, [1, 2, 3, 5, 6, 7]],
    [8, 0.7, [1, 6, 12, 18]],
    [8, 30, [1, 1, 1, 1]]
  ])('place %i frames at %f a second in time', (frames, fps, expected) => {
    expect(times(frames, fps)).toEqual(expected)
  })

  it('do not stretch pictures', () => {
    const tokens = new Int32Array(2)
    const run = { kind: 'image', start: 0, grid: [2, 2, 2] } as const
    expect([...qwen25.positions(tokens, [run], 'mrope')]).toEqual([0, 1, 0, 0, 0, 0])
  })
})

describe('videos of Qwen3-VL', () => {
  const written = (frames: number, fps: number): string[] =>
    [...qwen3.writePrompt!('<V>', [{ frames, fps }], placeholders).matchAll(/<([\d.]+) seconds>/g)].map(([, t]) => t!)

  // transformers 4.57.6
  it.each([
    [4, 2, ['0.2', '1.2']], // ties to even
    [3, 2, ['0.2', '1.0']],
    [5, 0.7, ['0.7', '3.6', '5.7']],
    [8, 5, ['0.1', '0.5', '0.9', '1.3']],
    [2, 1, ['0.5']],
    [7, 3, ['0.2', '0.8', '1.5', '2.0']],
    [1, 2, ['0.0']],
    [9, 24, ['0.0', '0.1', '0.2', '0.3', '0.3']],
    [6, 1.3, ['0.4', '1.9', '3.5']]
  ])('are written with the times of %i frames at %f a second', (frames, fps, times) => {
    expect(written(frames, fps)).toEqual(times)
  })

  it('replace their placeholder with what wraps it, one after the other', () => {
    const prompt = 'a <S><V><E> b <V><E>'
    const videos = [
      { frames: 2, fps: 2 },
      { frames: 4, fps: 1 }
    ]
    expect(qwen3.writePrompt!(prompt, videos, placeholders)).toBe(
      'a <0.2 seconds><S><V><E> b <0.5 seconds><S><V><E><2.5 seconds><S><V><E><E>'
    )
    expect(qwen3.writePrompt!('no video', [], placeholders)).toBe('no video')
  })

  // smart_resize of its video processor in transformers 4.57.6 (frames, size, budget over all of them)
  it.each([
    [4, 640, 480, 4096, 25165824, 640, 480],
    [3, 640, 480, 4096, 25165824, 640, 480],
    [64, 1920, 1080, 4096, 25165824, 832, 448],
    [2, 33, 40, 131072, 786432, 256, 288],
    [5, 100, 70, 131072, 786432, 224, 160],
    [10, 1000, 101, 131072, 786432, 864, 64],
    [7, 48, 80, 4096, 786432, 64, 64],
    [16, 320, 240, 131072, 786432, 256, 192]
  ])(
    'of %i frames of %i x %i are sized by all their pixels',
    (frames, width, height, least, most, toWidth, toHeight) => {
      const budget = { minPixels: least, maxPixels: most }
      const settings = { image: budget, video: budget, fit: undefined, numCrops: undefined }
      const size = qwen3.size({ kind: 'video', frames, width, height }, settings, 'here')
      expect(size).toEqual({
        width: toWidth,
        height: toHeight,
        grid: [Math.ceil(frames / 2), toHeight / 16, toWidth / 16]
      })
    }
  )

  it('are one part for each patch in time, pictures one part', () => {
    expect(qwen3.parts('video', [3, 4, 6])).toEqual([
      [1, 4, 6],
      [1, 4, 6],
      [1, 4, 6]
    ])
    expect(qwen3.parts('image', [1, 4, 6])).toEqual([[1, 4, 6]])
  })
})
