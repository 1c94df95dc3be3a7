import type { Chunk, Codec } from '../codec/codec.js'
import type { Entry } from '../history/entry.js'
import type { Offset } from '../protocol/cursor.js'
import type { Topic } from '../session/topic.js'

// Maximum of events in a batch, which is one frame; a large flush has several.
export const batchEventsMax = 1_000
const batchBytesMax = 256 * 1024

// Maximum of events in a part of a replay: small enough to take little of a turn, and to waste little if the client leaves.
const replayEventsMax = 100
const replayBytesMax = 32 * 1024

/** The positions before and after a batch. */
export interface Span {
  readonly after: Offset
  readonly last: Offset
}

/** The fields of a frame of events that identify its feed. */
export interface FeedLabel {
  readonly number: number
  readonly topic: Topic
}

/**
 * @param span absent for a part of a replay, which does not move the position
 * @param once no other batch has these events for now
 */
export function encodeBatch(
  { number, topic }: FeedLabel,
  codec: Codec,
  span: Span | undefined,
  events: readonly Entry[],
  once = false,
): Chunk {
  return codec.batch({ feed: number, topic: topic.name, epoch: topic.timeline.epoch, span, events, once })
}

/** @returns the bytes of a chunk; 0 for a frame within the process */
export function bytesOf(chunk: Chunk): number {
  return chunk instanceof Uint8Array ? chunk.length : 0
}

/** @returns the end of the longest run from `from` that fits one frame; at least one event. */
export function batchEnd(entries: readonly Entry[], from: number): number {
  return endOf(entries, from, batchEventsMax, batchBytesMax)
}

// Maximum bytes of a frame of missed events, so that one gets through a slow link before it is cut again.
const catchUpBytesMax = 64 * 1024

/** Like `batchEnd`, for catching up. */
export function catchUpEnd(entries: readonly Entry[], from: number): number {
  return endOf(entries, from, batchEventsMax, catchUpBytesMax)
}

/** @returns the next part of a replay that fits one frame. */
export function replayPart(entries: readonly Entry[], from: number): readonly Entry[] {
  const to = endOf(entries, from, replayEventsMax, replayBytesMax)
  return from === 0 && to === entries.length ? entries : entries.slice(from, to)
}

function endOf(entries: readonly Entry[], from: number, eventsMax: number, bytesMax: number): number {
  let bytes = 0
  const most = Math.min(entries.length, from + eventsMax)
  for (let i = from; i < most; i++) {
    bytes += (entries[i] as Entry).bytes
    if (bytes > bytesMax && i > from) return i
  }
  return most
}
