import type { Cursor, Epoch, Offset, Position } from '../protocol/cursor.js'
import type { ControlFrame, HubFrame } from '../protocol/frames.js'
import type { Variants } from './variants.js'

/** What a link carries: bytes on a wire, or, within the process, the frame itself. */
export type Chunk = Uint8Array | HubFrame

/** The events of a feed in one flush, or a part of a replay. */
export interface Batch {
  readonly feed: number
  /** The feed's topic, by which its subscribers asked for it. */
  readonly topic: string
  readonly epoch: Epoch
  /** Positions before and after; a replay has neither. */
  readonly span: { readonly after: Offset; readonly last: Offset } | undefined
  readonly events: readonly Variants[]
  /** No other batch has its events for now: the forms that are made of them are not kept. */
  readonly once?: boolean
}

/** The subscription that a control frame speaks of, for codecs whose clients do not know its numbers. */
export interface About {
  readonly topic: string
  readonly epoch: Epoch
  /** How far the client is with this frame, within a join. */
  readonly cursor?: Cursor
}

/** Counts what is made, where it is made. */
export class EncodingCount {
  encodings = 0
}

/** How frames become bytes. One instance serves a whole hub, so that it can count what it encodes. */
export interface Codec {
  /** The label in `runcast_encodings_total`. */
  readonly name: string
  /** Forms of events that it made; an event that passes through again is not encoded again. */
  readonly encodings: number
  /** Whether a batch names its feed: then it is of no use to the clients of another one. */
  readonly namesFeeds: boolean
  /** @returns one connection's frame, or nothing where this codec has no word for it. */
  control(frame: ControlFrame, about?: About): Chunk | undefined
  /** @returns the batch as every subscription of the feed with this codec gets it. */
  batch(batch: Batch): Chunk
  /**
   * What ends a connection's part of a flush, for codecs whose events do not carry the position.
   *
   * @param positions of the sessions that the connection follows, by id; one that is still being replayed is
   *   left out
   */
  trailer?(positions: ReadonlyMap<string, Position>): Chunk | undefined
  /**
   * For codecs whose replayed events can carry how far a join has come.
   *
   * @param join where the join is
   * @returns the part of a replay as one connection gets it
   */
  withCursor?(chunk: Uint8Array, join: Position): Uint8Array
}
