import type { Entry } from '../history/entry.js'

/** The followers of the topics of one timeline in delivery, reachable from the timeline without a look-up. */
export interface Following {
  /** Whether events, or changes of reserved slices, wait for a flush. */
  readonly unflushed: boolean
}

/** The follower of a topic: at most one per topic, for any number of subscriptions. */
export interface Audience {
  /** Whether it follows reserved slices, which must then be kept up to date. */
  readonly watchesReserved: boolean
  /** Whether any filter includes the type by name, as filters of agents that obey commands do. */
  names(type: string): boolean
  /** Collects an event or a change of state, to deliver it at the end of the turn. */
  pend(entry: Entry): void
}
