import type { HubEvent, HubFrame } from '../protocol/frames.js'

/** The required fields of a frame, by its type: numbers, and texts marked with `$`. */
const needed: Readonly<Record<string, string>> = {
  welcome: '$connection heartbeatMs',
  subscribed: 'sub feed $epoch offset',
  events: 'feed',
  live: 'sub offset',
  gap: 'sub after offset',
  part: 'sub $slice index $text',
  unsubscribed: 'sub $code',
  published: 'first last',
  updated: 'offset',
  error: '$code',
}

/** @returns whether the value is an object with these fields: numbers, and texts marked with `$` */
export function hasFields(value: unknown, names: string): value is Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null) return false
  return names.split(' ').every((name) => {
    const isText = name.startsWith('$')
    const field = (value as Record<string, unknown>)[isText ? name.slice(1) : name]
    return isText ? typeof field === 'string' : typeof field === 'number'
  })
}

/** @returns the frame, which must be ignored if its type is unknown; undefined if it cannot be understood */
export function readFrame(value: unknown): HubFrame | undefined {
  if (!hasFields(value, '$type')) return undefined
  const type = value['type'] as string
  const names = Object.hasOwn(needed, type) ? needed[type] : undefined
  if (names !== undefined && !hasFields(value, names)) return undefined
  if (type === 'events' && !areEvents(value['events'])) return undefined
  return value as unknown as HubFrame
}

function areEvents(value: unknown): value is readonly HubEvent[] {
  if (!Array.isArray(value)) return false
  for (const event of value as readonly (Partial<HubEvent> | null)[]) {
    if (typeof event?.offset !== 'number' || typeof event.type !== 'string') return false
  }
  return true
}
