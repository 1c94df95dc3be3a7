import type { Traits } from '../catalog/traits.js'
import { Variants } from '../codec/variants.js'
import type { Offset } from '../protocol/cursor.js'
import type { HubEvent } from '../protocol/frames.js'

/** What lets an event pass filters, apart from its type and traits. */
export interface Passage {
  /** Passes every mode. */
  readonly force?: boolean
  /** Passes every filter and mode: the hub's own `complete`. */
  readonly everywhere?: boolean
  /** The slice of a `state.update`, which is selected by `slices`, not by `types`. */
  readonly slice?: string
}

const unforced: Passage = {}
const forced: Passage = { force: true }

/** An event in the history, with its traits, size and encoded variants. */
export class Entry extends Variants {
  readonly traits: Traits
  /** About the bytes of its JSON text. */
  readonly bytes: number
  readonly #passage: Passage
  /** A later attempt at its step has replaced it, so it is no longer delivered. */
  superseded = false

  constructor(event: HubEvent, traits: Traits, bytes: number, passage: Passage = unforced) {
    super(event)
    this.traits = traits
    this.bytes = bytes
    // Shared by nearly all events: they are most of what a hub holds, so each of their fields counts.
    const isShared = passage.everywhere !== true && passage.slice === undefined
    this.#passage = isShared ? (passage.force === true ? forced : unforced) : passage
  }

  get force(): boolean {
    return this.#passage.force === true
  }

  get everywhere(): boolean {
    return this.#passage.everywhere === true
  }

  get slice(): string | undefined {
    return this.#passage.slice
  }

  get offset(): Offset {
    return this.event.offset
  }
}

/** The interface of a compiled filter that the history uses. */
export interface Accepts {
  /** Types that are not replayed, regardless of their traits. */
  readonly notReplayed?: ReadonlySet<string> | undefined
  accepts(entry: Entry): boolean
  /** Whether it includes the type by its name or a prefix, as filters of agents that obey commands do. */
  names?(type: string): boolean
  /** @returns whether events of this type pass; with `force` they pass every mode */
  wants(type: string, traits: Traits, force: boolean): boolean
}
