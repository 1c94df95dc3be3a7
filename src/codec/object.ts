import type { ControlFrame, Events, HubEvent } from '../protocol/frames.js'
import type { Batch, Codec } from './codec.js'

/** Frames as they are, for links within the process: nothing is encoded. */
export class ObjectCodec implements Codec {
  readonly name = 'object'
  readonly encodings = 0

  control(frame: ControlFrame): ControlFrame {
    return frame
  }

  batch({ feed, span, events }: Batch): Events {
    const list: HubEvent[] = events.map(({ event }) => event)
    return span === undefined
      ? { type: 'events', feed, replay: true, events: list }
      : { type: 'events', feed, after: span.after, last: span.last, events: list }
  }
}
