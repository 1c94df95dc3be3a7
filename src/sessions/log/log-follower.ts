import type { Clock, Timer } from '../../lib/clock.js'
import { type PlacedEntry, unpackEntries } from '../../log/entries.js'
import {
  type Delivered,
  type HeldBack,
  type LogFeed,
  type LostRange,
  lostAt,
  type Opened,
  type SharedLog,
} from '../../log/shared-log.js'
import { type Epoch, type Offset, start } from '../../protocol/cursor.js'
import type { Session } from '../../session/session.js'
import type { SharedPast } from '../../session/timeline.js'
import { type Applied, type Applying, applyBatch } from './log-batch.js'

/** Maximum of batches that wait for earlier ones; others are requested from the log. */
const aheadMax = 1_000
const retryMs = 250
const retryMsMax = 5_000

/** A batch that this hub has appended and waits for. */
export interface OwnBatch {
  readonly entries: readonly PlacedEntry[]
  /**
   * @param result the entries without effect, and the answers to requests to a durable stream
   * @param began whether the session began with it
   */
  applied(result: Applied, began: boolean): void
  /** The local state of the session is no longer valid. */
  abandoned(): void
}

export interface FollowerParts extends Applying {
  readonly log: SharedLog
  /** The hub's own id. */
  readonly hub: string
  readonly clock: Clock
  /** Called when the session has events for its followers. */
  readonly onDirty: (session: Session) => void
  /** Called when the local state is of a lost past, or too old: the session must be opened again. */
  readonly stale: (session: Session) => void
  /** The session was removed. */
  readonly removed: (session: Session) => void
  /** What is held back of the texts of a session has changed; undefined: the hub releases the session. */
  readonly held: (session: Session, held: HeldBack | undefined, isOwn: boolean) => void
  /** Does what applies a batch; this hub has appended it, or another one. */
  readonly applying: <Result>(isOwn: boolean, apply: () => Result) => Result
}

/**
 * Keeps a session up to date with the log: applies each batch once and in order, and requests batches that the feed has lost.
 */
export class LogFollower implements LogFeed {
  readonly session: Session
  /** The size of the newest known checkpoint. Bytes. */
  imageBytes = 0
  readonly #parts: FollowerParts
  /** Batches that do not follow directly, in order of arrival. */
  #ahead: Delivered[] = []
  readonly #own = new Map<number, OwnBatch>()
  /** The ends of own appended batches. */
  readonly #ends = new Map<number, Offset>()
  /** The current request to the log, and the next one. */
  #asking: Promise<void> | undefined = undefined
  #next: Promise<void> | undefined = undefined
  #retry: Timer | undefined = undefined
  #retryMs = retryMs
  #lost: readonly LostRange[] = []
  #trimmed: Offset
  #left = false
  #held: HeldBack

  /** @param session as `open` has answered; what the feed brought meanwhile is to be given next */
  constructor(
    session: Session,
    { lost, held, whole }: Pick<Opened, 'lost' | 'held' | 'whole'>,
    parts: FollowerParts,
  ) {
    this.session = session
    this.#lost = lost
    this.#trimmed = whole
    this.#held = held
    this.#parts = parts
    parts.held(session, held, false)
  }

  /** What is held back of the session's texts, as of its position. */
  get held(): HeldBack {
    return this.#held
  }

  /** Whether it is up to date with the log, as far as is known. */
  get live(): boolean {
    return this.#asking === undefined && this.#retry === undefined && !this.#left
  }

  /** Whether the hub has released the session. */
  get left(): boolean {
    return this.#left
  }

  /** Whether batches of this hub are in progress. */
  get busy(): boolean {
    return this.#own.size > 0
  }

  /** @returns the past of its session, which was opened at an offset */
  past(openedAt: Offset): SharedPast {
    const trimmed = (): Offset => this.#trimmed
    return {
      openedAt,
      // What memory has is what the log had, up to its limits.
      floor: start,
      get trimmed() {
        return trimmed()
      },
      lostAt: (offset) => this.lostAt(offset),
    }
  }

  lostAt(offset: Offset): LostRange | undefined {
    return lostAt(this.#lost, offset)
  }

  /** The log no longer has everything up to here. */
  trimmedTo(offset: Offset): void {
    if (offset > this.#trimmed) this.#trimmed = offset
  }

  /** A batch is about to be appended. */
  expect(number: number, batch: OwnBatch): void {
    this.#own.set(number, batch)
  }

  /** The batch was appended. */
  answered(batch: Delivered): void {
    if (!this.#own.has(batch.number)) return
    this.#ends.set(batch.number, batch.to)
    this.batch(batch)
    this.#abandonLost()
  }

  /** It was not appended. */
  forget(number: number): void {
    this.#own.delete(number)
    this.#ends.delete(number)
  }

  /** Abandons own batches that are not at their offsets, because they were lost. */
  #abandonLost(): void {
    for (const [number, end] of this.#ends) {
      if (end > this.session.offset) continue
      const own = this.#own.get(number)
      this.forget(number)
      own?.abandoned()
    }
  }

  batch(batch: Delivered): void {
    if (this.#left) return
    const { epoch, offset } = this.session
    // Another epoch: only the log knows whether it is an earlier or a later one.
    if (batch.epoch !== epoch) return this.#askSoon()
    if (batch.to <= offset) return
    if (this.#asking !== undefined || batch.from !== offset) {
      if (this.#ahead.length < aheadMax) this.#ahead.push(batch)
      if (this.#asking === undefined) this.#askSoon()
      return
    }
    this.#apply(batch)
    this.#parts.onDirty(this.session)
  }

  broken(): void {
    if (!this.#left) this.#askSoon()
  }

  removed(epoch: Epoch): void {
    if (this.#left || epoch !== this.session.epoch) return
    this.#parts.removed(this.session)
  }

  /**
   * @returns when the session is as far as the log was at the time of the call
   * @throws StoreError if the log cannot be read
   */
  catchUp(): Promise<void> {
    if (this.#asking === undefined) return this.#ask()
    this.#next ??= this.#asking
      .catch(() => undefined)
      .then(() => {
        this.#next = undefined
        return this.#ask()
      })
    return this.#next
  }

  /** The hub releases the session. */
  leave(): void {
    if (this.#left) return
    this.#left = true
    this.#retry?.cancel()
    this.#retry = undefined
    this.#ahead = []
    for (const own of this.#own.values()) own.abandoned()
    this.#own.clear()
    this.#ends.clear()
    this.#parts.held(this.session, undefined, false)
  }

  #askSoon(): void {
    // After a failure it is tried again.
    this.catchUp().catch(() => undefined)
  }

  #ask(): Promise<void> {
    this.#retry?.cancel()
    this.#retry = undefined
    const asking = this.#readSince().finally(() => {
      if (this.#asking === asking) this.#asking = undefined
      this.#takeAhead()
    })
    this.#asking = asking
    return asking
  }

  async #readSince(): Promise<void> {
    const { log, clock, stale } = this.#parts
    const { id, epoch, offset } = this.session
    try {
      const since = await log.since(id, { epoch, offset })
      if (this.#left) return
      this.#retryMs = retryMs
      if (since.kind !== 'batches') return stale(this.session)
      this.#lost = since.lost
      for (const batch of since.batches) if (batch.to > this.session.offset) this.#apply(batch)
      if (since.last > this.session.offset) this.session.goTo(since.last)
      if (since.held.base !== this.#held.base) this.#holds(since.held, false)
      this.#abandonLost()
      this.#parts.onDirty(this.session)
    } catch (error) {
      if (!this.#left) {
        this.#retry = clock.after(this.#retryMs, () => this.#askSoon())
        this.#retryMs = Math.min(2 * this.#retryMs, retryMsMax)
      }
      throw error
    }
  }

  /** Batches that arrived meanwhile may follow now. */
  #takeAhead(): void {
    if (this.#retry !== undefined) return
    const ahead = this.#ahead
    this.#ahead = []
    for (const batch of ahead) this.batch(batch)
  }

  #holds(held: HeldBack, isOwn: boolean): void {
    this.#held = held
    this.#parts.held(this.session, held, isOwn)
  }

  #apply(batch: Delivered): void {
    const own = batch.hub === this.#parts.hub ? this.#own.get(batch.number) : undefined
    if (own !== undefined) this.forget(batch.number)
    const entries = own?.entries ?? unpackEntries(batch)
    const waited = this.session.status === 'waiting'
    const isOwn = batch.hub === this.#parts.hub
    const result = this.#parts.applying(isOwn, () => applyBatch(this.session, batch, entries, this.#parts))
    if (batch.held !== undefined) this.#holds({ base: batch.to, bytes: batch.held }, isOwn)
    own?.applied(result, waited && this.session.status !== 'waiting')
  }
}
