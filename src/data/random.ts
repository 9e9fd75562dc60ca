/**
 * Counter-based random numbers, the same function as native/core/random.h: pure in (seed, stream, counter), so that what
 * is drawn depends neither on order nor on the number of workers.
 */
const MASK = 0xffffffffffffffffn
const GOLDEN = 0x9e3779b97f4a7c15n

function mix64(value: bigint): bigint {
  let x = value
  x = ((x ^ (x >> 30n)) * 0xbf58476d1ce4e5b9n) & MASK
  x = ((x ^ (x >> 27n)) * 0x94d049bb133111ebn) & MASK
  return x ^ (x >> 31n)
}

/** 64 random bits. Arguments are taken modulo 2^64. */
export function randomBits(seed: bigint, stream: bigint, counter: bigint): bigint {
  const key = mix64((seed * GOLDEN + stream) & MASK)
  return mix64((key + counter * GOLDEN) & MASK)
}

/** Uniform in [0, 1), 24 bits. */
export function randomUniform(seed: bigint, stream: bigint, counter: bigint): number {
  return Number(randomBits(seed, stream, counter) >> 40n) / 2 ** 24
}

/** Of the streams of a seed, that of the order of rows. */
const SHUFFLE_STREAM = 0x73687566666c6521n

/**
 * A random permutation of 0 ... length - 1 with random access: a Feistel network over the next power of four, walked until
 * the value falls within the range. No memory, any position at once.
 */
export class Permutation {
  private readonly half: number
  private readonly keys: bigint[]

  constructor(
    readonly length: number,
    seed: number,
    /** which of the seed's permutations, such as the epoch */
    index: number
  ) {
    this.half = Math.max(1, Math.ceil(Math.log2(Math.max(2, length)) / 2))
    this.keys = Array.from({ length: ROUNDS }, (_, round) =>
      randomBits(BigInt(seed), SHUFFLE_STREAM, BigInt(index * ROUNDS + round))
    )
  }

  at(position: number): number {
    let value = position
    do value = this.permute(value)
    while (value >= this.length)
    return value
  }

  private permute(value: number): number {
    const size = 2 ** this.half
    let left = Math.floor(value / size)
    let right = value % size
    for (const key of this.keys) {
      const scrambled = Number(mix64((key + BigInt(right) * GOLDEN) & MASK) % BigInt(size))
      ;[left, right] = [right, left ^ scrambled]
    }
    return left * size + right
  }
}

const ROUNDS = 8
