/** Decoded pictures, the latest used kept while they fit: training on small pictures reads each again and again. */
import type { RgbImage } from '../native.js'

export class PictureCache {
  readonly #images = new Map<string, RgbImage>()
  #bytes = 0

  /** `limit` in bytes; 0: nothing is kept */
  constructor(private readonly limit: number) {}

  /** what the kept pictures take */
  get bytes(): number {
    return this.#bytes
  }

  /** The picture of this key, decoded at its first use. What is returned is shared: it must not be changed. */
  async get(key: string, decode: () => Promise<RgbImage>): Promise<RgbImage> {
    const known = this.#images.get(key)
    if (known) {
      this.#images.delete(key) // to the end of the map: the oldest is first
      this.#images.set(key, known)
      return known
    }
    const image = await decode()
    if (image.data.length <= this.limit && !this.#images.has(key)) this.#keep(key, image)
    return image
  }

  #keep(key: string, image: RgbImage): void {
    this.#images.set(key, image)
    this.#bytes += image.data.length
    for (const [oldest, { data }] of this.#images) {
      if (this.#bytes <= this.limit) break
      this.#images.delete(oldest)
      this.#bytes -= data.length
    }
  }
}
