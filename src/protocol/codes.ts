import { escapeControls } from '../lib/controls.js'
import { wellFormed } from '../lib/text.js'

/** Close codes. 4000–4499 invite a reconnect, 4500–4999 do not, so that a client can handle codes that it does not know. */
export const closeCodes = {
  shutdown: 4000,
  lagging: 4001,
  heartbeatMissed: 4002,
  internalError: 4003,
  rateExceeded: 4004,
  badFrame: 4500,
  unauthorized: 4501,
  forbidden: 4502,
  unsupportedProtocol: 4503,
  frameTooLarge: 4504,
} as const

export type CloseCode = keyof typeof closeCodes

/** @returns whether a client that was closed with this code should reconnect and resume */
export function invitesReconnect(code: number): boolean {
  return code < 4500
}

/** The codes with which a request can fail, and the corresponding HTTP status. */
export const requestCodes = {
  badFrame: 400,
  unauthorized: 401,
  forbidden: 403,
  notFound: 404,
  methodNotAllowed: 405,
  conflict: 409,
  gone: 410,
  preconditionFailed: 412,
  frameTooLarge: 413,
  unsupportedMediaType: 415,
  rateExceeded: 429,
  internalError: 500,
  damaged: 500,
  unavailable: 503,
} as const

export type RequestCode = keyof typeof requestCodes

/** The location of an error in the input. */
export interface Place {
  /** JSON pointer (RFC 6901) into the value. */
  readonly pointer?: string
  /** Line of an NDJSON body, from 1. */
  readonly line?: number
}

/** A peer's mistake. The code that detects it chooses its `code`; one place answers or closes. */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError'

  readonly code: RequestCode
  readonly place: Place

  constructor(code: RequestCode, message: string, place: Place = {}) {
    // Nobody needs the stack trace of a peer's mistake. Capturing it takes 9 µs, everything else 1 µs.
    const { stackTraceLimit } = Error
    Error.stackTraceLimit = 0
    super(message)
    Error.stackTraceLimit = stackTraceLimit
    this.code = code
    this.place = place
  }
}

const quotedMax = 64

/** @returns `value` for a message: JSON, cut to 64 characters */
export function quote(value: unknown): string {
  const text =
    typeof value === 'string' ? escapeControls(JSON.stringify(value.slice(0, quotedMax + 1))) : nameOf(value)
  return text.length > quotedMax ? wellFormed(`${text.slice(0, quotedMax)}…`) : text
}

function nameOf(value: unknown): string {
  if (value === undefined) return 'nothing'
  if (value === null || typeof value === 'number' || typeof value === 'boolean') return String(value)
  if (Array.isArray(value)) return `an array of ${value.length}`
  return `a value of type ${typeof value}`
}
