import type { Offset } from './cursor.js'

/** A place in a durable stream: which stream, and everything up to which offset. */
export interface StreamPlace {
  /** As `StreamRecord.lifetime`; 0 for the beginning of any stream. */
  readonly lifetime: number
  readonly offset: Offset
}

const placePattern = /^(\d{16})_(\d{16})$/

/**
 * @returns the place as clients see it: two numbers of 16 digits, so that the order of the texts is that of the places
 *   (PROTOCOL.md of Durable Streams, section 6)
 */
export function formatPlace({ lifetime, offset }: StreamPlace): string {
  return `${String(lifetime).padStart(16, '0')}_${String(offset).padStart(16, '0')}`
}

/** @returns the place; undefined if the text is none */
export function readPlace(text: string): StreamPlace | undefined {
  const [, lifetime, offset] = placePattern.exec(text) ?? []
  if (lifetime === undefined || offset === undefined) return undefined
  return { lifetime: Number(lifetime), offset: Number(offset) as Offset }
}

/** Where the intervals of cursors begin: 9 October 2024, in milliseconds since 1970. */
const cursorEpoch = Date.UTC(2024, 9, 9)
const cursorIntervalMs = 20_000

/**
 * The cursor of a live response, which makes the URL of the next request another one, so that no cache answers it for ever
 * (section 8.1).
 *
 * @param now milliseconds since 1970
 * @param given the client's cursor; the answer is above it
 */
export function streamCursor(now: number, given?: number): number {
  const interval = Math.floor((now - cursorEpoch) / cursorIntervalMs)
  return given !== undefined && given >= interval ? given + 1 : interval
}
