// Longer than 350 lines: what a hub puts into a batch for each kind of request, side by side.

import type { Catalog } from '../../catalog/catalog.js'
import type { Clock } from '../../lib/clock.js'
import type { JsonObject, JsonValue } from '../../lib/json.js'
import {
  type LogEntry,
  type PlacedEntry,
  type StreamChange,
  type StreamMessage,
  widthOf,
} from '../../log/entries.js'
import type { PlacedId } from '../../log/shared-log.js'
import type { Masking } from '../../mask/masking.js'
import type { SecretValue } from '../../mask/values.js'
import { ProtocolError, quote } from '../../protocol/codes.js'
import type { Offset } from '../../protocol/cursor.js'
import type { Mode, NewEvent, StateUpdate } from '../../protocol/frames.js'
import type { Limits } from '../../protocol/limits.js'
import { supersededBy } from '../../session/attempts.js'
import { firstReceipt } from '../../session/commands.js'
import { decide, isTaken, type StreamOutcome } from '../../session/durable-stream.js'
import { carries } from '../../session/filter.js'
import { keyOf } from '../../session/hub-event.js'
import { LoneSurrogates } from '../../session/lone-surrogates.js'
import { checkUnless, type StateOptions, type StateResult } from '../../session/precondition.js'
import type { Session } from '../../session/session.js'
import type { EndOptions } from '../../session/session-setting.js'
import type { Change, Moment, TopicState } from '../../state/topic-state.js'
import type { StreamRecord } from '../../store/store.js'
import { expectRoomForFacts } from '../lasting-facts.js'
import { growthOf, maskedCause, maskedConfiguration, maskedEnding, maskedMessage, maskOf } from '../masked.js'
import { expectCommandable, type Publisher, type PublishResult } from '../publishing.js'
import { hashedSecrets } from '../secrets.js'
import { hasEnded, type Sessions } from '../sessions.js'
import type { HeldStreams, Release, Released } from '../texts/held-streams.js'
import { DraftMasks } from './draft-masks.js'
import type { DraftTexts } from './draft-texts.js'

/** Maximum of entries in one batch, and of their bytes. One submission may exceed it. */
const batchEntriesMax = 1_000
const batchBytesMax = 512 * 1024

/** Room for commands that other hubs may send while the end of the session is in progress; they expire with the others. */
const racingCommands = 4

export interface DraftingParts {
  readonly catalog: Catalog
  readonly clock: Clock
  readonly limits: Limits
  readonly sessions: Sessions
  readonly masking: Masking | undefined
}

interface IntentBase<Answer> {
  readonly resolve: (answer: Answer) => void
  readonly reject: (error: unknown) => void
  /** The session is as far as the log was at the time of submitting, so a refusal is final. */
  confirmed: boolean
}

export type MakeChange = (state: TopicState, moment: Moment) => Change

/** A request to submit. */
export type Intent =
  | (IntentBase<PublishResult> & {
      readonly kind: 'publish'
      readonly publisher: Publisher
      readonly events: readonly NewEvent[]
      readonly sizes: readonly number[]
      /** There are commands or receipts among them. */
      readonly steers: boolean
      /** By index: the offsets of those that the log has said to be published before. */
      known?: ReadonlyMap<number, Offset>
      /** Called when the events are applied at this hub. */
      readonly onApplied?: (() => void) | undefined
    })
  | (IntentBase<StateResult> & {
      readonly kind: 'change'
      readonly worker: string | undefined
      readonly slice: string
      readonly options: StateOptions
      readonly make: MakeChange
    })
  | (IntentBase<boolean> & {
      readonly kind: 'configure'
      readonly mode: Mode | undefined
      readonly metadata: JsonObject | undefined
      readonly secrets?: readonly SecretValue[]
    })
  | (IntentBase<void> & {
      readonly kind: 'lease'
      readonly worker: string | undefined
      readonly ms: number
    })
  /** The hub's own entries, made when it is their turn; the answer is the number of entries with an effect. */
  | (IntentBase<number> & {
      readonly kind: 'own'
      readonly entriesOf: (session: Session) => readonly LogEntry[]
    })
  | (IntentBase<void> & { readonly kind: 'end'; readonly ending: EndOptions })
  /** Publishes what is held back of texts; the answer is the number of events. */
  | (IntentBase<number> & {
      readonly kind: 'release'
      /** Not only what has waited long enough. */
      readonly isAll: boolean
      /** Applied to the data of each event. */
      readonly change?: (<V extends JsonValue>(value: V) => V) | undefined
    })
  | (IntentBase<StreamOutcome> & {
      readonly kind: 'stream'
      readonly change: StreamChange
      readonly messages: readonly StreamMessage[]
      readonly sizes: readonly number[]
    })

export type AnswerOf<Kind extends Intent['kind']> = Parameters<Extract<Intent, { kind: Kind }>['resolve']>[0]

export type Given<Kind extends Intent['kind']> = Omit<
  Extract<Intent, { kind: Kind }>,
  'resolve' | 'reject' | 'confirmed'
>

/** The location of an event: its index in the batch, or the offset of its first publish. */
export type EventPlace = { readonly place: number } | { readonly known: Offset }

/** An intent in a batch, and its location. */
export interface Taken {
  readonly intent: Intent
  /** Of the first of its entries. */
  readonly place: number
  readonly end: number
  /** Of each event. */
  readonly events: readonly EventPlace[]
}

/** A batch that is being composed. */
export class Draft {
  readonly entries: PlacedEntry[] = []
  readonly ids: PlacedId[] = []
  readonly taken: Taken[] = []
  /** Changed slices and steps; intents that are compared with them must wait for the next batch. */
  readonly touched = new Set<string>()
  mode: Mode | undefined = undefined
  /** The durable stream after the requests so far, if they are decided as expected. */
  stream: StreamRecord | undefined = undefined
  width = 0
  bytes = 0
  ends = false
  /** Events of what was held back. */
  released = 0
  /** Absent if nothing is masked. */
  readonly texts: DraftTexts | undefined
  readonly masks: DraftMasks
  #halves: LoneSurrogates | undefined = undefined

  constructor(session: Session, texts: DraftTexts | undefined) {
    this.texts = texts
    this.masks = new DraftMasks(session)
  }

  /** @returns the surrogates that wait after what the batch has so far; they become the session's with the batch */
  halvesOf(session: Session): LoneSurrogates {
    if (this.#halves === undefined) {
      this.#halves = new LoneSurrogates()
      this.#halves.restore(session.halves)
    }
    return this.#halves
  }

  /** Whether so much more is too much. */
  isTooMuch(entries: number, bytes: number): boolean {
    if (this.taken.length === 0) return false
    return this.width + entries > batchEntriesMax || this.bytes + bytes > batchBytesMax
  }

  add(intent: Intent, entries: readonly LogEntry[], bytes: number, events: readonly EventPlace[] = []): void {
    const place = this.width
    for (const entry of entries) {
      this.entries.push({ place: this.width, entry })
      if (entry.kind === 'event' && entry.byHub === true && entry.steers !== true) this.released++
      this.width += widthOf(entry)
    }
    this.taken.push({ intent, place, end: this.width, events })
    this.masks.taken(place)
    this.bytes += bytes
  }
}

/**
 * The result of adding an intent to a batch. `doubtful`: only the log can decide; `later`: when
 * this batch is complete.
 */
export type Composed = 'taken' | 'answered' | 'later' | 'doubtful'

/** Composes batches by the local state of the session, which may be behind the log. */
export class Drafting {
  readonly #parts: DraftingParts

  constructor(parts: DraftingParts) {
    this.#parts = parts
  }

  /**
   * @throws ProtocolError if the intent is refused
   */
  compose(session: Session, intent: Intent, draft: Draft): Composed {
    try {
      return this.#compose(session, intent, draft)
    } finally {
      draft.masks.undo()
    }
  }

  #compose(session: Session, intent: Intent, draft: Draft): Composed {
    const { masks } = draft
    const mask = maskOf(this.#parts.masking, masks)
    switch (intent.kind) {
      case 'publish':
        return this.#publish(session, intent, draft)
      case 'change':
        return this.#change(session, intent, draft)
      case 'configure': {
        this.#expectRunning(session)
        const { mode, metadata } = maskedConfiguration(intent, mask)
        const secrets = intent.secrets && hashedSecrets(intent.secrets, session)
        draft.add(intent, [{ kind: 'configure', mode, metadata, ...(secrets && { secrets }) }], 64)
        draft.mode = mode ?? draft.mode
        return 'taken'
      }
      case 'lease': {
        this.#expectRunning(session)
        const { worker, ms } = intent
        if (worker !== undefined) this.#parts.sessions.worker(session, worker)
        draft.add(intent, [{ kind: 'lease', worker, ms }], 64)
        return 'taken'
      }
      case 'own': {
        // It says what has not happened: that must not be because nobody has told this hub.
        if (!intent.confirmed) return 'doubtful'
        const entries = session.status === 'ended' ? [] : intent.entriesOf(session)
        if (entries.length > 0) {
          draft.add(intent, entries, 256 * entries.length)
          return 'taken'
        }
        intent.resolve(0)
        return 'answered'
      }
      case 'end': {
        if (session.status === 'waiting') {
          throw new ProtocolError('notFound', `there is no session ${quote(session.id)}`)
        }
        if (session.status === 'ended') {
          throw new ProtocolError('conflict', `session ${quote(session.id)} has already ended`)
        }
        const { outcome, result, reason } = maskedEnding(intent.ending, mask)
        const watched = session.watching?.topics.length ?? 0
        const room = session.commands.open().length + Math.ceil(watched / 2) + racingCommands
        const entries = this.#released(session, draft, (streams, release) => streams.endAll(masks, release))
        draft.add(intent, [...entries, { kind: 'end', outcome, result, reason, room }], 64)
        draft.ends = true
        return 'taken'
      }
      case 'release': {
        const { isAll, change } = intent
        if (!isAll && session.status === 'ended') throw hasEnded(session.id)
        const entries = this.#released(session, draft, (streams, release) => {
          const masked: Release = change
            ? (one) => release({ ...one, event: { ...one.event, data: change(one.event.data ?? null) } })
            : release
          if (isAll) streams.endAll(masks, masked)
          else streams.endDue(this.#parts.clock.elapsed(), masks, masked)
        })
        if (entries.length > 0) {
          draft.add(intent, entries, 256 * entries.length)
          return 'taken'
        }
        intent.resolve(0)
        return 'answered'
      }
      case 'stream':
        return this.#stream(session, intent, draft)
    }
  }

  /** @returns the entries of texts that end */
  #released(
    session: Session,
    { texts, mode, masks }: Draft,
    end: (streams: HeldStreams, release: Release) => void,
  ): readonly LogEntry[] {
    if (texts === undefined || session.status === 'ended') return []
    const entries: LogEntry[] = []
    const release: Release = (one) => entries.push(releasedEntry(one, mode ?? session.mode))
    const streams = texts.begin()
    end(streams, release)
    texts.keep(streams, masks, release, this.#parts.clock)
    return entries
  }

  #expectRunning(session: Session): void {
    if (session.status === 'ended') throw hasEnded(session.id)
    this.#parts.sessions.expectRoomFor(session)
  }

  #publish(session: Session, intent: Extract<Intent, { kind: 'publish' }>, draft: Draft): Composed {
    const { events, sizes, publisher, steers } = intent
    const { sessions, catalog, limits, clock } = this.#parts
    const bytes = sizes.reduce((sum, size) => sum + size, 0)
    if (draft.isTooMuch(events.length, bytes)) return 'later'
    const hasEvery = events.length > 0 && events.every(({ id }) => id !== undefined)
    // Only the log knows whether all of it was published before.
    if (session.status === 'ended' && !hasEvery) throw hasEnded(session.id)
    sessions.capacity.expectRoom()
    sessions.expectRoomFor(session)
    const workers = new Set(typeof publisher === 'object' ? publisher : [publisher])
    sessions.capacity.expectRoomForWorkers(session.id, [...workers])
    expectRoomForFacts(sessions, session.id, events, catalog)
    if (steers && session.status !== 'ended') {
      expectCommandable(sessions.started(session.id), publisher, events, { catalog, limits })
    }
    for (const worker of workers) if (worker !== undefined) sessions.worker(session, worker)
    const attempts = new Map<string, number>()
    const entries: LogEntry[] = []
    const places: EventPlace[] = []
    let { width } = draft
    const { masks } = draft
    const add = (entry: LogEntry): number => {
      const place = width
      masks.placed(place)
      entries.push(entry)
      width += widthOf(entry)
      return place
    }
    const streams = draft.texts?.begin()
    const release: Release = (one) => {
      add(releasedEntry(one, draft.mode ?? session.mode))
    }
    for (const [index, event] of events.entries()) {
      const former = intent.known?.get(index)
      if (former !== undefined) {
        places.push({ known: former })
        continue
      }
      const worker = typeof publisher === 'object' ? publisher[index] : publisher
      const traits = catalog.traitsOf(event.type)
      const receipt = steers
        ? firstReceipt(event, (worker === undefined ? session : session.worker(worker)).progress, catalog)
        : undefined
      if (receipt !== undefined) {
        places.push({ known: receipt })
        continue
      }
      if (event.attempt !== undefined) {
        const { step, number } = event.attempt
        const name = `attempt ${worker ?? ''}/${step}`
        if (draft.touched.has(name)) return 'later'
        const target = worker === undefined ? session : session.worker(worker)
        const base = attempts.get(name) ?? target.progress.attemptAt(step)
        if (base === undefined || number > base) {
          // An attempt in the same request has already superseded these events of the history.
          const isFirst = base === undefined || attempts.has(name)
          const offsets = isFirst ? [] : supersededBy(event.attempt, target.topic.history)
          const before = events.slice(0, index).flatMap((one, at) => {
            const by = typeof publisher === 'object' ? publisher[at] : publisher
            const place = places[at]
            const isFormer = by === worker && one.attempt?.step === step && one.attempt.number === base
            return isFormer && place !== undefined && 'place' in place ? [place.place] : []
          })
          add({ kind: 'attempt', worker, attempt: { step, number }, base, offsets, places: before })
          attempts.set(name, number)
        }
      }
      const { data = null, type } = event
      const stream = [worker, type, keyOf(event, traits), ...attemptOf(event)]
      const halves = traits.merge && draft.halvesOf(session)
      const changes = halves?.changes
      const whole = halves === undefined ? data : halves.join(data, traits, stream)
      const joined = whole === data ? event : { ...event, data: whole }
      const piece = { session: masks, worker, traits, now: clock.elapsed() }
      const masked = streams?.masked(joined, piece, release) ?? joined
      const mode = draft.mode ?? session.mode
      const withheld = event.force !== true && traits.command === undefined && !carries(mode, traits.level)
      const place = add({
        kind: 'event',
        worker,
        event: masked,
        bytes: (sizes[index] as number) + growthOf(event, masked),
        ...(withheld && { withheld }),
        ...(traits.command !== undefined && { steers: true }),
        ...(halves?.changes !== changes && { halves: halves?.entries() ?? [] }),
      })
      places.push({ place })
      if (event.id !== undefined) draft.ids.push({ place, name: `${worker ?? ''}/${event.id}` })
    }
    if (streams !== undefined) draft.texts?.keep(streams, masks, release, clock)
    for (const name of attempts.keys()) draft.touched.add(name)
    // As in a hub without a log, a session begins even with no events.
    if (events.length === 0 && session.status === 'waiting') {
      add({ kind: 'configure', mode: undefined, metadata: undefined })
    }
    draft.add(intent, entries, bytes, places)
    return 'taken'
  }

  /** What changes nothing is answered here, once the session is as far as the log; the rest is decided where it is applied. */
  #stream(session: Session, intent: Extract<Intent, { kind: 'stream' }>, draft: Draft): Composed {
    const { sessions, clock, masking } = this.#parts
    const { change, messages, sizes } = intent
    const bytes = sizes.reduce((sum, size) => sum + size, 0)
    if (draft.isTooMuch(messages.length, bytes)) return 'later'
    const stream = draft.stream ?? session.stream
    const taken = draft.stream === undefined && isTaken(session, change)
    const { outcome, next } = decide(stream, change, { now: clock.now(), isTaken: taken })
    if (next === undefined || session.status === 'ended') {
      if (!intent.confirmed) return 'doubtful'
      intent.resolve(outcome)
      return 'answered'
    }
    sessions.capacity.expectRoom()
    sessions.expectRoomFor(session)
    const masked = messages.map((message) => maskedMessage(message, masking, draft.masks))
    draft.add(intent, [{ kind: 'stream', change, messages: masked }], bytes + 64)
    draft.stream = next
    return 'taken'
  }

  #change(session: Session, intent: Extract<Intent, { kind: 'change' }>, draft: Draft): Composed {
    const { sessions, clock, masking } = this.#parts
    const { worker, slice, options, make } = intent
    const name = `slice ${worker ?? ''}/${slice}`
    // The value that it is compared with is in progress.
    if (draft.touched.has(name) || draft.isTooMuch(1, 0)) return 'later'
    this.#expectRunning(session)
    sessions.capacity.expectRoom()
    if (worker !== undefined) sessions.capacity.expectRoomForWorkers(session.id, [worker])
    const topic = worker === undefined ? session.topic : sessions.worker(session, worker).topic
    if (options.unless !== undefined) checkUnless(topic, slice, options.unless)
    const mask = maskOf(masking, draft.masks)
    const cause = options.cause && maskedCause(options.cause, mask)
    const moment = { offset: (session.offset + 1) as Offset, time: clock.now(), cause, mask }
    const change = topic.state.draft(slice, (state) => make(state, moment))
    if (change.kind === 'unchanged') {
      if (!intent.confirmed) return 'doubtful'
      intent.resolve({ epoch: session.epoch, offset: change.offset, changed: false })
      return 'answered'
    }
    const update = change.entry.event.data as unknown as StateUpdate
    draft.touched.add(name)
    draft.add(intent, [{ kind: 'change', worker, update }], change.entry.bytes)
    return 'taken'
  }
}

/** @param mode of the session */
function releasedEntry({ event, worker, traits, bytes }: Released, mode: Mode): LogEntry {
  const withheld = event.force !== true && !carries(mode, traits.level)
  return { kind: 'event', worker, event, bytes, byHub: true, ...(withheld && { withheld }) }
}

/** Texts of different attempts are different texts. */
function attemptOf({ attempt }: NewEvent): string[] {
  return attempt === undefined ? [] : [attempt.step, String(attempt.number)]
}
