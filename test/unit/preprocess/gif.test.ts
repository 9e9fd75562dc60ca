import { describe, expect, it } from 'vitest'
import { decodeGif } from '../../../src/preprocess/gif.js'

interface GifParts {
  screen?: [number, number]
  /** left, top, width, height */
  frame?: [number, number, number, number]
  palette?: number[]
  transparent?: number
  interlaced?: boolean
  codes: number[]
}

/** A GIF of four colours, whose codes all have three bits: clear codes keep the table from growing. */
function gif({ screen = [2, 2], frame = [0, 0, 2, 2], palette, transparent, interlaced, codes }: GifParts): Uint8Array {
  const words = (...values: number[]): number[] => values.flatMap((value) => [value & 255, value >> 8])
  let bits = 0n
  for (const [index, code] of codes.entries()) bits |= BigInt(code) << BigInt(3 * index)
  const data = Array.from({ length: Math.ceil((3 * codes.length) / 8) }, (_, index) =>
    Number((bits >> BigInt(8 * index)) & 255n)
  )
  return Uint8Array.from([
    ...Buffer.from('GIF89a'),
    ...words(...screen),
    ...[palette ? 0x81 : 0, 0, 0],
    ...(palette ?? []),
    ...(transparent === undefined ? [] : [0x21, 0xf9, 4, 1, 0, 0, transparent, 0]),
    ...[0x2c, ...words(...frame), interlaced ? 0x40 : 0],
    ...[2, data.length, ...data, 0, 0x3b]
  ])
}

const PALETTE = [10, 11, 12, 20, 21, 22, 30, 31, 32, 40, 41, 42]
const CLEAR = 4
const END = 5
/** red values of the pixels */
const reds = (bytes: Uint8Array): number[] => [...decodeGif(bytes).data].filter((_, index) => index % 3 === 0)

describe('decodeGif', () => {
  it('looks colours up in the palette, transparent ones too', () => {
    const codes = [CLEAR, 0, 1, CLEAR, 2, 3, END]
    expect([...decodeGif(gif({ palette: PALETTE, transparent: 2, codes })).data]).toEqual(PALETTE)
  })

  it('reads strings of the table, also one that is only being defined', () => {
    // 0, then 6 = "0 0" while it is being defined, then 1
    expect(reds(gif({ palette: PALETTE, codes: [CLEAR, 0, 6, 1, END] }))).toEqual([10, 10, 10, 20])
  })

  it('takes gray where there is no palette', () => {
    expect([...decodeGif(gif({ codes: [CLEAR, 0, 1, CLEAR, 2, 3, END] })).data]).toEqual([
      0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3
    ])
  })

  it('fills what the frame leaves out with the transparent colour, else the first', () => {
    const part: GifParts = { screen: [2, 2], frame: [1, 1, 1, 1], palette: PALETTE, codes: [CLEAR, 1, END] }
    expect(reds(gif(part))).toEqual([10, 10, 10, 20])
    expect(reds(gif({ ...part, transparent: 3 }))).toEqual([40, 40, 40, 20])
  })

  it('grows the picture to hold the frame', () => {
    const image = decodeGif(gif({ screen: [1, 1], frame: [0, 0, 2, 1], palette: PALETTE, codes: [CLEAR, 1, 2, END] }))
    expect([image.width, image.height]).toEqual([2, 1])
  })

  it('puts interlaced rows in order', () => {
    // rows 0, 4, 2, 1, 3
    const rows: GifParts = {
      screen: [1, 5],
      frame: [0, 0, 1, 5],
      palette: PALETTE,
      interlaced: true,
      codes: [CLEAR, 0, 1, CLEAR, 2, 3, CLEAR, 0, END]
    }
    expect(reds(gif(rows))).toEqual([10, 40, 30, 10, 20])
  })

  it.each([
    [
      'a file that ends within the frame',
      gif({ palette: PALETTE, codes: [CLEAR, 0, 1, CLEAR, 2, 3, END] }).subarray(0, 39),
      /ends early/
    ],
    ['a frame with too few pixels', gif({ palette: PALETTE, codes: [CLEAR, 0, 1, END] }), /frame ends early/],
    ['a code that is not defined', gif({ palette: PALETTE, codes: [CLEAR, 0, 7, END] }), /invalid code/],
    ['a first code that is not a colour', gif({ palette: PALETTE, codes: [CLEAR, 6, 1, END] }), /invalid code/],
    ['no frame', Uint8Array.from([...Buffer.from('GIF89a'), 1, 0, 1, 0, 0, 0, 0, 0x3b]), /no frame/]
  ])('refuses %s', (_, bytes, message) => {
    expect(() => decodeGif(bytes)).toThrow(message)
  })
})
