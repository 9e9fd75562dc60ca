/** A small seeded generator, so that a seed gives the same data set on every machine (mulberry32; two 32-bit states mixed). */
export class Random {
  #state

  constructor(seed, stream = 0) {
    this.#state = (Math.imul(seed, 0x9e3779b1) ^ Math.imul(stream + 1, 0x85ebca6b)) | 0
  }

  /** Uniform in [0, 1). */
  next() {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let x = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state)
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32
  }

  between(low, high) {
    return low + (high - low) * this.next()
  }

  /** Uniform in 0 .. n - 1. */
  index(n) {
    return Math.floor(this.next() * n)
  }

  pick(list) {
    return list[this.index(list.length)]
  }

  /** A copy in random order (Fisher-Yates). */
  shuffled(list) {
    const copy = [...list]
    for (let i = copy.length - 1; i > 0; i--) {
      const j = this.index(i + 1)
      ;[copy[i], copy[j]] = [copy[j], copy[i]]
    }
    return copy
  }

  /** Standard normal (Box-Muller). */
  normal() {
    return Math.sqrt(-2 * Math.log(1 - this.next())) * Math.cos(2 * Math.PI * this.next())
  }
}
