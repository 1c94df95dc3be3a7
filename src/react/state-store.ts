import type { Client } from '../client/client.js'
import type { Subscription } from '../client/subscription.js'
import { clientClock } from '../client/surroundings.js'
import type { JsonObject } from '../lib/json.js'
import { Listeners, type Store } from './shared.js'

/** The value before anything has been received, and on the server. */
export const noState: JsonObject = {}

/** The slices of one topic that components request, in one subscription without events. */
export class StateStore implements Store<JsonObject> {
  shown = noState
  readonly #client: Client
  readonly #topic: string
  readonly #listeners: Listeners
  /** The number of components for each slice. */
  readonly #wanted = new Map<string, number>()
  #subscription: Pick<Subscription, 'state' | 'update' | 'close'> | undefined
  #asking = false
  #over = false

  constructor(client: Client, topic: string, forget: () => void) {
    this.#client = client
    this.#topic = topic
    this.#listeners = new Listeners(() => {
      this.#over = true
      this.#subscription?.close()
      forget()
    })
  }

  /** @returns a function that removes the listener */
  want(slice: string, listener: () => void): () => void {
    const count = this.#wanted.get(slice)
    this.#wanted.set(slice, (count ?? 0) + 1)
    if (count === undefined) this.#askSoon()
    const stop = this.listen(listener)
    return () => {
      // The slice stays in the subscription until another one is requested, because removing it would cost a snapshot.
      this.#wanted.set(slice, (this.#wanted.get(slice) ?? 1) - 1)
      stop()
    }
  }

  listen(listener: () => void): () => void {
    return this.#listeners.add(listener)
  }

  /** Requests the slices of all components of a rendering at once. */
  #askSoon(): void {
    if (this.#asking) return
    this.#asking = true
    clientClock.after(0, () => {
      this.#asking = false
      if (!this.#over) this.#ask()
    })
  }

  #ask(): void {
    for (const [slice, count] of this.#wanted) if (count === 0) this.#wanted.delete(slice)
    const slices = [...this.#wanted.keys()]
    if (this.#subscription !== undefined) return this.#subscription.update({ slices })
    this.#subscription = this.#client.subscribe(
      { topic: this.#topic, types: ['!*'], slices, replay: false },
      { onEvent() {}, onState: () => this.#changed() },
    )
  }

  #changed(): void {
    this.#listeners.soon(() => {
      this.shown = this.#subscription?.state ?? noState
    })
  }
}
