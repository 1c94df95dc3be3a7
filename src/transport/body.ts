/** How a body slows its sender down. The calls alternate. */
export interface Flow {
  pause(): void
  resume(): void
}

/**
 * The body of a request between a transport and one reader. The sender is paused while a chunk waits for the reader, so at most
 * the result of one read of the socket is held (512 KiB with uWebSockets.js).
 */
export class Body implements AsyncIterable<Uint8Array> {
  readonly #flow: Flow
  readonly #waiting: Uint8Array[] = []
  #paused = false
  #ended = false
  /** The reader, while it waits for a chunk. */
  #wanted: ((result: IteratorResult<Uint8Array, undefined>) => void) | undefined

  constructor(flow: Flow) {
    this.#flow = flow
  }

  /**
   * Adds a chunk, which belongs to the reader from now on.
   *
   * @param last nothing follows
   */
  push(chunk: Uint8Array, last: boolean): void {
    if (this.#ended) return
    if (chunk.length > 0) {
      if (this.#wanted === undefined) this.#waiting.push(chunk)
      else this.#give({ value: chunk, done: false })
    }
    if (last) this.#end()
    else if (this.#waiting.length > 0) this.#pause()
  }

  /** Tells the flow that the body is still wanted, however slowly it arrives. */
  touch(): void {
    if (this.#ended) return
    if (this.#paused) {
      this.#flow.resume()
      this.#flow.pause()
    } else {
      this.#flow.pause()
      this.#flow.resume()
    }
  }

  /** Nothing follows, and the waiting chunks will not be read. */
  discard(): void {
    this.#waiting.length = 0
    this.#end()
  }

  #end(): void {
    if (this.#ended) return
    this.#ended = true
    this.#resume()
    this.#give({ value: undefined, done: true })
  }

  [Symbol.asyncIterator](): AsyncIterator<Uint8Array, undefined> {
    return {
      next: () => this.#next(),
      return: async () => {
        this.discard()
        return { value: undefined, done: true }
      },
    }
  }

  #next(): Promise<IteratorResult<Uint8Array, undefined>> {
    const value = this.#waiting.shift()
    if (value !== undefined) return Promise.resolve({ value, done: false })
    if (this.#ended) return Promise.resolve({ value: undefined, done: true })
    return new Promise((resolve) => {
      this.#wanted = resolve
      this.#resume()
    })
  }

  #give(result: IteratorResult<Uint8Array, undefined>): void {
    const wanted = this.#wanted
    this.#wanted = undefined
    wanted?.(result)
  }

  #pause(): void {
    if (this.#paused) return
    this.#paused = true
    this.#flow.pause()
  }

  #resume(): void {
    if (!this.#paused) return
    this.#paused = false
    this.#flow.resume()
  }
}
