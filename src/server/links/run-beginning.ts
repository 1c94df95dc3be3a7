import type { RunPoint } from '../../codec/run-codec.js'
import type { DialectRuns, RunEnding, RunQuery } from '../../codec/runs.js'
import { formatCursor, type Offset, readCursor, start } from '../../protocol/cursor.js'
import type { HubEvent } from '../../protocol/frames.js'
import type { TopicName } from '../../protocol/topic.js'
import type { SessionSummary } from '../../session/summary.js'
import type { StreamContext } from '../context.js'
import { RunTelling } from './run-telling.js'

// The fold of a prelude covers the whole session; for longer sessions only the newest run.
const foldedEventsMax = 20_000

const pageMax = 1_000

/** A dialect that tells runs, with the name for its counts. */
export interface Telling {
  readonly name: string
  readonly runs: DialectRuns
}

/** A request for a run. */
export interface Asking extends Telling {
  readonly topic: TopicName
  readonly query: RunQuery
}

/** The beginning of a response. */
interface Beginning {
  readonly mode: 'silent' | 'waiting' | 'telling'
  /** Earlier events are folded first, from here. */
  readonly foldFrom: Offset
  /** The client has received everything up to here. */
  readonly after: Offset
  readonly point: RunPoint
  readonly above?: number
}

export function sessionIn(topic: TopicName): string {
  return topic.kind === 'hub' ? '' : topic.session
}

export function workerIn(topic: TopicName): string | undefined {
  return topic.kind === 'worker' ? topic.worker : undefined
}

/** Whether a client resumes within the newest run, which may have ended meanwhile. */
export function isWithin({ hub }: StreamContext, topic: TopicName, cursor: string | undefined): boolean {
  const session = hub.find(sessionIn(topic))
  const position = cursor === undefined ? undefined : readCursor(cursor)
  if (session === undefined || position?.epoch !== session.epoch) return false
  const run = hub.run(session.id, workerIn(topic))
  const { from = start, until = session.offset } = run ?? {}
  return position.offset >= from && position.offset < until
}

/** Whether the newest run is active; a session without a beginning of a run is one run. */
export function isActive({ hub }: StreamContext, topic: TopicName): boolean {
  const session = hub.find(sessionIn(topic))
  if (session === undefined || session.status === 'ended' || session.offset === start) return false
  const run = hub.run(session.id, workerIn(topic))
  return run === undefined || run.until === undefined
}

export function tellingOf({ hub }: StreamContext, { runs, topic }: Asking, variant: string): RunTelling {
  const session = sessionIn(topic)
  return new RunTelling({
    runs,
    variant,
    session,
    worker: workerIn(topic),
    catalog: hub.catalog,
    ended: () => endingOf(hub.find(session)),
  })
}

function endingOf(session: SessionSummary | undefined): RunEnding {
  const { result = 'succeeded', reason } = session ?? {}
  return { result, ...(reason !== undefined && { reason }) }
}

interface Joining {
  readonly telling: RunTelling
  /** Where what the client asks for stands, if it was published now. */
  readonly request: Offset | undefined
  readonly cursor: string | undefined
  readonly since: Offset | undefined
}

export async function beginning(
  context: StreamContext,
  asking: Asking,
  { telling, request, cursor, since }: Joining,
): Promise<Beginning> {
  const { hub } = context
  const { runs, topic, query } = asking
  const session = hub.find(sessionIn(topic))
  const run = session && hub.run(session.id, workerIn(topic))
  const from = run?.from ?? start
  const before = (from === start ? start : from - 1) as Offset
  // A run that was just requested has not begun yet, or only after the request.
  const active = isActive(context, topic) && request === undefined
  const reached = request ?? session?.offset ?? start
  if (since !== undefined) {
    return { mode: 'waiting', foldFrom: since, after: since, point: telling.begin(start, 'waiting') }
  }
  if (runs.prelude !== undefined) {
    const foldFrom = reached > foldedEventsMax ? before : start
    const phase = foldFrom === start && run === undefined && request === undefined ? 'running' : 'waiting'
    const point = telling.begin(start, phase)
    const mode = active ? 'silent' : 'waiting'
    return folded(context, asking, telling, { mode, foldFrom, after: reached, point })
  }
  if (!active && runs.idle === 'next') {
    const isNew = session === undefined
    const point = telling.begin(start, isNew ? 'running' : 'waiting')
    return { mode: isNew ? 'telling' : 'waiting', foldFrom: start, after: reached, point }
  }
  const point = telling.begin(from, 'running')
  const whole: Beginning = { mode: 'telling', foldFrom: before, after: before, point }
  if (session === undefined) return whole
  const position = runs.ids === 'cursor' && cursor !== undefined ? readCursor(cursor) : undefined
  if (position?.epoch === session.epoch && position.offset >= before && position.join === undefined) {
    return folded(context, asking, telling, { ...whole, after: min(position.offset, session.offset) })
  }
  const above = runs.after?.(query)
  return above === undefined
    ? whole
    : folded(context, asking, telling, { ...whole, after: session.offset, above })
}

function min(one: Offset, other: Offset): Offset {
  return one < other ? one : other
}

/** Folds the events before the beginning of a response. */
async function folded(
  context: StreamContext,
  { topic }: Asking,
  telling: RunTelling,
  begun: Beginning,
): Promise<Beginning> {
  let { point } = begun
  const { above } = begun
  for await (const event of between(context, topic, begun.foldFrom, begun.after)) {
    const made = telling.tell(point, event)
    // With a client's own count, the response begins before the first missing block. The end is always sent.
    const isNext = above !== undefined && made.blocks.some(({ number = 0 }) => number > above)
    if (isNext || (begun.mode === 'telling' && made.turn === 'ends')) {
      return { ...begun, after: (event.offset - 1) as Offset, point }
    }
    point = made.point
  }
  return { ...begun, point }
}

/** The events that the topic has of a part of a session. */
export async function* between(
  { hub, limits }: StreamContext,
  topic: TopicName,
  from: Offset,
  to: Offset,
): AsyncGenerator<HubEvent> {
  const opening = hub.catchUp(topic)
  if (opening !== undefined) await opening
  const session = hub.find(sessionIn(topic))
  if (session === undefined) return
  for (let after = from; after < to; ) {
    const page = await hub.readHistory(topic, {
      after: formatCursor(session.epoch, after),
      limit: Math.min(pageMax, limits.pageItemsMax),
    })
    for (const event of page.events) {
      if (event.offset > to) return
      yield event
    }
    if (page.next === undefined) return
    after = readCursor(page.next)?.offset ?? to
  }
}
