import type { Timer } from '../lib/clock.js'
import type { JsonObject } from '../lib/json.js'
import { closeCodes } from '../protocol/codes.js'
import type { ClientFrame, Lease, Leased, Ping, Published, Updated } from '../protocol/frames.js'
import type { Dialling, Link, LinkEvents, LinkFrame } from './link.js'
import type { Request } from './requests.js'
import { failure, readJson, requestOf } from './sse-requests.js'
import { changeMsMax, Stream, type StreamOwner, silenceMsMax } from './sse-stream.js'
import type { ClientClock } from './surroundings.js'

/** A response does not contain the limits; requests beyond them are refused. */
const unknownLimits = {
  frameBytesMax: Number.POSITIVE_INFINITY,
  subscriptionsMax: Number.POSITIVE_INFINITY,
  filterTypesMax: Number.POSITIVE_INFINITY,
}
/** The timeout of a publish request: its body may be large, and the hub answers when the events are stored. */
const requestMsMax = 30_000
/** How long to wait for a sign that the hub is there. */
const probeMsMax = 3_000
/** How often a lease is renewed in its period. */
const leaseParts = 3

/**
 * A browser tells a page of another origin only that a request has failed. `/healthz` answers pages of all origins.
 *
 * @returns what to do when the hub is there, and refuses this page
 */
async function refusedPage(base: string, fetch: typeof globalThis.fetch): Promise<string | undefined> {
  const { location } = globalThis as { readonly location?: { readonly origin: string } }
  if (location === undefined || location.origin === new URL(base).origin) return undefined
  try {
    const { ok } = await fetch(new URL('healthz', base), { signal: AbortSignal.timeout(probeMsMax) })
    if (!ok) return undefined
  } catch {
    return undefined
  }
  return `the hub is there, but refuses pages of ${location.origin}: start it with --origin ${location.origin}`
}

/** The dependencies of a link. */
interface Given {
  readonly fetch: typeof globalThis.fetch
  readonly clock: ClientClock
}

/**
 * A link of SSE responses and POST requests, for networks that block WebSockets. It uses the same frames as a WebSocket, so
 * other code need not know.
 *
 * Events on a response name their topic, not their subscription. So a response has one subscription per topic; a second one to
 * the same topic opens another response.
 */
export class SseLink implements Link, StreamOwner {
  readonly transport = 'sse'
  readonly #given: Given
  readonly #base: string
  readonly #events: LinkEvents
  readonly #abort = new AbortController()
  readonly #streams = new Set<Stream>()
  readonly #leases = new Map<string, Timer>()
  #token: string | undefined
  #state: 'opening' | 'open' | 'closed' = 'opening'
  /** Requests are sent one after the other, so that published events stay in order. */
  #requests: Promise<void> = Promise.resolve()

  constructor(given: Given, { base, token, greeting }: Dialling, events: LinkEvents) {
    this.#given = given
    this.#base = base
    this.#token = token
    this.#events = events
    for (const frame of greeting?.() ?? []) this.#streamFor(frame.topic).follow(frame)
    if (this.#streams.size === 0) this.#streams.add(new Stream(this))
    for (const stream of this.#streams) stream.open()
  }

  send(frames: readonly ClientFrame[]): void {
    if (this.#state !== 'open') return
    for (const frame of frames) {
      switch (frame.type) {
        case 'subscribe': {
          const stream = this.#streamFor(frame.topic)
          stream.follow(frame)
          stream.open()
          break
        }
        case 'update':
        case 'unsubscribe':
          for (const stream of this.#streams) if (stream.has(frame.sub)) stream.change(frame)
          break
        case 'publish':
        case 'set':
        case 'patch':
        case 'merge':
          this.#requests = this.#requests.then(() => this.#ask(frame))
          break
        case 'authorize':
          this.#token = frame.token
          for (const stream of this.#streams) stream.renew(frame)
          this.emit({ type: 'authorized' })
          break
        case 'lease':
          this.#leases.get(frame.topic)?.cancel()
          this.#leases.delete(frame.topic)
          this.#requests = this.#requests.then(() => this.#ask(frame))
          if (frame.ms > 0) this.#renew(frame)
          break
        case 'ping':
          // An open response shows that the hub is alive: it ends the link itself when it falls silent.
          if (this.#streams.size > 0) this.emit({ ...frame, type: 'pong' })
          else this.#requests = this.#requests.then(() => this.#knock(frame))
      }
    }
  }

  /** A response cannot hold a lease by living: it is asked for again, several times in each period. */
  #renew({ topic, ms }: Lease): void {
    const timer = this.#given.clock.after(ms / leaseParts, () => {
      this.#requests = this.#requests.then(() => this.#ask({ type: 'lease', topic, ms }))
      this.#renew({ type: 'lease', topic, ms })
    })
    this.#leases.set(topic, timer)
  }

  close(): void {
    this.#state = 'closed'
    for (const timer of this.#leases.values()) timer.cancel()
    for (const stream of this.#streams) stream.stop()
    this.#abort.abort()
  }

  // For the streams

  get clock(): ClientClock {
    return this.#given.clock
  }

  emit(frame: LinkFrame): void {
    if (this.#state !== 'closed') this.#events.frame(frame)
  }

  heard(): void {
    if (this.#state !== 'closed') this.#events.heard()
  }

  opened(connection: string): void {
    if (this.#state !== 'opening') return
    this.#state = 'open'
    this.emit({ type: 'welcome', connection, version: 1, heartbeatMs: silenceMsMax, limits: unknownLimits })
  }

  /** The stream is over, because all its subscriptions are. */
  over(stream: Stream): void {
    stream.stop()
    this.#streams.delete(stream)
  }

  fail(code: number, reason: string): void {
    if (this.#state === 'closed') return
    this.close()
    this.#events.closed(code, reason)
  }

  /** As on a WebSocket, the link ends, and the client asks for another token if that may help. */
  refused(problem: JsonObject = {}): void {
    this.fail(closeCodes.unauthorized, failure(problem, 'a valid token is needed').message)
  }

  /** @returns the response; undefined if there is none, in which case the link has been closed */
  async fetch(path: string, init: RequestInit, msMax: number): Promise<Response | undefined> {
    // Not called as a method: a browser's `fetch` accepts no other `this` than the window.
    const { fetch, clock } = this.#given
    const timer = clock.after(msMax, () => {
      this.fail(
        1006,
        `no answer to a request within ${msMax / 1_000} s; other tabs may hold all links to the hub`,
      )
    })
    try {
      const response = await fetch(new URL(path, this.#base), {
        ...init,
        signal: this.#abort.signal,
        headers: {
          ...(init.headers as Record<string, string>),
          ...(this.#token !== undefined && { authorization: `Bearer ${this.#token}` }),
        },
      })
      // The hub or a proxy cannot answer now: treated like a broken link, so that everything is retried.
      if (response.status <= 500) return response
      this.fail(1006, `HTTP ${response.status}`)
    } catch (error) {
      this.fail(1006, (await refusedPage(this.#base, fetch)) ?? String(error))
    } finally {
      timer.cancel()
    }
    return undefined
  }

  /** @returns a response for the topic, created if there is none */
  #streamFor(topic: string): Stream {
    let stream = [...this.#streams].find((one) => one.takes(topic))
    if (stream === undefined) this.#streams.add((stream = new Stream(this)))
    return stream
  }

  /** Never rejects, so that later requests are sent all the same. */
  async #ask(request: Request): Promise<void> {
    if (this.#state === 'closed') return
    const { ref, topic } = request
    let made: ReturnType<typeof requestOf>
    try {
      made = requestOf(request)
    } catch (error) {
      return this.emit({
        type: 'error',
        ...(ref !== undefined && { ref }),
        code: 'badFrame',
        message: String(error),
      })
    }
    const response = await this.fetch(...made, requestMsMax)
    if (response === undefined) return
    const answer = await readJson(response)
    if (response.status === 401) return this.refused(answer)
    if (answer === undefined) return this.fail(1006, 'an answer that cannot be read')
    const mark = ref === undefined ? {} : { ref }
    if (response.ok && request.type === 'publish') {
      this.emit({ ...(answer as unknown as Published), ...mark, type: 'published' })
    } else if (response.ok && request.type === 'lease') {
      const { ms } = answer as unknown as Leased
      this.emit({ type: 'leased', topic, ms, ...mark })
    } else if (response.ok) {
      this.emit({ ...(answer as unknown as Updated), ...mark, type: 'updated' })
    } else {
      this.emit({ ...failure(answer, `${topic}: HTTP ${response.status}`), ...mark })
    }
  }

  /** Without subscriptions nothing arrives by itself: checks that the hub is reachable. */
  async #knock(ping: Ping): Promise<void> {
    const response = await this.fetch('healthz', {}, changeMsMax)
    if (response?.ok) this.emit({ ...ping, type: 'pong' })
  }
}
