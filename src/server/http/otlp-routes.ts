import { OtlpSession } from '../../ingest/otlp.js'
import { type OtlpItem, otlpItems, otlpSession } from '../../ingest/otlp-items.js'
import { partialSuccess, readOtlp } from '../../ingest/otlp-protobuf.js'
import { isObject } from '../../lib/json.js'
import { Oldest } from '../../lib/oldest.js'
import { checkEvent, checkId } from '../../protocol/check.js'
import { ProtocolError } from '../../protocol/codes.js'
import { ownId } from '../../protocol/foreign-id.js'
import type { NewEvent } from '../../protocol/frames.js'
import type { Answer } from '../../transport/transport.js'
import type { DialectContext } from '../context.js'
import { bodyKind, contentType, parseBody, readBody, turnFor } from './body.js'
import { json, refusal } from './problem.js'
import type { Call, Route } from './routes.js'

type Signal = 'traces' | 'logs'

const protobuf = 'application/x-protobuf'

/** `POST /v1/traces` and `/v1/logs`: what agents tell OpenTelemetry, as events of sessions. */
export function otlpRoutes(context: DialectContext): Route[] {
  const sessions = new TraceSessions()
  return (['traces', 'logs'] as const).map((signal) => ({
    method: 'POST',
    path: `/v1/${signal}`,
    access: { kind: 'any' },
    answer: (call) => takeOtlp(context, call, signal, sessions),
  }))
}

/** Traces whose session is remembered. */
const tracesMax = 10_000

/** Which session a trace is of: often only some of its spans say so. */
class TraceSessions {
  /** By trace, the one that was heard of longest ago first. */
  readonly #names = new Map<string, string>()
  readonly #oldest = new Oldest(this.#names)

  note(item: OtlpItem): void {
    const name = otlpSession(item)
    if (name === undefined || item.traceId === '') return
    this.#names.delete(item.traceId)
    this.#names.set(item.traceId, name)
    if (this.#names.size > tracesMax) this.#names.delete(this.#oldest.next() as string)
  }

  of(item: OtlpItem): string {
    return otlpSession(item) ?? this.#names.get(item.traceId) ?? (item.traceId || 'otlp')
  }
}

async function takeOtlp(
  context: DialectContext,
  call: Call,
  signal: Signal,
  sessions: TraceSessions,
): Promise<Answer | undefined> {
  const { hub, limits } = context
  const isProtobuf = contentType(call.request) === protobuf
  if (!isProtobuf) bodyKind(call.request, ['json'])
  const body = await readBody(context, call)
  if (body === undefined) return undefined
  const value = isProtobuf ? readOtlp(body, signal, limits) : await parseBody(context, call, body)
  if (!isObject(value)) throw refusal('body', 'an object { resourceSpans } or { resourceLogs }', value)
  if (isProtobuf) await turnFor(context, call.sender, body.length)
  const { groups, total } = groupsOf(otlpItems(value), call, sessions)
  await turnFor(context, call.sender, body.length)
  // What each session is told depends on what it has: on that of a log, once it is here.
  const ids = [...groups.keys()].map((id) => checkedId(id, limits)).filter((id) => id !== undefined)
  await hub.openAll(ids.map((session) => ({ topic: { kind: 'session', session } })))
  const submitted = await Promise.all(await publishAll(context, call, groups))
  let rejected = 0
  let refused: ProtocolError | undefined
  for (const [index, items] of [...groups.values()].entries()) {
    const outcome = submitted[index]
    if (outcome === undefined) continue
    const { error } = outcome
    if (!(error instanceof ProtocolError) || isOfAll(error)) throw error
    rejected += items.length
    refused ??= error
  }
  if (refused !== undefined && rejected === total) throw refused
  return answer(signal, isProtobuf, rejected, refused?.message ?? '')
}

/** Whether the rest of the request would fail in the same way, so that the exporter must send all of it again. */
function isOfAll({ code }: ProtocolError): boolean {
  return code === 'unauthorized' || code === 'unavailable'
}

/** By session, as the hub knows it. */
function groupsOf(items: readonly OtlpItem[], call: Call, sessions: TraceSessions) {
  const groups = new Map<string, OtlpItem[]>()
  const given = call.query.get('session') || undefined
  for (const item of items) sessions.note(item)
  for (const item of items) {
    const session = ownId(given ?? sessions.of(item))
    const group = groups.get(session)
    if (group === undefined) groups.set(session, [item])
    else group.push(item)
  }
  return { groups, total: items.length }
}

/** @returns the id; nothing where it is none, which is refused later */
function checkedId(session: string, limits: DialectContext['limits']): string | undefined {
  try {
    return checkId(session, limits, 'session')
  } catch (error) {
    if (error instanceof ProtocolError) return undefined
    throw error
  }
}

/** What is read, and published, in one turn: spans and log records, where a session counts as several, because it may have to begin. */
const itemsPerTurn = 256
const itemsPerSession = 16

/** @returns for each session a promise of what became of it, once all of them are submitted */
async function publishAll(
  context: DialectContext,
  call: Call,
  groups: ReadonlyMap<string, readonly OtlpItem[]>,
): Promise<readonly Promise<{ readonly error: unknown } | undefined>[]> {
  const submitted: Promise<{ readonly error: unknown } | undefined>[] = []
  let sinceTurn = 0
  for (const [session, items] of groups) {
    if (sinceTurn >= itemsPerTurn) {
      sinceTurn = 0
      await context.workTurns.take(call.sender)
    }
    sinceTurn += items.length + itemsPerSession
    submitted.push(
      publish(context, call, session, items).then(
        () => undefined,
        (error: unknown) => ({ error }),
      ),
    )
  }
  return submitted
}

/** The events that items of a session become, which depends on what runs in it. */
class Reading {
  readonly events: NewEvent[] = []
  /** Of each event; undefined for the session's own. */
  readonly workers: (string | undefined)[] = []
  readonly #limits: DialectContext['limits']
  readonly #reader: OtlpSession
  readonly #isRunning: (worker: string | undefined) => boolean
  /** Whether each worker was running when it was first asked for. */
  readonly #asked = new Map<string | undefined, boolean>()
  #hasChanged = false

  constructor({ hub, limits }: DialectContext, session: string) {
    this.#limits = limits
    this.#isRunning = (worker) => {
      const run = hub.run(session, worker)
      return run !== undefined && run.until === undefined
    }
    this.#reader = new OtlpSession((worker) => {
      const isRunning = this.#isRunning(worker)
      const before = this.#asked.get(worker)
      if (before === undefined) this.#asked.set(worker, isRunning)
      else if (before !== isRunning) this.#hasChanged = true
      return isRunning
    })
  }

  /** Something has begun or ended since it was asked for: the items have to be read again, in the turn of their publishing. */
  get isStale(): boolean {
    if (this.#hasChanged) return true
    return [...this.#asked].some(([worker, wasRunning]) => this.#isRunning(worker) !== wasRunning)
  }

  /** @throws ProtocolError if an event is not valid */
  take(items: readonly OtlpItem[]): this {
    for (const item of items) {
      for (const { event, worker } of this.#reader.take(item)) {
        this.events.push(checkEvent(event, this.#limits))
        this.workers.push(worker)
      }
    }
    return this
  }
}

/** All of one session, or nothing. @throws ProtocolError */
async function publish(
  context: DialectContext,
  call: Call,
  session: string,
  items: readonly OtlpItem[],
): Promise<void> {
  const { hub, limits, workTurns } = context
  checkId(session, limits, 'session')
  const reading = new Reading(context, session)
  for (let at = 0; at < items.length; at += itemsPerTurn) {
    if (at > 0) await workTurns.take(call.sender)
    reading.take(items.slice(at, at + itemsPerTurn))
  }
  if (items.length > itemsPerTurn) {
    await workTurns.take(call.sender)
    await hub.openAll([{ topic: { kind: 'session', session } }])
  }
  const submitted = call.use(({ permissions }) => {
    const { events, workers } = reading.isStale ? new Reading(context, session).take(items) : reading
    for (const worker of new Set(workers)) {
      if (worker === undefined) permissions.expectWrite({ kind: 'session', session })
      else permissions.expectWrite({ kind: 'worker', session, worker: checkId(worker, limits, 'worker') })
    }
    const parts: Promise<unknown>[] = []
    for (let at = 0; at < events.length; at += limits.publishEventsMax) {
      const end = at + limits.publishEventsMax
      parts.push(hub.submitTo(session, workers.slice(at, end), events.slice(at, end)))
    }
    return Promise.all(parts)
  })
  await submitted
}

/** As a collector answers: nothing where all was taken. */
function answer(signal: Signal, isProtobuf: boolean, rejected: number, reason: string): Answer {
  if (isProtobuf) {
    return { status: 200, headers: { 'content-type': protobuf }, body: partialSuccess(rejected, reason) }
  }
  if (rejected === 0) return json(200, {})
  const name = signal === 'traces' ? 'rejectedSpans' : 'rejectedLogRecords'
  return json(200, { partialSuccess: { [name]: String(rejected), errorMessage: reason } })
}
