// Longer than 350 lines: everything that a producer may do to a session, each checked, masked and answered in the same way.

import type { Catalog } from '../catalog/catalog.js'
import type { Clock } from '../lib/clock.js'
import { type JsonObject, jsonBytes } from '../lib/json.js'
import type { StreamChange } from '../log/entries.js'
import type { Masking } from '../mask/masking.js'
import { ProtocolError, quote } from '../protocol/codes.js'
import type { Offset } from '../protocol/cursor.js'
import type { Mode, NewEvent } from '../protocol/frames.js'
import type { Limits } from '../protocol/limits.js'
import type { TopicName } from '../protocol/topic.js'
import { type Commands, firstReceipt, receiptIn } from '../session/commands.js'
import { changeStream, type StreamOutcome } from '../session/durable-stream.js'
import type { EventCheck } from '../session/event-check.js'
import { checkUnless, type StateOptions, type StateResult } from '../session/precondition.js'
import { type Session, workerBytes } from '../session/session.js'
import type { EndOptions, Intent } from '../session/session-setting.js'
import type { Worker } from '../session/worker.js'
import type { Change } from '../state/topic-state.js'
import { expectRoomForFacts, factsBytesMax } from './lasting-facts.js'
import { growthOf, maskedCause, maskedConfiguration, maskedEnding, maskedMessage, maskOf } from './masked.js'
import type { OwnEvents, OwnEventsParts } from './own-events.js'
import { checkedConfiguration, checkedEnding, checkedMessages, stateTopicOf } from './request-checks.js'
import { checkedSecrets, type GivenSecret, learnSecrets } from './secrets.js'
import { hasEnded, type Sessions } from './sessions.js'
import type { HeldTexts } from './texts/held-texts.js'
import { startedWorker } from './topics.js'

export type PublishResult = {
  /** The first and the last offset of the events, including duplicates. */
  readonly first: Offset
  readonly last: Offset
  /** Events that were published now. */
  readonly accepted: number
  /** Events whose id had been published before. */
  readonly duplicates: number
}

/**
 * Commands do not begin a session or worker, and a receipt needs its command.
 *
 * @throws ProtocolError `notFound` if the target does not exist, `conflict` if too many commands are open
 */
export function expectCommandable(
  session: Session,
  publisher: Publisher,
  events: readonly NewEvent[],
  { catalog, limits }: { readonly catalog: Catalog; readonly limits: Limits },
): void {
  const sent = new Map<Commands, number>()
  for (const [index, { type, data }] of events.entries()) {
    const { command } = catalog.traitsOf(type)
    if (command === undefined) continue
    const id = typeof publisher === 'object' ? publisher[index] : publisher
    const { commands } = (id === undefined ? session : startedWorker(session, id)).progress
    if (command === 'request') {
      const count = (sent.get(commands) ?? 0) + 1
      sent.set(commands, count)
      const { commandsMax } = limits
      if (commands.size + count <= commandsMax) continue
      throw new ProtocolError('conflict', `${commandsMax} commands are under way to this topic already`)
    }
    const { offset } = receiptIn(data)
    if (commands.isOpen(offset) || commands.doneAt(offset) !== undefined) continue
    throw new ProtocolError('conflict', `${type}: no command is under way at offset ${offset}`, {
      pointer: `/${index}/data/offset`,
    })
  }
}

/** A worker, or nothing for the session itself; or one of these for each event. */
export type Publisher = string | undefined | readonly (string | undefined)[]

export interface PublishingParts extends OwnEventsParts {
  readonly limits: Limits
  readonly own: OwnEvents
  /** Both absent if masking is off. */
  readonly masking: Masking | undefined
  readonly texts: HeldTexts | undefined
}

/** Takes events and changes of state from producers, and passes them to the history, delivery and the store. */
export class Publishing {
  readonly #catalog: Catalog
  readonly #clock: Clock
  readonly #limits: Limits
  readonly #check: EventCheck
  readonly #sessions: Sessions
  readonly #onDirty: PublishingParts['onDirty']
  readonly #own: OwnEvents
  readonly #masking: Masking | undefined
  readonly #texts: HeldTexts | undefined
  #published = 0
  #duplicates = 0

  constructor({ catalog, clock, limits, check, sessions, onDirty, own, masking, texts }: PublishingParts) {
    this.#own = own
    this.#masking = masking
    this.#texts = texts
    this.#catalog = catalog
    this.#clock = clock
    this.#limits = limits
    this.#check = check
    this.#sessions = sessions
    this.#onDirty = onDirty
  }

  /** Events that were published, and events whose id had been published before. */
  get counts(): { readonly published: number; readonly duplicates: number } {
    const others = this.#own.published + (this.#texts?.published ?? 0)
    return { published: this.#published + others, duplicates: this.#duplicates }
  }

  /** The number of expired leases. */
  get lost(): OwnEvents['lost'] {
    return this.#own.lost
  }

  /**
   * Publishes all of the events, or none.
   *
   * @param publisher the worker that publishes all of the events; or for each event its own, as in `events`
   * @param isPlain whether `isPlainJson` has found no secret in the JSON text of the events
   * @throws ProtocolError as `Hub.publish` does
   */
  publish(
    sessionId: string,
    publisher: Publisher,
    given: readonly NewEvent[],
    isPlain = false,
  ): PublishResult {
    this.#sessions.expectOwnOffsets()
    const { events, sizes, steers } = this.#check.events(given)
    let held = this.#sessions.known(sessionId)
    if (held?.status === 'ended') {
      const answer = this.#publishedBefore(held, publisher, events)
      if (answer !== undefined) return answer
    }
    // Nearly always there is room; then the session that was found stays the one that is published to.
    const count = typeof publisher === 'object' ? publisher.length : 1
    if (this.#sessions.capacity.isRoomyFor(Math.max(count * workerBytes, events.length * factsBytesMax)))
      this.#sessions.committing?.admit(held?.journal)
    else {
      this.#expectRoom(sessionId, publisher, events)
      held = undefined
    }
    if (steers) {
      const parts = { catalog: this.#catalog, limits: this.#limits }
      expectCommandable(this.#sessions.started(sessionId), publisher, events, parts)
    }
    const session =
      held?.status === 'running' || held?.status === 'paused' ? held : this.#sessions.running(sessionId)
    if (session.ids.hasFormer) this.#expectNoneLeft(session, publisher, events)
    const workers = typeof publisher === 'object' ? this.#workers(session, publisher) : undefined
    const one = typeof publisher === 'string' ? this.#sessions.worker(session, publisher) : undefined
    const now = this.#clock.now()
    let first = 0 as Offset
    let last = 0 as Offset
    let duplicates = 0
    for (let i = 0; i < events.length; i++) {
      // Before the next one, so that a long list is delivered in parts.
      if (i > 0 && session.followed) this.#onDirty(session)
      const event = events[i] as NewEvent
      const worker = workers === undefined ? one : workers[i]
      let offset = event.id === undefined ? undefined : session.ids.offsetOf(event.id, worker?.id)
      // The first receipt for a command counts, from any sender.
      if (offset === undefined && steers)
        offset = firstReceipt(event, (worker ?? session).progress, this.#catalog)
      if (offset === undefined) {
        const traits = this.#catalog.traitsOf(event.type)
        if (event.attempt !== undefined) this.#own.supersede(session, worker, event.attempt, now)
        const masked = this.#texts?.masked(event, { session, worker, traits, isPlain }) ?? event
        const bytes = (sizes[i] as number) + growthOf(event, masked)
        offset = session.append(masked, worker, { traits, bytes, now })
      } else duplicates++
      if (i === 0) first = offset
      if (offset > last) last = offset
    }
    if (session.followed) this.#onDirty(session)
    session.shrinkIds()
    const accepted = events.length - duplicates
    if (accepted === 0 && one !== undefined) session.mayForget(one.id)
    else if (accepted === 0 && workers !== undefined) this.#sessions.mayForget(session.topic)
    this.#published += accepted
    this.#duplicates += duplicates
    return { first, last, accepted, duplicates }
  }

  /**
   * Makes room before publishing, where there is little. Before the session begins, because a refused request must begin nothing.
   *
   * @throws ProtocolError `unavailable` if nothing more can leave memory, or the store does not keep up
   */
  #expectRoom(sessionId: string, publisher: Publisher, events: readonly NewEvent[]): void {
    const { capacity, committing } = this.#sessions
    capacity.expectRoom()
    committing?.admit(this.#sessions.held(sessionId)?.journal)
    capacity.expectRoomForWorkers(sessionId, typeof publisher === 'object' ? publisher : [publisher])
    expectRoomForFacts(this.#sessions, sessionId, events, this.#catalog)
  }

  /**
   * @returns the answer for events that an ended session already has, for a producer that lost the first answer.
   *   Nothing if it is about to refuse them.
   */
  #publishedBefore(
    session: Session,
    publisher: Publisher,
    events: readonly NewEvent[],
  ): PublishResult | undefined {
    if (events.length === 0) return undefined
    const offsets: Offset[] = []
    for (const [index, { id }] of events.entries()) {
      const worker = typeof publisher === 'object' ? publisher[index] : publisher
      const offset = id === undefined ? undefined : session.ids.offsetOf(id, worker)
      if (offset === undefined) return undefined
      offsets.push(offset)
    }
    const last = offsets.reduce((newest, offset) => (offset > newest ? offset : newest))
    this.#duplicates += events.length
    return { first: offsets[0] as Offset, last, accepted: 0, duplicates: events.length }
  }

  /** @throws ProtocolError `conflict` if an event was published too long ago for its offset to be known */
  #expectNoneLeft(session: Session, publisher: Publisher, events: readonly NewEvent[]): void {
    for (const [index, { id }] of events.entries()) {
      const worker = typeof publisher === 'object' ? publisher[index] : publisher
      if (id === undefined || !session.ids.hasLeft(id, worker)) continue
      throw new ProtocolError(
        'conflict',
        `events[${index}].id: ${quote(id)} was published before, and more than ${this.#limits.publishIdsMax} ids ago; ` +
          'nothing of these events is published now',
      )
    }
  }

  /** @returns the worker of each id, all of them or, with an error, none. */
  #workers(session: Session, ids: readonly (string | undefined)[]): readonly (Worker | undefined)[] {
    try {
      return ids.map((id) => (id === undefined ? undefined : this.#sessions.worker(session, id)))
    } catch (error) {
      this.#sessions.mayForget(session.topic)
      throw error
    }
  }

  /** Makes one change of a slice. @throws ProtocolError as `Hub.setState` does */
  change(
    topicName: string | TopicName,
    slice: string,
    options: StateOptions,
    make: Intent['make'],
  ): StateResult {
    this.#sessions.expectOwnOffsets()
    const { cause: given, unless } = options
    const name = stateTopicOf(topicName, slice, options, this.#limits)
    const cause = given === undefined ? undefined : this.#check.cause(given)
    this.#sessions.capacity.expectRoom()
    const session = this.#sessions.session(name.session)
    const worker = name.kind === 'worker' ? this.#sessions.worker(session, name.worker) : undefined
    const topic = worker?.topic ?? session.topic
    let change: Change | undefined
    try {
      if (session.status === 'ended') throw hasEnded(name.session)
      this.#sessions.committing?.admit(session.journal)
      this.#sessions.expectRoomFor(session)
      if (worker !== undefined) this.#sessions.capacity.expectRoomForWorkers(name.session, [worker.id])
      if (unless !== undefined) checkUnless(topic, slice, unless)
      const mask = maskOf(this.#masking, session)
      const now = this.#clock.now()
      change = session.change({ topic, slice, now, cause: cause && maskedCause(cause, mask), mask, make })
    } finally {
      // A refused change, or one without effect, does not begin a session or worker.
      if (change?.kind !== 'changed') this.#sessions.mayForget(topic)
    }
    if (change.kind === 'unchanged') return { epoch: session.epoch, offset: change.offset, changed: false }
    const { entry } = change
    this.#sessions.running(name.session)
    if (worker !== undefined) session.startWorker(worker, entry.event.time)
    if (session.followed) this.#onDirty(session)
    return { epoch: session.epoch, offset: entry.offset, changed: true }
  }

  /**
   * Begins, renews or gives up the lease of a session or a worker, which begins with it.
   *
   * @param ms milliseconds; 0 gives it up
   * @throws ProtocolError `conflict` when the session has ended
   */
  lease(sessionId: string, workerId: string | undefined, ms: number): void {
    this.#sessions.expectOwnOffsets()
    this.#sessions.committing?.admit(this.#sessions.held(sessionId)?.journal)
    this.#sessions.capacity.expectRoomForWorkers(sessionId, [workerId])
    const session = this.#sessions.running(sessionId)
    const now = this.#clock.now()
    const worker = workerId === undefined ? undefined : this.#sessions.worker(session, workerId)
    if (worker !== undefined) session.startWorker(worker, now)
    session.publishers.lease(worker, ms)
    session.publishers.mayStall(worker, now)
    if (session.followed) this.#onDirty(session)
  }

  /**
   * Creates a session, or changes the mode or metadata of one.
   *
   * @returns whether it is new
   */
  create(id: string, changed: { readonly mode?: Mode; readonly metadata?: JsonObject }): boolean {
    this.#sessions.expectOwnOffsets()
    const isNew = (this.#sessions.known(id)?.status ?? 'waiting') === 'waiting'
    const checked = checkedConfiguration(changed, this.#check)
    const { metadata } = checked
    const held = this.#sessions.held(id)
    this.#sessions.committing?.admit(held?.journal)
    if (metadata !== undefined) {
      this.#sessions.capacity.expectStateRoom(held?.room.bytes ?? 0, jsonBytes(metadata))
    }
    const session = this.#sessions.running(id)
    session.configure(maskedConfiguration(checked, maskOf(this.#masking, session)))
    return isNew
  }

  /** Registers secret values for a session, which begins with it. @throws ProtocolError as `Hub.registerSecrets` does */
  registerSecrets(sessionId: string, given: readonly GivenSecret[]): void {
    this.#sessions.expectOwnOffsets()
    const values = checkedSecrets(given, this.#masking)
    this.#sessions.committing?.admit(this.#sessions.held(sessionId)?.journal)
    learnSecrets(values, this.#sessions.running(sessionId))
  }

  /** Changes a durable stream. Its session begins and ends with it. @throws ProtocolError as `publish` */
  stream(sessionId: string, change: StreamChange, given: readonly NewEvent[]): StreamOutcome {
    this.#sessions.expectOwnOffsets()
    const messages = checkedMessages(this.#check, given)
    const known = this.#sessions.known(sessionId)
    if (known === undefined && change.kind !== 'create') {
      return { kind: 'refused', stream: undefined, why: 'missing' }
    }
    this.#sessions.capacity.expectRoom()
    this.#sessions.committing?.admit(known?.journal)
    const session = this.#sessions.session(sessionId)
    try {
      const outcome = changeStream(
        session,
        change,
        messages.map((message) => maskedMessage(message, this.#masking, session)),
        {
          catalog: this.#catalog,
          now: this.#clock.now(),
          start: () => this.#sessions.running(sessionId),
        },
      )
      if (outcome.kind === 'created' || outcome.kind === 'appended') this.#published += messages.length
      if (outcome.kind !== 'refused' && outcome.closedNow) this.end(sessionId, {})
      else if (session.followed) this.#onDirty(session)
      return outcome
    } finally {
      this.#sessions.mayForget(session.topic)
    }
  }

  /** @throws ProtocolError `notFound`, or `conflict` if it has already ended */
  end(id: string, given: EndOptions): void {
    this.#sessions.expectOwnOffsets()
    const ending = checkedEnding(given, this.#check)
    const session = this.#sessions.started(id)
    if (session.status === 'ended')
      throw new ProtocolError('conflict', `session ${quote(id)} has already ended`)
    this.#sessions.committing?.admit(session.journal)
    const { outcome, reason } = maskedEnding(ending, maskOf(this.#masking, session))
    const data = outcome === undefined ? {} : { outcome }
    const { bytes } = this.#check.value(data, 'outcome')
    const traits = this.#catalog.traitsOf('complete')
    const now = this.#clock.now()
    this.#texts?.endAll(session)
    this.#own.endCommands(session, now)
    session.end({ type: 'complete', data }, { traits, bytes, now }, { ...ending, outcome, reason })
    this.#published++
    if (session.followed) this.#onDirty(session)
    if (session.journal === undefined) this.#sessions.capacity.ended(session)
  }
}
