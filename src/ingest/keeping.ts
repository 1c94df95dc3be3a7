import { isObject, type JsonValue, measure } from '../lib/json.js'
import { ProtocolError } from '../protocol/codes.js'

/** What one stream of an agent's output makes its ingest remember: open calls with their arguments, names, sub-agents. Bytes, about. */
export const keptBytesMax = 2_097_152

/** An entry, besides its texts. */
const entryBytes = 64

/** Beyond this many maps the empty ones are no longer looked at. */
const mapsMax = 1_000

interface Forgetting {
  readonly size: number
  forgetOldest(): void
}

/** What an ingest remembers of its stream, in several maps. Beyond `keptBytesMax` they forget their oldest entries to take new ones. */
export class Keeping {
  bytes = 0
  #maps: Forgetting[] = []

  map<Key, Value>(): Kept<Key, Value> {
    const kept = new Kept<Key, Value>(this)
    // Each sub-agent has maps of its own, also when it is forgotten.
    if (this.#maps.length >= mapsMax) this.#maps = this.#maps.filter(({ size }) => size > 0)
    this.#maps.push(kept)
    return kept
  }

  /** @throws ProtocolError `frameTooLarge` if there is no room although all else is forgotten */
  makeRoom(bytes: number, first: Forgetting): void {
    for (const kept of [first, ...this.#maps]) {
      while (this.bytes + bytes > keptBytesMax && kept.size > 0) kept.forgetOldest()
    }
    if (bytes <= keptBytesMax) return
    throw new ProtocolError(
      'frameTooLarge',
      `expected at most ${keptBytesMax} bytes of one call in a stream, got more; send less in one call`,
    )
  }
}

/** A map of values that are replaced, never changed. */
export class Kept<Key, Value> {
  readonly #keeping: Keeping
  readonly #entries = new Map<Key, { readonly value: Value; readonly bytes: number }>()

  constructor(keeping: Keeping) {
    this.#keeping = keeping
  }

  get size(): number {
    return this.#entries.size
  }

  has(key: Key): boolean {
    return this.#entries.has(key)
  }

  get(key: Key): Value | undefined {
    return this.#entries.get(key)?.value
  }

  /** @throws ProtocolError `frameTooLarge` if this alone is too large */
  set(key: Key, value: Value): void {
    this.delete(key)
    const bytes = entryBytes + bytesOf(key) + bytesOf(value)
    if (this.#keeping.bytes + bytes > keptBytesMax) this.#keeping.makeRoom(bytes, this)
    this.#keeping.bytes += bytes
    this.#entries.set(key, { value, bytes })
  }

  delete(key: Key): boolean {
    this.#keeping.bytes -= this.#entries.get(key)?.bytes ?? 0
    return this.#entries.delete(key)
  }

  forgetOldest(): void {
    for (const key of this.#entries.keys()) {
      this.delete(key)
      return
    }
  }

  clear(): void {
    for (const key of this.#entries.keys()) this.delete(key)
  }

  /** The oldest first. */
  *[Symbol.iterator](): Generator<[Key, Value]> {
    for (const [key, { value }] of this.#entries) yield [key, value]
  }

  *values(): Generator<Value> {
    for (const { value } of this.#entries.values()) yield value
  }
}

/** Texts by their length, because a text that is made of many pieces would be joined to be measured. */
function bytesOf(value: unknown): number {
  if (typeof value === 'string') return value.length
  if (!isObject(value) || Object.getPrototypeOf(value) !== Object.prototype) return entryBytes
  let bytes = 0
  for (const part of Object.values(value)) {
    bytes += typeof part === 'string' ? part.length : measure(part as JsonValue, Number.POSITIVE_INFINITY)
  }
  return bytes
}
