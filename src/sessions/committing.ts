import type { Clock, Timer } from '../lib/clock.js'
import { Histogram } from '../lib/histogram.js'
import { Weight } from '../lib/weight.js'
import { ProtocolError } from '../protocol/codes.js'
import type { Offset } from '../protocol/cursor.js'
import type { Journal, JournalSetting } from '../session/journal.js'
import type { Tracing } from '../session/tracing.js'
import { type Batch, offsetsAhead, type Retention, type Store, StoreError } from '../store/store.js'
import { DamagedSessions, unavailable } from './damaged-sessions.js'
import { Removals } from './removals.js'
import { commitMsBounds, type StoreStats } from './store-stats.js'
import { Trimming } from './trimming.js'
import { type Waiting, waiting } from './waiting.js'

export interface CommittingOptions {
  readonly store: Store
  readonly clock: Clock
  /** Ids of published events that the store remembers of a session. */
  readonly publishIdsMax: number
  /** What has not been kept yet, in bytes: beyond it publishing is refused. */
  readonly uncommittedBytesMax: number
  readonly retention?: Retention
  /** Told why nothing can be kept any more, and again, with nothing, once something was kept. */
  readonly onStore?: (fault: string | undefined) => void
  readonly tracing?: Tracing
  /** A session has something to commit, for the first time since the commit before. */
  readonly waiting: (session: string) => void
  /** All that the session had has been committed. */
  readonly committed: (journal: Journal) => void
  /** Retention has removed a session, or a session's events up to an offset. */
  readonly removed: (session: string) => void
  readonly trimmed: (session: string, trimmed: Offset) => void
  readonly holds: (session: string) => boolean
}

const retryMs = 250
const retryMsMax = 5_000

/**
 * Brings what the sessions publish into the store: one commit at a time, each with everything that came since
 * the one before. Delivery does not wait for it; acknowledgements do.
 *
 * While commits fail, publishing is refused, and the same batch is tried again until it is kept.
 */
export class Committing {
  readonly store: Store
  readonly #options: CommittingOptions
  readonly #clock: Clock
  readonly #dirty = new Set<Journal>()
  #committing: ReadonlySet<Journal> | undefined = undefined
  #scheduled = false
  /** Those who wait for the commit under way, and for the one after it. */
  #current: Waiting | undefined = undefined
  #next: Waiting | undefined = undefined
  #fault: StoreError | undefined = undefined
  /** What the store has noticed by itself. */
  #noticed: StoreError | undefined = undefined
  readonly damaged = new DamagedSessions()
  readonly removals: Removals
  readonly #trimming: Trimming | undefined
  /** One of these broke a commit: each is committed alone. */
  readonly #suspects = new Set<Journal>()
  #retryMs = retryMs
  #retry: Timer | undefined = undefined
  readonly #uncommitted = new Weight()
  readonly #commitMs = new Histogram(commitMsBounds)
  #failures = 0
  #ended = false
  #progress: Waiting | undefined = undefined

  constructor(options: CommittingOptions) {
    this.#options = options
    this.store = options.store
    this.#clock = options.clock
    this.store.onFault?.((fault) => this.#notice(fault))
    this.removals = new Removals(this.store, this.damaged)
    this.#trimming = this.#trimmingOf(options)
  }

  /** Why nothing can be published now; nothing when all is well. */
  get fault(): StoreError | undefined {
    return this.#noticed ?? this.#fault
  }

  stats(): StoreStats {
    let waitingSessions = this.#dirty.size
    for (const journal of this.#committing ?? []) if (!this.#dirty.has(journal)) waitingSessions++
    return {
      commitMs: this.#commitMs.read(),
      failures: this.#failures,
      failing: this.fault !== undefined,
      waitingSessions,
      waitingBytes: this.#uncommitted.bytes,
      kept: this.store.size(),
      damagedSessions: this.damaged.size,
    }
  }

  /** What the journals of sessions need. */
  get journals(): JournalSetting {
    const { publishIdsMax: idsMax } = this.#options
    return { idsMax, weight: this.#uncommitted, waiting: (journal) => this.#touch(journal) }
  }

  /**
   * @param journal of the session, unless it is new
   * @throws ProtocolError `unavailable` when the store fails, or does not keep up; `damaged` when the session is
   */
  admit(journal?: Journal): void {
    const { fault } = this
    if (fault !== undefined) throw unavailable(fault)
    if (journal !== undefined && this.damaged.size > 0) this.damaged.expectWritable(journal.session)
    const { uncommittedBytesMax } = this.#options
    if (this.#uncommitted.bytes > uncommittedBytesMax) {
      throw new ProtocolError(
        'unavailable',
        `the store does not keep up: more than ${uncommittedBytesMax} bytes are not stored yet; wait for acknowledgements before you publish more`,
      )
    }
    if (journal !== undefined && journal.ahead >= offsetsAhead - 1) {
      throw new ProtocolError(
        'unavailable',
        `the store does not keep up with session ${journal.session}; wait for acknowledgements`,
      )
    }
  }

  /**
   * @returns once all that the session has published is kept; rejects at once while the store fails, and with `damaged`
   *   where the session is
   */
  committed(journal: Journal): Promise<void> {
    const kept = this.#nextFor(journal)
    return kept === undefined ? Promise.resolve() : this.#wholly(journal, kept)
  }

  #nextFor(journal: Journal): Promise<void> | undefined {
    if (this.#dirty.has(journal)) {
      const { fault } = this
      if (fault !== undefined) return Promise.reject(unavailable(fault))
      this.#next ??= waiting()
      return this.#next.promise
    }
    if (this.#committing?.has(journal) !== true) return undefined
    this.#current ??= waiting()
    return this.#current.promise
  }

  async #wholly(journal: Journal, kept: Promise<void>): Promise<void> {
    await kept
    // One by one, a commit keeps only a part of what was waited for.
    while (this.#suspects.has(journal)) await (this.#nextFor(journal) ?? Promise.resolve())
    if (!journal.dropped) return
    await this.removals.outcomeOf(journal)
    this.damaged.expectWritable(journal.session)
  }

  #notice(fault: StoreError | undefined): void {
    const before = this.fault
    this.#noticed = fault
    if ((before === undefined) !== (this.fault === undefined)) this.#options.onStore?.(this.fault?.message)
  }

  /** @returns whether there is something of the session to keep, or being kept. */
  busy(journal: Journal): boolean {
    return this.#dirty.has(journal) || this.#committing?.has(journal) === true
  }

  /** The session is gone: what it still has is not kept. */
  drop(journal: Journal): void {
    this.#dirty.delete(journal)
    journal.drop()
  }

  /**
   * Forgets a session, here and in the store.
   *
   * @throws ProtocolError `unavailable` when the store fails: then the session is there again
   */
  remove(journal: Journal): Promise<void> {
    this.drop(journal)
    return this.removals.remove(journal)
  }

  /**
   * @returns once the session has more in the store than up to an offset, however long the store fails, or has no more
   *   to keep. A read may show more than was told to be kept: the next to be told is then nothing new.
   */
  async progress(journal: Journal, after: Offset): Promise<void> {
    while (journal.kept <= after && this.busy(journal) && !this.#ended) {
      this.#progress ??= waiting()
      await this.#progress.promise
    }
  }

  /** @returns once everything is kept and the store is closed, or cannot be kept. */
  async close(): Promise<void> {
    this.#ended = true
    this.#progress?.resolve()
    this.#trimming?.end()
    this.#retry?.cancel()
    this.#retry = undefined
    while (this.#committing !== undefined) await this.#settled()
    while (this.#dirty.size > 0 && this.#fault === undefined) await this.#commit()
    await this.store.close()
  }

  #settled(): Promise<void> {
    this.#current ??= waiting()
    return this.#current.promise.catch(() => undefined)
  }

  #trimmingOf({ store, clock, retention, removed, trimmed, holds }: CommittingOptions): Trimming | undefined {
    if (retention === undefined) return undefined
    return new Trimming({
      store,
      clock,
      retention,
      trimmed,
      holds,
      removed: (session) => {
        this.damaged.delete(session)
        removed(session)
      },
    })
  }

  #touch(journal: Journal): void {
    this.#options.waiting(journal.session)
    this.#dirty.add(journal)
    if (this.#scheduled || this.#committing !== undefined || this.#retry !== undefined) return
    this.#scheduled = true
    this.#clock.defer(() => {
      this.#scheduled = false
      void this.#commit()
    })
  }

  async #commit(): Promise<void> {
    if (this.#committing !== undefined) return
    // Where all that failed is gone, an empty commit says whether the store works again.
    if (this.#dirty.size === 0 && this.#fault === undefined) {
      // What somebody waits for has gone with its session.
      this.#next?.resolve()
      this.#next = undefined
      return
    }
    const given = this.#nextBatch()
    for (const journal of given) this.#dirty.delete(journal)
    const { bytes } = this.#uncommitted
    const sessions = [...given].map((journal) => journal.take())
    this.#committing = given
    this.#current = this.#next
    this.#next = undefined
    const batch: Batch = { at: this.#clock.now(), sessions }
    const span = this.#options.tracing?.begin('commit')
    const began = this.#clock.elapsed()
    const took = (): void => this.#commitMs.observe(this.#clock.elapsed() - began)
    try {
      await this.store.commit(batch).finally(took)
      span?.end({ sessions: sessions.length, bytes })
      this.#settle(given)
    } catch (error) {
      span?.end({ sessions: sessions.length, bytes }, error)
      this.#failed(given, error instanceof StoreError ? error : new StoreError('failed', String(error)))
    }
  }

  /** All that have something to commit; or one of those of which one broke a commit. */
  #nextBatch(): ReadonlySet<Journal> {
    for (const suspect of this.#suspects) {
      if (this.#dirty.has(suspect)) return new Set([suspect])
      this.#suspects.delete(suspect)
    }
    return new Set(this.#dirty)
  }

  #settle(given: ReadonlySet<Journal>): void {
    for (const journal of given) {
      journal.settle()
      this.#suspects.delete(journal)
    }
    const waited = this.#current
    this.#committing = undefined
    this.#current = undefined
    const failed = this.fault !== undefined
    this.#fault = undefined
    if (failed && this.fault === undefined) this.#options.onStore?.(undefined)
    this.#retryMs = retryMs
    waited?.resolve()
    this.#progress?.resolve()
    this.#progress = undefined
    for (const journal of given) {
      if (!journal.dropped && !this.#dirty.has(journal)) this.#options.committed(journal)
    }
    if (!this.#ended) void this.#commit()
  }

  #failed(given: ReadonlySet<Journal>, fault: StoreError): void {
    for (const journal of given) journal.putBack()
    this.#failures++
    if (fault.kind === 'damaged' && this.#isolate(given, fault)) return
    const waited = [this.#current, this.#next]
    this.#committing = undefined
    this.#current = undefined
    this.#next = undefined
    if (this.fault === undefined) this.#options.onStore?.(fault.message)
    this.#fault = fault
    for (const waiter of waited) waiter?.reject(unavailable(fault))
    if (this.#ended) return
    this.#retry = this.#clock.after(this.#retryMs, () => {
      this.#retry = undefined
      void this.#commit()
    })
    this.#retryMs = Math.min(2 * this.#retryMs, retryMsMax)
  }

  /**
   * Takes the session that broke a commit out of what is to be kept, so that the others go on.
   *
   * @returns whether it is found, or will be
   */
  #isolate(given: ReadonlySet<Journal>, fault: StoreError): boolean {
    const found =
      given.size === 1 ? [...given][0] : [...given].find(({ session }) => session === fault.session)
    if (found !== undefined) {
      if (!found.dropped) this.damaged.add(found.session, fault.message)
      this.#suspects.delete(found)
      this.drop(found)
    } else if (fault.session === undefined) for (const journal of given) this.#suspects.add(journal)
    else return false
    // Those who wait for the others wait for the commits that follow.
    const [current, next] = [this.#current, this.#next]
    this.#committing = undefined
    this.#current = undefined
    this.#next = current ?? next
    if (current !== undefined && next !== undefined) current.promise.then(next.resolve, next.reject)
    if (this.#dirty.size === 0) {
      this.#next?.resolve()
      this.#next = undefined
    }
    this.#progress?.resolve()
    this.#progress = undefined
    if (!this.#ended) void this.#commit()
    return true
  }
}
