import type { JsonValue } from '../../lib/json.js'
import { largeBytes } from '../http/body.js'

/** A frame that has not been done. */
interface Frame {
  readonly size: number
  readonly binary: boolean
  /** Until it is decoded. */
  bytes: Uint8Array | undefined
  value: JsonValue | undefined
}

/** What waits beyond that is decoded as it comes: its values are what a peer may send, its bytes would come on top. */
const undecodedBytesMax = 2 * 1024 * 1024

interface Doing {
  /** @returns nothing when it could not be decoded: the connection is closed then */
  decode(bytes: Uint8Array, binary: boolean): JsonValue | undefined
  /** Does what takes long about a frame, over several turns. @returns what performs it then; never rejects */
  prepare(value: JsonValue, bytes: number): Promise<() => Promise<void> | undefined>
  /** @returns nothing, unless what comes after it has to wait; never rejects */
  perform(value: JsonValue): Promise<void> | undefined
  /** Whether what waited may still be done. */
  isOpen(): boolean
  /** @returns once so many bytes may be worked on */
  turn(bytes: number): Promise<void>
}

/** The frames of one WebSocket that wait: large ones for turns of their own, some for a log, others for those before them. */
export class WaitingFrames {
  readonly #doing: Doing
  #waiting: Frame[] = []
  #bytes = 0
  /** One that is being done, and that the others wait for. */
  #blocking: Promise<void> | undefined = undefined

  constructor(doing: Doing) {
    this.#doing = doing
  }

  /** @returns whether the frame waits; where not, it is to be done at once */
  take(bytes: Uint8Array, binary: boolean): boolean {
    if (this.#waiting.length === 0 && this.#blocking === undefined && bytes.length < largeBytes) return false
    // It can send more than there are turns for, and WebSockets are not paused.
    const isLate = this.#bytes > undecodedBytesMax
    const value = isLate ? this.#doing.decode(bytes, binary) : undefined
    if (isLate && value === undefined) return true
    // The memory is the transport's, and is used again after this call.
    const held = isLate ? undefined : bytes.slice()
    this.#bytes += bytes.length
    this.#waiting.push({ size: bytes.length, binary, bytes: held, value })
    if (this.#waiting.length === 1 && this.#blocking === undefined) void this.#work()
    return true
  }

  /** What comes from now on waits for this. */
  waitFor(doing: Promise<void>): void {
    this.#blocking = doing
    void doing.then(() => {
      this.#blocking = undefined
      if (this.#waiting.length > 0) void this.#work()
    })
  }

  /** Does what waits at once. */
  finish(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const frame of waiting) {
      if (!this.#doing.isOpen() || !this.#reads(frame) || frame.value === undefined) return
      void this.#doing.perform(frame.value)
    }
  }

  /** Does in order what waits: what is large is decoded in one turn and done in another. */
  async #work(): Promise<void> {
    for (let [first] = this.#waiting; first !== undefined; [first] = this.#waiting) {
      if (first.value === undefined) {
        await this.#doing.turn(first.size)
        if (!this.#reads(first)) return
      }
      await this.#doing.turn(first.size)
      if (first !== this.#waiting[0]) return
      // It waits with the others, so that they can all be done in order when the WebSocket closes.
      const { value } = first
      const perform = value === undefined ? undefined : await this.#doing.prepare(value, first.size)
      if (first !== this.#waiting[0]) return
      this.#waiting.shift()
      this.#bytes -= first.size
      if (perform === undefined || !this.#doing.isOpen()) continue
      this.#blocking = perform()
      if (this.#blocking !== undefined) await this.#blocking
      this.#blocking = undefined
    }
  }

  #reads(frame: Frame): boolean {
    if (frame.bytes !== undefined) frame.value = this.#doing.decode(frame.bytes, frame.binary)
    frame.bytes = undefined
    return frame.value !== undefined
  }
}
