import type { JsonObject } from '../lib/json.js'
import type { NewEvent } from '../protocol/frames.js'

/** One event of the built-in catalog that something an agent printed has become. */
export interface Ingested {
  readonly event: NewEvent
  /** The sub-agent that it is of; absent for the agent itself. */
  readonly worker?: string
}

/** Reads the objects of one stream, in their order. It is pure: the same objects give the same events. */
export interface Ingest {
  /**
   * @returns what one object of the stream has become; nothing where it only prepares for what comes
   * @throws ProtocolError `badFrame` when it is none of this kind
   */
  take(value: JsonObject): readonly Ingested[]
  /** The stream is over. @returns how it ended, where the stream did not say so itself */
  end(): readonly Ingested[]
}

/** What one family of agents prints. */
export interface IngestKind {
  /** What `--from` and `?from=` say. */
  readonly name: string
  /** Whether an object can only be of this kind. */
  recognizes(value: JsonObject): boolean
  start(): Ingest
}
