import type { Traits } from '../catalog/traits.js'
import { Entry } from '../history/entry.js'
import { History, type HistoryLimits } from '../history/history.js'
import type { JsonObject, JsonValue } from '../lib/json.js'
import { type Epoch, type Offset, start } from '../protocol/cursor.js'
import type { HubEvent, Mode, NewEvent } from '../protocol/frames.js'
import { formatTopic } from '../protocol/topic.js'
import type { StoredSession } from '../store/store.js'
import { carries } from './filter.js'
import { Unkept } from './keeping.js'
import { Topic } from './topic.js'

/** `waiting`: somebody follows it, but nothing was published yet. */
export type SessionStatus = 'waiting' | 'running' | 'paused' | 'ended'

/** One parallel agent inside a session. */
export interface Worker {
  readonly id: string
  readonly topic: Topic
  /** Absent while it is only followed. */
  startedAt?: number
  /** Events it has published. */
  events: number
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
  unkept = new Unkept()
  /** The newest offset that the store knows of. */
  kept: Offset = start
  /** Events up to here are in the store alone, if they are anywhere. */
  floor: Offset = start
  /** Events up to here are not even in the store. */
  trimmed: Offset = start
  /** Topics with something to flush. */
  dirty: Topic[] = []
  /** Events since the last flush that somebody may want. */
  pending = 0
  readonly #ids = new Map<string, Offset>()
  readonly #limits: HistoryLimits & { readonly publishIdsMax: number }
  /** There is a store. */
  readonly isKept: boolean

  /** @param isKept whether there is a store, for which `unkept` is to be filled */
  constructor(
    id: string,
    epoch: Epoch,
    limits: HistoryLimits & { readonly publishIdsMax: number },
    isKept = false,
  ) {
    this.isKept = isKept
    this.id = id
    this.epoch = epoch
    this.#limits = limits
    const isHub = id === hubSession
    this.topic = new Topic(
      formatTopic(isHub ? { kind: 'hub' } : { kind: 'session', session: id }),
      this,
      this.#history(),
    )
    this.all = isHub ? undefined : new Topic(formatTopic({ kind: 'all', session: id }), this, undefined)
  }

  get followed(): boolean {
    if (this.topic.followed || this.all?.followed === true) return true
    for (const { topic } of this.workers.values()) if (topic.followed) return true
    return false
  }

  histories(): readonly History[] {
    const histories = [this.topic.history as History]
    for (const { topic } of this.workers.values()) histories.push(topic.history as History)
    return histories
  }

  /** @returns the worker, made as a placeholder if it is new. */
  worker(id: string): Worker {
    let worker = this.workers.get(id)
    if (worker === undefined) {
      const topic = new Topic(
        formatTopic({ kind: 'worker', session: this.id, worker: id }),
        this,
        this.#history(),
        id,
      )
      worker = { id, topic, events: 0 }
      this.workers.set(id, worker)
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
    if (event.id !== undefined) this.#remember(event.id)
    if (worker !== undefined) {
      worker.startedAt ??= now
      worker.events++
      if (this.isKept) this.unkept.workers.add(worker)
    }
    if (event.force !== true && !carries(this.mode, traits.level)) return this.offset
    const passage = event.force === true ? { force: true } : undefined
    const entry = new Entry(this.#hubEvent(event, worker, traits, now), traits, bytes, passage)
    if (this.isKept) this.unkept.add(entry)
    if (worker === undefined) this.#place(entry, this.topic)
    else {
      this.#place(entry, worker.topic)
      if (traits.rollup) this.#place(entry, this.topic)
    }
    if (this.all?.followed === true) this.#pend(entry, this.all)
    return this.offset
  }

  /** Ends with an event that stands in every topic of the session and passes every filter and mode. */
  end(event: NewEvent, { traits, bytes, now }: Facts): void {
    this.offset = (this.offset + 1) as Offset
    const entry = new Entry(this.#hubEvent(event, undefined, traits, now), traits, bytes, {
      everywhere: true,
    })
    this.status = 'ended'
    this.endedAt = now
    this.completion = entry
    if (this.isKept) {
      this.unkept.add(entry)
      this.unkept.record = true
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
    this.trimmed = trimmed
    const first = entries[0]
    if (first === undefined) this.floor = stored.stored
    else this.floor = entries.length < stored.events ? ((first.place - 1) as Offset) : trimmed
    for (const { worker: id, startedAt, events } of workers) {
      const worker = this.worker(id)
      worker.startedAt = startedAt
      worker.events = events
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
    return made
  }

  #remember(id: string): void {
    this.#ids.set(id, this.offset)
    if (this.isKept) this.unkept.ids.push({ id, offset: this.offset })
    if (this.#ids.size <= this.#limits.publishIdsMax) return
    for (const oldest of this.#ids.keys()) {
      this.#ids.delete(oldest)
      return
    }
  }

  #history(): History {
    return new History(this.#limits)
  }
}

/** The trait `key` says which field of `data` is the key when the event names none. */
function keyIn(data: JsonValue | undefined, { key }: Traits): string | undefined {
  if (key === undefined || typeof data !== 'object' || data === null || Array.isArray(data)) return undefined
  const value = (data as JsonObject)[key]
  return typeof value === 'string' || typeof value === 'number' ? String(value) : undefined
}
