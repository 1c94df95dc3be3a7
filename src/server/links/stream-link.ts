import type { Chunk, Codec } from '../../codec/codec.js'
import type { SseCodec } from '../../codec/sse.js'
import type { Connection } from '../../delivery/connection.js'
import type { Link } from '../../delivery/link.js'
import type { Hub } from '../../hub/hub.js'
import type { Clock, Timer } from '../../lib/clock.js'
import { isObject } from '../../lib/json.js'
import { checkFrame, type Given } from '../../protocol/check.js'
import { type CloseCode, ProtocolError } from '../../protocol/codes.js'
import type { Position } from '../../protocol/cursor.js'
import type { Subscribe } from '../../protocol/frames.js'
import type { Limits } from '../../protocol/limits.js'
import type { TopicName } from '../../protocol/topic.js'
import { hubTimeline } from '../../session/timeline.js'
import type { Stream, StreamEvents } from '../../transport/transport.js'
import type { VerifiedGrant } from '../access/grant.js'
import type { LinkContext } from '../context.js'
import { refusal, shuttingDown } from '../http/problem.js'
import type { Call } from '../http/routes.js'
import { ConnectionLog } from './connection-log.js'
import type { IdleLink, IdleTimer } from './idle-timers.js'

const encoder = new TextEncoder()

/** A client whose join was cut is on a link that is cut often; it is to spend its time on reading, not on waiting. */
const cutJoinPace = 4

const keepalive = encoder.encode(': keep-alive\n\n')

export const head = {
  status: 200,
  headers: {
    'content-type': 'text/event-stream',
    'cache-control': 'no-cache, no-transform',
    // Asks nginx not to hold events back.
    'x-accel-buffering': 'no',
  },
} as const

/** A browser that comes back sends the header; it knows better than the query it was given at first. */
export function cursorOf({ request, query }: Call): string | undefined {
  const given = [request.headers.get('last-event-id'), query.get('after'), query.get('last_event_id')]
  return given.find((text): text is string => !!text)
}

/** The connection's id, for responses that have no `hub.open`. */
const connectionHeader = 'runcast-connection'

/** The session whose positions a topic's cursor is of. */
export function sessionOf(name: TopicName): string {
  return name.kind === 'hub' ? hubTimeline : name.session
}

/** @returns whether the session has ended and the client has all of it: 204 stops an `EventSource`. */
export function hasAll({ hub }: LinkContext, topic: TopicName, position: Position | undefined): boolean {
  const session = hub.find(sessionOf(topic))
  if (position === undefined || position.join !== undefined || session?.status !== 'ended') return false
  return position.epoch === session.epoch && position.offset >= (hub.endOf(session.id) ?? session.offset)
}

/**
 * Joins first and answers then, so that a subscription that is refused is answered with a problem.
 *
 * @returns the connection; nothing when there is none, for a `HEAD` or a peer that has gone
 */
export async function open(
  context: LinkContext,
  call: Call,
  makeLink: (patience: Patience) => StreamLink,
  { topic, subscribes, frames = [], opened, forget, notReplayed, isNamed, headers: further = {} }: Opening,
): Promise<Connection | undefined> {
  const { hub, limits, links, rateLimits, idleTimers } = context
  const { request, exchange } = call
  const address = rateLimits.addressOf(request)
  const headers = { ...head.headers, ...call.headers, ...further }
  if (request.method === 'HEAD') {
    exchange.answer({ ...head, headers })
    return undefined
  }
  await context.entryQueue.pass()
  if (hub.isShared) {
    const known = typeof subscribes === 'function' ? [] : subscribes
    await hub.openAll([...(topic === undefined ? [] : [{ topic }]), ...known, ...followedBy(frames, limits)])
  }
  if (exchange.gone) return undefined
  if (context.closing()) throw shuttingDown()
  links.expectRoom(address)
  const client = new StreamClient(context, address, forget)
  const link = makeLink(client)
  // In one step: between the look and the join nothing can end the token, and after it the connection ends with it.
  return call.use(({ permissions, grant }) => {
    const connection = hub.connect(link, {
      endsWithSessions: true,
      permissions,
      subject: grant.subject,
      ...(notReplayed && { notReplayed }),
    })
    try {
      connection.together(() => {
        const given = typeof subscribes === 'function' ? subscribes() : subscribes
        for (const subscribe of given) connection.receive(subscribe)
        for (const frame of frames) receive(connection, frame, limits)
      })
    } catch (error) {
      connection.closed()
      throw error
    }
    client.opened(connection, link, grant)
    opened?.(connection)
    const named = { ...headers, ...(isNamed && { [connectionHeader]: connection.id }) }
    const stream = exchange.stream({ ...head, headers: named }, client)
    if (link.begin(stream, idleTimers.sse.begin(link))) connection.drained()
    return connection
  })
}

/** @returns what the frames subscribe to, but for those that are refused afterwards */
export function followedBy(frames: readonly unknown[], limits: Limits): Given<Subscribe>[] {
  return frames.flatMap((value) => {
    try {
      // A copy, because the check replaces the topic, and the frame is checked again when it is done.
      const frame = checkFrame(isObject(value) ? { ...value } : value, limits)
      return frame.type === 'subscribe' ? frame : []
    } catch (error) {
      if (error instanceof ProtocolError) return []
      throw error
    }
  })
}

/** One that is refused is told so on the response, and the others go on. */
function receive(connection: Connection, value: unknown, limits: Limits): void {
  const { sub } = (value ?? {}) as { readonly sub?: unknown }
  try {
    const frame = checkFrame(value, limits)
    if (frame.type !== 'subscribe') throw refusal('subscribe.type', 'subscribe', frame.type)
    connection.receive(frame)
  } catch (error) {
    if (!(error instanceof ProtocolError) || !Number.isSafeInteger(sub)) throw error
    connection.say({ type: 'error', sub: sub as number, code: error.code, message: error.message })
  }
}

interface Opening {
  /** Types that a fresh join does not replay, whatever their traits are. */
  readonly notReplayed?: readonly string[]
  /** What `subscribes` will be about, where that is known only once it is called. */
  readonly topic?: TopicName
  /** A mistake in one of them is answered instead of the response. */
  readonly subscribes: readonly Given<Subscribe>[] | (() => readonly Given<Subscribe>[])
  /** `subscribe` frames, not checked yet. */
  readonly frames?: readonly unknown[]
  /** Whether a header names the connection. */
  readonly isNamed?: boolean
  /** What the response says beside the headers of every stream. */
  readonly headers?: Readonly<Record<string, string>>
  /** The connection has been made, and has not gone yet. */
  readonly opened?: (connection: Connection) => void
  /** The connection has gone. */
  readonly forget?: (connection: Connection) => void
}

/** By chance, so that those who are cut or told at the same moment come back at different ones. */
export function retryMsOf({ limits, random }: Hub): number {
  return Math.round(limits.retryMs * (0.5 + random.fraction()))
}

/** How long a peer may leave unread what waits for it, what then happens, and when it is to come back. */
export interface Patience {
  readonly clock: Clock
  /** How long the peer is to wait before it comes back. */
  readonly retryMs: number
  stalled(): void
}

/** One client of a streamed response: what is done once it reads again, for too long does not, or has gone. */
class StreamClient implements StreamEvents, Patience {
  readonly #context: LinkContext
  readonly #address: string
  readonly #forget: Opening['forget']
  #connection: Connection | undefined
  #link: StreamLink | undefined
  #log: ConnectionLog | undefined

  constructor(context: LinkContext, address: string, forget: Opening['forget']) {
    this.#context = context
    this.#address = address
    this.#forget = forget
  }

  get clock(): Clock {
    return this.#context.clock
  }

  get retryMs(): number {
    return retryMsOf(this.#context.hub)
  }

  opened(connection: Connection, link: StreamLink, grant: VerifiedGrant): void {
    const { links, connectionGrants } = this.#context
    this.#connection = connection
    this.#link = link
    links.add('sse', connection, this.#address)
    connectionGrants.add(connection, grant)
    this.#log = new ConnectionLog(this.#context, { connection, transport: 'sse', address: this.#address })
  }

  drained(): void {
    this.#link?.drained()
    this.#connection?.drained()
  }

  stalled(): void {
    const { stalledMs } = this.#context.limits
    this.#connection?.close('heartbeatMissed', `the client read nothing for ${stalledMs} ms`)
    this.#link?.cut()
  }

  closed(): void {
    const { links, connectionGrants, report } = this.#context
    const connection = this.#connection
    this.#link?.gone()
    if (connection === undefined) return
    links.remove('sse', connection, this.#address)
    connectionGrants.release(connection)
    this.#forget?.(connection)
    try {
      connection.closed()
    } catch (error) {
      report(error)
    }
    this.#log?.end()
  }
}

/** A codec that also has last words for a response. */
export type StreamCodec = Codec & Pick<SseCodec, 'closing'>

/** How a response begins. */
interface Beginning {
  readonly takesParts?: boolean
  /** It goes on with a join that was cut. */
  readonly goesOn?: boolean
}

/** A streamed response as a link. What is written before the response begins waits for it. */
export class StreamLink implements Link, IdleLink {
  readonly codec: StreamCodec
  readonly takesParts: boolean
  readonly #backpressureBytesMax: number
  readonly #stalledMs: number
  readonly #patience: Patience
  /** Runs while the peer has not read what waits for it. */
  #stall: Timer | undefined = undefined
  /** Absent once the response has begun. */
  #waiting: Uint8Array[] | undefined
  #waitingBytes = 0
  #stream: Stream | undefined = undefined
  #idleTimer: IdleTimer | undefined = undefined
  #ended = false

  constructor(
    codec: StreamCodec,
    { backpressureBytesMax, stalledMs }: Limits,
    patience: Patience,
    { takesParts = false, goesOn = false }: Beginning = {},
  ) {
    this.codec = codec
    this.takesParts = takesParts
    this.#stalledMs = stalledMs
    this.#patience = patience
    this.#backpressureBytesMax = backpressureBytesMax
    const { retryMs } = patience
    this.#waiting = [encoder.encode(`retry: ${goesOn ? Math.round(retryMs / cutJoinPace) : retryMs}\n\n`)]
  }

  /**
   * The response has begun: what waited leaves in one piece.
   *
   * @returns whether the hub was told to wait, and need not wait any more
   */
  begin(stream: Stream, idleTimer: IdleTimer): boolean {
    const waited = this.#waitingBytes > this.#backpressureBytesMax
    const chunk = Buffer.concat(this.#waiting ?? [])
    this.#waiting = undefined
    this.#stream = stream
    this.#idleTimer = idleTimer
    const room = this.#send(stream, chunk)
    if (this.#ended) stream.end()
    return waited && room && !this.#ended
  }

  get waiting(): number {
    return this.#stream?.waiting ?? this.#waitingBytes
  }

  write(chunk: Chunk): boolean {
    if (!(chunk instanceof Uint8Array)) throw new TypeError('expected bytes, got a frame')
    if (this.#stream !== undefined) return this.#send(this.#stream, chunk)
    this.#waiting?.push(chunk)
    this.#waitingBytes += chunk.length
    return this.#waitingBytes <= this.#backpressureBytesMax
  }

  #send(stream: Stream, chunk: Uint8Array): boolean {
    this.#idleTimer?.broken()
    const room = stream.write(chunk)
    if (!room && !this.#ended)
      this.#stall ??= this.#patience.clock.after(this.#stalledMs, () => this.#patience.stalled())
    return room
  }

  /** The peer has read what waited for it. */
  drained(): void {
    this.#stall?.cancel()
    this.#stall = undefined
  }

  /** The response has gone. */
  gone(): void {
    this.#idleTimer?.end()
    this.drained()
  }

  cut(): void {
    this.#stream?.cut()
  }

  silent(): void {
    this.#stream?.write(keepalive)
  }

  cork(writes: () => void): void {
    if (this.#stream === undefined) writes()
    else this.#stream.cork(writes)
  }

  end(): void {
    this.#ended = true
    this.#stream?.end()
  }

  close(code: CloseCode, reason: string, retryMs?: number): void {
    this.cork(() => {
      this.write(this.codec.closing(code, reason, retryMs))
      this.end()
    })
  }
}
