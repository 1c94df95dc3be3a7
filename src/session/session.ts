import type { PublisherStatus, Traits } from '../catalog/traits.js'
import { Entry } from '../history/entry.js'
import { History, type HistoryLimits, type HistoryTotals } from '../history/history.js'
import type { JsonObject, JsonValue } from '../lib/json.js'
import { type Epoch, type Offset, start } from '../protocol/cursor.js'
import type { Cause, HubEvent, Mode, NewEvent } from '../protocol/frames.js'
import { formatTopic } from '../protocol/topic.js'
import { type Change, isReserved, type Moment, type TopicState } from '../state/topic-state.js'
import type { StoredSession } from '../store/store.js'
import { carries } from './filter.js'
import { type StateSetting, Topic } from './topic.js'
import { Uncommitted } from './uncommitted.js'

/** `waiting`: somebody follows it, but nothing was published yet. */
export type SessionStatus = 'waiting' | 'running' | 'paused' | 'ended'

/** One parallel agent inside a session. */
export interface Worker {
  readonly id: string
  readonly topic: Topic
  /** Absent while it is only followed. */
  startedAt?: number
  endedAt?: number
  status: PublisherStatus
  /** Events it has published. */
  events: number
}

/** A change of a slice that is still to be made. */
export interface Intent {
  readonly topic: Topic
  readonly slice: string
  /** Milliseconds since 1970. */
  readonly now: number
  readonly cause?: Cause | undefined
  /** Makes the change. Throws when it cannot, and has changed nothing then. */
  readonly make: (state: TopicState, moment: Moment) => Change
}

/** What a session needs of its hub. */
export interface SessionSetting {
  readonly limits: HistoryLimits & { readonly publishIdsMax: number }
  readonly state: StateSetting
  /** Of the histories of all sessions. */
  readonly totals: HistoryTotals
  /** There is a store, for which `uncommitted` is to be filled. */
  readonly isKept: boolean
  /** The session's mode has kept an event from everybody. */
  withheld(): void
  /** Something has changed that the list of sessions shows of this one. */
  listChanged(session: string): void
}

/** What the hub knows of an event that is being published. */
export interface Facts {
  readonly traits: Traits
  /** About the bytes of its JSON text. */
  readonly bytes: number
  /** Milliseconds since 1970. */
  readonly now: number
}

/** What owns the offsets of the topic `hub`; no session can have this id. */
export const hubSession = '$hub'

/** One agent run or conversation; the unit of ordering: it owns the offsets. */
export class Session {
  readonly id: string
  readonly epoch: Epoch
  readonly topic: Topic
  /** `sessions/{s}/**`; absent for the hub's own topic. */
  readonly all: Topic | undefined
  readonly workers = new Map<string, Worker>()
  /** The offset of the newest event. */
  offset: Offset = start
  status: SessionStatus = 'waiting'
  startedAt: number | undefined = undefined
  endedAt: number | undefined = undefined
  outcome: JsonValue | undefined = undefined
  /** What is above it is neither kept nor delivered. */
  mode: Mode = 'full'
  metadata: JsonObject = {}
  /** The `complete` of a session that has ended. */
  completion: Entry | undefined = undefined
  /** What the store does not have yet; stays empty in a hub without one. */
  uncommitted = new Uncommitted()
  /** The newest offset that the store knows of. */
  kept: Offset = start
  /** Events up to here are in the store alone, if they are anywhere. */
  floor: Offset = start
  /** Events up to here are not even in the store. */
  trimmed: Offset = start
  /** When it was last published to. Milliseconds since 1970. */
  activeAt = 0
  /** Feeds of all its topics. */
  feeds = 0
  /** Workers that are followed and have not begun. */
  waiting = 0
  /** Topics with something to flush. */
  dirty: Topic[] = []
  /** Events since the last flush that somebody may want. */
  pending = 0
  /** The hub's own slices do not say yet what has happened since. */
  stale = true
  readonly #ids = new Map<string, Offset>()
  readonly #setting: SessionSetting

  /** Where memory began anew with what the store had; 0 otherwise. */
  restoredAt: Offset = start

  constructor(id: string, epoch: Epoch, setting: SessionSetting) {
    this.id = id
    this.epoch = epoch
    this.#setting = setting
    const isHub = id === hubSession
    this.topic = new Topic(formatTopic(isHub ? { kind: 'hub' } : { kind: 'session', session: id }), this, {
      history: this.#history(),
      setting: setting.state,
    })
    this.all = isHub
      ? undefined
      : new Topic(formatTopic({ kind: 'all', session: id }), this, { setting: setting.state })
  }

  get isKept(): boolean {
    return this.#setting.isKept
  }

  get followed(): boolean {
    return this.feeds > 0
  }

  /** Whether anybody follows the slices that the hub keeps. */
  get watched(): boolean {
    return this.topic.watchers > 0 || (this.all !== undefined && this.all.watchers > 0)
  }

  /** Whether a flush has something to bring. */
  get unflushed(): boolean {
    return this.dirty.length > 0 || (this.stale && this.watched)
  }

  /** The session's own topic and its workers'. */
  topics(): Topic[] {
    return [this.topic, ...[...this.workers.values()].map(({ topic }) => topic)]
  }

  histories(): readonly History[] {
    const histories = [this.topic.history as History]
    for (const { topic } of this.workers.values()) histories.push(topic.history as History)
    return histories
  }

  /** The session leaves memory. */
  release(): void {
    for (const topic of this.topics()) topic.release()
  }

  /** A worker that is only a placeholder goes when nobody follows it. */
  mayForget(id: string): void {
    const worker = this.workers.get(id)
    if (worker === undefined || worker.startedAt !== undefined || worker.topic.followed) return
    worker.topic.release()
    this.workers.delete(id)
    this.waiting--
  }

  /** @returns the worker, made as a placeholder if it is new. */
  worker(id: string): Worker {
    let worker = this.workers.get(id)
    if (worker === undefined) {
      const topic = new Topic(formatTopic({ kind: 'worker', session: this.id, worker: id }), this, {
        history: this.#history(),
        worker: id,
        setting: this.#setting.state,
      })
      worker = { id, topic, status: 'running', events: 0 }
      this.workers.set(id, worker)
      this.waiting++
      if (this.completion !== undefined) topic.history?.append(this.completion)
    }
    return worker
  }

  /** @returns where an event with the producer's id was published, within the window. */
  offsetOf(id: string): Offset | undefined {
    return this.#ids.get(id)
  }

  /** Gives the event its offset, keeps it, and marks the topics that it appears in. */
  append(event: NewEvent, worker: Worker | undefined, { traits, bytes, now }: Facts): Offset {
    this.offset = (this.offset + 1) as Offset
    this.activeAt = now
    if (event.id !== undefined) this.#remember(event.id)
    if (worker !== undefined) {
      this.start(worker, now)
      worker.events++
      if (this.isKept) this.uncommitted.workers.add(worker)
      this.stale = true
    }
    if (traits.status !== undefined) this.#turn(worker, traits.status, now)
    if (event.force !== true && !carries(this.mode, traits.level)) {
      this.#setting.withheld()
      return this.offset
    }
    const passage = event.force === true ? { force: true } : undefined
    const entry = new Entry(this.#hubEvent(event, worker, traits, now), traits, bytes, passage)
    if (this.isKept) this.uncommitted.add(entry)
    if (worker === undefined) this.#place(entry, this.topic)
    else {
      this.#place(entry, worker.topic)
      if (traits.rollup) this.#place(entry, this.topic)
    }
    if (this.all?.followed === true) this.#pend(entry, this.all)
    return this.offset
  }

  /** Makes a change of state; if it is one, it takes the next offset. State has a place of its own beside history. */
  change({ topic, slice, now, cause, make }: Intent): Change {
    const moment = { offset: (this.offset + 1) as Offset, time: now, cause }
    const change = make(topic.state, moment)
    if (change.kind === 'unchanged') return change
    this.offset = moment.offset
    this.activeAt = now
    if (this.isKept && !isReserved(slice)) this.uncommitted.change(change.entry, topic.state.get(slice))
    if (topic.exposes(slice)) {
      if (topic.followed) this.#pend(change.entry, topic)
      if (this.all?.followed === true) this.#pend(change.entry, this.all)
    }
    return change
  }

  /** The worker begins, if it has not. */
  start(worker: Worker, now: number): void {
    if (worker.startedAt !== undefined) return
    worker.startedAt = now
    this.waiting--
    this.stale = true
    if (this.isKept) this.uncommitted.workers.add(worker)
    this.#setting.listChanged(this.id)
  }

  /** From now on it has ended, and so have its workers; the event that says so follows. */
  conclude(now: number): void {
    this.status = 'ended'
    this.endedAt = now
    for (const worker of this.workers.values()) {
      if (worker.startedAt === undefined) continue
      worker.status = 'ended'
      worker.endedAt ??= now
      if (this.isKept) this.uncommitted.workers.add(worker)
    }
    this.stale = true
    this.#setting.listChanged(this.id)
  }

  /** Ends with an event that stands in every topic of the session and passes every filter and mode. */
  end(event: NewEvent, { traits, bytes, now }: Facts): void {
    this.offset = (this.offset + 1) as Offset
    const entry = new Entry(this.#hubEvent(event, undefined, traits, now), traits, bytes, {
      everywhere: true,
    })
    this.completion = entry
    if (this.isKept) {
      this.uncommitted.add(entry)
      this.uncommitted.record = true
    }
    this.#place(entry, this.topic)
    for (const { topic } of this.workers.values()) this.#place(entry, topic)
    if (this.all?.followed === true) this.#pend(entry, this.all)
  }

  /**
   * Continues as the store has it.
   *
   * @param entries the newest events; those before `floor` are read from the store when they are asked for
   */
  restore(stored: StoredSession, entries: readonly Entry[], pinned: readonly Entry[]): void {
    const { record, last, workers, ids, trimmed } = stored
    this.status = record.status
    this.startedAt = record.startedAt
    this.endedAt = record.endedAt
    this.outcome = record.outcome
    this.mode = record.mode ?? 'full'
    this.metadata = (record.metadata ?? {}) as JsonObject
    this.offset = last
    this.kept = last
    this.restoredAt = last
    this.trimmed = trimmed
    const first = entries[0]
    if (first === undefined) this.floor = stored.stored
    else this.floor = entries.length < stored.events ? ((first.place - 1) as Offset) : trimmed
    for (const { worker: id, startedAt, events, status = 'running', endedAt } of workers) {
      const worker = this.worker(id)
      worker.startedAt = startedAt
      this.waiting--
      worker.events = events
      worker.status = status
      if (endedAt !== undefined) worker.endedAt = endedAt
    }
    for (const { worker: id, slice, value, offset } of stored.slices) {
      const topic = id === undefined ? this.topic : this.worker(id).topic
      topic.state.restore(slice, value, { offset, time: record.startedAt })
    }
    for (const { id, offset } of ids) this.#ids.set(id, offset)
    for (const entry of pinned) {
      if (first === undefined || entry.place < first.place)
        this.#eachHistory(entry, (history) => history.restore(entry))
    }
    for (const entry of entries) {
      if (entry.everywhere) this.completion = entry
      this.#eachHistory(entry, (history) => history.append(entry))
    }
  }

  #eachHistory(entry: Entry, visit: (history: History) => void): void {
    const { worker: id } = entry.event
    if (entry.everywhere) return this.histories().forEach(visit)
    const own = this.topic.history as History
    if (id === undefined) return visit(own)
    visit(this.worker(id).topic.history as History)
    if (entry.traits.rollup) visit(own)
  }

  /** What an event says of who published it. A session ends only when it is ended. */
  #turn(worker: Worker | undefined, status: PublisherStatus, now: number): void {
    if (worker !== undefined) {
      worker.status = status
      if (status === 'ended') worker.endedAt = now
      else delete worker.endedAt
    } else if (status !== 'ended' && status !== this.status) {
      this.status = status
      this.stale = true
      this.#setting.listChanged(this.id)
    }
  }

  #place(entry: Entry, topic: Topic): void {
    topic.history?.append(entry)
    if (topic.followed) this.#pend(entry, topic)
  }

  #pend(entry: Entry, topic: Topic): void {
    if (topic.pending.length === 0) this.dirty.push(topic)
    topic.pending.push(entry)
    this.pending++
  }

  #hubEvent(event: NewEvent, worker: Worker | undefined, traits: Traits, now: number): HubEvent {
    const key = event.key ?? keyIn(event.data, traits)
    // One shape for nearly all events, so that what reads them stays fast.
    const made: { -readonly [name in keyof HubEvent]: HubEvent[name] } = {
      offset: this.offset,
      type: event.type,
      time: event.time ?? now,
      data: event.data ?? null,
    }
    if (worker !== undefined) made.worker = worker.id
    if (event.id !== undefined) made.id = event.id
    if (key !== undefined) made.key = key
    if (event.trace !== undefined) {
      made.trace = event.trace
      if (event.tracestate !== undefined) made.tracestate = event.tracestate
    }
    return made
  }

  #remember(id: string): void {
    this.#ids.set(id, this.offset)
    if (this.isKept) this.uncommitted.ids.push({ id, offset: this.offset })
    if (this.#ids.size <= this.#setting.limits.publishIdsMax) return
    for (const oldest of this.#ids.keys()) {
      this.#ids.delete(oldest)
      return
    }
  }

  #history(): History {
    return new History(this.#setting.limits, this.#setting.totals)
  }
}

/** The trait `key` says which field of `data` is the key when the event names none. */
function keyIn(data: JsonValue | undefined, { key }: Traits): string | undefined {
  if (key === undefined || typeof data !== 'object' || data === null || Array.isArray(data)) return undefined
  const value = (data as JsonObject)[key]
  return typeof value === 'string' || typeof value === 'number' ? String(value) : undefined
}
