// Longer than 350 lines: everything in a session depends on its offset, which no other class may write. Independent parts have
// files of their own: workers, publishers (leases, stalls, notices), commands, lone surrogates, ids of events, histories, the journal.

import type { PublisherStatus, Traits } from '../catalog/traits.js'
import { Entry } from '../history/entry.js'
import { History } from '../history/history.js'
import { type JsonObject, type JsonValue, jsonBytes } from '../lib/json.js'
import { Weight } from '../lib/weight.js'
import type { HubWatchers } from '../log/entries.js'
import type { MaskedSession } from '../mask/masking.js'
import { type GivenMark, Masks } from '../mask/masks.js'
import type { KeptValue } from '../mask/values.js'
import { type Epoch, type Offset, start } from '../protocol/cursor.js'
import type { Attempt, HubEvent, Mode, NewEvent, StateUpdate } from '../protocol/frames.js'
import type { StateRoom } from '../state/room.js'
import { type Change, isReserved } from '../state/topic-state.js'
import type { ForkOrigin, SessionRecord, StoredSession, StreamRecord } from '../store/store.js'
import { begin, isOver, supersede } from './attempts.js'
import type { Following } from './audience.js'
import { expiryOf, weightOf } from './durable-stream.js'
import { carries, type Filter } from './filter.js'
import { type Facts, hubEvent, keyOf } from './hub-event.js'
import { Journal } from './journal.js'
import { type Half, LoneSurrogates } from './lone-surrogates.js'
import { Progress } from './progress.js'
import { type KnownIds, noIds, PublishIds } from './publish-ids.js'
import { Publishers } from './publishers.js'
import { slicesOf } from './reserved-slices.js'
import { restoreHistories } from './restored-histories.js'
import { type Ending, reasonText } from './result.js'
import type { EndOptions, Intent, SessionSetting, SessionStatus } from './session-setting.js'
import { Steering } from './steering.js'
import type { SharedPast, Timeline } from './timeline.js'
import { AllTopic, OwnTopic, type Topic } from './topic.js'
import { type TopicWatchers, Watching } from './watching.js'
import { Worker } from './worker.js'
import { Workers } from './workers.js'

const noMetadata: JsonObject = {}

/** About the memory of a worker without its history and state. */
export const workerBytes = 2_048

/** One agent run or conversation; the unit of ordering: it owns the offsets. */
export class Session implements Timeline, MaskedSession {
  readonly id: string
  readonly epoch: Epoch
  readonly topic: OwnTopic
  /** `sessions/{s}/**`. */
  readonly all: AllTopic
  readonly journal: Journal | undefined
  readonly room: StateRoom
  /** The weight of the histories of its topics. */
  readonly #history = new Weight()
  /** First halves of characters that were split over two texts. Absent until the first such text. */
  #halves: LoneSurrogates | undefined = undefined
  /** Absent as long as no secret was masked. */
  #masks: Masks | undefined = undefined
  /** Absent until the first command. */
  #steering: Steering | undefined = undefined
  readonly #setting: SessionSetting
  readonly #workers = new Workers()
  /** Absent until the first event with an id. */
  #ids: PublishIds | undefined = undefined
  #past: SharedPast | undefined
  #offset: Offset = start
  #status: SessionStatus = 'waiting'
  #startedAt: number | undefined = undefined
  #endedAt: number | undefined = undefined
  #outcome: JsonValue | undefined = undefined
  #mode: Mode = 'full'
  #metadata: JsonObject = noMetadata
  /** Its workers and itself, as those who publish to it. */
  readonly publishers: Publishers
  /** Its progress by its own events. */
  readonly progress: Progress
  #completion: Entry | undefined = undefined
  #stream: StreamRecord | undefined = undefined
  #forkedFrom: ForkOrigin | undefined = undefined
  /** The offset of the newest removal of a slice, so that a fork knows whether it has all that were there before. */
  #slicesRemovedAt: Offset = start
  /** Absent where nobody asks. */
  #watching: Watching | undefined = undefined
  #following: Following | undefined = undefined
  /** The reserved slices are out of date. */
  #stale = true

  constructor(id: string, epoch: Epoch, setting: SessionSetting) {
    this.id = id
    this.epoch = epoch
    this.#setting = setting
    this.room = setting.state.room()
    this.progress = new Progress(this.room)
    this.#past = setting.past
    this.publishers = new Publishers(this, setting)
    this.journal = setting.journal && new Journal(this, setting.journal)
    this.topic = this.#ownTopic()
    this.all = new AllTopic(this, setting.state)
  }

  get offset(): Offset {
    return this.#offset
  }

  get past(): SharedPast | undefined {
    return this.#past
  }

  setPast(past: SharedPast): void {
    this.#past = past
  }

  get status(): SessionStatus {
    return this.#status
  }

  /** Milliseconds since 1970. */
  get startedAt(): number | undefined {
    return this.#startedAt
  }

  get endedAt(): number | undefined {
    return this.#endedAt
  }

  get outcome(): JsonValue | undefined {
    return this.#outcome
  }

  /** Events above it are neither kept nor delivered. */
  get mode(): Mode {
    return this.#mode
  }

  get metadata(): JsonObject {
    return this.#metadata
  }

  /** Its state as a durable stream; undefined if it is none. */
  get stream(): StreamRecord | undefined {
    return this.#stream
  }

  setStream(stream: StreamRecord): void {
    this.room.add(weightOf(stream) - (this.#stream === undefined ? 0 : weightOf(this.#stream)))
    this.#stream = stream
    this.#streamDue(stream)
    this.journal?.recordChanged()
  }

  #streamDue(stream: StreamRecord): void {
    const at = expiryOf(stream)
    if (at !== undefined) this.#setting.streamDue(this.id, at)
  }

  get masks(): Masks | undefined {
    return this.#masks
  }

  /** Values are secret from now on. @param values hashed with the epoch as their key */
  knowSecrets(values: readonly KeptValue[]): void {
    this.#masks ??= new Masks()
    this.#masks.know(values, this.epoch)
    this.journal?.recordChanged()
  }

  startMasks(masks: Masks): void {
    this.#masks = masks
  }

  /** Secrets have got marks with a batch of the log. */
  takeMarks(marks: readonly GivenMark[]): void {
    if (this.#status === 'ended') return
    this.#masks ??= new Masks()
    this.#masks.take(marks)
  }

  /** A batch of this hub is applied. @param masks that have continued the session's */
  takeMasks(masks: Masks): void {
    this.#masks?.takeAll(masks)
  }

  masksChanged(): void {
    this.journal?.recordChanged()
  }

  get completion(): Entry | undefined {
    return this.#completion
  }

  /** Absent unless it is a fork. */
  get forkedFrom(): ForkOrigin | undefined {
    return this.#forkedFrom
  }

  /** The offset of the newest removal of one of its slices; 0 if none was removed. */
  get slicesRemovedAt(): Offset {
    return this.#slicesRemovedAt
  }

  /** The time of the last publish. Milliseconds since 1970. */
  get activeAt(): number {
    return this.publishers.activeAt
  }

  get workers(): ReadonlyMap<string, Worker> {
    return this.#workers.byId
  }

  /** Workers that are followed and have not begun. */
  get waitingWorkers(): number {
    return this.#workers.waiting
  }

  get following(): Following | undefined {
    return this.#following
  }

  setFollowing(following: Following | undefined): void {
    this.#following = following
  }

  get followed(): boolean {
    return this.#following !== undefined
  }

  /** Whether the reserved slices are followed. */
  get watched(): boolean {
    return this.topic.watched || this.all.watched
  }

  get needsRefresh(): boolean {
    return this.#stale && this.watched
  }

  /** The session's own topic and its workers'. */
  topics(): OwnTopic[] {
    return this.#workers.topics(this.topic)
  }

  /** About the bytes of the JSON text of all its histories. */
  get historyBytes(): number {
    return this.#history.bytes
  }

  /** Events that no history of the session holds any more. */
  get evicted(): number {
    return this.topics().reduce((sum, { worker, history }) => {
      return sum + (worker === undefined ? history.evictedOwn : history.evicted)
    }, 0)
  }

  histories(): readonly History[] {
    return this.topics().map(({ history }) => history)
  }

  /** The session leaves memory. */
  release(): void {
    for (const topic of this.topics()) topic.release()
    this.room.add(-this.room.bytes)
  }

  /** Removes a worker that has not begun and is not followed. */
  mayForget(id: string): void {
    this.#workers.mayForget(id)
  }

  /** @returns the worker, created as a placeholder if it is new */
  worker(id: string): Worker {
    const known = this.#workers.byId.get(id)
    if (known !== undefined) return known
    const worker = new Worker(id, this.#ownTopic(id), this.room)
    this.#workers.add(worker)
    if (this.#completion !== undefined) worker.topic.history.append(this.#completion)
    return worker
  }

  /** Removes surplus ids from the window. Not called within a list, which may repeat the ids that would leave. */
  shrinkIds(): void {
    if (this.#ids?.shrink()) this.journal?.formerIdsChanged()
  }

  /** The producers' ids of its events. */
  get ids(): KnownIds {
    return this.#ids ?? noIds
  }

  formerIds(): readonly number[] {
    return this.#ids?.former ?? []
  }

  get #madeIds(): PublishIds {
    this.#ids ??= new PublishIds(this.#setting.limits.publishIdsMax, this.room)
    return this.#ids
  }

  /** The session begins. */
  start(now: number): void {
    this.#status = 'running'
    this.#startedAt = now
    this.#setting.listChanged(this.id)
    this.journal?.recordChanged()
  }

  configure({ mode, metadata }: { readonly mode?: Mode; readonly metadata?: JsonObject }): void {
    if (metadata !== undefined) {
      this.room.add(jsonBytes(metadata) - jsonBytes(this.#metadata))
      this.#metadata = metadata
    }
    if (mode !== undefined) this.#mode = mode
    this.journal?.recordChanged()
  }

  /** Gives the event its offset, keeps it, and passes it to the followers of its topics. */
  append(event: NewEvent, worker: Worker | undefined, facts: Facts): Offset {
    const { traits, bytes, now, isHub } = facts
    this.#offset = (this.#offset + 1) as Offset
    // A command comes from a watcher, so it is no sign of life of the producer.
    const isForeign = isHub === true || traits.command === 'request'
    if (!isForeign) this.publishers.heard(now)
    if (event.id !== undefined) {
      const published = { id: event.id, worker: worker?.id ?? '', offset: this.#offset }
      this.#madeIds.add(published)
      this.journal?.addId(published)
    }
    if (worker !== undefined) {
      this.startWorker(worker, now)
      if (traits.command !== 'request') worker.countEvent()
      this.journal?.workerChanged(worker)
      this.#stale = true
    }
    const isLate = event.attempt !== undefined && isOver(event.attempt, (worker ?? this).progress)
    // Neither is an event of the hub.
    if (!isForeign && !isLate) this.publishers.note(event, worker, facts)
    const isWithheld = event.force !== true && !carries(this.#mode, traits.level)
    if (isLate || ((facts.withheld ?? isWithheld) && traits.command === undefined)) {
      this.#setting.withheld()
      this.journal?.offsetTaken()
      return this.#offset
    }
    const passage = event.force === true ? { force: true } : undefined
    const isWhole = facts.isWhole === true || traits.merge === undefined
    const whole = isWhole ? event : this.#whole(event, worker, traits)
    const entry = new Entry(hubEvent(whole, this.#offset, worker?.id, facts), traits, bytes, passage)
    this.journal?.add(entry)
    if (worker === undefined) appendTo(this.topic, entry)
    else {
      appendTo(worker.topic, entry)
      if (traits.rollup) appendTo(this.topic, entry)
    }
    this.all.audience?.pend(entry)
    if (traits.command !== undefined) this.#steer(entry, worker, now)
    return entry.offset
  }

  /** Lone surrogates that wait for the next text. */
  get halves(): readonly Half[] {
    return this.#halves?.entries() ?? []
  }

  /** A batch of a log says which surrogates wait after it. */
  keepHalves(halves: readonly Half[]): void {
    this.#madeHalves.restore(halves)
  }

  get #madeHalves(): LoneSurrogates {
    this.#halves ??= new LoneSurrogates()
    return this.#halves
  }

  /** Holds back a lone surrogate at the end of the text for the next event. It is stored in the same commit. */
  #whole(event: NewEvent, worker: Worker | undefined, traits: Traits): NewEvent {
    const { data = null, type } = event
    const { step, number } = event.attempt ?? {}
    const attempt = step === undefined ? [] : [step, String(number)]
    const joined = this.#madeHalves.join(data, traits, [worker?.id, type, keyOf(event, traits), ...attempt])
    if (joined === data) return event
    this.journal?.recordChanged()
    return { ...event, data: joined }
  }

  /** For a shared log, which assigns the offsets: the next one is above this. */
  goTo(offset: Offset): void {
    this.#offset = offset
  }

  /**
   * Makes a change that was drafted for a log.
   *
   * @returns whether it was made; false if the slice is no longer at the update's base
   */
  followChange(topic: OwnTopic, update: StateUpdate, now: number): boolean {
    const moment = { offset: (this.#offset + 1) as Offset, time: now, cause: update.cause }
    const entry = topic.state.follow(update, moment)
    if (entry === undefined) return false
    this.#offset = moment.offset
    if ('removed' in update) this.#slicesRemovedAt = moment.offset
    this.publishers.heard(now)
    if (topic.exposes(update.slice)) {
      topic.audience?.pend(entry)
      this.all.audience?.pend(entry)
    }
    return true
  }

  /** Makes a change of state; if the value differs, it takes the next offset. State is kept separately from history. */
  change({ topic, slice, now, cause, mask, make }: Intent): Change {
    const moment = { offset: (this.#offset + 1) as Offset, time: now, cause, mask }
    const change = make(topic.state, moment)
    if (change.kind === 'unchanged') return change
    this.#offset = moment.offset
    if (isReserved(slice)) this.journal?.offsetTaken()
    else {
      this.publishers.heard(now)
      const value = topic.state.get(slice)
      this.journal?.addChange(change.entry, value)
      if (value === undefined) {
        this.#slicesRemovedAt = moment.offset
        this.journal?.recordChanged()
      }
    }
    if (topic.exposes(slice)) {
      topic.audience?.pend(change.entry)
      this.all.audience?.pend(change.entry)
    }
    return change
  }

  refresh(now: number): void {
    if (!this.#stale || this.#status === 'waiting') return
    this.#stale = false
    const last = this.#offset
    const slices = slicesOf(this)
    for (const [index, [slice, value]] of slices.entries()) {
      // The log reserves the last offsets of a batch for the reserved slices: each has its own, the same in all hubs.
      if (this.past !== undefined) this.#offset = (last - slices.length + index) as Offset
      const make: Intent['make'] = (state, moment) => state.set(slice, value, moment)
      this.change({ topic: this.topic, slice, now, make })
    }
    if (this.past !== undefined) this.#offset = last
  }

  /** Sets the watchers of a topic; undefined if `$watchers` is no longer followed. */
  setWatchers(topic: OwnTopic, watchers: JsonObject | undefined, now: number): void {
    if (watchers === undefined && topic.state.get('$watchers') === undefined) return
    const make: Intent['make'] = (state, moment) =>
      watchers === undefined ? state.remove('$watchers', moment) : state.set('$watchers', watchers, moment)
    this.change({ topic, slice: '$watchers', now, make })
  }

  /** What the hubs of a log count; absent where nobody asks. */
  get watching(): Watching | undefined {
    return this.#watching
  }

  /** A hub of the log has counted the watchers of a topic anew. @returns whether that is a change */
  countWatchers(topic: OwnTopic, watchers: HubWatchers, now: number): boolean {
    const watching = (this.#watching ??= new Watching())
    const isChanged = watching.set(topic.worker, watchers)
    if (watching.isEmpty) this.#watching = undefined
    if (!isChanged) return false
    this.setWatchers(topic, watching.value(topic.worker), now)
    this.#setting.watchersChanged?.(this.id)
    return true
  }

  restoreWatching(kept: readonly TopicWatchers[]): void {
    this.#watching = new Watching()
    this.#watching.restore(kept)
  }

  /** Counts watchers no longer. @param room the number of offsets for this */
  stopCounting(room: number, now: number): void {
    const topics = this.topics().filter(({ state }) => state.get('$watchers') !== undefined)
    for (const topic of topics.slice(0, room)) this.setWatchers(topic, undefined, now)
    this.#watching = undefined
  }

  /** The worker begins, if it has not. */
  startWorker(worker: Worker, now: number): void {
    if (worker.startedAt !== undefined) return
    this.#workers.start(worker, now)
    this.room.add(workerBytes)
    this.#stale = true
    this.journal?.workerChanged(worker)
    this.#setting.listChanged(this.id)
  }

  /**
   * Ends the session and its workers by an event that is in every topic of the session and passes every filter and mode.
   *
   * @param said without an outcome the previous one stays; without a result it is the worst of the workers' results, or the
   *   session's own
   */
  end(event: NewEvent, facts: Facts, { outcome, result, reason }: EndOptions): void {
    const { now } = facts
    if (outcome !== undefined) {
      this.#outcome = outcome
      this.room.add(jsonBytes(outcome))
    }
    const ending = result === undefined ? this.#endingByItself() : { result }
    this.progress.end({ ...ending, ...(reason !== undefined && { reason: reasonText(reason) }) })
    // Nothing can follow in an ended session.
    if (this.#stream !== undefined && this.#stream.closed === undefined) {
      this.setStream({ ...this.#stream, closed: {} })
    }
    this.#conclude(now)
    // Before the final event, so that followers still get it.
    if (this.past === undefined) this.stopCounting(Number.POSITIVE_INFINITY, now)
    if (this.watched || this.topic.stateOffset > 0) this.refresh(now)
    this.#completion = this.appendToAll(event, facts)
    this.journal?.recordChanged()
    const shown = this.progress.ending
    const kind = shown?.result === 'failed' ? 'failed' : 'ended'
    this.publishers.notify(undefined, { kind, type: event.type, offset: this.#offset, time: now, ...shown })
  }

  /** Publishes an event of the hub that is in every topic of the session and passes every filter and mode. */
  appendToAll(event: NewEvent, facts: Facts): Entry {
    this.#offset = (this.#offset + 1) as Offset
    const made = hubEvent(event, this.#offset, undefined, facts)
    const entry = new Entry(made, facts.traits, facts.bytes, { everywhere: true })
    this.journal?.add(entry)
    for (const topic of this.topics()) appendTo(topic, entry)
    this.all.audience?.pend(entry)
    return entry
  }

  /** Puts other texts in the place of those that it and its workers have outside of histories and slices. */
  replaceTexts(change: <V extends JsonValue>(value: V) => V): void {
    const metadata = change(this.#metadata)
    if (metadata !== this.#metadata) this.configure({ metadata })
    if (this.#outcome !== undefined) {
      const outcome = change(this.#outcome)
      this.room.add(jsonBytes(outcome) - jsonBytes(this.#outcome))
      this.#outcome = outcome
    }
    this.progress.replaceTexts(change)
    for (const worker of this.workers.values())
      if (worker.progress.replaceTexts(change)) this.journal?.workerChanged(worker)
    this.factsChanged()
  }

  #endingByItself(): Ending {
    return this.#workers.ending ?? this.progress.ending ?? { result: 'succeeded' }
  }

  #conclude(now: number): void {
    this.#status = 'ended'
    this.#endedAt = now
    this.publishers.dropLeases()
    this.#halves = undefined
    this.#masks = undefined
    for (const worker of this.#workers.conclude(now)) this.journal?.workerChanged(worker)
    this.#stale = true
    this.#setting.listChanged(this.id)
  }

  /** The session's own record for the store. */
  record(): SessionRecord {
    const status = this.#status
    const { halves } = this
    const masks = this.#masks?.kept()
    return {
      session: this.id,
      epoch: this.epoch,
      status: status === 'waiting' ? 'running' : status,
      mode: this.#mode,
      metadata: this.#metadata,
      startedAt: this.#startedAt ?? 0,
      ...(this.#endedAt === undefined ? undefined : { endedAt: this.#endedAt }),
      ...(this.#outcome === undefined ? undefined : { outcome: this.#outcome }),
      ...(halves.length === 0 ? undefined : { halves }),
      ...(masks && { masks }),
      ...(this.#stream && { stream: this.#stream }),
      ...(this.#forkedFrom && { forkedFrom: this.#forkedFrom }),
      ...(this.#slicesRemovedAt > start && { slicesRemovedAt: this.#slicesRemovedAt }),
      ...this.progress.record(),
      ...(this.needs > 0 && { needsTotal: this.needs }),
      ...(this.failed > 0 && { failed: this.failed }),
      ...(this.#steering?.dueAt !== undefined && { commandsDue: this.#steering.dueAt }),
      ...this.publishers.record(),
    }
  }

  /**
   * Restores the stored session.
   *
   * @param entries the newest events; earlier ones are read from the store when needed
   */
  restore(stored: StoredSession, entries: readonly Entry[], pinned: readonly Entry[]): void {
    const { record, last, workers, ids, trimmed } = stored
    this.#status = record.status
    this.#startedAt = record.startedAt
    this.#endedAt = record.endedAt
    this.#outcome = record.outcome
    this.#mode = record.mode ?? 'full'
    this.#forkedFrom = record.forkedFrom
    this.#slicesRemovedAt = record.slicesRemovedAt ?? start
    const metadata = (record.metadata ?? {}) as JsonObject
    this.room.add(jsonBytes(metadata) - jsonBytes(this.#metadata))
    this.#metadata = metadata
    if (record.outcome !== undefined) this.room.add(jsonBytes(record.outcome))
    this.progress.restore(record)
    this.publishers.restore(record)
    if (record.stream !== undefined) {
      this.#stream = record.stream
      this.#streamDue(record.stream)
      this.room.add(weightOf(record.stream))
    }
    this.#offset = last
    const first = entries[0]
    const older = first === undefined ? stored.stored : ((first.offset - 1) as Offset)
    const floor = first !== undefined && entries.length >= stored.events ? trimmed : older
    this.journal?.restored({ last, floor, trimmed })
    for (const worker of workers) {
      this.#workers.restore(this.worker(worker.worker), worker)
      this.room.add(workerBytes)
    }
    for (const { worker: id, slice, value, offset } of stored.slices) {
      const topic = id === undefined ? this.topic : this.worker(id).topic
      topic.state.restore(slice, value, { offset, time: record.startedAt })
    }
    const { formerIds = [] } = stored
    if (ids.length > 0 || formerIds.length > 0) this.#madeIds.restore(ids, formerIds)
    if (record.halves !== undefined) this.keepHalves(record.halves)
    if (record.masks !== undefined) {
      this.#masks = new Masks()
      this.#masks.restore(record.masks, this.epoch)
    }
    this.#completion = restoreHistories(this, entries, pinned)
    const isSteered = [this, ...this.workers.values()].some(({ progress }) => progress.sentCommands)
    if (isSteered) this.commands.restored(entries)
  }

  /** The commands to the session and its workers. */
  get commands(): Steering {
    const { delivered } = this.#setting
    this.#steering ??= new Steering(this, {
      ttlMs: this.#setting.limits.commandTtlMs,
      counts: this.#setting.commandCounts,
      clock: this.#setting.steady,
      delivered: delivered && ((worker, commands) => delivered(this.id, worker, commands)),
    })
    return this.#steering
  }

  #steer(entry: Entry, worker: Worker | undefined, now: number): void {
    if (entry.traits.answers !== undefined && this.commands.answer(entry, worker)) this.factsChanged()
    const due = this.commands.note(entry, worker, now)
    if (due !== undefined) this.#setting.commandDue(this.id, due)
  }

  /** An agent has joined the topic, and got the commands after `after`. @returns whether any state has changed */
  deliver(topic: Topic, filter: Filter, after: Offset, now: number): boolean {
    return this.#steering?.deliver(topic, filter, after, now) === true
  }

  /**
   * An attempt at a step is about to publish.
   *
   * @returns the superseded events in memory; undefined if it is the first attempt, or not the newest
   */
  supersede(attempt: Attempt, worker: Worker | undefined): readonly Offset[] | undefined {
    const { progress, topic } = worker ?? this
    const begun = begin(attempt, progress)
    if (begun === undefined) return undefined
    if (worker !== undefined) this.journal?.workerChanged(worker)
    else this.journal?.recordChanged()
    return begun.isFirst ? undefined : supersede(attempt, topic.history)
  }

  supersedes({ attempt, worker }: Pick<HubEvent, 'attempt' | 'worker'>): boolean {
    if (attempt === undefined) return false
    const progress = worker === undefined ? this.progress : this.workers.get(worker)?.progress
    return progress !== undefined && isOver(attempt, progress)
  }

  /** Facts in the slices, the list and the store have changed. */
  factsChanged(): void {
    this.#stale = true
    this.journal?.recordChanged()
    this.#setting.listChanged(this.id)
  }

  /** The number of unanswered questions to people, the workers' included. */
  get needs(): number {
    return this.progress.needs.length + this.#workers.needs
  }

  /** The number of workers that failed or were lost. */
  get failed(): number {
    return this.#workers.failed
  }

  /** The time of the last sign of life of it or a worker. Milliseconds since 1970; 0 before the first. */
  get lastAt(): number {
    return this.progress.lastAt
  }

  /** An event has set its own status. */
  turned(status: PublisherStatus): void {
    // A session ends only when it is ended.
    if (status !== 'ended') this.#status = status
  }

  /** The time of the last sign of life in the slices and the list has changed. Milliseconds since 1970. */
  lastAtChanged(now: number): void {
    this.#stale = true
    this.#setting.listTouched(this.id, now)
  }

  #ownTopic(worker?: string): OwnTopic {
    const { limits, totals, state: setting } = this.#setting
    return new OwnTopic(this, worker, { history: new History(limits, totals, this.#history), setting })
  }
}

function appendTo(topic: OwnTopic, entry: Entry): void {
  topic.history.append(entry)
  topic.audience?.pend(entry)
}
