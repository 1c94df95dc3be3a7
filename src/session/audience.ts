import type { Entry } from '../history/entry.js'

/** All who follow the topics of one timeline, as delivery knows them; found with the timeline, without a search. */
export interface Following {
  /** Whether events, or changes of the slices that the hub keeps, wait for a flush. */
  readonly unflushed: boolean
}

/** Whoever follows a topic: at most one for each, whatever the number of subscriptions behind it. */
export interface Audience {
  /** Whether it gets a slice that the hub keeps itself: then these must be kept up to date. */
  readonly watchesReserved: boolean
  /** Whether anybody asks for the type by its name, as those do who obey commands. */
  names(type: string): boolean
  /** Takes an event or a change of state, to deliver it at the end of the turn. */
  pend(entry: Entry): void
}
