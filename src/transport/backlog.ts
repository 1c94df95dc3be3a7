/** The receiver of slices; it accepts each slice completely. */
export interface Sink {
  /** @returns `false` if some of the data so far waits in its own memory */
  write(slice: Uint8Array): boolean
}

const kib = 1024

/** Small enough to be repeated for hours without effect. Bytes. */
const nudgeBytes = 64

/**
 * The size of a slice: with the 8 bytes around a chunk, it fits into the 16 KiB of a cork. A frame of 50 events that is a
 * little longer than a slice needs two sends, which cost twice as much. Bytes.
 */
export const sliceBytesMax = 16 * kib - 16

/** The first slice may share its cork with the head of the response. Bytes. */
const firstSliceBytesMax = 15 * kib

/**
 * The data that waits for one peer, for a sink that accepts everything and cannot say how much it holds.
 *
 * As soon as the sink reports that something waits, later chunks are kept here, by reference: a chunk for a thousand slow peers
 * is held once. So the sink never holds more than about one slice, and the rest can be counted exactly. Each time the sink is
 * writable again it gets slices until it returns `false`, small ones until it has returned `true`.
 */
export class Backlog {
  readonly #sink: Sink
  #sliceBytesMax: number
  readonly #sliceBytesMost: number
  readonly #probeBytesMax: number
  readonly #queue: Uint8Array[] = []
  #queuedBytes = 0
  /** An upper bound of the bytes in the sink. */
  #heldBytes = 0
  /** The sink has returned `false` and has not been writable since. */
  #blocked = false

  /** @param bytesMax when `bytes` exceeds it, the writer is told to wait; slices are much smaller */
  constructor(sink: Sink, bytesMax: number) {
    this.#sink = sink
    this.#sliceBytesMost = Math.max(kib, Math.min(sliceBytesMax, bytesMax >> 2))
    this.#sliceBytesMax = Math.min(firstSliceBytesMax, this.#sliceBytesMost)
    // Less than the kernel frees before it reports a socket as writable, so that the sink's content shrinks.
    this.#probeBytesMax = Math.min(8 * kib, this.#sliceBytesMax)
  }

  /** An upper bound of the bytes that wait, here and in the sink. */
  get bytes(): number {
    return this.#queuedBytes + this.#heldBytes
  }

  /** Nothing waits here, and the sink has been writable since it last reported that something waits there. */
  get idle(): boolean {
    return !this.#blocked && this.#queue.length === 0
  }

  /** Whether a chunk that is no longer than a slice would be passed on at once and as it is. */
  get empty(): boolean {
    return this.idle && this.#heldBytes === 0 && this.#sliceBytesMax === sliceBytesMax
  }

  /** While it was empty, the sink itself got a chunk, of which something waits. */
  blockedBy(bytes: number): void {
    this.#blocked = true
    this.#heldBytes += bytes
  }

  /** Adds a chunk, which must not be changed any more. */
  push(chunk: Uint8Array): void {
    if (this.#blocked) this.#keep(chunk)
    else this.#pass(chunk)
  }

  /** The sink has passed on what it could: writes more to it. */
  writable(): void {
    this.#blocked = false
    // The sink does not report whether it is empty. It holds at most what was written since it was last empty.
    while (!this.#blocked) {
      const chunk = this.#queue.shift()
      if (chunk === undefined) break
      this.#queuedBytes -= chunk.length
      this.#pass(chunk)
    }
  }

  /** Writes a few bytes to a sink that was not writable, and more only if it then reports that nothing waits. */
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
        this.blockedBy(slice.length)
      }
      from = to
    }
  }

  #keep(chunk: Uint8Array): void {
    this.#queue.push(chunk)
    this.#queuedBytes += chunk.length
  }
}
