import type { Cursor, Epoch, Offset, Position } from '../protocol/cursor.js'
import type { ControlFrame, HubFrame } from '../protocol/frames.js'
import type { Variants } from './variants.js'

/** The unit that a link carries: bytes, or the frame itself within the process. */
export type Chunk = Uint8Array | HubFrame

/** The events of a feed in one flush, or a part of a replay. */
export interface Batch {
  readonly feed: number
  /** The feed's topic, under the name to which clients subscribed. */
  readonly topic: string
  readonly epoch: Epoch
  /** Positions before and after; a replay has neither. */
  readonly span: { readonly after: Offset; readonly last: Offset } | undefined
  readonly events: readonly Variants[]
  /** No other batch has these events for now, so their encoded forms are not kept. */
  readonly once?: boolean
}

/** The subscription of a control frame, for codecs whose clients do not know its numbers. */
export interface About {
  readonly topic: string
  readonly epoch: Epoch
  /** The client's progress within a join after this frame. */
  readonly cursor?: Cursor
}

/** Counts encodings where they are made. */
export class EncodingCount {
  encodings = 0
}

/** How frames become bytes. One instance serves a whole hub, so that it can count what it encodes. */
export interface Codec {
  /** The label in `runcast_encodings_total`. */
  readonly name: string
  /** The number of encoded forms that it made; an event that it sees again is not encoded again. */
  readonly encodings: number
  /** Whether a batch names its feed: if so, other feeds cannot share it. */
  readonly namesFeeds: boolean
  /** Nothing that its clients get may be conflated: they know what they have by the event. */
  readonly oneByOne?: boolean
  /** @returns one connection's frame, or undefined if this codec has no form for it */
  control(frame: ControlFrame, about?: About): Chunk | undefined
  /** @returns the batch for every subscription of the feed with this codec */
  batch(batch: Batch): Chunk
  /**
   * The end of a connection's part of a flush, for codecs whose events do not carry the position.
   *
   * @param positions of the sessions that the connection follows, by id, except sessions that are still being replayed
   */
  trailer?(positions: ReadonlyMap<string, Position>): Chunk | undefined
  /**
   * For codecs whose replayed events can carry the progress of a join.
   *
   * @param join the position of the join
   * @returns the part of a replay for one connection
   */
  withCursor?(chunk: Uint8Array, join: Position): Uint8Array
}
