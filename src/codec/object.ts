import type { ControlFrame, Events, HubEvent } from '../protocol/frames.js'
import type { Batch, Codec } from './codec.js'

/** Frames as objects, for links within the process: nothing is encoded. */
export class ObjectCodec implements Codec {
  readonly name = 'object'
  readonly encodings = 0
  readonly namesFeeds = true

  control(frame: ControlFrame): ControlFrame {
    return frame
  }

  batch({ feed, span, events }: Batch): Events {
    if (span === undefined) {
      const replayed: HubEvent[] = events.map(({ event }) => ({ ...event, replay: true }))
      return { type: 'events', feed, replay: true, events: replayed }
    }
    return {
      type: 'events',
      feed,
      after: span.after,
      last: span.last,
      events: events.map(({ event }) => event),
    }
  }
}
