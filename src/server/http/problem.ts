import { ProtocolError, quote, type RequestCode, requestCodes } from '../../protocol/codes.js'
import type { Answer } from '../../transport/transport.js'
import { RateError } from '../access/rate-limits.js'

/** The title of each code for people; `detail` has the specific error. */
const titles: Readonly<Record<RequestCode, string>> = {
  badFrame: 'The request is malformed',
  unauthorized: 'A valid token is needed',
  forbidden: 'This is not permitted',
  notFound: 'There is no such thing',
  methodNotAllowed: 'This method does not apply here',
  conflict: 'The request does not fit the present state',
  gone: 'This is no longer kept',
  preconditionFailed: 'The state has changed meanwhile',
  frameTooLarge: 'The request is too large',
  unsupportedMediaType: 'This content type is not understood',
  rateExceeded: 'Too many requests',
  internalError: 'The hub made a mistake',
  damaged: 'What was stored is damaged',
  unavailable: 'The hub cannot take this now',
}

/** Additional headers, by code. */
const headersOf: Readonly<Partial<Record<RequestCode, Readonly<Record<string, string>>>>> = {
  unauthorized: { 'www-authenticate': 'Bearer' },
  unsupportedMediaType: { 'accept-encoding': 'identity' },
  rateExceeded: { 'retry-after': '1' },
  unavailable: { 'retry-after': '1' },
}

/**
 * @param beside further members: RFC 9457 section 3.2
 * @returns the error as a problem document, with `pointer` and `line` if the place is known
 */
export function problem(error: ProtocolError, beside: object = {}): Answer {
  const { code, message, place } = error
  const status = requestCodes[code]
  const document = { type: `urn:runcast:${code}`, title: titles[code], status, detail: message, ...place }
  return {
    status,
    headers: {
      'content-type': 'application/problem+json',
      'cache-control': 'no-store',
      ...headersOf[code],
      ...retryOf(error),
    },
    body: JSON.stringify({ ...document, ...beside }),
  }
}

function retryOf(error: ProtocolError): Readonly<Record<string, string>> {
  return error instanceof RateError ? { 'retry-after': String(Math.ceil(error.afterMs / 1_000)) } : {}
}

/** @returns the problem document of an exception; if it is not a peer's mistake, it is reported and not shown to the client */
export function problemOf(error: unknown, report: (error: unknown) => void): Answer {
  if (error instanceof ProtocolError) return problem(error)
  report(error)
  return problem(new ProtocolError('internalError', 'Internal error; see the log of the hub.'))
}

const escapes: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }

/** @returns the same as a page, for a person who opened a wrong address. @param answer of `problem` */
export function problemPage(answer: Answer): Answer {
  const { title, detail } = JSON.parse(String(answer.body)) as {
    readonly title: string
    readonly detail: string
  }
  const text = (value: string): string => value.replaceAll(/[&<>"]/g, (character) => escapes[character] ?? '')
  const body = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${text(title)} · Runcast</title>
<h1>${text(title)}</h1>
<p>${text(detail)}</p>
<p>The list of sessions is at the address of the hub, a session at <code>/s/</code> and its id.</p>
</html>
`
  const headers = {
    ...answer.headers,
    'content-type': 'text/html; charset=utf-8',
    'content-security-policy': "default-src 'none'",
  }
  return { ...answer, headers, body }
}

/** @returns a JSON answer */
export function json(status: number, value: object, headers: Readonly<Record<string, string>> = {}): Answer {
  return {
    status,
    headers: { 'content-type': 'application/json', 'cache-control': 'no-store', ...headers },
    body: JSON.stringify(value),
  }
}

/** @returns the error for requests to a stopping hub */
export function shuttingDown(): ProtocolError {
  return new ProtocolError('unavailable', 'The hub is shutting down; try again soon.')
}

/** @returns a refusal of a field of a query or a body: `mode: expected …, got …` */
export function refusal(name: string, expected: string, got: unknown): ProtocolError {
  return new ProtocolError('badFrame', `${name}: expected ${expected}, got ${quote(got)}`)
}
