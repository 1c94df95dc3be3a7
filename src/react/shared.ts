import type { Client } from '../client/client.js'
import { clientClock } from '../client/surroundings.js'

/** What components read through `useSyncExternalStore`. */
export interface Store<Shown> {
  /** The same object until something has changed. */
  readonly shown: Shown
  /** @returns what stops it */
  listen(listener: () => void): () => void
}

/** What several events change is drawn once: about once a frame. Milliseconds. */
const frameMs = 16

/** Tells the listeners of one store, and whether there are any. */
export class Listeners {
  readonly #listeners = new Set<() => void>()
  readonly #unused: () => void
  #asked = false

  /** @param unused nobody has listened for a turn: React's strict mode leaves and comes back within one */
  constructor(unused: () => void) {
    this.#unused = unused
  }

  add(listener: () => void): () => void {
    // React may hand over the same function twice.
    const own = () => listener()
    this.#listeners.add(own)
    return () => {
      if (!this.#listeners.delete(own) || this.#listeners.size > 0) return
      clientClock.after(0, () => {
        if (this.#listeners.size === 0) this.#unused()
      })
    }
  }

  /** Calls `change` and then all listeners, once however often it is asked for meanwhile. */
  soon(change: () => void): void {
    if (this.#asked) return
    this.#asked = true
    clientClock.after(frameMs, () => {
      this.#asked = false
      change()
      for (const listener of this.#listeners) listener()
    })
  }
}

/**
 * The stores of one kind, by client and key. One is made when the first component listens and is gone after the last
 * one: rendering makes none, so a rendering that React throws away leaves nothing behind.
 */
export class Stores<Kept> {
  readonly #byClient = new WeakMap<Client, Map<string, Kept>>()

  find(client: Client, key: string): Kept | undefined {
    return this.#byClient.get(client)?.get(key)
  }

  /** @param make is given what takes the store out again */
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
