import type { Coming, Intake } from './intake.js'

/** How a body slows its sender down. The calls alternate. */
export interface Flow {
  pause(): void
  resume(): void
}

/**
 * The body of a request between a transport and one reader. The sender is paused while a chunk waits for the reader, so at most
 * the result of one read of the socket is held (512 KiB with uWebSockets.js), and while other bodies have their turn.
 */
export class Body implements AsyncIterable<Uint8Array>, Coming {
  readonly #flow: Flow
  readonly #intake: Intake | undefined
  readonly #waiting: Uint8Array[] = []
  #paused = false
  /** A chunk came that the reader did not wait for, and it has not asked for another since. */
  #isAhead = false
  /** By the intake. */
  #held = false
  #ended = false
  bytes = 0
  /** The reader, while it waits for a chunk. */
  #wanted: ((result: IteratorResult<Uint8Array, undefined>) => void) | undefined

  /** @param intake whose turns it takes; without one it takes none */
  constructor(flow: Flow, intake?: Intake) {
    this.#flow = flow
    this.#intake = intake
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
    if (last) return this.#end()
    if (this.#waiting.length > 0) this.#isAhead = true
    this.bytes += chunk.length
    this.#intake?.add(this, chunk.length)
    this.#steer()
  }

  hold(isHeld: boolean): void {
    this.#held = isHeld
    this.#steer()
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
    this.#intake?.delete(this)
    this.#steer()
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
      this.#isAhead = false
      this.#steer()
    })
  }

  #give(result: IteratorResult<Uint8Array, undefined>): void {
    const wanted = this.#wanted
    this.#wanted = undefined
    wanted?.(result)
  }

  /** Pauses the sender, or lets it go on. */
  #steer(): void {
    const paused = !this.#ended && (this.#held || this.#isAhead)
    if (paused === this.#paused) return
    this.#paused = paused
    if (paused) this.#flow.pause()
    else this.#flow.resume()
  }
}
