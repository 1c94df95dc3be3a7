// Longer than 350 lines: the whole of a log, and a link to it, which belong together.

import type { Clock } from '../lib/clock.js'
import { FormerIds } from '../lib/former-ids.js'
import type { Random } from '../lib/random.js'
import { type Epoch, type Offset, type Position, start } from '../protocol/cursor.js'
import { StoreError } from '../store/store.js'
import { Descriptions } from './descriptions.js'
import {
  type Append,
  type Appended,
  type Checkpoint,
  type Delivered,
  type DescribedPage,
  type Description,
  type HeldBack,
  type KnownId,
  type LogFeed,
  type LogPast,
  type LostRange,
  lostAt,
  nothingHeld,
  type Opened,
  type RemovedOnly,
  type RewrittenPast,
  type SharedLog,
  type Since,
  spareOffsets,
} from './shared-log.js'

/** Ids that a session remembers with their offsets. */
const idsMax = 10_000
const laneEntriesMax = 1_000
/** What one answer to `since` brings. */
const sinceEntriesMax = 10_000
/** Lost ranges that a session remembers. */
const lostMax = 16
/** Eras begin with a microsecond each; so many offsets of one session fit in it. */
const offsetsPerMicrosecond = 4
const erasBegin = Date.UTC(2025, 0, 1)

interface Kept {
  readonly epoch: Epoch
  readonly last: Offset
  readonly era: number
  readonly ended: boolean
  readonly lost: readonly LostRange[]
  readonly checkpoint: Checkpoint | undefined
  readonly batches: readonly Delivered[]
  /** What follows this offset is there as it was appended. */
  readonly whole: Offset
  readonly ids: ReadonlyMap<string, Offset>
  readonly former: readonly number[]
  readonly rewrites: number
  /** Who has not come this far does not have what was rewritten. */
  readonly rewritten: Offset
  readonly held: HeldBack
}

/** All that a log in memory holds at one moment. */
export interface MemoryLogImage {
  readonly era: number
  readonly sessions: ReadonlyMap<string, Kept>
}

/**
 * A log within the process, for hubs that share it: each has a link of its own. It forgets everything with the process.
 * `image` and `failOver` stand for an engine whose copy takes over.
 */
export class MemoryLog {
  readonly #clock: Clock
  readonly #random: Random
  #sessions = new Map<string, Kept>()
  #era = 1
  /** Changes whenever what the log holds may be older than what it has answered. */
  #lineage = 1
  /** The lineage that `#era` is of. */
  #known = 1
  readonly #links = new Set<MemoryLink>()
  readonly #laneEntries: number
  /** What hubs have put; `until` is by the monotonic clock. */
  readonly #notes = new Map<string, { readonly bytes: Uint8Array; readonly until: number }>()
  /** Until when hubs live, by the monotonic clock. */
  readonly #living = new Map<string, number>()
  /** Of all sessions, for lists. No copy that takes over lacks any of it. */
  readonly descriptions: Descriptions

  /** @param laneEntries entries up to the checkpoint that each lane of a session retains, about */
  constructor(clock: Clock, random: Random, laneEntries = laneEntriesMax) {
    this.#clock = clock
    this.descriptions = new Descriptions(clock)
    this.#random = random
    this.#laneEntries = laneEntries
  }

  /** @returns a hub's way to the log */
  link(): SharedLog {
    const link: MemoryLink = new MemoryLink(this, () => this.#links.delete(link))
    this.#links.add(link)
    return link
  }

  image(): MemoryLogImage {
    return { era: this.#era, sessions: new Map(this.#sessions) }
  }

  /** A copy takes over, as it was when the image was made: what was appended since is lost. */
  failOver(image: MemoryLogImage): void {
    this.#era = image.era
    this.#sessions = new Map(image.sessions)
    this.#notes.clear()
    this.#living.clear()
    this.#lineage++
  }

  /** Those that are over are forgotten with the next one; a copy that takes over has none. */
  put(name: string, bytes: Uint8Array, ms: number): void {
    const now = this.#clock.elapsed()
    for (const [other, { until }] of this.#notes) if (until <= now) this.#notes.delete(other)
    this.#notes.set(name, { bytes, until: now + ms })
  }

  take(name: string): Uint8Array | undefined {
    const note = this.#notes.get(name)
    this.#notes.delete(name)
    return note === undefined || note.until <= this.#clock.elapsed() ? undefined : note.bytes
  }

  living(hub: string, ms: number): readonly string[] {
    const now = this.#clock.elapsed()
    this.#living.set(hub, now + ms)
    for (const [other, until] of this.#living) if (until <= now) this.#living.delete(other)
    return [...this.#living.keys()]
  }

  get lineage(): number {
    return this.#lineage
  }

  /**
   * Says which era it is, to a link that does not know the lineage.
   *
   * @param newest the newest era that its hub has heard of
   */
  hello(newest: number): number {
    if (this.#known === this.#lineage) return this.#era
    this.#known = this.#lineage
    this.#era = this.nextEra(this.#era, newest)
    return this.#era
  }

  /** @returns the era after both: by time, and not only one more, because those in between may be lost as well */
  protected nextEra(before: number, newest: number): number {
    const now = Math.floor((this.#clock.now() - erasBegin) * 1_000)
    return Math.max(now, before + 1, newest + 1)
  }

  append(batch: Append): Appended {
    if (batch.critical === undefined && batch.droppable === undefined) {
      throw new TypeError('a batch without entries')
    }
    const kept = this.#touched(batch.session)
    if (kept === undefined || kept.epoch !== batch.epoch) return { kind: 'epoch' }
    const from = kept.last
    const known: KnownId[] = []
    const added = new Map<string, Offset>()
    for (const { place, name } of batch.ids ?? []) {
      const offset = kept.ids.get(name) ?? added.get(name)
      if (offset !== undefined) known.push({ place, offset })
      else added.set(name, (from + place + 1) as Offset)
    }
    if (kept.ended) return { kind: 'ended', known }
    const former = new FormerIds()
    former.restore(kept.former)
    if (kept.former.length > 0) {
      const left = batch.ids?.find(({ name }) => added.has(name) && former.has(name))
      if (left !== undefined) return { kind: 'left', place: left.place }
    }
    const { held } = batch
    if (held !== undefined) {
      if (held.base !== kept.held.base) return { kind: 'held', known }
      if (held.bytes !== undefined && known.length > 0) return { kind: 'held', known }
    }
    const { checkpoint } = kept
    if (known.length === batch.width && batch.width > 0) {
      return { kind: 'appended', from, to: from, known, tailBytes: tailBytes(kept.batches, checkpoint) }
    }
    const to = (from + batch.width + spareOffsets) as Offset
    const { hub, number, epoch, at, critical, droppable } = batch
    const delivered: Delivered = {
      hub,
      number,
      epoch,
      at,
      from,
      to,
      known: known.map(({ place }) => place),
      ...(critical !== undefined && { critical }),
      ...(droppable !== undefined && { droppable }),
    }
    const batches = [...kept.batches, delivered]
    const ids = added.size === 0 ? kept.ids : this.#idsWith(kept.ids, added, former)
    const ended = batch.ends === true
    const left = added.size === 0 || ids.size < idsMax ? kept.former : former.stored()
    const heldNow = held?.bytes === undefined ? kept.held : { base: to, bytes: held.bytes }
    this.#sessions.set(batch.session, { ...kept, last: to, batches, ids, ended, former: left, held: heldNow })
    const published = held?.bytes === undefined ? delivered : { ...delivered, held: held.bytes }
    for (const link of this.#links) this.#tell(link, batch.session, (feed) => feed.batch(published))
    return { kind: 'appended', from, to, known, tailBytes: tailBytes(batches, checkpoint) }
  }

  #idsWith(
    before: ReadonlyMap<string, Offset>,
    added: ReadonlyMap<string, Offset>,
    former: FormerIds,
  ): Map<string, Offset> {
    const ids = new Map([...before, ...added])
    for (const oldest of ids.keys()) {
      if (ids.size <= idsMax) break
      ids.delete(oldest)
      former.add(oldest)
    }
    return ids
  }

  open(session: string): Opened {
    const kept = this.#touched(session) ?? this.#begun(session)
    const { epoch, last, lost, checkpoint, batches, whole, rewrites, held } = kept
    const reached = checkpoint?.offset ?? start
    return {
      epoch,
      last,
      lost,
      checkpoint,
      whole,
      rewrites,
      held,
      before: batches.filter(({ to }) => to <= reached),
      batches: batches.filter(({ to }) => to > reached),
    }
  }

  since(session: string, { epoch, offset }: Position): Since {
    const kept = this.#touched(session)
    if (kept === undefined || kept.epoch !== epoch) return { kind: 'behind' }
    const { last, lost } = kept
    const range = lostAt(lost, offset)
    if (range !== undefined) return { kind: 'lost', range }
    if (offset < Math.max(kept.whole, kept.rewritten) || offset > last) return { kind: 'behind' }
    const batches = kept.batches.filter(({ to }) => to > offset)
    const entries = batches.reduce((sum, { from, to }) => sum + to - from, 0)
    if (entries > sinceEntriesMax) return { kind: 'behind' }
    return { kind: 'batches', batches, last, lost, held: kept.held }
  }

  checkpoint(session: string, checkpoint: Checkpoint): void {
    const kept = this.#touched(session)
    const { epoch, offset } = checkpoint
    if (kept === undefined || kept.epoch !== epoch || offset > kept.last) return
    if (offset <= (kept.checkpoint?.offset ?? start) || lostAt(kept.lost, offset) !== undefined) return
    this.#sessions.set(session, trimmed({ ...kept, checkpoint }, this.#laneEntries))
  }

  begin(session: string, { checkpoint, batches, whole }: LogPast): boolean {
    const kept = this.#touched(session)
    if (kept !== undefined && (kept.batches.length > 0 || kept.checkpoint !== undefined)) return false
    const { epoch, offset: last } = checkpoint
    this.#sessions.set(session, { ...this.#begun(session), epoch, last, checkpoint, batches, whole })
    for (const link of this.#links) this.#tell(link, session, (feed) => feed.broken())
    return true
  }

  rewrite(session: string, { checkpoint, batches, rewrites, isTold }: RewrittenPast): boolean {
    const kept = this.#touched(session)
    const { epoch, offset } = checkpoint
    if (kept === undefined || kept.epoch !== epoch || kept.rewrites !== rewrites) return false
    if (offset < (kept.checkpoint?.offset ?? start) || offset > kept.last) return false
    const later = kept.batches.filter(({ to }) => to > offset)
    const last = isTold ? kept.last : ((kept.last + 1) as Offset)
    this.#sessions.set(session, {
      ...kept,
      last,
      checkpoint,
      batches: [...batches, ...later],
      rewrites: rewrites + 1,
      rewritten: isTold ? kept.rewritten : last,
    })
    if (!isTold) for (const link of this.#links) this.#tell(link, session, (feed) => feed.broken())
    return true
  }

  remove(session: string, only?: RemovedOnly): boolean {
    const kept = this.#sessions.get(session)
    if (kept === undefined || (only !== undefined && !isOnly(kept, only))) return false
    this.#sessions.delete(session)
    this.descriptions.remove(session)
    for (const link of this.#links) this.#tell(link, session, (feed) => feed.removed(kept.epoch))
    return true
  }

  sessions(after: string, limit: number): readonly string[] {
    const ids = [...this.#sessions].flatMap(([id, { batches, checkpoint }]) =>
      id > after && (batches.length > 0 || checkpoint !== undefined) ? id : [],
    )
    return ids.toSorted().slice(0, limit)
  }

  /** Calls what a link follows, after whatever is under way. */
  #tell(link: MemoryLink, session: string, tell: (feed: LogFeed) => void): void {
    const feed = link.feeds.get(session)
    if (feed === undefined) return
    this.#clock.defer(() => {
      if (link.feeds.get(session) === feed) tell(feed)
    })
  }

  #begun(session: string): Kept {
    const kept: Kept = {
      epoch: this.#random.id(12),
      last: start,
      era: this.#era,
      ended: false,
      lost: [],
      checkpoint: undefined,
      batches: [],
      whole: start,
      ids: new Map(),
      former: [],
      rewrites: 0,
      rewritten: start,
      held: nothingHeld,
    }
    this.#sessions.set(session, kept)
    return kept
  }

  /** @returns what is kept of a session; where it is of an earlier era, its offsets go on above all that era could have */
  #touched(session: string): Kept | undefined {
    const kept = this.#sessions.get(session)
    if (kept === undefined || kept.era === this.#era) return kept
    const until = (this.#era * offsetsPerMicrosecond) as Offset
    const lost = [...kept.lost, { after: kept.last, until }].slice(-lostMax)
    const touched = { ...kept, era: this.#era, last: until, lost }
    this.#sessions.set(session, touched)
    return touched
  }
}

function isOnly({ epoch, last }: Kept, only: RemovedOnly): boolean {
  return only.epoch === epoch && (only.offset === undefined || only.offset === last)
}

/** Up to the checkpoint, each lane keeps its newest entries; what follows it stays. */
function trimmed(kept: Kept, laneEntries: number): Kept {
  const reached = kept.checkpoint?.offset ?? start
  let { whole } = kept
  let entries = 0
  const batches: Delivered[] = []
  for (const batch of kept.batches.toReversed()) {
    if (batch.to <= reached && entries > laneEntries) {
      whole = batch.to > whole ? batch.to : whole
      const { droppable: _, ...rest } = batch
      if (batch.critical === undefined || entries > 2 * laneEntries) continue
      batches.push(rest)
    } else batches.push(batch)
    entries += batch.to - batch.from - spareOffsets
  }
  return { ...kept, whole, batches: batches.reverse() }
}

function tailBytes(batches: readonly Delivered[], checkpoint: Checkpoint | undefined): number {
  let bytes = 0
  for (let i = batches.length - 1; i >= 0; i--) {
    const { to, critical, droppable } = batches[i] as Delivered
    if (to <= (checkpoint?.offset ?? start)) break
    bytes += (critical?.length ?? 0) + (droppable?.length ?? 0)
  }
  return bytes
}

class MemoryLink implements SharedLog {
  readonly kind = 'memory'
  readonly feeds = new Map<string, LogFeed>()
  readonly #log: MemoryLog
  readonly #left: () => void
  #lineage = 0
  #newestEra = 0
  #closed = false

  constructor(log: MemoryLog, left: () => void) {
    this.#log = log
    this.#left = left
  }

  async append(batch: Append): Promise<Appended> {
    return this.#greeted().append(batch)
  }

  async open(session: string): Promise<Opened> {
    return this.#greeted().open(session)
  }

  async since(session: string, after: Position): Promise<Since> {
    return this.#greeted().since(session, after)
  }

  async checkpoint(session: string, checkpoint: Checkpoint): Promise<void> {
    this.#greeted().checkpoint(session, checkpoint)
  }

  async begin(session: string, past: LogPast): Promise<boolean> {
    return this.#greeted().begin(session, past)
  }

  async rewrite(session: string, past: RewrittenPast): Promise<boolean> {
    return this.#greeted().rewrite(session, past)
  }

  async follow(session: string, feed: LogFeed): Promise<void> {
    this.#greeted()
    this.feeds.set(session, feed)
  }

  unfollow(session: string): void {
    this.feeds.delete(session)
  }

  async remove(session: string, only?: RemovedOnly): Promise<boolean> {
    return this.#greeted().remove(session, only)
  }

  async sessions(after: string, limit: number): Promise<readonly string[]> {
    return this.#greeted().sessions(after, limit)
  }

  async describe(session: string, description: Description): Promise<void> {
    this.#greeted().descriptions.put(session, description)
  }

  async described(after: number, limit: number): Promise<DescribedPage> {
    return this.#greeted().descriptions.page(after, limit)
  }

  async put(name: string, bytes: Uint8Array, ms: number): Promise<void> {
    this.#greeted().put(name, bytes, ms)
  }

  async take(name: string): Promise<Uint8Array | undefined> {
    return this.#greeted().take(name)
  }

  async living(hub: string, ms: number): Promise<readonly string[]> {
    return this.#greeted().living(hub, ms)
  }

  async close(): Promise<void> {
    this.#closed = true
    this.feeds.clear()
    this.#left()
  }

  /** @returns the log, after a hello if it has been replaced: each learns the era that the other knows */
  #greeted(): MemoryLog {
    if (this.#closed) throw new StoreError('closed', 'the log was closed')
    if (this.#lineage !== this.#log.lineage) {
      this.#lineage = this.#log.lineage
      this.#newestEra = this.#log.hello(this.#newestEra)
    }
    return this.#log
  }
}
