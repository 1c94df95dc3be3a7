import { Unpackr } from 'msgpackr'
import type { Codec } from '../../codec/codec.js'
import type { Events, HubFrame } from '../../protocol/frames.js'

const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: 'number' })
const decoder = new TextDecoder()

/** A frame cut to a client's limit; `tooLarge`: a single event, at this offset, exceeds the limit. */
export type Cut =
  | { readonly kind: 'frames'; readonly frames: readonly Uint8Array[] }
  | { readonly kind: 'tooLarge'; readonly offset: number | undefined }

/** @returns the decoded frame, which the hub has encoded itself */
export function decodeFrame(bytes: Uint8Array, binary: boolean): HubFrame {
  const value: unknown = binary ? unpackr.unpack(bytes) : JSON.parse(decoder.decode(bytes))
  return value as HubFrame
}

/**
 * Cuts a frame of events between its events, so that no piece is larger than `bytesMax`. Other frames are never that large,
 * because snapshots come in parts for clients with a limit. Decodes and encodes again, because few frames exceed the limits and
 * shared frames must not change for other clients.
 */
export function cutFrame(codec: Pick<Codec, 'control'>, frame: HubFrame, bytesMax: number): Cut {
  if (frame.type !== 'events') return { kind: 'tooLarge', offset: undefined }
  const { events } = frame
  if (events.length < 2) return { kind: 'tooLarge', offset: events[0]?.offset }
  const half = events.length >> 1
  const middle = events[half - 1]?.offset
  const { after, last, ...rest } = frame
  const isSpan = after !== undefined && last !== undefined && middle !== undefined
  const pieces: readonly Events[] = [
    { ...rest, ...(isSpan && { after, last: middle }), events: events.slice(0, half) },
    { ...rest, ...(isSpan && { after: middle, last }), events: events.slice(half) },
  ]
  const frames: Uint8Array[] = []
  for (const piece of pieces) {
    // An events frame is encoded as any other object.
    const bytes = codec.control(piece as never) as Uint8Array
    if (bytes.length <= bytesMax) {
      frames.push(bytes)
      continue
    }
    const cut = cutFrame(codec, piece, bytesMax)
    if (cut.kind === 'tooLarge') return cut
    frames.push(...cut.frames)
  }
  return { kind: 'frames', frames }
}
