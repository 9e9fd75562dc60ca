/**
 * Reads Python pickles that hold data only. A pickle is a program for a small stack machine, which may name any function
 * of Python and call it. Here nothing is called: the names that may occur are those the caller knows, what they build is
 * plain data, and every other instruction or name is refused.
 */

/** A function or class of Python that a pickle names: `torch._utils._rebuild_tensor_v2`. */
export interface Named {
  readonly named: string
}

/** How the names that are allowed, and references to storage outside the pickle, become values. */
export interface PickleVocabulary {
  /** undefined: the name is not allowed. Otherwise what calling it with these arguments gives; absent: it cannot be called */
  resolve(name: string): { call?: (args: unknown[]) => unknown } | undefined
  persistent(id: unknown): unknown
}

const MARK = Symbol('mark')
const MOST_STEPS = 20_000_000

/** The value of a pickle: null, booleans, numbers, texts, arrays (lists and tuples), Maps, and what the vocabulary makes. */
export function readPickle(bytes: Uint8Array, vocabulary: PickleVocabulary): unknown {
  return new Unpickler(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength), vocabulary).run()
}

class Unpickler {
  #at = 0
  #stack: unknown[] = []
  readonly #memo = new Map<number, unknown>()

  constructor(
    private readonly bytes: Buffer,
    private readonly vocabulary: PickleVocabulary
  ) {}

  run(): unknown {
    for (let step = 0; step < MOST_STEPS; step++) {
      const code = this.#take(1)[0]!
      if (code === 0x2e) return this.#pop() // STOP
      this.#step(code)
    }
    throw new Error('its pickle does not end')
  }

  #step(code: number): void {
    const push = (value: unknown): void => void this.#stack.push(value)
    switch (code) {
      case 0x80: // PROTO
        if (this.#take(1)[0]! > 5) throw new Error('its pickle is of a later protocol')
        return
      case 0x95: // FRAME
        this.#take(8)
        return
      case 0x28: // MARK
        return push(MARK)
      case 0x30: // POP
        this.#pop()
        return
      case 0x4e: // NONE
        return push(null)
      case 0x88: // NEWTRUE
        return push(true)
      case 0x89: // NEWFALSE
        return push(false)
      case 0x4a: // BININT
        return push(this.#take(4).readInt32LE())
      case 0x4b: // BININT1
        return push(this.#take(1)[0])
      case 0x4d: // BININT2
        return push(this.#take(2).readUInt16LE())
      case 0x8a: // LONG1
        return push(longOf(this.#take(this.#take(1)[0]!)))
      case 0x47: // BINFLOAT
        return push(this.#take(8).readDoubleBE())
      case 0x58: // BINUNICODE
        return push(this.#take(this.#take(4).readUInt32LE()).toString('utf8'))
      case 0x8c: // SHORT_BINUNICODE
        return push(this.#take(this.#take(1)[0]!).toString('utf8'))
      case 0x5d: // EMPTY_LIST
      case 0x29: // EMPTY_TUPLE
        return push([])
      case 0x7d: // EMPTY_DICT
        return push(new Map())
      case 0x74: // TUPLE
        return push(this.#popToMark())
      case 0x85: // TUPLE1
        return push(this.#popMany(1))
      case 0x86: // TUPLE2
        return push(this.#popMany(2))
      case 0x87: // TUPLE3
        return push(this.#popMany(3))
      case 0x61: // APPEND
        return this.#append(this.#popMany(1))
      case 0x65: // APPENDS
        return this.#append(this.#popToMark())
      case 0x73: // SETITEM
        return this.#setItems(this.#popMany(2))
      case 0x75: // SETITEMS
        return this.#setItems(this.#popToMark())
      case 0x71: // BINPUT
        return void this.#memo.set(this.#take(1)[0]!, this.#top())
      case 0x72: // LONG_BINPUT
        return void this.#memo.set(this.#take(4).readUInt32LE(), this.#top())
      case 0x94: // MEMOIZE
        return void this.#memo.set(this.#memo.size, this.#top())
      case 0x68: // BINGET
        return push(this.#recall(this.#take(1)[0]!))
      case 0x6a: // LONG_BINGET
        return push(this.#recall(this.#take(4).readUInt32LE()))
      case 0x63: // GLOBAL
        return push(this.#named(this.#line(), this.#line()))
      case 0x93: {
        // STACK_GLOBAL
        const [module, name] = this.#popMany(2)
        return push(this.#named(String(module), String(name)))
      }
      case 0x51: // BINPERSID
        return push(this.vocabulary.persistent(this.#pop()))
      case 0x52: // REDUCE
        return push(this.#call())
      case 0x62: // BUILD: attributes of an object, which data doesn't have
        this.#pop()
        return
      default:
        throw new Error(`its pickle holds the instruction 0x${code.toString(16)}, which plain tensors don't need`)
    }
  }

  #call(): unknown {
    const [callee, args] = this.#popMany(2)
    const name = (callee as Named | null)?.named
    const call = typeof name === 'string' ? this.vocabulary.resolve(name)?.call : undefined
    if (!call || !Array.isArray(args)) throw new Error(`its pickle calls ${name ?? 'something'}, which is not allowed`)
    return call(args)
  }

  #named(module: string, name: string): Named {
    const named = `${module}.${name}`
    if (!this.vocabulary.resolve(named))
      throw new Error(`its pickle names ${named}; only tensors are read, and nothing is executed`)
    return { named }
  }

  #append(values: unknown[]): void {
    const list = this.#top()
    if (!Array.isArray(list)) throw new Error('its pickle is damaged')
    for (const value of values) list.push(value)
  }

  #setItems(values: unknown[]): void {
    const map = this.#top()
    if (!(map instanceof Map) || values.length % 2 !== 0) throw new Error('its pickle is damaged')
    for (let i = 0; i < values.length; i += 2) map.set(values[i], values[i + 1])
  }

  #take(count: number): Buffer {
    if (this.#at + count > this.bytes.length) throw new Error('its pickle is truncated')
    return this.bytes.subarray(this.#at, (this.#at += count))
  }

  #line(): string {
    const end = this.bytes.indexOf(0x0a, this.#at)
    if (end < 0) throw new Error('its pickle is truncated')
    const line = this.bytes.toString('utf8', this.#at, end)
    this.#at = end + 1
    return line
  }

  #pop(): unknown {
    if (this.#stack.length === 0) throw new Error('its pickle is damaged')
    return this.#stack.pop()
  }

  #top(): unknown {
    if (this.#stack.length === 0) throw new Error('its pickle is damaged')
    return this.#stack.at(-1)
  }

  #popMany(count: number): unknown[] {
    if (this.#stack.length < count) throw new Error('its pickle is damaged')
    return this.#stack.splice(this.#stack.length - count)
  }

  #popToMark(): unknown[] {
    const mark = this.#stack.lastIndexOf(MARK)
    if (mark < 0) throw new Error('its pickle is damaged')
    return this.#stack.splice(mark).slice(1)
  }

  #recall(key: number): unknown {
    if (!this.#memo.has(key)) throw new Error('its pickle is damaged')
    return this.#memo.get(key)
  }
}

/** Little-endian, two's complement. */
function longOf(bytes: Buffer): number {
  let value = 0n
  for (let i = bytes.length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i]!)
  if (bytes.length > 0 && bytes.at(-1)! & 0x80) value -= 1n << BigInt(8 * bytes.length)
  return Number(value)
}
