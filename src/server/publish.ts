import { LineError, LineReader } from '../lib/ndjson.js'
import { checkEvent, checkEvents } from '../protocol/check.js'
import { type Place, ProtocolError } from '../protocol/codes.js'
import type { Offset } from '../protocol/cursor.js'
import type { NewEvent } from '../protocol/frames.js'
import { isTrace, type Trace } from '../protocol/trace.js'
import type { Answer, Request } from '../transport/transport.js'
import { type BodyKind, bodyKind, parseJson, readBody, utf8 } from './body.js'
import type { Context } from './context.js'
import { json, problem } from './problem.js'
import type { Call, Route } from './routes.js'
import { ownTopic, workerTopic, writes } from './topics.js'

/** What a publishing request has done so far: the answer, or a part of the problem. */
interface Total {
  first: Offset | 0
  last: Offset | 0
  accepted: number
  duplicates: number
}

/** `POST …/events`: one event or many, answered once they are stored. */
export function publishRoutes(context: Context): Route[] {
  const answer = (call: Call): Promise<Answer | undefined> => {
    const kind = bodyKind(call.request, ['json', 'ndjson', 'msgpack'])
    return kind === 'ndjson' ? publishLines(context, call) : publishWhole(context, call, kind)
  }
  return [
    {
      method: 'POST',
      path: '/api/sessions/{session}/events',
      access: writes(ownTopic),
      answer,
    },
    {
      method: 'POST',
      path: '/api/sessions/{session}/workers/{worker}/events',
      access: writes(workerTopic),
      answer,
    },
  ]
}

async function publishWhole(context: Context, call: Call, kind: BodyKind): Promise<Answer | undefined> {
  const { hub, limits } = context
  const body = await readBody(context, call)
  if (body === undefined) return undefined
  const value =
    kind === 'msgpack' ? unpack(hub.codecs.msgpack, body) : parseJson(utf8(body, 'body'), 'body', hint)
  const events = Array.isArray(value) ? checkEvents(value, limits) : [checkEvent(value, limits)]
  const traced = withTrace(events, traceOf(call.request))
  const { first, last, accepted, duplicates } = hub.publish(call.topic, traced)
  await hub.committed(call.param('session'))
  return json(200, { first, last, accepted, duplicates })
}

/** @returns the `traceparent` of a request, for its events that name none; one that is not valid counts for nothing */
function traceOf({ headers }: Request): Trace | undefined {
  const trace = headers.get('traceparent')
  return isTrace(trace) ? trace : undefined
}

function withTrace(events: readonly NewEvent[], trace: Trace | undefined): readonly NewEvent[] {
  return trace === undefined ? events : events.map((event) => ({ trace, ...event }))
}

const hint = '; send many events as an array, or line by line as application/x-ndjson'

/** @returns the value, or the list of several concatenated ones. */
function unpack(codec: { decodeAll(bytes: Uint8Array): readonly unknown[] }, body: Buffer): unknown {
  let values: readonly unknown[]
  try {
    values = codec.decodeAll(body)
  } catch (error) {
    const reason = error instanceof Error ? error.message.slice(0, 200) : 'unreadable'
    throw new ProtocolError('badFrame', `body: expected MessagePack: ${reason}`)
  }
  return values.length === 1 ? values[0] : values
}

/**
 * Publishes line by line while the body arrives: what came in one chunk leaves in one flush. Waiting for what
 * came some chunks before to be stored keeps a fast producer from outrunning the store; the peer is paused
 * meanwhile. A few, so that reading goes on while the store writes.
 *
 * After a bad line nothing more is published; what precedes it is kept, and counted in the problem. A server that
 * closes stops likewise, for a body may last as long as its peer.
 */
async function publishLines(
  { hub, limits, gate, bodies, onClosing }: Context,
  call: Call,
): Promise<Answer | undefined> {
  const { request, exchange, topic, grant } = call
  const session = call.param('session')
  const total: Total = { first: 0, last: 0, accepted: 0, duplicates: 0 }
  const trace = traceOf(request)
  const pending = new PendingLines(limits.publishEventsMax, (events) =>
    add(total, hub.publish(topic, withTrace(events, trace))),
  )
  const reader = new LineReader(limits.lineBytesMax, (text, line) => {
    pending.add(
      checkedLine(() => checkEvent(parseJson(text, 'event'), limits), line),
      line,
    )
  })
  const ahead = new Ahead(limits.aheadBytesMax)
  const place = bodies.take()
  const body = exchange.body(limits.bodySilenceMs)[Symbol.asyncIterator]()
  let stopped = false
  const forget = onClosing(() => {
    stopped = true
    void body.return?.()
  })
  try {
    for await (const chunk of { [Symbol.asyncIterator]: () => body }) {
      // A body may be sent for longer than a token is good.
      gate.expectCurrent(grant)
      reader.push(chunk)
      place.hold(reader.restBytes)
      pending.publish()
      await ahead.add(hub.committed(session), chunk.length)
    }
    // A line that the peer did not end before it went may be half of one.
    if (exchange.gone) return undefined
    if (stopped)
      throw new ProtocolError('unavailable', 'The hub is shutting down; send what follows to it again.')
    reader.end()
    pending.publish()
    await hub.committed(session)
    return json(200, total)
  } catch (error) {
    const refused = pending.settle(error)
    await hub.committed(session)
    return problem(refused, total)
  } finally {
    forget()
    place.release()
  }
}

/**
 * Chunks that have been published and are still being stored. With `aheadBytesMax` of 64 KiB, hardly more than a
 * chunk, the store is asked for many small commits, and took half as many events a second.
 */
class Ahead {
  readonly #bytesMax: number
  readonly #chunks: { readonly stored: Promise<void>; readonly bytes: number }[] = []
  #bytes = 0

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  /** @returns once few enough bytes are left to wait for; rejects as the oldest chunk does */
  async add(stored: Promise<void>, bytes: number): Promise<void> {
    // Whoever waits for it, or for the last one, is told; one that nobody waits for any more must not end the hub.
    stored.catch(() => {})
    this.#chunks.push({ stored, bytes })
    this.#bytes += bytes
    while (this.#bytes > this.#bytesMax) {
      const oldest = this.#chunks.shift()
      if (oldest === undefined) return
      await oldest.stored
      this.#bytes -= oldest.bytes
    }
  }
}

/** The events of lines that have been read but not published. */
class PendingLines {
  readonly #max: number
  readonly #publish: (events: readonly NewEvent[]) => void
  #events: NewEvent[] = []
  #lines: number[] = []

  constructor(max: number, publish: (events: readonly NewEvent[]) => void) {
    this.#max = max
    this.#publish = publish
  }

  add(event: NewEvent, line: number): void {
    this.#events.push(event)
    this.#lines.push(line)
    if (this.#events.length === this.#max) this.publish()
  }

  /** @throws ProtocolError with the line that the hub refused, once what precedes it has been published */
  publish(): void {
    const events = this.#events
    const lines = this.#lines
    if (events.length === 0) return
    this.#events = []
    this.#lines = []
    try {
      this.#publish(events)
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error
      const index = indexOf(error.place)
      if (index === undefined) throw at(error, lines[0] ?? 0)
      if (index > 0) this.#publish(events.slice(0, index))
      throw at(error, lines[index] ?? 0, withoutIndex(error.place))
    }
  }

  /**
   * Publishes what precedes the error.
   *
   * @returns the error as the client is to see it: the first one, where there are two
   * @throws whatever is no peer's mistake
   */
  settle(error: unknown): ProtocolError {
    const refused = ofLine(error)
    if (refused === undefined) throw error
    try {
      this.publish()
      return refused
    } catch (earlier) {
      if (earlier instanceof ProtocolError) return earlier
      throw earlier
    }
  }
}

function add(total: Total, result: Total): void {
  if (total.first === 0) total.first = result.first
  if (result.last > total.last) total.last = result.last
  total.accepted += result.accepted
  total.duplicates += result.duplicates
}

function checkedLine<T>(check: () => T, line: number): T {
  try {
    return check()
  } catch (error) {
    if (error instanceof ProtocolError) throw at(error, line)
    throw error
  }
}

function ofLine(error: unknown): ProtocolError | undefined {
  if (error instanceof ProtocolError) return error
  if (!(error instanceof LineError)) return undefined
  const code = error.reason === 'tooLong' ? 'frameTooLarge' : 'badFrame'
  return new ProtocolError(code, error.message, { line: error.line })
}

function at({ code, message, place }: ProtocolError, line: number, pointer = place.pointer): ProtocolError {
  return new ProtocolError(code, `line ${line}: ${message}`, { ...(pointer ? { pointer } : {}), line })
}

const indexPattern = /^\/(\d+)/

function indexOf({ pointer }: Place): number | undefined {
  const index = indexPattern.exec(pointer ?? '')?.[1]
  return index === undefined ? undefined : Number(index)
}

function withoutIndex({ pointer }: Place): string {
  return (pointer ?? '').replace(indexPattern, '')
}
