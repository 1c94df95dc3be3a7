// Longer than 350 lines: the path of one body from its head to its answer.

import type { DialectEvent } from '../../codec/dialect.js'
import type { Hub } from '../../hub/hub.js'
import type { JsonValue } from '../../lib/json.js'
import { LineError, LineReader } from '../../lib/ndjson.js'
import { isPlainJson } from '../../mask/plain-json.js'
import { checkEvent, checkEvents } from '../../protocol/check.js'
import { type Place, ProtocolError } from '../../protocol/codes.js'
import type { Offset } from '../../protocol/cursor.js'
import type { NewEvent } from '../../protocol/frames.js'
import type { Limits } from '../../protocol/limits.js'
import type { TopicName } from '../../protocol/topic.js'
import { type TraceContext, traceContext } from '../../protocol/trace.js'
import type { Answer, Request } from '../../transport/transport.js'
import type { DialectContext } from '../context.js'
import { type BodyKind, bodyKind, largeBytes, parseBody, parseJson, readBody, turnFor } from './body.js'
import { type EventReader, eventReaderOf } from './event-reader.js'
import { commands, ownTopic, workerTopic } from './path-topics.js'
import { json, problem, refusal } from './problem.js'
import type { Call, Permitted, Route } from './routes.js'

/** The result of a publish request so far: the answer, or a part of the problem. */
interface Total {
  first: Offset | 0
  last: Offset | 0
  accepted: number
  duplicates: number
}

/** Shorter bodies are not looked through before they are parsed, which costs more than it saves. */
const plainBytesMin = 4_096
/** Pieces of a body that are at most not looked through before they are parsed, while most have what may be a secret. */
const pauseMax = 15

const publishQuery = ['from', 'dialect']

/** `POST …/events`: one event or many, answered when they are stored. */
export function publishRoutes(context: DialectContext): Route[] {
  const answer = (call: Call): Promise<Answer | undefined> => {
    const kind = bodyKind(call.request, ['json', 'ndjson', 'msgpack', 'event-stream'])
    const inLines = kind === 'ndjson' || kind === 'event-stream'
    return inLines ? publishLines(context, call, kind) : publishWhole(context, call, kind)
  }
  return [
    {
      method: 'POST',
      path: '/api/sessions/{session}/events',
      query: publishQuery,
      access: commands(ownTopic),
      answer,
    },
    {
      method: 'POST',
      path: '/api/sessions/{session}/workers/{worker}/events',
      query: publishQuery,
      access: commands(workerTopic),
      answer,
    },
  ]
}

async function publishWhole(
  context: DialectContext,
  call: Call,
  kind: BodyKind,
): Promise<Answer | undefined> {
  const { hub, limits } = context
  const worker = call.use(({ topic }) => workerOf(topic))
  const read = eventReaderOf(context, call, kind, worker)
  const body = await readBody(context, call)
  if (body === undefined) return undefined
  const value =
    kind === 'msgpack' ? unpack(hub.codecs.msgpack, body) : await parseBody(context, call, body, hint)
  const trace = traceOf(call.request)
  const total: Total = { first: 0, last: 0, accepted: 0, duplicates: 0 }
  if (read === undefined) {
    const isPlain =
      kind === 'json' && body.length >= plainBytesMin && hub.seeksOnlyShapes && isPlainJson(body)
    const events = Array.isArray(value) ? checkEvents(value, limits) : [checkEvent(value, limits)]
    // They are published in one step, all or none.
    await turnFor(context, call.sender, body.length)
    const submitted = call.use((permitted) => {
      expectMayPublish(hub, permitted, events)
      return hub.submit(permitted.topic, withTrace(events, trace), isPlain)
    })
    return json(200, await submitted)
  }
  const { events, workers, end } = readAll(Array.isArray(value) ? value : [value], read, limits)
  const named = read.namesWorkers ? workers : (worker ?? workers)
  await turnFor(context, call.sender, body.length)
  const submitted = call.use((permitted) => {
    expectMayPublish(hub, permitted, events)
    if (events.length === 0) return undefined
    return hub.submitTo(permitted.param('session'), named, withTrace(events, trace))
  })
  if (submitted !== undefined) add(total, await submitted)
  if (end !== undefined) await endOnce(hub, call, end.outcome)
  return json(200, total)
}

/** @throws ProtocolError `forbidden` */
function expectMayPublish(
  hub: Hub,
  { topic, permissions }: Pick<Permitted, 'topic' | 'permissions'>,
  events: readonly NewEvent[],
): void {
  permissions.expectPublish(topic, events, hub.isCommand)
}

/** The worker of the route; in a session's topic a dialect may name one for each event. */
function workerOf(name: TopicName): string | undefined {
  return name.kind === 'worker' ? name.worker : undefined
}

/** Ends a session, unless it has ended, because a client that lost the first answer may repeat the request. */
async function endOnce(hub: Hub, { use }: Pick<Call, 'use'>, outcome: JsonValue | undefined): Promise<void> {
  const session = use(({ param }) => param('session'))
  const opening = hub.catchUp({ kind: 'session', session })
  if (opening !== undefined) await opening
  await use(() => (hub.find(session)?.status === 'ended' ? undefined : hub.submitEnd(session, outcome)))
}

interface ReadEvents {
  readonly events: readonly NewEvent[]
  /** The worker of each event; undefined for the session's own. */
  readonly workers: readonly (string | undefined)[]
  readonly end: Extract<DialectEvent, { kind: 'end' }> | undefined
}

/** @throws ProtocolError with the place of the first value that cannot be read, or that follows the end */
function readAll(values: readonly unknown[], read: EventReader, { publishEventsMax }: Limits): ReadEvents {
  if (values.length > publishEventsMax) {
    throw refusal('events', `at most ${publishEventsMax} events`, values.length)
  }
  const events: NewEvent[] = []
  const workers: (string | undefined)[] = []
  let end: ReadEvents['end']
  for (const [index, value] of values.entries()) {
    try {
      if (end !== undefined)
        throw new ProtocolError('badFrame', 'event: nothing can follow the end of the session')
      for (const found of read.value(value)) {
        if (found.kind === 'end') end = found
        else {
          events.push(found.event)
          workers.push(found.worker)
        }
      }
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error
      throw new ProtocolError(error.code, error.message, { pointer: `/${index}${error.place.pointer ?? ''}` })
    }
  }
  for (const found of read.end()) {
    if (found.kind === 'end') continue
    events.push(found.event)
    workers.push(found.worker)
  }
  return { events, workers, end }
}

/** @returns the trace of a request, for its events without one; an invalid header is ignored */
function traceOf({ headers }: Request): TraceContext | undefined {
  return traceContext(headers.get('traceparent'), headers.get('tracestate'))
}

/** Both fields come from the event or both from the request, because a `tracestate` belongs to its `traceparent`. */
function withTrace(events: readonly NewEvent[], context: TraceContext | undefined): readonly NewEvent[] {
  if (context === undefined) return events
  return events.map((event) => {
    if (event.trace !== undefined) return event
    const { tracestate: _, ...untraced } = event
    return { ...context, ...untraced }
  })
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
 * Publishes line by line while the body arrives: the lines of one chunk leave in one flush. It waits until earlier chunks are
 * stored, so that a fast producer cannot outrun the store; the peer is paused meanwhile. It stays a few chunks ahead, so that
 * reading continues while the store writes.
 *
 * After a bad line nothing more is published; the lines before it are published and counted in the problem. A stopping server
 * ends it in the same way, because a body may last as long as its peer.
 */
async function publishLines(
  context: DialectContext,
  call: Call,
  kind: BodyKind,
): Promise<Answer | undefined> {
  const { hub, limits, bodyBudget, rateLimits, onClosing } = context
  const { request, exchange, sender, use } = call
  const session = use(({ param }) => param('session'))
  const total: Total = { first: 0, last: 0, accepted: 0, duplicates: 0 }
  const trace = traceOf(request)
  const worker = use(({ topic }) => workerOf(topic))
  const read = eventReaderOf(context, call, kind, worker)
  // A body may last longer than its token.
  const pending = new PendingLines(limits.publishEventsMax, (events, workers, isPlain) => {
    const traced = withTrace(events, trace)
    return use((permitted) => {
      expectMayPublish(hub, permitted, traced)
      const named = read === undefined || !read.namesWorkers ? (worker ?? workers) : workers
      if (hub.isShared) return hub.submitTo(session, named, traced).then((result) => add(total, result))
      add(total, hub.publishTo(session, named, traced, isPlain))
      return undefined
    })
  })
  let last = 0
  const take = (found: readonly DialectEvent[], line: number): void => {
    for (const one of found) {
      if (one.kind === 'event') pending.add(one.event, line, one.worker)
      else pending.end(line, () => endOnce(hub, call, one.outcome))
    }
  }
  // The texts of translated events are not those of the lines.
  const plain = read === undefined && hub.seeksOnlyShapes ? new PlainLines() : undefined
  const reader = new LineReader(
    limits.lineBytesMax,
    (text, line) => {
      last = line
      checkedLine(() => {
        if (read === undefined) pending.add(checkEvent(parseJson(text, limits, 'event'), limits), line)
        else take(read.line(text), line)
      }, line)
    },
    (bytes) => pending.look(plain?.look(bytes) === true),
    (piece) => exchange.giveBack?.(piece),
  )
  // If an agent's stream stops for any reason, the run ends, so that watchers learn how.
  const endStream = (): void => checkedLine(() => take(read?.end() ?? [], last), last)
  const ahead = new Ahead(limits.aheadBytesMax)
  const body = exchange.body(limits.bodySilenceMs)[Symbol.asyncIterator]()
  let stopped: ProtocolError | undefined
  const stop = (error: ProtocolError): void => {
    stopped = error
    void body.return?.()
  }
  const share = bodyBudget.take(sender, stop)
  const forget = onClosing(() =>
    stop(new ProtocolError('unavailable', 'The hub is shutting down; send the rest again.')),
  )
  const isOver = (): boolean => stopped !== undefined || exchange.gone
  try {
    await rateLimits.bodies.pass(sender, 0, isOver)
    for await (const chunk of { [Symbol.asyncIterator]: () => body }) {
      for (let at = 0; at < chunk.length; at += largeBytes) {
        await turnFor(context, sender, chunk.length)
        reader.push(chunk.subarray(at, at + largeBytes))
        share.hold(reader.restBytes + (read?.keptBytes() ?? 0))
        pending.publish()
        if (pending.underWay !== undefined) await pending.underWay
      }
      await ahead.add(hub.committed(session), chunk.length)
      await rateLimits.bodies.pass(sender, chunk.length, isOver)
    }
    // A line that the peer did not finish may be incomplete.
    if (exchange.gone) {
      endStream()
      pending.publish()
      await pending.underWay
      return undefined
    }
    if (stopped !== undefined) throw stopped
    reader.end()
    endStream()
    pending.publish()
    await pending.underWay
    await hub.committed(session)
    return json(200, total)
  } catch (error) {
    // The first error is reported.
    if (read !== undefined) ignoringRefusals(endStream)
    const refused = await pending.settle(error)
    await hub.committed(session)
    return problem(refused, total)
  } finally {
    forget()
    reader.drop()
    share.release()
  }
}

/**
 * Chunks that have been published and are not stored yet. With an `aheadBytesMax` of 64 KiB, hardly more than a chunk, the
 * store gets many small commits, which halved the events per second.
 */
class Ahead {
  readonly #bytesMax: number
  readonly #chunks: { readonly stored: Promise<void>; readonly bytes: number }[] = []
  #bytes = 0

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  /** @returns when few enough bytes are not stored; rejects if the oldest chunk fails */
  async add(stored: Promise<void>, bytes: number): Promise<void> {
    // The error is reported to the waiter of this chunk or of the last one; without a waiter it must not crash the hub.
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

/** Looks through lines before they are parsed, as long as that is worth it. */
class PlainLines {
  /** Pieces that are not looked through, and how many after the next one that is not plain. */
  #left = 0
  #pause = 0

  /** @returns whether the lines contain no secret */
  look(bytes: Buffer): boolean {
    if (this.#left > 0) {
      this.#left--
      return false
    }
    const isPlain = isPlainJson(bytes)
    this.#pause = isPlain ? 0 : Math.min(pauseMax, 2 * this.#pause + 1)
    this.#left = this.#pause
    return isPlain
  }
}

type Workers = readonly (string | undefined)[] | undefined

/** What is done at once, or later where a log has to be asked. */
type Doing = Promise<void> | undefined

/** Events of lines, to be published together. */
interface Lines {
  readonly events: readonly NewEvent[]
  readonly lines: readonly number[]
  readonly workers: Workers
  /** `isPlainJson` has found no secret in them. */
  readonly isPlain: boolean
}

type PublishEvents = (events: readonly NewEvent[], workers: Workers, isPlain: boolean) => Doing

/** The events of lines that have been read but not published. */
class PendingLines {
  readonly #max: number
  readonly #publish: PublishEvents
  /** What goes on in a log, one after the other; after one that was refused comes nothing more. */
  #underWay: Promise<void> | undefined = undefined
  #events: NewEvent[] = []
  #lines: number[] = []
  /** The worker of each event; absent as long as none has one. */
  #workers: (string | undefined)[] | undefined = undefined
  /** Whether all lines since the last publish are plain, and those that come now. */
  #isPlain = true
  #arePlain = false

  constructor(max: number, publish: PublishEvents) {
    this.#max = max
    this.#publish = publish
  }

  /** Rejects as the first does that was refused; nothing where everything was done at once. */
  get underWay(): Promise<void> | undefined {
    return this.#underWay
  }

  /** Lines come that are plain, or not. */
  look(arePlain: boolean): void {
    this.#arePlain = arePlain
  }

  add(event: NewEvent, line: number, worker?: string): void {
    this.#isPlain &&= this.#arePlain
    this.#events.push(event)
    this.#lines.push(line)
    if (worker !== undefined) this.#workers ??= []
    if (this.#workers !== undefined) this.#workers[this.#events.length - 1] = worker
    if (this.#events.length === this.#max) this.publish()
  }

  /** Publishes the events before the end, and ends the session. */
  end(line: number, ending: () => Promise<void>): void {
    this.publish()
    this.#after(() =>
      ending().catch((error: unknown) => {
        throw error instanceof ProtocolError ? at(error, line) : error
      }),
    )
  }

  /** @throws ProtocolError with the refused line, after the lines before it have been published */
  publish(): void {
    const found: Lines = {
      events: this.#events,
      lines: this.#lines,
      workers: this.#workers,
      isPlain: this.#isPlain,
    }
    if (found.events.length === 0) return
    this.#events = []
    this.#lines = []
    this.#workers = undefined
    this.#isPlain = true
    this.#after(() => {
      try {
        const doing = this.#publish(found.events, found.workers, found.isPlain)
        return doing?.catch((error: unknown) => this.#refuse(found, error))
      } catch (error) {
        return this.#refuse(found, error)
      }
    })
  }

  /** Does it at once, unless something is under way. */
  #after(step: () => Doing): void {
    const before = this.#underWay
    const doing = before === undefined ? step() : before.then(step)
    // The caller that awaits it handles the rejection.
    doing?.catch(() => {})
    this.#underWay = doing
  }

  /** @throws the error, with its line, once what precedes it has been published */
  #refuse({ events, lines, workers, isPlain }: Lines, error: unknown): Doing {
    if (!(error instanceof ProtocolError)) throw error
    const index = indexOf(error.place)
    if (index === undefined) throw at(error, lines[0] ?? 0)
    const refused = at(error, lines[index] ?? 0, withoutIndex(error.place))
    const doing = index > 0 ? this.#publish(events.slice(0, index), workers, isPlain) : undefined
    if (doing === undefined) throw refused
    return doing.then(() => {
      throw refused
    })
  }

  /**
   * Publishes the events before the error.
   *
   * @returns the error for the client: the first one if there are two
   * @throws any error that is not a peer's mistake
   */
  async settle(error: unknown): Promise<ProtocolError> {
    const refused = ofLine(error)
    if (refused === undefined) throw error
    try {
      this.publish()
      await this.#underWay
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
    // An error of an earlier line already has its line.
    if (error instanceof ProtocolError && error.place.line === undefined) throw at(error, line)
    throw error
  }
}

function ignoringRefusals(task: () => void): void {
  try {
    task()
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error
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
