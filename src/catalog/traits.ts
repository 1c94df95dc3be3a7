/** Which modes carry a type: `summary` and below leave out `delta`, `control` has only `control`. */
export type Level = 'summary' | 'delta' | 'control'

/** What a fresh join replays of a type: nothing, every retained event, or the newest per key. */
export type Replay = false | 'all' | 'latest'

/** What the hub knows of one event type. */
export interface Traits {
  readonly level: Level
  /** May never be dropped: delivered, or the connection is closed as lagging so that it resumes. */
  readonly critical: boolean
  readonly replay: Replay
  /** For `replay: latest`: the field of `data` that is the key when the event names none. */
  readonly key?: string
  /** A worker's event also appears in the session's topic. */
  readonly rollup: boolean
  /** Adjacent undelivered events whose `data` differ only in the field `text` may become one. */
  readonly merge?: { readonly text: string }
  /** What the session or worker that publishes it is from now on; shown in `$session` and `$workers`. */
  readonly status?: PublisherStatus
}

/** A session only ends when it is ended; of one that says so itself, its workers' `ended` is meant. */
export type PublisherStatus = 'running' | 'paused' | 'ended'

/** What an unknown type gets. */
export const defaultTraits: Traits = Object.freeze({
  level: 'summary',
  critical: false,
  replay: false,
  rollup: false,
})
