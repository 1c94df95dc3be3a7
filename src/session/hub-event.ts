import type { Traits } from '../catalog/traits.js'
import { isObject } from '../lib/json.js'
import type { Offset } from '../protocol/cursor.js'
import type { HubEvent, NewEvent } from '../protocol/frames.js'

/** Facts about an event that is being published. */
export interface Facts {
  readonly traits: Traits
  /** About the bytes of its JSON text. */
  readonly bytes: number
  /** Milliseconds since 1970. */
  readonly now: number
  /** The hub itself publishes it. */
  readonly isHub?: boolean
  /** Whether the session's mode withholds it; computed unless given. */
  readonly withheld?: boolean
  /** Characters that were split over two texts are joined already. */
  readonly isWhole?: boolean
}

/** @returns the event as it is delivered */
export function hubEvent(
  event: NewEvent,
  offset: Offset,
  worker: string | undefined,
  { traits, now }: Facts,
): HubEvent {
  const key = keyOf(event, traits)
  const { type } = event
  const time = event.time ?? now
  const data = event.data ?? null
  // Two shapes for nearly all events, so that reading them stays fast, and no field is added later: each object with added
  // fields has a second one for them, which the collector copies too.
  const made: { -readonly [name in keyof HubEvent]: HubEvent[name] } =
    worker === undefined ? { offset, type, time, data } : { offset, type, time, data, worker }
  if (event.id !== undefined) made.id = event.id
  if (key !== undefined) made.key = key
  if (event.trace !== undefined) {
    made.trace = event.trace
    if (event.tracestate !== undefined) made.tracestate = event.tracestate
  }
  if (event.attempt !== undefined) made.attempt = event.attempt
  return made
}

/** @returns the event's own key, or the field of `data` that the trait `key` names */
export function keyOf({ key: own, data }: NewEvent, { key }: Traits): string | undefined {
  if (own !== undefined || key === undefined) return own
  if (!isObject(data)) return undefined
  const value = data[key]
  return typeof value === 'string' || typeof value === 'number' ? String(value) : undefined
}
