import type { Client } from '../client/client.js'
import { clientClock } from '../client/surroundings.js'

/** The store that components read through `useSyncExternalStore`. */
export interface Store<Shown> {
  /** The same object until something changes. */
  readonly shown: Shown
  /** @returns a function that removes the listener */
  listen(listener: () => void): () => void
}

/** Changes within this time are rendered together, about once a frame. Milliseconds. */
const frameMs = 16

/** The listeners of one store. */
export class Listeners {
  readonly #listeners = new Set<() => void>()
  readonly #unused: () => void
  #isDue = false

  /** @param unused called after a turn without listeners, because React's strict mode leaves and returns within one */
  constructor(unused: () => void) {
    this.#unused = unused
  }

  add(listener: () => void): () => void {
    // React may pass the same function twice.
    const own = () => listener()
    this.#listeners.add(own)
    return () => {
      if (!this.#listeners.delete(own) || this.#listeners.size > 0) return
      clientClock.after(0, () => {
        if (this.#listeners.size === 0) this.#unused()
      })
    }
  }

  /** Calls `change` and then all listeners, once for any number of calls meanwhile. */
  soon(change: () => void): void {
    if (this.#isDue) return
    this.#isDue = true
    clientClock.after(frameMs, () => {
      this.#isDue = false
      change()
      for (const listener of this.#listeners) listener()
    })
  }
}

/**
 * The stores of one kind, by client and key. A store is created when the first component listens and removed after the last
 * one. Rendering creates none, so a rendering that React discards leaves nothing behind.
 */
export class Stores<Kept> {
  readonly #byClient = new WeakMap<Client, Map<string, Kept>>()

  find(client: Client, key: string): Kept | undefined {
    return this.#byClient.get(client)?.get(key)
  }

  /** @param make gets the function that removes the store */
  get(client: Client, key: string, make: (forget: () => void) => Kept): Kept {
    const known = this.find(client, key)
    if (known !== undefined) return known
    const stores = this.#byClient.get(client) ?? new Map<string, Kept>()
    this.#byClient.set(client, stores)
    const made = make(() => stores.delete(key))
    stores.set(key, made)
    return made
  }
}
