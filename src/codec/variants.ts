import type { HubEvent } from '../protocol/frames.js'

/** An event together with its encoded forms, each made at most once. */
export class Variants {
  readonly event: HubEvent
  json: string | undefined = undefined
  packed: Uint8Array | undefined = undefined
  #others: Map<string, string> | undefined = undefined

  constructor(event: HubEvent) {
    this.event = event
  }

  /** @returns the variant of that name, or nothing when it was not made yet. */
  other(name: string): string | undefined {
    return this.#others?.get(name)
  }

  keep(name: string, text: string): string {
    this.#others ??= new Map()
    this.#others.set(name, text)
    return text
  }
}
