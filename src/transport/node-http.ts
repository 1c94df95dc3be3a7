import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http'
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2'
import { joinedHeader, latin1, utf8 } from './head-text.js'
import type { Answer, Request } from './transport.js'

/** Node's request and response, of HTTP/1 and of HTTP/2. */
export type NodeRequest = IncomingMessage | Http2ServerRequest
export type NodeResponse = ServerResponse | Http2ServerResponse

/** @returns whether the response is one of HTTP/2 */
export function isHttp2(response: NodeResponse): response is Http2ServerResponse {
  return 'stream' in response
}

export function requestOf(req: NodeRequest): Request {
  const headers = new Map<string, string>()
  const raw = req.rawHeaders
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = (raw[at] as string).toLowerCase()
    // The pseudo-headers of HTTP/2, which replace the request line: RFC 9113, section 8.3.1.
    if (name.startsWith(':')) {
      if (name === ':authority') headers.set('host', raw[at + 1] as string)
      continue
    }
    headers.set(name, joinedHeader(name, headers.get(name), utf8(raw[at + 1] as string)))
  }
  const { remoteAddress: address = '' } = req.socket
  const encrypted = 'encrypted' in req.socket && req.socket.encrypted === true && { encrypted: true as const }
  return { method: req.method ?? 'GET', ...targetOf(req.url ?? '/'), headers, address, ...encrypted }
}

/** @returns the parts of a request's target (RFC 9112, section 3.2) */
export function targetOf(target: string): Pick<Request, 'path' | 'query'> {
  const url = originForm(target)
  const queryAt = url.indexOf('?')
  if (queryAt === -1) return { path: url, query: '' }
  return { path: url.slice(0, queryAt), query: url.slice(queryAt + 1) }
}

/** RFC 9112, section 3.2.2: a server must accept the absolute form as well. */
function originForm(url: string): string {
  if (url.startsWith('/')) return url
  const [, rest] = /^https?:\/\/[^/?#]*(.*)$/i.exec(url) ?? []
  return rest === undefined ? url : rest.startsWith('/') ? rest : `/${rest}`
}

interface RawHeaders {
  /** Names and values alternating, as Node expects them. */
  readonly raw: string[]
  readonly ascii: boolean
}

function rawHeaders(headers: Readonly<Record<string, string>> = {}): RawHeaders {
  const raw: string[] = []
  let ascii = true
  for (const name in headers) {
    const value = headers[name] as string
    const text = latin1(value)
    if (text !== value) ascii = false
    raw.push(name, text)
  }
  return { raw, ascii }
}

export function writeHead(res: NodeResponse, { status, headers }: Omit<Answer, 'body'>): void {
  // Both accept a list, which saves an object for each response.
  ;(res as ServerResponse).writeHead(status, rawHeaders(headers).raw)
}

/** RFC 9110, sections 8.6 and 9.3.2: an answer without a body may still have a length. */
export function writeAnswer(res: NodeResponse, { status, headers, body = '', last }: Answer): void {
  const bodiless = status === 204 || status === 304
  const { raw, ascii } = rawHeaders(headers)
  // HTTP/2 has no such header.
  if (last && !isHttp2(res)) raw.push('Connection', 'close')
  if (!bodiless) raw.push('Content-Length', String(Buffer.byteLength(body)))
  ;(res as ServerResponse).writeHead(status, raw)
  // Node itself leaves out the body of a `HEAD`.
  if (bodiless) res.end()
  // With a text Node would send the head as UTF-8 too, and so encode it twice.
  else res.end(ascii ? body : Buffer.from(body))
}

/** @returns the bytes of an answer on a link that is closed after it */
export function answerBytes({ status, headers, body = '' }: Answer): Buffer {
  const raw = [
    ...rawHeaders(headers).raw,
    'Connection',
    'close',
    'Content-Length',
    String(Buffer.byteLength(body)),
  ]
  let head = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'Unknown'}\r\n`
  for (let at = 0; at < raw.length; at += 2) head += `${raw[at]}: ${raw[at + 1]}\r\n`
  return Buffer.concat([Buffer.from(`${head}\r\n`, 'latin1'), Buffer.from(body)])
}

/** Resets the stream of HTTP/2; cuts the link of HTTP/1. */
export function cut(res: NodeResponse): void {
  const internalError = 2
  if (isHttp2(res)) res.stream.close(internalError)
  else res.destroy()
}

/** An answer, or the rest of an ended response, is cut if nothing of it leaves for this long. */
const unreadMsMax = 10_000

/** Call it when the response has ended. Node restarts the timeout whenever the kernel accepts something. */
export function cutUnread(res: NodeResponse): void {
  if (res.writableLength > 0) res.setTimeout(unreadMsMax, () => cut(res))
}
