/**
 * The events that every contestant publishes: `data` is `{ mark, pad }`, where the mark says which event
 * it is, counted from 1, and when it was published, in microseconds of the machine's monotonic clock.
 * Marks have a fixed width, so that ready-made frames can be stamped in place.
 */
export interface Payload {
  readonly mark: string
  readonly pad: string
}

export const numberDigits = 10
export const stampDigits = 14
const markPattern = new RegExp(`^\\d{${numberDigits}}@\\d{${stampDigits}}$`)

/** The event's type; outside the catalog, so that it has the default traits. */
export const benchType = 'bench'
export const benchSession = 'bench'
export const benchTopic = `sessions/${benchSession}`

/** How numbered events are spread over what clients choose from: event `n` is in channel `n % over`. */
export interface Spread {
  /** Channels are sessions, or types of one session. */
  readonly kind: 'sessions' | 'types'
  readonly over: number
  /** Workers of each session, which take turns. 0: the session itself publishes. */
  readonly workers?: number
  /** Each client takes the channels that leave the same rest, divided by this: every so manieth event. */
  readonly stride: number
}

/** @returns the session of a channel. */
export function sessionOf(channel: number): string {
  return `${benchSession}-${channel}`
}

/** @returns the topic that event `number` is published to. */
export function topicOf(number: number, { kind, over, workers = 0 }: Spread): string {
  if (kind === 'types') return benchTopic
  const session = `sessions/${sessionOf(number % over)}`
  return workers === 0 ? session : `${session}/workers/w${Math.floor(number / over) % workers}`
}

/** @returns the type of event `number`, chosen so that half of all types have the same prefix. */
export function typeOf(number: number, { kind, over }: Spread): string {
  if (kind === 'sessions') return benchType
  return `${number % 2 === 0 ? 'even' : 'odd'}.${number % over}`
}

/** @returns the channels of a client. */
export function channelsOf(residue: number, { over, stride }: Spread): number[] {
  return Array.from({ length: over / stride }, (_, index) => residue + index * stride)
}

/** @returns `<number>@<stamp>` */
export function formatMark(number: number, stamp: number): string {
  return `${digits(number, numberDigits)}@${digits(stamp, stampDigits)}`
}

export function digits(value: number, width: number): string {
  return Math.floor(value).toString().padStart(width, '0')
}

/** @throws Error when it is not a mark */
export function parseMark(mark: string): { number: number; stamp: number } {
  if (!markPattern.test(mark)) throw new Error(`expected a mark, got ${mark}`)
  return { number: Number(mark.slice(0, numberDigits)), stamp: Number(mark.slice(numberDigits + 1)) }
}

const overhead = JSON.stringify({ mark: formatMark(1, 1), pad: '' }).length

/** The smallest `data` that holds a mark. Bytes of JSON. */
export const payloadBytesMin = overhead

/** @returns the text that brings `data` to `bytes` bytes of JSON. */
export function padFor(bytes: number): string {
  if (bytes < payloadBytesMin) throw new Error(`an event has at least ${payloadBytesMin} bytes, got ${bytes}`)
  const alphabet = 'the quick brown fox jumps over the lazy dog '
  return alphabet.repeat(Math.ceil((bytes - overhead) / alphabet.length)).slice(0, bytes - overhead)
}
