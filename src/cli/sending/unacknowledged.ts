/** An event on its way to the hub. */
export interface Outgoing {
  /** The event as one line of JSON, with the `id` that makes sending it again harmless. */
  readonly json: string
  /** Its source, such as the line of a file; it is named if the hub refuses the event. */
  readonly line: number
}

/** The unacknowledged events of one worker, oldest first. */
export class Unacknowledged {
  readonly path: string
  #events: Outgoing[] = []
  #from = 0

  constructor(path: string) {
    this.path = path
  }

  get empty(): boolean {
    return this.#from === this.#events.length
  }

  push(event: Outgoing): void {
    this.#events.push(event)
  }

  /** @returns at least one of the waiting events */
  head(eventsMax: number, charactersMax: number): readonly Outgoing[] {
    let until = this.#from
    let characters = 0
    while (until < this.#events.length && until - this.#from < eventsMax) {
      characters += (this.#events[until] as Outgoing).json.length
      if (characters > charactersMax && until > this.#from) break
      until++
    }
    return this.#events.slice(this.#from, until)
  }

  drop(count: number): void {
    this.#from += count
    // The rest moves only if it is the smaller half, so dropping is O(1) per event.
    if (this.#from * 2 < this.#events.length) return
    this.#events = this.#events.slice(this.#from)
    this.#from = 0
  }
}
