import type { Traits } from '../catalog/traits.js'
import { Variants } from '../codec/variants.js'
import type { Offset } from '../protocol/cursor.js'
import type { HubEvent } from '../protocol/frames.js'

/** How an event passes filters beyond its type and traits. */
export interface Passage {
  /** Passes every mode. */
  readonly force?: boolean
  /** Passes every filter and mode: the hub's own `complete`. */
  readonly everywhere?: boolean
  /** The slice that a `state.update` is about: chosen by `slices`, not by `types`. */
  readonly slice?: string
}

const unforced: Passage = {}

/** An event as the history keeps it: with what the hub knows of its type, its size and its variants. */
export class Entry extends Variants {
  readonly traits: Traits
  /** About the bytes of its JSON text. */
  readonly bytes: number
  readonly force: boolean
  readonly everywhere: boolean
  readonly slice: string | undefined
  /** A later attempt at its step has taken its place: nobody gets it any more. */
  superseded = false

  constructor(event: HubEvent, traits: Traits, bytes: number, passage: Passage = unforced) {
    super(event)
    this.traits = traits
    this.bytes = bytes
    this.force = passage.force === true
    this.everywhere = passage.everywhere === true
    this.slice = passage.slice
  }

  get offset(): Offset {
    return this.event.offset
  }
}

/** A compiled filter, as the history asks it. */
export interface Accepts {
  /** Types that are not replayed, whatever their traits are. */
  readonly notReplayed?: ReadonlySet<string> | undefined
  accepts(entry: Entry): boolean
  /** Whether it asks for the type by its name or a prefix of it, as those do who obey commands. */
  names?(type: string): boolean
  /** @returns whether events of this type pass; `force` says that they passed every mode. */
  wants(type: string, traits: Traits, force: boolean): boolean
}
