import type { DialectEvent } from '../../codec/dialect.js'
import type { Ingested } from '../../ingest/ingest.js'
import { ingestNames, Translation } from '../../ingest/translate.js'
import { type BlockBounds, EventLines, type JsonBlock } from '../../lib/event-lines.js'
import { isObject, type JsonValue } from '../../lib/json.js'
import { BeyondBounds } from '../../lib/json-text.js'
import { checkEvent, checkId } from '../../protocol/check.js'
import { ProtocolError, quote } from '../../protocol/codes.js'
import type { DialectContext } from '../context.js'
import { type ReadEvent, readerOf } from '../links/dialect-routes.js'
import { type BodyKind, parseJson } from './body.js'
import { refusal } from './problem.js'
import type { Call } from './routes.js'

/** Reads a body whose objects are not the hub's own events: those of a dialect, of an agent, or of an event stream. */
export interface EventReader {
  /** Whether its events name their workers. */
  readonly namesWorkers: boolean
  /** @throws ProtocolError `badFrame` */
  value(value: unknown): readonly DialectEvent[]
  /** @throws ProtocolError `badFrame` */
  line(text: string): readonly DialectEvent[]
  /** The body has ended. @returns the remaining events */
  end(): readonly DialectEvent[]
  /** What it remembers of the body so far. Bytes, about. */
  keptBytes(): number
}

/**
 * @param worker the worker of the route
 * @returns the reader of the body of a publish request; undefined if it contains the hub's own events
 * @throws ProtocolError `badFrame` when the query names an unknown dialect or kind of agent
 */
export function eventReaderOf(
  context: DialectContext,
  call: Call,
  kind: BodyKind,
  worker: string | undefined,
): EventReader | undefined {
  const { limits } = context
  const from = call.query.get('from')
  const read = readerOf(context, call)
  if (from !== null) {
    if (!ingestNames.includes(from)) throw refusal('from', `one of ${ingestNames.join(', ')}`, from)
    if (read !== undefined)
      throw new ProtocolError('badFrame', 'from: expected either from or dialect, got both')
    call.use(({ topic, permissions }) => permissions.expectWrite(topic))
    return agentReader(context, call, from, worker)
  }
  if (read === undefined && kind !== 'event-stream') return undefined
  // A dialect can do more than publish commands, for example end a session.
  if (read !== undefined) call.use(({ topic, permissions }) => permissions.expectWrite(topic))
  const one: ReadEvent = read ?? ((value) => ({ kind: 'event', event: checkEvent(value, limits) }))
  const value = (object: unknown): readonly DialectEvent[] => [one(object)]
  if (kind === 'event-stream') {
    const dialect = context.dialects.get(call.query.get('dialect') ?? '')
    return streamReader(value, limits, dialect?.namedBlocks === true)
  }
  return {
    namesWorkers: false,
    value,
    line: (text) => value(parseJson(text, limits, 'event')),
    end: () => [],
    keptBytes: () => 0,
  }
}

/** Translates the output of an agent. Its sub-agents are workers, which the token must permit. */
function agentReader(
  { limits }: DialectContext,
  call: Call,
  from: string,
  worker: string | undefined,
): EventReader {
  const options = { bounds: limits, ...(worker !== undefined && { worker }) }
  const translation = new Translation(from, options)
  const allowed = new Set([worker])
  const read = (found: readonly Ingested[]): readonly DialectEvent[] =>
    found.map(({ event, worker: named }) => {
      if (named !== undefined && !allowed.has(named)) {
        checkId(named, limits, 'worker')
        call.use(({ permissions, param }) =>
          permissions.expectWrite({ kind: 'worker', session: param('session'), worker: named }),
        )
        allowed.add(named)
      }
      return {
        kind: 'event',
        event: checkEvent(event, limits),
        ...(named !== undefined && { worker: named }),
      }
    })
  return {
    namesWorkers: true,
    value: (value) => read(translation.value(value as JsonValue)),
    line: (text) => read(translation.line(text)),
    end: () => read(translation.end()),
    keptBytes: () => translation.keptBytes,
  }
}

/** Reads an event stream: the data of each block is an event, or the data of the event that `event:` names. */
function streamReader(
  value: (object: unknown) => readonly DialectEvent[],
  bounds: BlockBounds,
  named: boolean,
): EventReader {
  const blocks = new EventLines(bounds)
  return {
    namesWorkers: false,
    value,
    line(text) {
      const block = pushed(blocks, text)
      if (block === undefined || block === 'done') return []
      return value(named ? { event: block.event ?? 'message', data: block.data } : eventOf(block))
    },
    end() {
      if (blocks.rest === '') return []
      throw new ProtocolError('badFrame', `data: expected JSON, got ${quote(blocks.rest)}`)
    },
    keptBytes: () => blocks.rest.length,
  }
}

function pushed(blocks: EventLines, text: string): JsonBlock | 'done' | undefined {
  try {
    return blocks.push(text)
  } catch (error) {
    if (error instanceof RangeError) throw new ProtocolError('frameTooLarge', error.message)
    if (error instanceof BeyondBounds) throw new ProtocolError('badFrame', `data: ${error.message}`)
    throw error
  }
}

function eventOf({ event, data }: JsonBlock): JsonValue {
  const isEvent = isObject(data) && 'type' in data
  return event === undefined || event === 'message' || isEvent ? data : { type: event, data }
}
