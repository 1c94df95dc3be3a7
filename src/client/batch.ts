import type { Timer } from '../lib/clock.js'
import type { Receipt } from './requests.js'
import type { ClientClock } from './surroundings.js'

export interface BatchOptions {
  /** How long an event waits for others at most. Default 20 ms. */
  readonly waitMs?: number
  /** How many events are sent together at most. Default 100. */
  readonly eventsMax?: number
}

const waitMsDefault = 20
const eventsMaxDefault = 100

/**
 * Gathers events and publishes many of them in one request, in order. A request that the hub refuses is told by `flush`,
 * `close` and `client.onError`; the others are sent all the same.
 */
export class Batch<Event> {
  readonly #publish: (events: readonly Event[]) => Promise<Receipt>
  readonly #failed: (error: Error) => void
  readonly #clock: ClientClock
  readonly #waitMs: number
  readonly #eventsMax: number
  readonly #sent = new Set<Promise<unknown>>()
  #events: Event[] = []
  #timer: Timer | undefined
  #fault: Error | undefined
  #isClosed = false

  constructor(
    publish: (events: readonly Event[]) => Promise<Receipt>,
    failed: (error: Error) => void,
    clock: ClientClock,
    { waitMs = waitMsDefault, eventsMax = eventsMaxDefault }: BatchOptions,
  ) {
    this.#publish = publish
    this.#failed = failed
    this.#clock = clock
    this.#waitMs = waitMs
    this.#eventsMax = eventsMax
  }

  /** @throws Error when the batch is closed */
  add(...events: readonly Event[]): void {
    if (this.#isClosed) throw new Error('the batch is closed')
    for (const event of events) {
      this.#events.push(event)
      if (this.#events.length >= this.#eventsMax) this.#send()
    }
    if (this.#events.length > 0) this.#timer ??= this.#clock.after(this.#waitMs, () => this.#send())
  }

  /** @returns once the hub has stored all that was added; rejects with the first refusal since the last call */
  async flush(): Promise<void> {
    this.#send()
    await Promise.all(this.#sent)
    const fault = this.#fault
    this.#fault = undefined
    if (fault !== undefined) throw fault
  }

  /** Publishes what is left. @returns as `flush` does */
  close(): Promise<void> {
    this.#isClosed = true
    return this.flush()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #send(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    if (this.#events.length === 0) return
    const sent = this.#publish(this.#events)
      .catch((error: Error) => {
        this.#fault ??= error
        this.#failed(error)
      })
      .finally(() => this.#sent.delete(sent))
    this.#events = []
    this.#sent.add(sent)
  }
}
