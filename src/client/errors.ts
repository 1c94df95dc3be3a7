import type { RequestCode } from '../protocol/codes.js'

/** The hub refused a request; `code` says why. */
export class RequestError extends Error {
  override readonly name = 'RequestError'
  readonly code: RequestCode

  constructor(code: RequestCode, message: string) {
    super(message)
    this.code = code
  }
}

/** The connection has ended for good. `code`: a close code; 1000 when the client closed it itself. */
export class ClosedError extends Error {
  override readonly name = 'ClosedError'
  readonly code: number

  constructor(code: number, reason: string) {
    super(`the connection to the hub is closed: ${reason} (${code})`)
    this.code = code
  }
}
