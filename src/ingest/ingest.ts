import type { JsonObject } from '../lib/json.js'
import type { NewEvent } from '../protocol/frames.js'
import type { Keeping } from './keeping.js'

/** One event of the built-in catalog, made from an agent's output. */
export interface Ingested {
  readonly event: NewEvent
  /** The sub-agent that published it; absent for the agent itself. */
  readonly worker?: string
}

/** Reads the objects of one stream, in their order. It is pure: the same objects give the same events. */
export interface Ingest {
  /** What it remembers of the stream. */
  readonly kept: Keeping
  /**
   * @returns the events made from one object of the stream; none if it only prepares for later ones
   * @throws ProtocolError `badFrame` if the object is not of this kind
   */
  take(value: JsonObject): readonly Ingested[]
  /** The stream has ended. @returns the events of its end, unless the stream reported the end itself */
  end(): readonly Ingested[]
}

/** One kind of agent output. */
export interface IngestKind {
  /** The value of `--from` and `?from=`. */
  readonly name: string
  /** Whether an object can only be of this kind. */
  recognizes(value: JsonObject): boolean
  start(): Ingest
}
