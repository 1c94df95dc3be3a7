import http from 'node:http'
import https from 'node:https'
import { isObject } from '../lib/json.js'
import { CommandError, exitCodes } from './exit-codes.js'
import { terminalText } from './showing/paint.js'

export const defaultHub = 'http://127.0.0.1:4600'

export interface HubAnswer {
  readonly status: number
  readonly contentType: string
  readonly body: string
}

export interface HubRequest {
  readonly method: 'GET' | 'POST' | 'DELETE' | 'PUT'
  /** From the hub's root: `/api/…`. */
  readonly path: string
  readonly body?: string
  readonly contentType?: string
}

export interface OpenOptions {
  readonly signal: AbortSignal
  readonly silenceMsMax: number
  /** The content type of the response; an event stream by default. */
  readonly accept?: string
}

export type Opened =
  | { readonly kind: 'stream'; readonly body: AsyncIterable<Buffer> }
  | { readonly kind: 'answer'; readonly answer: HubAnswer }

/** The longest time to wait for a response. */
const answerMs = 10_000
/** Maximum size of a response; the hub's are far smaller. Bytes. */
const answerBytesMax = 4 * 1024 * 1024

/** Requests to one hub over kept-alive connections. */
export class HubHttp {
  readonly url: URL
  /** A JWT, for a hub that requires one. */
  readonly token: string | undefined
  readonly #client: typeof http | typeof https
  readonly #agent: http.Agent
  readonly #authorization: { readonly authorization?: string }

  /** @param token a JWT, for a hub that requires one */
  constructor(url: URL, token?: string) {
    this.url = url
    this.token = token
    this.#authorization = token === undefined ? {} : { authorization: `Bearer ${token}` }
    this.#client = url.protocol === 'https:' ? https : http
    this.#agent = new this.#client.Agent({ keepAlive: true, maxSockets: 4 })
  }

  get hasToken(): boolean {
    return this.#authorization.authorization !== undefined
  }

  /** The hub's address without the last slash, as it is shown. */
  get name(): string {
    return this.url.href.replace(/\/$/, '')
  }

  /**
   * @returns the response with any status
   * @throws Error if there is none: refused, cut, or silent for 10 s
   */
  ask(request: HubRequest): Promise<HubAnswer> {
    return new Promise((resolve, reject) => {
      const body = request.body === undefined ? undefined : Buffer.from(request.body)
      const outgoing = this.#client.request(new URL(this.name + request.path), {
        method: request.method,
        agent: this.#agent,
        headers: {
          accept: 'application/json',
          ...this.#authorization,
          ...(body !== undefined && {
            'content-type': request.contentType ?? 'application/json',
            'content-length': body.length,
          }),
        },
      })
      outgoing.setTimeout(answerMs, () =>
        outgoing.destroy(new Error(`no answer within ${answerMs / 1000} s`)),
      )
      outgoing.on('error', reject)
      outgoing.on('response', (incoming) => {
        const { statusCode: status = 0, headers } = incoming
        const contentType = headers['content-type'] ?? ''
        readText(incoming).then((body) => resolve({ status, contentType, body }), reject)
      })
      outgoing.end(body)
    })
  }

  /**
   * Opens a response that stays open.
   *
   * @returns its body, or the whole response if it is not a stream
   * @throws Error if there is no response; iterating the body throws if it is cut or silent for too long
   */
  open(path: string, { signal, silenceMsMax, accept = 'text/event-stream' }: OpenOptions): Promise<Opened> {
    return new Promise((resolve, reject) => {
      const outgoing = this.#client.get(new URL(this.name + path), {
        signal,
        headers: { accept, ...this.#authorization },
        // It has a connection of its own, which is not reused.
        agent: false,
      })
      outgoing.setTimeout(silenceMsMax, () => {
        outgoing.destroy(new Error(`silent for ${silenceMsMax / 1000} s`))
      })
      outgoing.on('error', reject)
      outgoing.on('response', (incoming) => {
        const status = incoming.statusCode ?? 0
        const contentType = incoming.headers['content-type'] ?? ''
        if (status === 200 && contentType.startsWith(accept)) {
          return resolve({ kind: 'stream', body: incoming })
        }
        readText(incoming).then(
          (body) => resolve({ kind: 'answer', answer: { status, contentType, body } }),
          reject,
        )
      })
    })
  }

  close(): void {
    this.#agent.destroy()
  }
}

async function readText(incoming: http.IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > answerBytesMax) throw new Error('the answer is larger than any answer of a hub')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

/** @throws CommandError `usage` */
export function parseHubUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || (url.protocol !== 'http:' && url.protocol !== 'https:')) {
    throw new CommandError(exitCodes.usage, `--hub: expected a URL like ${defaultHub}, got '${text}'`)
  }
  url.search = ''
  url.hash = ''
  return url
}

/** The problem document (RFC 9457) of a response, if it has one. */
export interface Problem {
  readonly detail: string
  /** Line of the NDJSON body, from 1. */
  readonly line?: number
  /** The number of lines before it that were accepted. */
  readonly accepted?: number
}

export function problemOf(answer: HubAnswer): Problem {
  const fallback = { detail: `HTTP ${answer.status}` }
  const value = parseObject(answer.body)
  if (value === undefined) return fallback
  const { detail, title, line, accepted } = value
  return {
    detail: terminalText(
      typeof detail === 'string' ? detail : typeof title === 'string' ? title : fallback.detail,
    ),
    ...(typeof line === 'number' && { line }),
    ...(typeof accepted === 'number' && { accepted }),
  }
}

/** @returns the object in the text, or undefined if it is not JSON or not an object */
export function parseObject(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return isObject(value) ? value : undefined
  } catch {
    return undefined
  }
}

/** The hub's record of a session; `unknown` if the token does not allow reading it. */
export type SessionState = 'absent' | 'open' | 'ended' | 'unknown'

/**
 * Requests a session, which also shows whether the hub can be reached.
 *
 * @throws CommandError `hubUnavailable` with what to do, or `hubRefused`
 */
export async function lookUpSession(hub: HubHttp, session: string): Promise<SessionState> {
  const answer = await reach(hub, `/api/sessions/${session}`)
  if (answer.status === 404) return 'absent'
  // A token may allow publishing to one worker only, which the first publish shows.
  if (answer.status === 403) return 'unknown'
  if (answer.status === 401) {
    throw new CommandError(
      exitCodes.hubRefused,
      `the hub at ${hub.name} refused: ${problemOf(answer).detail} Give one with --token or RUNCAST_TOKEN; runcast token makes them.`,
    )
  }
  if (answer.status >= 500) {
    throw new CommandError(
      exitCodes.hubUnavailable,
      `the hub at ${hub.name} cannot serve: ${problemOf(answer).detail}`,
    )
  }
  if (answer.status >= 400) {
    throw new CommandError(
      exitCodes.hubRefused,
      `the hub at ${hub.name} refused: ${problemOf(answer).detail}`,
    )
  }
  const { status, result } = parseObject(answer.body) ?? {}
  // A lost session continues with its next event.
  return status === 'ended' && result !== 'lost' ? 'ended' : 'open'
}

const reasons: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'connection cut',
  EPIPE: 'connection cut',
  ENOENT: 'no such file',
  EACCES: 'permission denied',
  EISDIR: 'it is a directory',
  ENOTFOUND: 'no such host',
  EAI_AGAIN: 'host not found',
  ETIMEDOUT: 'timed out',
  EHOSTUNREACH: 'host unreachable',
}

/** @returns the text of an error of the network or a file */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const code = 'code' in error && typeof error.code === 'string' ? error.code : ''
  return reasons[code] ?? (error.message || code)
}

/**
 * Sends a request to the hub.
 *
 * @throws CommandError `hubUnavailable` with what to do
 */
export async function reach(hub: HubHttp, path: string): Promise<HubAnswer> {
  let answer: HubAnswer
  try {
    answer = await hub.ask({ method: 'GET', path })
  } catch (error) {
    const port = hub.url.port === '4600' || hub.url.port === '' ? '' : ` --port ${hub.url.port}`
    throw new CommandError(
      exitCodes.hubUnavailable,
      `no hub answers at ${hub.name} (${reasonOf(error)}). Start one with: runcast serve${port}`,
    )
  }
  if (!/\bjson\b/.test(answer.contentType)) {
    throw new CommandError(
      exitCodes.hubUnavailable,
      `the server at ${hub.name} is not a Runcast hub (HTTP ${answer.status}, ${answer.contentType || 'no content type'})`,
    )
  }
  return answer
}
