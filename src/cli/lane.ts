/** An event on its way to the hub. */
export interface Outgoing {
  /** The event as one line of JSON, with the `id` that makes sending it again harmless. */
  readonly json: string
  /** Where it came from, such as the line of a file: named when the hub refuses the event. */
  readonly line: number
}

/** The unacknowledged events of one worker, oldest first. */
export class Lane {
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

  /** @returns at least one event of those that wait */
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
    // Moving the rest only when it is the smaller half keeps dropping O(1) per event.
    if (this.#from * 2 < this.#events.length) return
    this.#events = this.#events.slice(this.#from)
    this.#from = 0
  }
}
