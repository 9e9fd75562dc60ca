/** Memory that preparing inputs ahead of time may take: decoded pictures, and prepared ones that wait for their turn. */

/** Of decoded and prepared pictures at a time; one item may take more, alone. */
export const PREPARED_BYTES = 512 * 2 ** 20

/**
 * Slots get what they ask for in the order in which they were opened, so that the one that is waited for is never held up
 * by later ones. A slot that asks for more than there is gets it when nothing else is held.
 */
export class ByteBudget {
  readonly #waiting: Slot[] = []
  #held = 0
  #closed = false

  constructor(private readonly limit = PREPARED_BYTES) {}

  get held(): number {
    return this.#held
  }

  open(): Slot {
    const slot = new Slot((change) => {
      this.#held += change
      this.#admit()
    })
    this.#waiting.push(slot)
    return slot
  }

  /** Nothing will be given back any more: nobody waits from now on. */
  close(): void {
    this.#closed = true
    this.#admit()
  }

  #admit(): void {
    for (;;) {
      const [first] = this.#waiting
      const wanted = first?.wanted
      if (!first || wanted === undefined) return
      if (!this.#closed && this.#held > 0 && this.#held + wanted > this.limit) return
      this.#waiting.shift()
      this.#held += wanted
      first.grant()
    }
  }
}

export class Slot {
  #wanted: number | undefined
  #granted: Promise<void> | undefined
  #grant: (() => void) | undefined
  #held = 0

  constructor(private readonly changed: (held: number) => void) {}

  /** undefined: it has not asked for anything */
  get wanted(): number | undefined {
    return this.#wanted
  }

  /** Waits for its turn, and for room; once. */
  async reserve(bytes: number): Promise<void> {
    this.#wanted ??= bytes
    this.#granted ??= new Promise((resolve) => (this.#grant = resolve))
    this.changed(0)
    await this.#granted
  }

  /** The budget's answer. */
  grant(): void {
    this.#held = this.#wanted!
    this.#grant?.()
  }

  /** From now on it holds so much. One that has not asked for anything lets the others pass. */
  keep(bytes: number): void {
    if (this.#wanted === undefined) this.#wanted = 0
    const change = bytes - this.#held
    this.#held = bytes
    this.changed(change)
  }
}
