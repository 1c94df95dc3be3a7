import type { HttpRequest, HttpResponse } from 'uWebSockets.js'
import { STATUS_CODES } from 'node:http'
import { headerText, joinedHeader } from './head-text.js'
import type { Answer, Request } from './transport.js'

/** Copies data that is valid only until the callback returns. @param encrypted whether the app uses TLS */
export function requestOf(res: HttpResponse, req: HttpRequest, encrypted = false): Request {
  const headers = new Map<string, string>()
  req.forEach((name, value) => {
    headers.set(name, joinedHeader(name, headers.get(name), value))
  })
  return {
    method: req.getCaseSensitiveMethod(),
    path: req.getUrl(),
    query: req.getQuery() ?? '',
    headers,
    address: Buffer.from(res.getRemoteAddressAsText()).toString(),
    ...(encrypted && { encrypted: true }),
  }
}

/** Call it corked. */
export function writeHead(res: HttpResponse, { status, headers = {} }: Omit<Answer, 'body'>): void {
  res.writeStatus(`${status} ${STATUS_CODES[status] ?? 'Unknown'}`)
  for (const [name, value] of Object.entries(headers)) {
    res.writeHeader(name, headerText(value))
  }
}

/**
 * Call it corked. RFC 9110, sections 8.6 and 9.3.2: an answer without a body may still have a length.
 *
 * @param how `last` closes the link, unless the answer has no body
 */
export function writeAnswer(
  res: HttpResponse,
  answer: Answer,
  { headOnly = false, last = false }: { readonly headOnly?: boolean; readonly last?: boolean } = {},
): void {
  writeHead(res, answer)
  const bodiless = answer.status === 204 || answer.status === 304
  if (!headOnly && !bodiless) {
    res.end(answer.body ?? '', last)
    return
  }
  if (!bodiless) res.writeHeader('Content-Length', String(Buffer.byteLength(answer.body ?? '')))
  // Without a length, because uWebSockets.js would otherwise wait for the body and cut the link at the next request.
  res.endWithoutBody()
}
