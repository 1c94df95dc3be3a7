import type { HubEvent } from '../protocol/frames.js'

/** An event together with its encoded forms, each made at most once. */
export class Variants {
  readonly event: HubEvent
  /** The event as JSON text; the JSON and SSE codecs build on it. */
  json: string | undefined = undefined
  /** The event in MessagePack. */
  packed: Uint8Array | undefined = undefined
  #texts: Map<string, string> | undefined = undefined

  constructor(event: HubEvent) {
    this.event = event
  }

  /** Replaces the event by its redacted form, which has the same offset, for all that refer to this object. */
  replace(event: HubEvent): void {
    ;(this as { event: HubEvent }).event = event
    this.json = undefined
    this.packed = undefined
    this.#texts = undefined
  }

  /** @returns the text variant of that name, or undefined if it has not been made yet */
  text(name: string): string | undefined {
    return this.#texts?.get(name)
  }

  keepText(name: string, text: string): string {
    this.#texts ??= new Map()
    this.#texts.set(name, text)
    return text
  }
}
