import type { HttpRequest, HttpResponse } from 'uWebSockets.js'
import { STATUS_CODES } from 'node:http'
import type { Answer, Request } from './transport.js'

/** Copies what is only valid until the callback returns. */
export function requestOf(res: HttpResponse, req: HttpRequest): Request {
  const headers = new Map<string, string>()
  req.forEach((name, value) => {
    const before = headers.get(name)
    // RFC 9110, section 5.3; RFC 6265, section 5.4, for cookies.
    headers.set(name, before === undefined ? value : `${before}${name === 'cookie' ? '; ' : ', '}${value}`)
  })
  return {
    method: req.getCaseSensitiveMethod(),
    path: req.getUrl(),
    query: req.getQuery() ?? '',
    headers,
    address: Buffer.from(res.getRemoteAddressAsText()).toString(),
  }
}

/** Call it corked. */
export function writeHead(res: HttpResponse, { status, headers = {} }: Omit<Answer, 'body'>): void {
  res.writeStatus(`${status} ${STATUS_CODES[status] ?? 'Unknown'}`)
  for (const [name, value] of Object.entries(headers)) {
    // No value may begin another header.
    res.writeHeader(name, value.replace(/[\r\n\0]/g, ' '))
  }
}

/**
 * Call it corked. RFC 9110, sections 8.6 and 9.3.2: what has no body may still tell its length.
 *
 * @param how `last` closes the link; what has no body does not
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
  // Without a length: given one, uWebSockets.js would wait for the body and cut the link at the next request.
  res.endWithoutBody()
}
