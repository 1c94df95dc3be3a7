import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http'
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2'
import { joinedHeader, latin1, utf8 } from './head-text.js'
import type { Answer, Request } from './transport.js'

/** What Node calls a request and its response, of HTTP/1 and of HTTP/2. */
export type NodeRequest = IncomingMessage | Http2ServerRequest
export type NodeResponse = ServerResponse | Http2ServerResponse

/** @returns the stream of HTTP/2; nothing where the response is one of HTTP/1 */
export function isHttp2(response: NodeResponse): response is Http2ServerResponse {
  return 'stream' in response
}

export function requestOf(req: NodeRequest): Request {
  const headers = new Map<string, string>()
  const raw = req.rawHeaders
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = (raw[at] as string).toLowerCase()
    // Those of HTTP/2 that stand for the request line: RFC 9113, section 8.3.1.
    if (name.startsWith(':')) {
      if (name === ':authority') headers.set('host', raw[at + 1] as string)
      continue
    }
    headers.set(name, joinedHeader(name, headers.get(name), utf8(raw[at + 1] as string)))
  }
  const address = req.socket.remoteAddress ?? ''
  return { method: req.method ?? 'GET', ...targetOf(req.url ?? '/'), headers, address }
}

/** @returns the parts of a request's target (RFC 9112, section 3.2) */
export function targetOf(target: string): Pick<Request, 'path' | 'query'> {
  const url = originForm(target)
  const queryAt = url.indexOf('?')
  if (queryAt === -1) return { path: url, query: '' }
  return { path: url.slice(0, queryAt), query: url.slice(queryAt + 1) }
}

/** RFC 9112, section 3.2.2: a server takes the absolute form as well. */
function originForm(url: string): string {
  if (url.startsWith('/')) return url
  const [, rest] = /^https?:\/\/[^/?#]*(.*)$/i.exec(url) ?? []
  return rest === undefined ? url : rest.startsWith('/') ? rest : `/${rest}`
}

interface RawHeaders {
  /** Names and values in turns, as Node takes them. */
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
  // Both take a list, which saves Node an object for each response.
  ;(res as ServerResponse).writeHead(status, rawHeaders(headers).raw)
}

/** RFC 9110, sections 8.6 and 9.3.2: what has no body may still tell its length. */
export function writeAnswer(res: NodeResponse, { status, headers, body = '', last }: Answer): void {
  const bodiless = status === 204 || status === 304
  const { raw, ascii } = rawHeaders(headers)
  // HTTP/2 has no such header, and its lengths are plain.
  if (last && !isHttp2(res)) raw.push('Connection', 'close')
  if (!bodiless) raw.push('Content-Length', String(Buffer.byteLength(body)))
  ;(res as ServerResponse).writeHead(status, raw)
  // Node itself leaves out the body of a `HEAD`.
  if (bodiless) res.end()
  // With a text Node sends the head as UTF-8, too: what is encoded already would be so twice.
  else res.end(ascii ? body : Buffer.from(body))
}

/** @returns an answer as it stands on the wire, of a link that is closed after it */
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

/** An answer, or what is left of a response that has ended, of which nothing leaves for so long is cut. */
const unreadMsMax = 10_000

/** Call it once the response has ended. Node starts the time anew whenever the kernel takes something. */
export function cutUnread(res: NodeResponse): void {
  if (res.writableLength > 0) res.setTimeout(unreadMsMax, () => cut(res))
}
