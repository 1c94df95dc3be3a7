import type { Clock } from '../lib/clock.js'

/** A body comes in pieces of this size at most. */
const pieceBytes = 64 * 1024
/** A smaller one has memory of its own, because most of such a piece would be unused. */
const pieceBytesMin = 16 * 1024
/** As many as the bodies of one hub may have together. */
const retainedMax = 1_024
/** What nobody has needed for so long is given up. */
const unneededMs = 10_000

/**
 * Memory for bodies, which is used again. V8 collects all garbage each time the memory outside of its heap has grown by some
 * 10 MB, whether any of it is garbage or not: 64 bodies of a megabyte stopped everybody six times, for 5 to 15 ms each.
 */
export class BodyMemory {
  readonly #clock: Clock
  readonly #free: ArrayBuffer[] = []
  readonly #lent = new WeakSet<ArrayBufferLike>()
  /** The fewest that were free since this was looked at. */
  #unneeded = 0
  #isWatched = false

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** @returns a copy in pieces, each of which may be given back */
  copy(bytes: Uint8Array): Uint8Array[] {
    if (bytes.length < pieceBytesMin) return [bytes.slice()]
    const pieces: Uint8Array[] = []
    for (let at = 0; at < bytes.length; at += pieceBytes)
      pieces.push(this.#lend(bytes.subarray(at, at + pieceBytes)))
    return pieces
  }

  /** Nobody uses the piece, or a part of it, any more. Given back twice it is given back once. */
  giveBack({ buffer }: Uint8Array): void {
    if (!this.#lent.delete(buffer) || this.#free.length >= retainedMax) return
    this.#free.push(buffer as ArrayBuffer)
    if (!this.#isWatched) this.#watch()
  }

  #lend(bytes: Uint8Array): Uint8Array {
    const memory = this.#free.pop() ?? new ArrayBuffer(pieceBytes)
    if (this.#free.length < this.#unneeded) this.#unneeded = this.#free.length
    this.#lent.add(memory)
    const piece = new Uint8Array(memory, 0, bytes.length)
    piece.set(bytes)
    return piece
  }

  /** As long as any is free. */
  #watch(): void {
    this.#isWatched = this.#free.length > 0
    if (!this.#isWatched) return
    this.#clock.after(unneededMs, () => {
      this.#free.splice(0, this.#unneeded)
      this.#unneeded = this.#free.length
      this.#watch()
    })
  }
}
