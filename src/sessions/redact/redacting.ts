import type { Catalog } from '../../catalog/catalog.js'
import type { Clock } from '../../lib/clock.js'
import { isObject, type JsonValue, measure } from '../../lib/json.js'
import type { Masking } from '../../mask/masking.js'
import { kindPattern, type Pattern, patternsMax } from '../../mask/patterns.js'
import { type Redacted, Redaction, redactedValuesMax } from '../../mask/redaction.js'
import { checkFields } from '../../protocol/check.js'
import { ProtocolError, quote } from '../../protocol/codes.js'
import { type Offset, start } from '../../protocol/cursor.js'
import { storedEvent } from '../../session/journal.js'
import type { Session } from '../../session/session.js'
import type { Timeline } from '../../session/timeline.js'
import type { OwnTopic } from '../../session/topic.js'
import { isReserved } from '../../state/topic-state.js'
import { type SliceChange, type Store, type StoredEvent, StoreError } from '../../store/store.js'
import { type GivenSecret, learnSecrets, secretsIn } from '../secrets.js'
import type { Sessions } from '../sessions.js'
import type { HeldTexts } from '../texts/held-texts.js'
import type { Turns } from '../turns.js'
import { EventRedaction } from './event-redaction.js'
import type { LogRedacting } from './log-redacting.js'
import { type Change, entriesOf, entryAt, rangesMax, rangesOf, setOrRemove } from './redact-memory.js'

/** Maximum of stored events that one call examines. */
const examinedMax = 20_000
/** How far the next call begins before the end of the previous one, for texts that continue. Offsets. */
const overlap = 2_000
/** Maximum of events in memory that one turn examines. */
const entriesPerTurn = 200

/** What to redact in a session. */
export interface RedactOptions {
  /** Values of at least 8 characters. From now on they are also masked in what is published. */
  readonly values?: readonly GivenSecret[]
  /** Regular expressions of RE2. The first group is redacted; without a group, the whole match. */
  readonly patterns?: readonly (string | Pattern)[]
  /** `next` of the previous result. Default: the beginning. */
  readonly after?: number
}

export interface RedactResult {
  /** The number of stored events that were examined; without a store, of events in memory. */
  readonly examined: number
  /** The number of changed events. Over several calls, an event that is also in memory may count twice. */
  readonly redacted: number
  /** Present if there are more: `after` of the next call. */
  readonly next?: number
  /** Whether all of it is also masked in what is published from now on: values if the hub masks, patterns never. */
  readonly masksLater: boolean
}

export interface RedactingParts {
  readonly sessions: Sessions
  /** Present if a log assigns the offsets. */
  readonly log: LogRedacting | undefined
  readonly catalog: Catalog
  readonly clock: Clock
  readonly turns: Turns
  readonly masking: Masking | undefined
  readonly texts: HeldTexts | undefined
  /** Whether the store keeps notices for webhooks. */
  readonly hasNotices: () => boolean
  /** Called with what redacts a value, for notices in memory. */
  readonly onChange: (change: Change) => void
  readonly onDirty: (timeline: Timeline) => void
}

/** Redacts published data, first in memory, then in the store, in steps that do not block the loop for long. */
export class Redacting {
  readonly #parts: RedactingParts
  /** Events that calls of this hub have changed. */
  redacted = 0

  constructor(parts: RedactingParts) {
    this.#parts = parts
  }

  /**
   * Examines a part of a session's events; the first call also everything else of the session. A call may be repeated if its
   * answer was lost, because redacted data is not found again.
   *
   * @returns once it is stored
   * @throws ProtocolError `badFrame`; `notFound`; `conflict` if this hub cannot redact; `unavailable` if the store fails
   */
  async redact(id: string, options: RedactOptions): Promise<RedactResult> {
    const redacted = checkedRedacted(options)
    const result = await this.#redact(id, redacted, options)
    this.redacted += result.redacted
    return { ...result, masksLater: this.#parts.masking !== undefined && redacted.patterns.length === 0 }
  }

  async #redact(
    id: string,
    redacted: Redacted,
    options: RedactOptions,
  ): Promise<Omit<RedactResult, 'masksLater'>> {
    const { sessions } = this.#parts
    const after = checkedAfter(options.after)
    const { log } = this.#parts
    if (log !== undefined) {
      const { changed: inLog, examined } = await log.redact(id, redacted, redactionOf(redacted))
      return { examined, redacted: inLog.size }
    }
    const store = sessions.committing?.store
    if (store !== undefined && store.replace === undefined)
      throw new ProtocolError('conflict', 'the store of this hub cannot redact: remove the session')
    const redaction = redactionOf(redacted)
    if (after === start) await this.#lookAhead(sessions.started(id), redaction)
    const session = sessions.started(id)
    sessions.committing?.admit(session.journal)
    const changed = new Set<Offset>()
    let examined = 0
    if (after === start) {
      examined = await this.#inMemory(session, { redaction, redacted, changed })
      await this.#committed(session)
    }
    const { last, ...found } =
      store === undefined
        ? { examined, last: session.offset }
        : await this.#stored(store, session, { redaction, after, changed })
    // The session may have been unloaded, and loaded again before the store was redacted.
    const held = store === undefined || 'next' in found ? undefined : sessions.held(id)
    if (held !== undefined) await this.#eventsOf(held, { redaction, changed })
    this.#tell(id, changed)
    await this.#committed(session)
    // The store's copies of later events, which are changed in memory already, are counted by another call.
    const counted = 'next' in found ? [...changed].filter((offset) => offset <= last) : [...changed]
    return { ...found, redacted: counted.length }
  }

  async #committed({ journal }: Session): Promise<void> {
    const { committing } = this.#parts.sessions
    if (journal !== undefined) await committing?.committed(journal)
  }

  /** Redacts values of slices in turns of their own, so that the step that changes all of them finds them done. */
  async #lookAhead(session: Session, redaction: Redaction): Promise<void> {
    // Taken at once: a producer that adds a slice in each turn would never let it end.
    const values = session.topics().flatMap(({ state }) => [...state.kept()].map(([, value]) => value))
    for (const value of values) {
      redaction.remember(value)
      await this.#parts.turns.next()
    }
  }

  async #inMemory(session: Session, { redaction, redacted, changed }: InMemory): Promise<number> {
    const { texts, masking, clock, onDirty } = this.#parts
    const isOpen = session.status !== 'ended'
    if (isOpen && masking !== undefined && redacted.values.length > 0) learnSecrets(redacted.values, session)
    texts?.endAll(session)
    // First the parts that are changed in one step, and then the events: no new ones contain these values.
    const change = <V extends JsonValue>(value: V): V => redaction.value(value)
    for (const topic of session.topics()) redactSlices(session, topic, change, clock.now())
    session.replaceTexts(change)
    session.journal?.rewriteSlices(slicesOf(session))
    this.#redactNotices(change)
    if (session.followed) onDirty(session)
    return this.#eventsOf(session, { redaction, changed })
  }

  /** @returns the number of events in memory */
  async #eventsOf(session: Session, { redaction, changed }: Omit<InMemory, 'redacted'>): Promise<number> {
    const entries = entriesOf(session)
    const events = new EventRedaction(redaction, this.#parts.catalog)
    for (const [index, entry] of entries.entries()) {
      if (index % entriesPerTurn === entriesPerTurn - 1) await this.#parts.turns.next()
      for (const event of events.add(storedEvent(entry))) {
        changed.add(event.offset)
        const { passes: _, ...shown } = event
        entryAt(entries, event.offset)?.replace(shown)
      }
    }
    return entries.length
  }

  /** Redacts the pending webhook notices. */
  #redactNotices(change: Change): void {
    const { sessions, hasNotices, onChange } = this.#parts
    onChange(change)
    const outbox = hasNotices() ? sessions.committing?.store.outbox : undefined
    for (const { key, value } of outbox?.entries() ?? []) {
      const redacted = change(value)
      if (redacted !== value) outbox?.put(key, redacted)
    }
  }

  async #stored(
    store: Store,
    { id }: Session,
    { redaction, after, changed }: InStore,
  ): Promise<Omit<RedactResult, 'redacted' | 'masksLater'> & { readonly last: Offset }> {
    const events = new EventRedaction(redaction, this.#parts.catalog)
    let last = after
    let examined = 0
    try {
      for (;;) {
        const page = await store.read(id, last)
        const others = new Map<Offset, StoredEvent>()
        for (const event of page.events)
          for (const other of events.add(event)) others.set(other.offset, other)
        if (others.size > 0) await store.replace?.(id, [...others.values()])
        for (const offset of others.keys()) changed.add(offset)
        examined += page.events.length
        last = page.last
        if (page.end) return { examined, last }
        if (examined < examinedMax) continue
        const oldest = (events.oldest ?? last + 1) - 1
        return { examined, last, next: Math.max(last - overlap, Math.min(last, oldest)) }
      }
    } catch (error) {
      if (!(error instanceof StoreError)) throw error
      throw new ProtocolError('unavailable', `the session could not be redacted: ${error.message}`)
    }
  }

  /** Publishes `redacted`, for followers and for clients that resume. An ended session gets no further events. */
  #tell(id: string, changed: ReadonlySet<Offset>): void {
    const { sessions, catalog, clock, onDirty } = this.#parts
    const session = sessions.known(id)
    if (changed.size === 0 || session === undefined || session.status === 'ended') return
    const ranges = rangesOf(changed)
    for (let from = 0; from < ranges.length; from += rangesMax) {
      const data = { offsets: ranges.slice(from, from + rangesMax) }
      const bytes = measure(data, Number.POSITIVE_INFINITY) + 64
      const facts = { traits: catalog.traitsOf('redacted'), bytes, now: clock.now(), isHub: true }
      session.appendToAll({ type: 'redacted', data }, facts)
    }
    if (session.followed) onDirty(session)
  }
}

interface InMemory {
  readonly redaction: Redaction
  readonly redacted: Redacted
  readonly changed: Set<Offset>
}

interface InStore extends Omit<InMemory, 'redacted'> {
  readonly after: Offset
}

/** Changes slices by updates, so that the copies of followers equal the hub's. */
function redactSlices(session: Session, topic: OwnTopic, change: Change, now: number): void {
  const { state } = topic
  state.replaceCauses(change)
  for (const [slice, value] of state.kept()) {
    const redacted = change(value)
    if (redacted === value) continue
    if (session.status === 'ended') state.replace(slice, change)
    else
      session.change({ topic, slice, now, make: (_, moment) => setOrRemove(state, slice, redacted, moment) })
  }
}

function slicesOf(session: Session): SliceChange[] {
  return session
    .topics()
    .flatMap(({ worker, state }) =>
      [...state.kept()]
        .filter(([slice]) => !isReserved(slice))
        .map(([slice, value, offset]) => ({ ...(worker !== undefined && { worker }), slice, offset, value })),
    )
}

function checkedAfter(after: unknown): Offset {
  if (after === undefined) return start
  if (typeof after === 'number' && Number.isSafeInteger(after) && after >= 0) return after as Offset
  throw new ProtocolError('badFrame', 'after: expected an offset', { pointer: '/after' })
}

function checkedRedacted(options: RedactOptions): Redacted {
  checkFields(options, ['values', 'patterns', 'after'], 'options')
  const { values: given, patterns: expressions } = options
  const values = given === undefined ? [] : secretsIn(given, redactedValuesMax)
  const patterns = expressions === undefined ? [] : checkedPatterns(expressions)
  if (values.length + patterns.length === 0)
    throw new ProtocolError('badFrame', 'expected values or patterns', { pointer: '' })
  return { values, patterns }
}

function checkedPatterns(given: unknown): readonly Pattern[] {
  if (!Array.isArray(given) || given.length > patternsMax) {
    const expected = `patterns: expected a list of at most ${patternsMax} regular expressions`
    throw new ProtocolError('badFrame', expected, { pointer: '/patterns' })
  }
  return given.map((one: unknown, index) => {
    const { kind = 'redacted', pattern } = isObject(one) ? one : { pattern: one }
    if (typeof pattern === 'string' && typeof kind === 'string' && kindPattern.test(kind))
      return { kind, pattern }
    const expected =
      'expected a regular expression, or { pattern, kind } with a kind of 1–32 of a–z, 0–9 and -'
    throw new ProtocolError('badFrame', expected, { pointer: `/patterns/${index}` })
  })
}

/** @throws ProtocolError `badFrame` if a pattern is not valid in RE2 */
function redactionOf(redacted: Redacted): Redaction {
  try {
    return Redaction.of(redacted)
  } catch (error) {
    if (!(error instanceof TypeError)) throw error
    throw new ProtocolError('badFrame', `patterns${quote(error.message)}`, { pointer: '/patterns' })
  }
}
