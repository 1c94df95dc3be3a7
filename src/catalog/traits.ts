import type { Merge } from './merge.js'

/** Decides which modes include a type: `summary` leaves out `delta`, `control` includes only `control`. */
export const levels = ['summary', 'delta', 'control'] as const
export type Level = (typeof levels)[number]

/** What a fresh join replays of a type: nothing, every retained event, or the newest per key. */
export type Replay = false | 'all' | 'latest'

/** How a worker or session ended, as it reported itself. */
export const results = ['succeeded', 'failed', 'cancelled'] as const
export type Result = (typeof results)[number]

/** A result, or where to find it in the data: `code`, `signal` and `cancelled` of a process, or `status`. */
export type Ends = Result | 'byExit' | 'byStatus'

/** The kind of a question to a person. */
export type NeedKind = 'input' | 'permission' | 'credentials'

/** A command of a watcher, or the agent's receipt with the final state. */
export type CommandPart = 'request' | 'receipt'

/** A tool call, or its result. */
export type ToolPart = 'call' | 'result'

/** What the hub knows of one event type. */
export interface Traits {
  readonly level: Level
  /** May never be dropped: delivered, or the connection is closed as lagging so that it resumes. */
  readonly critical: boolean
  readonly replay: Replay
  /** For `replay: latest`, `asks` and `answers`: the field of `data` that is the key when the event names none. */
  readonly key?: string
  /** A worker's event also appears in the session's topic. */
  readonly rollup: boolean
  /** Adjacent undelivered events whose `data` differ only in a text may become one. */
  readonly merge?: Merge
  /** The new status of the session or worker that publishes the event; shown in `$session` and `$workers`. */
  readonly status?: PublisherStatus
  /** How the session or worker that publishes it has ended; implies `status: 'ended'`. */
  readonly ends?: Ends
  /** It asks a person for something, until an event answers it or its publisher has ended. */
  readonly asks?: NeedKind
  /** It answers the open question with its key; `any`: a question of any kind. */
  readonly answers?: NeedKind | 'any'
  /** Its data has the token counts of a model, which are added up in `usage`. */
  readonly usage?: true
  /** It steers the producer of its topic, or is the receipt of such a command. */
  readonly command?: CommandPart
  /** A tool call begins or ends: the hub reports calls that stay open for long or repeat. */
  readonly tool?: ToolPart
}

/** Only `end` ends a session: `ended` in an event of the session itself does not. */
export type PublisherStatus = 'running' | 'paused' | 'ended'

/** The traits of unknown types. */
export const defaultTraits: Traits = Object.freeze({
  level: 'summary',
  critical: false,
  replay: false,
  rollup: false,
})
