// Longer than 350 lines: the path of a submission from its queue through a batch to its answer.

import type { Catalog } from '../../catalog/catalog.js'
import type { Clock } from '../../lib/clock.js'
import type { JsonObject } from '../../lib/json.js'
import { type LogEntry, packEntries, type StreamChange } from '../../log/entries.js'
import type { Appended, SharedLog } from '../../log/shared-log.js'
import type { Masking } from '../../mask/masking.js'
import { ProtocolError, quote } from '../../protocol/codes.js'
import type { Offset } from '../../protocol/cursor.js'
import type { Mode, NewEvent } from '../../protocol/frames.js'
import type { Limits } from '../../protocol/limits.js'
import type { TopicName } from '../../protocol/topic.js'
import { firstReceipt } from '../../session/commands.js'
import type { StreamOutcome } from '../../session/durable-stream.js'
import type { EventCheck } from '../../session/event-check.js'
import type { StateOptions, StateResult } from '../../session/precondition.js'
import type { Session } from '../../session/session.js'
import type { EndOptions } from '../../session/session-setting.js'
import type { Tracing } from '../../session/tracing.js'
import { StoreError } from '../../store/store.js'
import type { Publisher, PublishResult } from '../publishing.js'
import { checkedConfiguration, checkedEnding, checkedMessages, stateTopicOf } from '../request-checks.js'
import { checkedSecrets, type GivenSecret } from '../secrets.js'
import { hasEnded, type Sessions } from '../sessions.js'
import { type Waiting, waiting } from '../waiting.js'
import { DraftTexts } from './draft-texts.js'
import type { Applied } from './log-batch.js'
import { imageOf, laneOf } from './log-batch.js'
import {
  type AnswerOf,
  type Composed,
  Draft,
  Drafting,
  type EventPlace,
  type Given,
  type Intent,
  type MakeChange,
} from './log-drafts.js'
import type { LogFollower } from './log-follower.js'
import { type LogSessions, unavailable } from './log-sessions.js'
import type { LogTexts } from './log-texts.js'

/** The size that a waiting intent without events counts for. Bytes. */
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
  /** Absent if masking is off. */
  readonly masking: Masking | undefined
  /** The texts that sessions hold back; absent if masking is off. */
  readonly texts: LogTexts | undefined
  readonly tracing: Tracing | undefined
}

const nothingApplied: Applied = { meaningless: new Set(), outcomes: new Map() }

/** The waiting submissions of one session. */
interface Outgoing {
  readonly session: string
  intents: Intent[]
  isRunning: boolean
  /** Settles when nothing is left to submit. */
  readonly done: Waiting
}

/**
 * Submits events and changes to sessions of a log: puts them into batches, one in progress per session,
 * and answers when a batch is in the log and applied here.
 */
export class Submitting {
  readonly #parts: SubmittingParts
  readonly #drafting: Drafting
  readonly #outgoing = new Map<string, Outgoing>()
  #numbers = 0
  /** About the bytes of the events that wait for the log. */
  #waitingBytes = 0
  #published = 0
  #duplicates = 0

  constructor(parts: SubmittingParts) {
    this.#parts = parts
    this.#drafting = new Drafting(parts)
    parts.sessions.keepWhile((session) => this.#outgoing.has(session))
  }

  /** Events that were published, and events whose id had been published before. */
  get counts(): { readonly published: number; readonly duplicates: number } {
    return { published: this.#published, duplicates: this.#duplicates }
  }

  /** Publishes all of the events, or none. @throws ProtocolError as `Hub.submit` does, and so in what follows */
  async publish(session: string, publisher: Publisher, given: readonly NewEvent[]): Promise<PublishResult> {
    const { check, tracing } = this.#parts
    const submit = (onApplied?: () => void): Promise<PublishResult> => {
      const { events, sizes, steers } = check.events(given)
      return this.#submit(session, { kind: 'publish', publisher, events, sizes, steers, onApplied })
    }
    if (tracing === undefined) return submit()
    const topic =
      typeof publisher === 'string' ? `sessions/${session}/workers/${publisher}` : `sessions/${session}`
    return tracing.submit(topic, given, submit)
  }

  async change(
    topic: string | TopicName,
    slice: string,
    given: StateOptions,
    make: MakeChange,
  ): Promise<StateResult> {
    const { limits, check } = this.#parts
    const name = stateTopicOf(topic, slice, given, limits)
    const { unless } = given
    const cause = given.cause === undefined ? undefined : check.cause(given.cause)
    const worker = name.kind === 'worker' ? name.worker : undefined
    const options = { ...(cause && { cause }), ...(unless && { unless }) }
    return this.#submit(name.session, { kind: 'change', worker, slice, options, make })
  }

  /** @returns whether the session is new */
  async configure(
    session: string,
    changed: { readonly mode?: Mode; readonly metadata?: JsonObject },
  ): Promise<boolean> {
    const { mode, metadata } = checkedConfiguration(changed, this.#parts.check)
    return this.#submit(session, { kind: 'configure', mode, metadata })
  }

  async lease(session: string, worker: string | undefined, ms: number): Promise<void> {
    return this.#submit(session, { kind: 'lease', worker, ms })
  }

  /**
   * Submits the hub's own entries for a session, when the session is as far as the log was.
   *
   * @returns the number of entries with an effect
   */
  async own(session: string, entriesOf: (session: Session) => readonly LogEntry[]): Promise<number> {
    return this.#submit(session, { kind: 'own', entriesOf })
  }

  /**
   * Publishes what is held back of texts of a session.
   *
   * @param options `isAll`: not only what has waited long enough; `change` is applied to the data of each event
   * @returns the number of events
   */
  async release(session: string, options: Omit<Given<'release'>, 'kind'>): Promise<number> {
    return this.#submit(session, { kind: 'release', ...options })
  }

  /** Changes a durable stream. */
  async stream(session: string, change: StreamChange, given: readonly NewEvent[]): Promise<StreamOutcome> {
    const messages = checkedMessages(this.#parts.check, given)
    const sizes = messages.map(({ bytes }) => bytes)
    return this.#submit(session, { kind: 'stream', change, messages, sizes })
  }

  /** @returns when all earlier submissions are complete */
  async settled(): Promise<void> {
    while (this.#outgoing.size > 0) {
      await Promise.all([...this.#outgoing.values()].map(({ done }) => done.promise))
    }
  }

  async registerSecrets(session: string, given: readonly GivenSecret[]): Promise<void> {
    const secrets = checkedSecrets(given, this.#parts.masking)
    const nothing = { mode: undefined, metadata: undefined }
    await this.#submit(session, { kind: 'configure', ...nothing, secrets })
  }

  async end(session: string, ending: EndOptions): Promise<void> {
    return this.#submit(session, { kind: 'end', ending: checkedEnding(ending, this.#parts.check) })
  }

  #submit<Kind extends Intent['kind']>(
    session: string,
    given: Given<Kind> & { readonly kind: Kind },
  ): Promise<AnswerOf<Kind>> {
    const { uncommittedBytesMax } = this.#parts.limits
    if (this.#waitingBytes > uncommittedBytesMax) {
      throw new ProtocolError(
        'unavailable',
        `the log does not keep up: ${uncommittedBytesMax} bytes wait for it; wait for acknowledgements`,
      )
    }
    const sizes = 'sizes' in given ? (given.sizes as readonly number[]) : [intentBytes]
    const bytes = sizes.reduce((sum, size) => sum + size, 0)
    this.#waitingBytes += bytes
    const submitted = new Promise<AnswerOf<Kind>>((resolve, reject) => {
      let outgoing = this.#outgoing.get(session)
      if (outgoing === undefined) {
        outgoing = { session, intents: [], isRunning: false, done: waiting() }
        this.#outgoing.set(session, outgoing)
      }
      outgoing.intents.push({ ...given, resolve, reject, confirmed: false } as unknown as Intent)
      if (outgoing.isRunning) return
      outgoing.isRunning = true
      const running = outgoing
      // At the end of the turn, so that the submissions of one turn share a batch.
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
        const refusal = error instanceof StoreError ? unavailable(error) : error
        for (const { reject } of outgoing.intents.splice(0)) reject(refusal)
      }
    }
    outgoing.isRunning = false
    this.#outgoing.delete(outgoing.session)
    outgoing.done.resolve()
    const session = this.#parts.sessions.held(outgoing.session)
    if (session !== undefined) this.#parts.sessions.mayForget(session.topic)
  }

  async #round(outgoing: Outgoing, follower: LogFollower): Promise<void> {
    const { session } = follower
    const { held } = follower
    const { texts } = this.#parts
    const draft = new Draft(
      session,
      texts &&
        new DraftTexts(held.base, texts.of(session, held), (streams) => texts.packed(session, streams)),
    )
    const left = outgoing.intents
    outgoing.intents = []
    let composed: Composed | undefined
    while (left.length > 0 && !draft.ends) {
      const intent = left[0] as Intent
      composed = this.#composed(session, intent, draft)
      if (composed === 'later' || composed === 'doubtful') break
      left.shift()
    }
    outgoing.intents = [...left, ...outgoing.intents]
    if (draft.taken.length > 0) {
      if (!(await this.#append(outgoing, follower, draft))) return
    } else if (composed === 'doubtful') await follower.catchUp()
    else return
    // Submissions from before the request to the log come after its answer.
    for (const intent of left) intent.confirmed = true
  }

  #composed(session: Session, intent: Intent, draft: Draft): Composed {
    try {
      return this.#drafting.compose(session, intent, draft)
    } catch (error) {
      // It may have changed since; only the log knows.
      if (error instanceof ProtocolError && !intent.confirmed) return 'doubtful'
      intent.reject(error)
      return 'answered'
    }
  }

  /** @returns whether the session is as far as the log was when this was called */
  async #append(outgoing: Outgoing, follower: LogFollower, draft: Draft): Promise<boolean> {
    const { log, hub, clock, catalog } = this.#parts
    const { session } = follower
    const { entries, ids, taken, width, ends } = draft
    const { given: marks } = draft.masks
    const held = draft.texts?.change(marks.length > 0)
    if (entries.length === 0) {
      // Receipts that were told before, which the log need not hear again.
      const from = session.offset
      const unchanged = { kind: 'appended', from, to: from, known: [], tailBytes: 0 } as const
      this.#answer(outgoing, session, draft, { ...unchanged, ...nothingApplied, began: false })
      return false
    }
    const [first] = entries
    if (first !== undefined && marks.length > 0) entries[0] = { ...first, entry: { ...first.entry, marks } }
    const number = ++this.#numbers
    const batch = {
      hub,
      number,
      epoch: session.epoch,
      at: clock.now(),
      ...packEntries(entries, (entry) => laneOf(entry, catalog)),
    }
    let applied: (Applied & { readonly began: boolean }) | undefined
    let abandoned = false
    let settle = (): void => undefined
    follower.expect(number, {
      entries,
      applied(result, began) {
        applied = { ...result, began }
        session.takeMasks(draft.masks.masks)
        for (const { intent } of taken) if (intent.kind === 'publish') intent.onApplied?.()
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
        ...(held && { held }),
      })
      if (appended.kind !== 'appended') {
        follower.forget(number)
        await this.#refused(outgoing, follower, draft, appended)
        return true
      }
      const { from, to, known } = appended
      if (to > from) {
        const bytes = held?.bytes
        const places = known.map(({ place }) => place)
        follower.answered({ ...batch, from, to, known: places, ...(bytes && { held: bytes }) })
        if (applied === undefined && !abandoned) await new Promise<void>((resolve) => (settle = resolve))
        if (applied === undefined) throw new StoreError('failed', 'the log has lost what it was given')
      } else follower.forget(number)
      this.#answer(outgoing, session, draft, {
        ...appended,
        ...nothingApplied,
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
    for (const { intent, place, end, events } of taken) {
      if (refusal.kind === 'left' && refusal.place >= place && refusal.place < end) {
        const index = events.findIndex((one) => 'place' in one && one.place === refusal.place)
        intent.reject(this.#hasLeft(intent, index))
      } else if (refusal.kind === 'ended' && intent.kind === 'publish') {
        const before = new Map(refusal.known.map((one) => [one.place, one.offset]))
        const offsets = events.flatMap((one) => ('known' in one ? one.known : (before.get(one.place) ?? [])))
        if (events.length > 0 && offsets.length === events.length) {
          this.#duplicates += offsets.length
          intent.resolve(resultOf(offsets, offsets.length))
        } else intent.reject(hasEnded(outgoing.session))
      } else {
        if (refusal.kind === 'held' && intent.kind === 'publish') {
          const before = new Map(refusal.known.map((one) => [one.place, one.offset]))
          intent.known = new Map(
            events.flatMap((one, index) => {
              const offset = 'known' in one ? one.known : before.get(one.place)
              return offset === undefined ? [] : [[index, offset] as const]
            }),
          )
        }
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
    session: Session,
    { taken, released, masks }: Draft,
    {
      from,
      known,
      meaningless,
      outcomes,
      began,
    }: Extract<Appended, { kind: 'appended' }> & Applied & { readonly began: boolean },
  ): void {
    const before = new Map(known.map(({ place, offset }) => [place, offset]))
    const again: Intent[] = []
    this.#published += released
    const isIn = (place: number) => !before.has(place) && !meaningless.has(place)
    for (const kind of masks.counted(isIn)) this.#parts.masking?.count(kind)
    for (const { intent, place, end, events } of taken) {
      switch (intent.kind) {
        case 'publish': {
          const isKnown = (one: EventPlace) =>
            'known' in one || before.has(one.place) || meaningless.has(one.place)
          const offsets = events.map((one, index) => {
            if ('known' in one) return one.known
            // Another receipt for its command counts.
            const receipt = meaningless.has(one.place)
              ? this.#firstReceipt(session, intent, index)
              : undefined
            return before.get(one.place) ?? receipt ?? ((from + one.place + 1) as Offset)
          })
          const duplicates = events.filter(isKnown).length
          this.#published += offsets.length - duplicates
          this.#duplicates += duplicates
          intent.resolve(resultOf(offsets, duplicates))
          break
        }
        case 'change': {
          const { epoch } = session
          if (meaningless.has(place)) again.push(intent)
          else intent.resolve({ epoch, offset: (from + place + 1) as Offset, changed: true })
          break
        }
        case 'own': {
          let meant = 0
          for (let at = place; at < end; at++) if (!meaningless.has(at)) meant++
          intent.resolve(meant)
          break
        }
        case 'release':
          intent.resolve(end - place)
          break
        case 'lease':
          intent.resolve()
          break
        case 'stream': {
          const outcome = outcomes.get(place)
          if (outcome === undefined)
            intent.reject(unavailable(new StoreError('failed', 'the log has lost a request')))
          else intent.resolve(outcome)
          if (outcome?.kind === 'appended' || outcome?.kind === 'created') {
            this.#published += intent.messages.length
          }
          break
        }
        case 'configure':
          intent.resolve(began && place === 0)
          break
        case 'end':
          this.#published++
          intent.resolve()
          break
      }
    }
    // Compared with the current value of the slice.
    outgoing.intents = [...again, ...outgoing.intents]
  }

  #firstReceipt(
    session: Session,
    intent: Extract<Intent, { kind: 'publish' }>,
    index: number,
  ): Offset | undefined {
    const { events, publisher } = intent
    const id = typeof publisher === 'object' ? publisher[index] : publisher
    const worker = id === undefined ? undefined : session.workers.get(id)
    const event = events[index]
    return event && firstReceipt(event, (worker ?? session).progress, this.#parts.catalog)
  }

  /** Makes a checkpoint if much follows the newest one, because opening the session would take long. */
  #keepImage(follower: LogFollower, tailBytes: number): void {
    const { session, live, imageBytes } = follower
    if (!live || tailBytes < Math.max(this.#parts.limits.logTailBytes, imageBytes)) return
    const bytes = imageOf(session, this.#parts.catalog)
    follower.imageBytes = bytes.length
    // A checkpoint that was not stored is made again after the next batch.
    this.#parts.log
      .checkpoint(session.id, { epoch: session.epoch, offset: session.offset, bytes })
      .catch(() => undefined)
  }
}

function resultOf(offsets: readonly Offset[], duplicates: number): PublishResult {
  const last = offsets.reduce((newest, offset) => (offset > newest ? offset : newest), 0 as Offset)
  return { first: offsets[0] ?? (0 as Offset), last, accepted: offsets.length - duplicates, duplicates }
}
