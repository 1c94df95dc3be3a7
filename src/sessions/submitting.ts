// Longer than 350 lines: the way of what is submitted, from its queue over a batch to its answer.

import type { Catalog } from '../catalog/catalog.js'
import type { Clock } from '../lib/clock.js'
import type { JsonObject } from '../lib/json.js'
import { type LogEntry, type PlacedEntry, packEntries, widthOf } from '../log/entries.js'
import type { Appended, PlacedId, SharedLog } from '../log/shared-log.js'
import type { Masking } from '../mask/masking.js'
import type { SecretValue } from '../mask/values.js'
import { ProtocolError, quote } from '../protocol/codes.js'
import type { Offset } from '../protocol/cursor.js'
import type { Mode, NewEvent, StateUpdate } from '../protocol/frames.js'
import type { Limits } from '../protocol/limits.js'
import type { TopicName } from '../protocol/topic.js'
import type { EventCheck } from '../session/event-check.js'
import { carries } from '../session/filter.js'
import { Halves } from '../session/halves.js'
import { keyOf } from '../session/hub-event.js'
import { checkUnless, type StateOptions, type StateResult } from '../session/precondition.js'
import type { Session } from '../session/session.js'
import type { SaidEnding } from '../session/session-setting.js'
import type { Change, Moment, TopicState } from '../state/topic-state.js'
import { StoreError } from '../store/store.js'
import { imageOf } from './log-batch.js'
import type { LogFollower } from './log-follower.js'
import { type LogSessions, unavailable } from './log-sessions.js'
import { maskedCause, maskedConfiguration, maskedEnding, maskOf } from './masked.js'
import { checkedConfiguration, type Publisher, type PublishResult, stateTopicOf } from './publishing.js'
import { checkedSecrets, type GivenSecret, hashedSecrets } from './secrets.js'
import { hasEnded, type Sessions } from './sessions.js'

/** Entries of one batch, and about their bytes. What is submitted at once may be more. */
const batchEntriesMax = 1_000
const batchBytesMax = 512 * 1024

/** What one that has no events counts for while it waits. */
const intentBytes = 128

export interface SubmittingParts {
  readonly log: SharedLog
  /** The hub's own id. */
  readonly hub: string
  readonly catalog: Catalog
  readonly clock: Clock
  readonly limits: Limits
  readonly check: EventCheck
  readonly sessions: Sessions
  readonly followed: LogSessions
  /** Absent where nothing is masked. */
  readonly masking: Masking | undefined
}

interface IntentBase<Answer> {
  readonly resolve: (answer: Answer) => void
  readonly reject: (error: unknown) => void
  /** The session is as far as the log was when this was submitted: what it says now is final. */
  confirmed: boolean
}

type MakeChange = (state: TopicState, moment: Moment) => Change

/** What is to be submitted. */
type Intent =
  | (IntentBase<PublishResult> & {
      readonly kind: 'publish'
      readonly publisher: Publisher
      readonly events: readonly NewEvent[]
      readonly sizes: readonly number[]
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
  | (IntentBase<void> & { readonly kind: 'end'; readonly said: SaidEnding })

type Given<I> = I extends Intent ? Omit<I, 'resolve' | 'reject' | 'confirmed'> : never

/** One batch that is being made up. */
interface Draft {
  readonly entries: PlacedEntry[]
  readonly ids: PlacedId[]
  readonly taken: { readonly intent: Intent; readonly place: number }[]
  readonly slices: Set<string>
  width: number
  bytes: number
  ends: boolean
}

/** What became of an intent that was to be put into a batch: `doubtful` when only the log knows whether it can be. */
type Composed = 'taken' | 'answered' | 'later' | 'doubtful'

/** What one session has to submit. */
interface Outgoing {
  readonly session: string
  intents: Intent[]
  isRunning: boolean
  /** Of characters that were cut over two pieces of a text: they are made whole before they reach the log. */
  readonly halves: Halves
}

/**
 * Takes what producers bring to a session that a log gives its offsets: puts it into batches, one under way a session,
 * and answers once it is in the log and done here too.
 */
export class Submitting {
  readonly #parts: SubmittingParts
  readonly #outgoing = new Map<string, Outgoing>()
  #numbers = 0
  /** Of events that wait to be in the log. About. */
  #waitingBytes = 0
  #published = 0
  #duplicates = 0

  constructor(parts: SubmittingParts) {
    this.#parts = parts
    parts.sessions.keepWhile((session) => this.#outgoing.has(session))
  }

  /** Events that were published, and events whose id had been published before. */
  get counts(): { readonly published: number; readonly duplicates: number } {
    return { published: this.#published, duplicates: this.#duplicates }
  }

  /** Publishes all of the events, or none. @throws ProtocolError as `Hub.submit` does, and so in what follows */
  async publish(session: string, publisher: Publisher, given: readonly NewEvent[]): Promise<PublishResult> {
    const { events, sizes, steers } = this.#parts.check.events(given)
    if (steers || events.some(({ attempt }) => attempt !== undefined)) {
      throw new ProtocolError(
        'unavailable',
        'a hub with a log takes neither commands nor attempts of steps yet',
      )
    }
    return this.#submit<PublishResult>(session, { kind: 'publish', publisher, events, sizes })
  }

  async change(
    topic: string | TopicName,
    slice: string,
    { cause: given, unless }: StateOptions,
    make: MakeChange,
  ): Promise<StateResult> {
    const { limits, check } = this.#parts
    const name = stateTopicOf(topic, slice, limits)
    const cause = given && check.cause(given)
    const worker = name.kind === 'worker' ? name.worker : undefined
    const options = { ...(cause && { cause }), ...(unless && { unless }) }
    return this.#submit<StateResult>(name.session, { kind: 'change', worker, slice, options, make })
  }

  /** @returns whether the session is new */
  async configure(
    session: string,
    changed: { readonly mode?: Mode; readonly metadata?: JsonObject },
  ): Promise<boolean> {
    const { mode, metadata } = checkedConfiguration(changed, this.#parts.check)
    return this.#submit<boolean>(session, { kind: 'configure', mode, metadata })
  }

  async registerSecrets(session: string, given: readonly GivenSecret[]): Promise<void> {
    const secrets = checkedSecrets(given, this.#parts.masking)
    const nothing = { mode: undefined, metadata: undefined }
    await this.#submit<boolean>(session, { kind: 'configure', ...nothing, secrets })
  }

  async end(session: string, said: SaidEnding): Promise<void> {
    const { outcome: given } = said
    const outcome = given === undefined ? undefined : this.#parts.check.value(given, 'outcome').value
    return this.#submit<void>(session, { kind: 'end', said: { ...said, outcome } })
  }

  #submit<Answer>(session: string, given: Given<Extract<Intent, IntentBase<Answer>>>): Promise<Answer> {
    const { uncommittedBytesMax } = this.#parts.limits
    if (this.#waitingBytes > uncommittedBytesMax) {
      throw new ProtocolError(
        'unavailable',
        `the log does not keep up: ${uncommittedBytesMax} bytes wait for it; wait for acknowledgements`,
      )
    }
    const sizes = 'sizes' in given ? given.sizes : [intentBytes]
    const bytes = sizes.reduce((sum, size) => sum + size, 0)
    this.#waitingBytes += bytes
    const submitted = new Promise<Answer>((resolve, reject) => {
      let outgoing = this.#outgoing.get(session)
      if (outgoing === undefined) {
        outgoing = { session, intents: [], isRunning: false, halves: new Halves() }
        this.#outgoing.set(session, outgoing)
      }
      outgoing.intents.push({ ...given, resolve, reject, confirmed: false } as unknown as Intent)
      if (outgoing.isRunning) return
      outgoing.isRunning = true
      const running = outgoing
      // At the end of the turn: what one turn submits goes together.
      this.#parts.clock.defer(() => void this.#run(running))
    })
    return submitted.finally(() => {
      this.#waitingBytes -= bytes
    })
  }

  async #run(outgoing: Outgoing): Promise<void> {
    while (outgoing.intents.length > 0) {
      try {
        const follower = await this.#parts.followed.open(outgoing.session)
        await this.#round(outgoing, follower)
      } catch (error) {
        const said = error instanceof StoreError ? unavailable(error) : error
        for (const { reject } of outgoing.intents.splice(0)) reject(said)
      }
    }
    outgoing.isRunning = false
    this.#outgoing.delete(outgoing.session)
    const session = this.#parts.sessions.held(outgoing.session)
    if (session !== undefined) this.#parts.sessions.mayForget(session.topic)
  }

  async #round(outgoing: Outgoing, follower: LogFollower): Promise<void> {
    const { session } = follower
    const draft: Draft = {
      entries: [],
      ids: [],
      taken: [],
      slices: new Set(),
      width: 0,
      bytes: 0,
      ends: false,
    }
    const waiting = outgoing.intents
    outgoing.intents = []
    let composed: Composed | undefined
    while (waiting.length > 0 && !draft.ends) {
      const intent = waiting[0] as Intent
      composed = this.#composed(outgoing, session, intent, draft)
      if (composed === 'later' || composed === 'doubtful') break
      waiting.shift()
    }
    outgoing.intents = [...waiting, ...outgoing.intents]
    if (draft.taken.length > 0) {
      if (!(await this.#append(outgoing, follower, draft))) return
    } else if (composed === 'doubtful') await follower.catchUp()
    else return
    // What waited before the log was asked is after what it has answered.
    for (const intent of waiting) intent.confirmed = true
  }

  #composed(outgoing: Outgoing, session: Session, intent: Intent, draft: Draft): Composed {
    try {
      return this.#compose(outgoing, session, intent, draft)
    } catch (error) {
      // It may be otherwise by now: only the log knows.
      if (error instanceof ProtocolError && !intent.confirmed) return 'doubtful'
      intent.reject(error)
      return 'answered'
    }
  }

  #compose(outgoing: Outgoing, session: Session, intent: Intent, draft: Draft): Composed {
    const { sessions } = this.#parts
    const mask = maskOf(this.#parts.masking, session)
    switch (intent.kind) {
      case 'publish':
        return this.#composePublish(outgoing, session, intent, draft)
      case 'change':
        return this.#composeChange(session, intent, draft)
      case 'configure': {
        if (session.status === 'ended') throw hasEnded(session.id)
        sessions.expectRoomFor(session)
        const { mode, metadata } = maskedConfiguration(intent, mask)
        const secrets = intent.secrets && hashedSecrets(intent.secrets, session)
        add(draft, intent, [{ kind: 'configure', mode, metadata, ...(secrets && { secrets }) }], 64)
        return 'taken'
      }
      case 'end': {
        if (session.status === 'waiting') {
          throw new ProtocolError('notFound', `there is no session ${quote(session.id)}`)
        }
        if (session.status === 'ended') {
          throw new ProtocolError('conflict', `session ${quote(session.id)} has ended already`)
        }
        const { outcome, result, reason } = maskedEnding(intent.said, mask)
        add(draft, intent, [{ kind: 'end', outcome, result, reason }], 64)
        draft.ends = true
        return 'taken'
      }
    }
  }

  #composePublish(
    { halves }: Outgoing,
    session: Session,
    intent: Extract<Intent, { kind: 'publish' }>,
    draft: Draft,
  ): Composed {
    const { events, sizes, publisher } = intent
    const { sessions, catalog, masking } = this.#parts
    const bytes = sizes.reduce((sum, size) => sum + size, 0)
    if (draft.taken.length > 0 && draft.width + events.length > batchEntriesMax) return 'later'
    if (draft.taken.length > 0 && draft.bytes + bytes > batchBytesMax) return 'later'
    const hasEvery = events.length > 0 && events.every(({ id }) => id !== undefined)
    // Whether all of it was published before only the log knows.
    if (session.status === 'ended' && !hasEvery) throw hasEnded(session.id)
    sessions.capacity.expectRoom()
    sessions.expectRoomFor(session)
    const workers = new Set(typeof publisher === 'object' ? publisher : [publisher])
    for (const worker of workers) if (worker !== undefined) sessions.worker(session, worker)
    const entries: LogEntry[] = []
    for (const [index, event] of events.entries()) {
      const worker = typeof publisher === 'object' ? publisher[index] : publisher
      const traits = catalog.traitsOf(event.type)
      const { data = null, type } = event
      const whole =
        traits.merge === undefined ? data : halves.join(data, traits, [worker, type, keyOf(event, traits)])
      const masked = masking === undefined ? whole : masking.value(whole, session)
      const withheld = event.force !== true && !carries(session.mode, traits.level)
      entries.push({
        kind: 'event',
        worker,
        event: masked === data ? event : { ...event, data: masked },
        bytes: sizes[index] as number,
        ...(withheld && { withheld }),
      })
      if (event.id !== undefined) {
        draft.ids.push({ place: draft.width + index, name: `${worker ?? ''}/${event.id}` })
      }
    }
    add(draft, intent, entries, bytes)
    return 'taken'
  }

  #composeChange(session: Session, intent: Extract<Intent, { kind: 'change' }>, draft: Draft): Composed {
    const { sessions, clock, masking } = this.#parts
    const { worker, slice, options, make } = intent
    const name = `${worker ?? ''}/${slice}`
    // What it is compared with is under way.
    if (draft.slices.has(name) || draft.width >= batchEntriesMax || draft.bytes > batchBytesMax)
      return 'later'
    if (session.status === 'ended') throw hasEnded(session.id)
    sessions.expectRoomFor(session)
    const topic = worker === undefined ? session.topic : sessions.worker(session, worker).topic
    if (options.unless !== undefined) checkUnless(topic, slice, options.unless)
    const mask = maskOf(masking, session)
    const cause = options.cause && maskedCause(options.cause, mask)
    const moment = { offset: (session.offset + 1) as Offset, time: clock.now(), cause, mask }
    const change = topic.state.draft(slice, (state) => make(state, moment))
    if (change.kind === 'unchanged') {
      if (!intent.confirmed) return 'doubtful'
      intent.resolve({ epoch: session.epoch, offset: change.offset, changed: false })
      return 'answered'
    }
    const update = change.entry.event.data as unknown as StateUpdate
    draft.slices.add(name)
    add(draft, intent, [{ kind: 'change', worker, update }], change.entry.bytes)
    return 'taken'
  }

  /** @returns whether the session is as far as the log was when this was called */
  async #append(outgoing: Outgoing, follower: LogFollower, draft: Draft): Promise<boolean> {
    const { log, hub, clock, catalog } = this.#parts
    const { session } = follower
    const { entries, ids, taken, width, ends } = draft
    const number = ++this.#numbers
    const batch = {
      hub,
      number,
      epoch: session.epoch,
      at: clock.now(),
      ...packEntries(entries, (entry) =>
        entry.kind === 'event' && !catalog.traitsOf(entry.event.type).critical ? 'droppable' : 'critical',
      ),
    }
    let applied: { readonly meaningless: ReadonlySet<number>; readonly began: boolean } | undefined
    let abandoned = false
    let settle = (): void => undefined
    follower.expect(number, {
      entries,
      applied(meaningless, began) {
        applied = { meaningless, began }
        settle()
      },
      abandoned() {
        abandoned = true
        settle()
      },
    })
    try {
      const appended = await log.append({
        session: session.id,
        width,
        ...batch,
        ...(ids.length > 0 && { ids }),
        ...(ends && { ends }),
      })
      if (appended.kind !== 'appended') {
        follower.forget(number)
        await this.#refused(outgoing, follower, draft, appended)
        return true
      }
      const { from, to, known } = appended
      if (to > from) {
        follower.answered({ ...batch, from, to, known: known.map(({ place }) => place) })
        if (applied === undefined && !abandoned) await new Promise<void>((resolve) => (settle = resolve))
        if (applied === undefined) throw new StoreError('failed', 'the log has lost what it was given')
      } else follower.forget(number)
      this.#answer(outgoing, session, draft, {
        ...appended,
        meaningless: new Set(),
        began: false,
        ...applied,
      })
      this.#keepImage(follower, appended.tailBytes)
      return to > from
    } catch (error) {
      follower.forget(number)
      for (const { intent } of taken) intent.reject(unavailable(error))
      return false
    }
  }

  /** Nothing of the batch is in the log. */
  async #refused(
    outgoing: Outgoing,
    follower: LogFollower,
    { taken }: Draft,
    refusal: Exclude<Appended, { kind: 'appended' }>,
  ): Promise<void> {
    const again: Intent[] = []
    for (const [index, { intent, place }] of taken.entries()) {
      const end = taken[index + 1]?.place ?? Number.POSITIVE_INFINITY
      if (refusal.kind === 'left' && refusal.place >= place && refusal.place < end) {
        intent.reject(this.#hasLeft(intent, refusal.place - place))
      } else if (refusal.kind === 'ended' && intent.kind === 'publish') {
        const known = refusal.known.filter((one) => one.place >= place && one.place < end)
        const { events } = intent
        if (events.length > 0 && known.length === events.length) {
          this.#duplicates += known.length
          intent.resolve(
            resultOf(
              known.map(({ offset }) => offset),
              known.length,
            ),
          )
        } else intent.reject(hasEnded(outgoing.session))
      } else {
        intent.confirmed = true
        again.push(intent)
      }
    }
    outgoing.intents = [...again, ...outgoing.intents]
    await follower.catchUp()
  }

  #hasLeft(intent: Intent, index: number): ProtocolError {
    const id = intent.kind === 'publish' ? (intent.events[index]?.id ?? '') : ''
    return new ProtocolError(
      'conflict',
      `events[${index}].id: ${quote(id)} was published before, and more than ${this.#parts.limits.publishIdsMax} ids ago; ` +
        'nothing of these events is published now',
    )
  }

  #answer(
    outgoing: Outgoing,
    { epoch }: Session,
    { taken }: Draft,
    {
      from,
      known,
      meaningless,
      began,
    }: Extract<Appended, { kind: 'appended' }> & {
      readonly meaningless: ReadonlySet<number>
      readonly began: boolean
    },
  ): void {
    const before = new Map(known.map(({ place, offset }) => [place, offset]))
    const again: Intent[] = []
    for (const { intent, place } of taken) {
      switch (intent.kind) {
        case 'publish': {
          const offsets = intent.events.map(
            (_, index) => before.get(place + index) ?? ((from + place + index + 1) as Offset),
          )
          const duplicates = intent.events.filter((_, index) => before.has(place + index)).length
          this.#published += offsets.length - duplicates
          this.#duplicates += duplicates
          intent.resolve(resultOf(offsets, duplicates))
          break
        }
        case 'change':
          if (meaningless.has(place)) again.push(intent)
          else intent.resolve({ epoch, offset: (from + place + 1) as Offset, changed: true })
          break
        case 'configure':
          intent.resolve(began && place === 0)
          break
        case 'end':
          this.#published++
          intent.resolve()
          break
      }
    }
    // Compared with what the slice has become meanwhile.
    outgoing.intents = [...again, ...outgoing.intents]
  }

  /** Where much follows the newest checkpoint, who opens the session would have much to do. */
  #keepImage(follower: LogFollower, tailBytes: number): void {
    const { session, live, imageBytes } = follower
    if (!live || tailBytes < Math.max(this.#parts.limits.logTailBytes, imageBytes)) return
    const bytes = imageOf(session)
    follower.imageBytes = bytes.length
    // One that is not kept is made again after the next batch.
    this.#parts.log
      .checkpoint(session.id, { epoch: session.epoch, offset: session.offset, bytes })
      .catch(() => undefined)
  }
}

function add(draft: Draft, intent: Intent, entries: readonly LogEntry[], bytes: number): void {
  draft.taken.push({ intent, place: draft.width })
  for (const entry of entries) {
    draft.entries.push({ place: draft.width, entry })
    draft.width += widthOf(entry)
  }
  draft.bytes += bytes
}

function resultOf(offsets: readonly Offset[], duplicates: number): PublishResult {
  const last = offsets.reduce((newest, offset) => (offset > newest ? offset : newest), 0 as Offset)
  return { first: offsets[0] ?? (0 as Offset), last, accepted: offsets.length - duplicates, duplicates }
}
