import { describe, expect, it } from 'vitest'
import { ropePositions } from '../../../src/preprocess/positions.js'
import type { VisualRun } from '../../../src/preprocess/rules.js'

const START = 1
const IMAGE = 2
const VIDEO = 3

/** Tokens in short form: numbers are text, `image(h, w)` and `video(t, h, w)` runs of merged patches. */
type Part = number | { grid: [number, number, number]; token: number }
const image = (height: number, width: number): Part => ({ grid: [1, 2 * height, 2 * width], token: IMAGE })
const video = (times: number, height: number, width: number): Part => ({
  grid: [times, 2 * height, 2 * width],
  token: VIDEO
})

function positions(rule: 'mrope' | 'sequential', ...parts: Part[]): number[][] {
  const tokens: number[] = []
  const runs: VisualRun[] = []
  for (const part of parts) {
    if (typeof part === 'number') tokens.push(part)
    else {
      runs.push({ kind: part.token === IMAGE ? 'image' : 'video', start: tokens.length, grid: part.grid })
      tokens.push(...Array<number>((part.grid[0] * part.grid[1] * part.grid[2]) / 4).fill(part.token))
    }
  }
  const all = [...ropePositions(Int32Array.from(tokens), runs, { rule, mergeSize: 2, visionStart: START })]
  return [0, 1, 2].map((axis) => all.slice(axis * tokens.length, (axis + 1) * tokens.length))
}

describe('ropePositions, mrope', () => {
  it('counts text on in all three axes', () => {
    expect(positions('mrope', 9, 9, 9)).toEqual([
      [0, 1, 2],
      [0, 1, 2],
      [0, 1, 2]
    ])
  })

  it('places a picture in three dimensions, what follows after its longer side', () => {
    expect(positions('mrope', 9, START, image(2, 3), 9, 9)).toEqual([
      [0, 1, 2, 2, 2, 2, 2, 2, 5, 6],
      [0, 1, 2, 2, 2, 3, 3, 3, 5, 6],
      [0, 1, 2, 3, 4, 2, 3, 4, 5, 6]
    ])
  })

  it('starts a picture at the very beginning at zero', () => {
    expect(positions('mrope', image(2, 1), 9)).toEqual([
      [0, 0, 2],
      [0, 1, 2],
      [0, 0, 2]
    ])
  })

  it('does not count the time of a video for what follows', () => {
    expect(positions('mrope', 9, video(3, 1, 2), 9)).toEqual([
      [0, 1, 1, 2, 2, 3, 3, 3],
      [0, 1, 1, 1, 1, 1, 1, 3],
      [0, 1, 2, 1, 2, 1, 2, 3]
    ])
  })

  it('places pictures that touch each other one after the other', () => {
    expect(positions('mrope', image(1, 2), image(2, 2), 9)).toEqual([
      [0, 0, 2, 2, 2, 2, 4],
      [0, 0, 2, 2, 3, 3, 4],
      [0, 1, 2, 3, 2, 3, 4]
    ])
  })
})

describe('ropePositions, sequential', () => {
  it('counts the tokens of a picture without vision_start like text', () => {
    const counted = [0, 1, 2, 3, 4, 5, 6, 7]
    expect(positions('sequential', image(2, 3), 9, 9)).toEqual([counted, counted, counted])
  })

  it('counts the tokens of a video without vision_start like text', () => {
    const counted = [0, 1, 2, 3, 4]
    expect(positions('sequential', 9, video(3, 1, 1), 9)).toEqual([counted, counted, counted])
  })

  it('places a picture that vision_start precedes in three dimensions', () => {
    expect(positions('sequential', START, image(2, 3), 9)).toEqual(positions('mrope', START, image(2, 3), 9))
  })

  it('decides picture by picture', () => {
    expect(positions('sequential', image(1, 2), START, image(2, 2), 9, image(1, 2), 9)).toEqual([
      [0, 1, 2, 3, 3, 3, 3, 5, 6, 7, 8],
      [0, 1, 2, 3, 3, 4, 4, 5, 6, 7, 8],
      [0, 1, 2, 3, 4, 3, 4, 5, 6, 7, 8]
    ])
  })

  it('takes only the token directly before a picture', () => {
    const counted = [0, 1, 2, 3, 4]
    expect(positions('sequential', START, 9, image(1, 2), 9)).toEqual([counted, counted, counted])
  })
})
