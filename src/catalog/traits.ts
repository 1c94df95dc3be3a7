import type { Merge } from './merge.js'

/** Which modes carry a type: `summary` and below leave out `delta`, `control` has only `control`. */
export const levels = ['summary', 'delta', 'control'] as const
export type Level = (typeof levels)[number]

/** What a fresh join replays of a type: nothing, every retained event, or the newest per key. */
export type Replay = false | 'all' | 'latest'

/** How a worker or session ended by its own word. */
export type Result = 'succeeded' | 'failed' | 'cancelled'

/** A result, or where the data says it: by `code`, `signal` and `cancelled` of a process, or by a `status`. */
export type Ends = Result | 'byExit' | 'byStatus'

/** What is asked of a person. */
export type NeedKind = 'input' | 'permission' | 'credentials'

/** A command of somebody who watches, or its final state as the agent says it. */
export type CommandPart = 'request' | 'receipt'

/** A call of a tool, or what came of it. */
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
  /** What the session or worker that publishes it is from now on; shown in `$session` and `$workers`. */
  readonly status?: PublisherStatus
  /** How the session or worker that publishes it has ended; implies `status: 'ended'`. */
  readonly ends?: Ends
  /** It asks a person for something, until an event answers it or who asked has ended. */
  readonly asks?: NeedKind
  /** It answers what was asked with its key; `any`, whatever was. */
  readonly answers?: NeedKind | 'any'
  /** Its data says what a model took and gave: it is added up in `usage`. */
  readonly usage?: true
  /** It steers whoever produces to its topic, or says what became of that. */
  readonly command?: CommandPart
  /** A call of a tool begins, or ends: one that stays open for long, or comes again and again, is told of. */
  readonly tool?: ToolPart
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
