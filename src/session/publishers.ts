import type { PublisherStatus } from '../catalog/traits.js'
import { elapsedAt } from '../lib/clock.js'
import type { JsonObject } from '../lib/json.js'
import { type Epoch, type Offset, start } from '../protocol/cursor.js'
import type { NewEvent } from '../protocol/frames.js'
import type { SessionRecord } from '../store/store.js'
import type { Facts } from './hub-event.js'
import type { Journal } from './journal.js'
import { type NoticeFacts, noticesOfTurn, notify } from './notice.js'
import type { Progress } from './progress.js'
import { SessionLeases } from './session-leases.js'
import type { SessionSetting, SessionStatus } from './session-setting.js'
import type { Stalled } from './stall.js'
import { stallLeftMs, stuckIn } from './stall-times.js'
import type { Worker } from './worker.js'

/** The part of a session that this needs. */
interface PublishingSession {
  readonly id: string
  readonly epoch: Epoch
  /** The offset of its newest event. */
  readonly offset: Offset
  readonly status: SessionStatus
  readonly startedAt: number | undefined
  readonly metadata: JsonObject
  readonly progress: Progress
  readonly workers: ReadonlyMap<string, Worker>
  readonly journal: Journal | undefined
  /** An event has set the session's own status. */
  turned(status: PublisherStatus): void
  /** Facts in the slices, the list and the store have changed. */
  factsChanged(): void
  /** The time of the last sign of life in the slices and the list has changed. Milliseconds since 1970. */
  lastAtChanged(now: number): void
}

type PublishersSetting = Pick<SessionSetting, 'limits' | 'notices' | 'past' | 'stallDue' | 'steady'>

/**
 * The publishers of one session: its workers and, where the worker is undefined, the session itself. Their progress by their
 * events, their signs of life, leases and stalls, and the notices of all that.
 */
export class Publishers {
  readonly #session: PublishingSession
  readonly #setting: PublishersSetting
  /** Absent until something has to do with leases. */
  #leases: SessionLeases | undefined = undefined
  #activeAt = 0
  #activeOffset: Offset = start

  constructor(session: PublishingSession, setting: PublishersSetting) {
    this.#session = session
    this.#setting = setting
  }

  /** Updates the progress of an event's publisher. The event has the session's newest offset. */
  note(event: NewEvent, worker: Worker | undefined, facts: Facts): void {
    const session = this.#session
    const { now } = facts
    const { offset } = session
    const progress = worker?.progress ?? session.progress
    const revived = progress.revive()
    if (revived && worker !== undefined) worker.turn('running', now)
    const isTool = facts.traits.tool !== undefined
    const found = progress.note(
      event,
      offset,
      facts,
      isTool ? elapsedAt(this.#setting.steady, now) : undefined,
    )
    if (found !== undefined && found !== 'noted') {
      if (worker === undefined) session.turned(found.status)
      else worker.turn(found.status, now)
    }
    const hasMoved = progress.heard(now, offset)
    this.#leases?.spoke(undefined, now)
    if (worker !== undefined && this.#leases !== undefined) {
      this.#leases.heard(worker.id)
      this.#leases.spoke(worker.id, now)
    }
    // Workers' events are signs of life of the session too.
    if ((worker !== undefined && session.progress.heard(now, offset)) || hasMoved) session.lastAtChanged(now)
    if (found !== undefined || revived) session.factsChanged()
    if (found !== undefined && this.#setting.notices.size > 0) {
      const published = { type: event.type, offset, time: now }
      for (const notice of noticesOfTurn(progress, found, published)) this.notify(worker, notice)
    }
    if (found !== undefined || isTool) this.mayStall(worker, now)
  }

  /** Reports what has happened to a publisher to all who want its notices. */
  notify(worker: Worker | undefined, facts: NoticeFacts): void {
    notify(this.#setting.notices, { session: this.#session, worker: worker?.id }, facts)
  }

  // Signs of life

  /** A sign of life of any publisher is one of the session. */
  heard(now: number): void {
    this.#activeAt = now
    this.#activeOffset = this.#session.offset
    this.#leases?.heard(undefined)
  }

  /** A renewed lease is a sign of life. @param offset of this one or, when the session is restored, of the last one */
  heardAgain(worker: Worker | undefined, offset: Offset): void {
    if (worker === undefined) this.#activeOffset = offset
    else worker.progress.heardAgain(offset)
  }

  /** The offset of the last sign of life of a publisher. Any change to the session is one of the session. */
  heardOffset(worker: Worker | undefined): Offset {
    return worker === undefined ? this.#activeOffset : worker.progress.heardOffset
  }

  /** The time of the last sign of life of any publisher; 0 before the first since the session is in memory. */
  get activeAt(): number {
    return this.#activeAt
  }

  // Leases

  /** @param ms how long after the last sign of life the publisher is lost; 0: never */
  lease(worker: Worker | undefined, ms: number): void {
    const { leases } = this
    if (leases.set(worker?.id, ms)) this.#session.journal?.recordChanged()
    leases.heard(worker?.id)
  }

  get leases(): SessionLeases {
    const { steady, past } = this.#setting
    this.#leases ??= new SessionLeases(steady, past !== undefined)
    return this.#leases
  }

  /** @returns how long the lease still lasts; 0 if it has expired. Milliseconds */
  leaseLeft(worker: Worker | undefined): number {
    return this.leases.left(worker?.id, worker === undefined ? this.#activeAt : worker.progress.heardAt)
  }

  /** The lease of a publisher has expired; the next event of the same publisher revives it. */
  lose(worker: Worker | undefined, reason: string, { offset, now }: { offset: Offset; now: number }): void {
    const ending = { result: 'lost', reason } as const
    this.lease(worker, 0)
    if (worker === undefined) {
      this.#session.progress.end(ending, offset)
    } else {
      worker.turn('ended', now)
      worker.progress.end(ending, offset)
      this.#session.journal?.workerChanged(worker)
    }
    this.#session.factsChanged()
    const type = worker === undefined ? 'session.lost' : 'worker.lost'
    this.notify(worker, { kind: 'lost', type, offset, time: now, ...ending })
  }

  /** The session has ended: nobody is lost any more. */
  dropLeases(): void {
    this.#leases = undefined
  }

  // Stalls

  /** Schedules the check for a stall. */
  mayStall(worker: Worker | undefined, now: number): void {
    const leftMs = this.stallLeftMs(worker)
    if (leftMs !== undefined) this.#setting.stallDue(this.#session.id, worker?.id, now + leftMs)
  }

  /** As `stallLeftMs` of `stall-times.ts`, of a publisher of this session. */
  stallLeftMs(worker: Worker | undefined): number | undefined {
    return stallLeftMs(this.#session, worker, this.#stallFacts())
  }

  /** @returns what a publisher is stuck in */
  stuckIn(worker: Worker | undefined): ReturnType<typeof stuckIn> {
    return stuckIn(this.#session, worker, this.#stallFacts())
  }

  #stallFacts(): Parameters<typeof stuckIn>[2] {
    return { leases: this.leases, limits: this.#setting.limits, clock: this.#setting.steady }
  }

  /** A publisher has stalled. */
  stall(worker: Worker | undefined, stalled: Stalled): void {
    ;(worker ?? this.#session).progress.stall(stalled)
    if (worker !== undefined) this.#session.journal?.workerChanged(worker)
    this.#session.factsChanged()
  }

  record(): Pick<SessionRecord, 'leases'> | undefined {
    return this.#leases?.record()
  }

  restore(record: Pick<SessionRecord, 'leases'>): void {
    if (record.leases !== undefined) this.leases.restore(record)
  }
}
