/** What takes a slice, whole in any case. */
export interface Sink {
  /** @returns `false` when some of what it was given so far waits in its own memory. */
  write(slice: Uint8Array): boolean
}

const kib = 1024

/** Little enough to do it for hours, in vain. Bytes. */
const nudgeBytes = 64

/**
 * What the sink is given at once: with the 8 bytes around a chunk, it fits into the 16 KiB of a cork. A frame of 50
 * events that is a little longer than a slice costs two sends, which is twice as much. Bytes.
 */
export const sliceBytesMax = 16 * kib - 16

/** The first slice may share its cork with the head of the response. Bytes. */
const firstSliceBytesMax = 15 * kib

/**
 * What waits for one peer, for a sink that takes everything and cannot say how much it holds.
 *
 * As soon as the sink says that something waits, what follows is kept here, by reference: a chunk that
 * was encoded once for a thousand slow peers is held once. So the sink never holds more than about one
 * slice, and the rest can be counted exactly. Each time the sink is writable again it gets slices until it
 * says `false`, small ones until it has said `true`.
 */
export class Backlog {
  readonly #sink: Sink
  #sliceBytesMax: number
  readonly #sliceBytesMost: number
  readonly #probeBytesMax: number
  readonly #queue: Uint8Array[] = []
  #queuedBytes = 0
  /** An upper bound of what the sink holds. */
  #heldBytes = 0
  /** The sink has said `false` and was not writable since. */
  #blocked = false

  /** @param bytesMax when `bytes` exceeds it, the writer is told to wait; slices are made to fit well within */
  constructor(sink: Sink, bytesMax: number) {
    this.#sink = sink
    this.#sliceBytesMost = Math.max(kib, Math.min(sliceBytesMax, bytesMax >> 2))
    this.#sliceBytesMax = Math.min(firstSliceBytesMax, this.#sliceBytesMost)
    // Less than the kernel frees before it calls a socket writable, so that what the sink holds shrinks.
    this.#probeBytesMax = Math.min(8 * kib, this.#sliceBytesMax)
  }

  /** At most so many bytes wait, here and in the sink. */
  get bytes(): number {
    return this.#queuedBytes + this.#heldBytes
  }

  /** Nothing waits here, and the sink was writable since it last said that something waits there. */
  get idle(): boolean {
    return !this.#blocked && this.#queue.length === 0
  }

  /** Takes a chunk, which must not be changed any more. */
  push(chunk: Uint8Array): void {
    if (this.#blocked) this.#keep(chunk)
    else this.#pass(chunk)
  }

  /** The sink has passed on what it could: gives it more. */
  writable(): void {
    this.#blocked = false
    // Nothing tells whether the sink is empty now. What it holds is at most what it was given since it was.
    while (!this.#blocked) {
      const chunk = this.#queue.shift()
      if (chunk === undefined) break
      this.#queuedBytes -= chunk.length
      this.#pass(chunk)
    }
  }

  /** Gives a sink that was not writable a few bytes, and more only when it says that nothing waits any more. */
  nudge(): void {
    const chunk = this.#blocked ? this.#queue.shift() : undefined
    if (chunk === undefined) return
    const slice = chunk.subarray(0, nudgeBytes)
    this.#queuedBytes -= slice.length
    if (slice.length < chunk.length) this.#queue.unshift(chunk.subarray(slice.length))
    if (this.#sink.write(slice)) {
      this.#heldBytes = 0
      this.writable()
    } else {
      this.#heldBytes += slice.length
    }
  }

  /** Forgets everything. */
  clear(): void {
    this.#queue.length = 0
    this.#queuedBytes = 0
    this.#heldBytes = 0
  }

  #pass(chunk: Uint8Array): void {
    for (let from = 0; from < chunk.length; ) {
      if (this.#blocked) {
        this.#queue.unshift(chunk.subarray(from))
        this.#queuedBytes += chunk.length - from
        return
      }
      const to = Math.min(
        chunk.length,
        from + (this.#heldBytes > 0 ? this.#probeBytesMax : this.#sliceBytesMax),
      )
      this.#sliceBytesMax = this.#sliceBytesMost
      const slice = from === 0 && to === chunk.length ? chunk : chunk.subarray(from, to)
      if (this.#sink.write(slice)) {
        this.#heldBytes = 0
      } else {
        this.#blocked = true
        this.#heldBytes += slice.length
      }
      from = to
    }
  }

  #keep(chunk: Uint8Array): void {
    this.#queue.push(chunk)
    this.#queuedBytes += chunk.length
  }
}
