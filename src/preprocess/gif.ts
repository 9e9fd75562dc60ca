/**
 * The first frame of a GIF as Pillow's convert('RGB') gives it. Of our own because a transparent pixel keeps the colour of its
 * palette entry there, which libvips (as any decoder to RGBA) has lost.
 */
export interface GifFrame {
  width: number
  height: number
  /** (height, width, 3) bytes */
  data: Uint8Array
}

interface Frame {
  left: number
  top: number
  width: number
  height: number
  interlaced: boolean
  palette: Uint8Array | undefined
  /** index that is transparent; it also fills what the frame leaves out */
  transparent: number | undefined
}

/** Throws a plain error with the reason where the file is damaged or truncated. */
export function decodeGif(bytes: Uint8Array): GifFrame {
  const reader = new Reader(bytes)
  reader.skip(6)
  const screen = { width: reader.word(), height: reader.word() }
  const flags = reader.byte()
  reader.skip(2)
  const globalPalette = flags & 0x80 ? reader.bytes(3 << ((flags & 7) + 1)) : undefined
  const frame = readFrame(reader)
  const indices = frameIndices(reader, frame)

  const width = Math.max(screen.width, frame.left + frame.width)
  const height = Math.max(screen.height, frame.top + frame.height)
  const palette = fullPalette(frame.palette ?? globalPalette)
  const data = new Uint8Array(3 * width * height)
  for (let y = 0, at = 0; y < height; y++)
    for (let x = 0; x < width; x++, at += 3) {
      const column = x - frame.left
      const row = y - frame.top
      const inside = column >= 0 && row >= 0 && column < frame.width && row < frame.height
      const entry = 3 * (inside ? indices[row * frame.width + column]! : (frame.transparent ?? 0))
      data[at] = palette[entry]!
      data[at + 1] = palette[entry + 1]!
      data[at + 2] = palette[entry + 2]!
    }
  return { width, height, data }
}

/** Up to the data of the first frame. */
function readFrame(reader: Reader): Frame {
  let transparent: number | undefined
  for (;;) {
    const kind = reader.byte()
    if (kind === 0x3b) throw new Error('there is no frame')
    if (kind === 0x21) {
      const label = reader.byte()
      const block = reader.block()
      if (label === 0xf9 && block.length >= 4) transparent = block[0]! & 1 ? block[3] : undefined
      if (block.length > 0) while (reader.block().length > 0);
    } else if (kind === 0x2c) {
      const [left, top, width, height] = [reader.word(), reader.word(), reader.word(), reader.word()]
      const flags = reader.byte()
      const palette = flags & 0x80 ? reader.bytes(3 << ((flags & 7) + 1)) : undefined
      return { left, top, width, height, interlaced: (flags & 0x40) !== 0, palette, transparent }
    }
  }
}

/** 256 entries; those that a file leaves out are gray, as in Pillow. */
function fullPalette(palette: Uint8Array | undefined): Uint8Array {
  const full = Uint8Array.from({ length: 768 }, (_, index) => Math.floor(index / 3))
  full.set(palette ?? [])
  return full
}

/** (height, width) palette indices: LZW with codes of variable length, rows in order. */
function frameIndices(reader: Reader, { width, height, interlaced }: Frame): Uint8Array {
  const coded = unpack(reader, width * height)
  if (!interlaced) return coded
  const indices = new Uint8Array(width * height)
  let from = 0
  for (const [first, step] of [
    [0, 8],
    [4, 8],
    [2, 4],
    [1, 2]
  ] as const)
    for (let row = first; row < height; row += step, from += width)
      indices.set(coded.subarray(from, from + width), row * width)
  return indices
}

const MAX_CODES = 4096

function unpack(reader: Reader, count: number): Uint8Array {
  const minBits = reader.byte()
  if (minBits < 1 || minBits > 11) throw new Error(`codes of ${minBits} bits`)
  const clear = 1 << minBits
  const end = clear + 1
  // A code stands for the string of `prefix`, then `last`; `lengths` are those of the strings.
  const prefix = new Uint16Array(MAX_CODES)
  const last = new Uint8Array(MAX_CODES)
  const lengths = new Uint32Array(MAX_CODES)
  for (let code = 0; code < clear; code++) {
    last[code] = code
    lengths[code] = 1
  }
  const out = new Uint8Array(count)
  let [next, bits, previous, filled] = [end + 1, minBits + 1, -1, 0]
  const write = (code: number): void => {
    let at = filled + lengths[code]!
    filled = at
    for (let rest = code, left = lengths[code]!; left > 0; left--, rest = prefix[rest]!)
      if (--at < count) out[at] = last[rest]!
  }
  const codes = new BitReader(reader)
  while (filled < count) {
    const code = codes.read(bits)
    if (code === end) break
    if (code === clear) {
      ;[next, bits, previous] = [end + 1, minBits + 1, -1]
      continue
    }
    if (code > next || (code === next && previous < 0) || (previous < 0 && code >= clear))
      throw new Error('an invalid code')
    if (previous >= 0 && next < MAX_CODES) {
      prefix[next] = previous
      lengths[next] = lengths[previous]! + 1
      // A code that is only being defined repeats the first value of the string before it.
      last[next] = firstOf(code === next ? previous : code)
      next++
    } else if (code >= next) throw new Error('an invalid code')
    write(code)
    if (next === 1 << bits && bits < 12) bits++
    previous = code
  }
  if (filled < count) throw new Error('the frame ends early')
  return out

  function firstOf(code: number): number {
    let first = code
    while (first >= clear) first = prefix[first]!
    return last[first]!
  }
}

/** Codes from the least significant bit on, across the blocks of a frame. */
class BitReader {
  private block: Uint8Array = new Uint8Array(0)
  private at = 0
  private buffer = 0
  private held = 0

  constructor(private readonly reader: Reader) {}

  read(bits: number): number {
    while (this.held < bits) {
      if (this.at === this.block.length) {
        this.block = this.reader.block()
        this.at = 0
        if (this.block.length === 0) throw new Error('the frame ends early')
      }
      this.buffer |= this.block[this.at++]! << this.held
      this.held += 8
    }
    const code = this.buffer & ((1 << bits) - 1)
    this.buffer >>>= bits
    this.held -= bits
    return code
  }
}

class Reader {
  private at = 0
  constructor(private readonly data: Uint8Array) {}

  byte(): number {
    return this.bytes(1)[0]!
  }

  word(): number {
    const [low, high] = this.bytes(2)
    return low! | (high! << 8)
  }

  skip(count: number): void {
    this.bytes(count)
  }

  /** A length, and as many bytes. Empty: the end of a list of blocks. */
  block(): Uint8Array {
    return this.bytes(this.byte())
  }

  bytes(count: number): Uint8Array {
    if (this.at + count > this.data.length) throw new Error('the file ends early')
    this.at += count
    return this.data.subarray(this.at - count, this.at)
  }
}
