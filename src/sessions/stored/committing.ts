import type { Clock, Timer } from '../../lib/clock.js'
import { Histogram } from '../../lib/histogram.js'
import { Weight } from '../../lib/weight.js'
import { ProtocolError } from '../../protocol/codes.js'
import type { Offset } from '../../protocol/cursor.js'
import type { Journal, JournalSetting } from '../../session/journal.js'
import type { Tracing } from '../../session/tracing.js'
import { type Batch, offsetsAhead, type Retention, type Store, StoreError } from '../../store/store.js'
import { type Waiting, waiting } from '../waiting.js'
import { DamagedSessions, unavailable } from './damaged-sessions.js'
import { Removals } from './removals.js'
import { commitMsBounds, type StoreStats } from './store-stats.js'
import { Trimming } from './trimming.js'

export interface CommittingOptions {
  readonly store: Store
  readonly clock: Clock
  /** Ids of published events that the store remembers of a session. */
  readonly publishIdsMax: number
  /** Maximum of uncommitted bytes, beyond which publishing is refused. */
  readonly uncommittedBytesMax: number
  readonly retention?: Retention
  /** Called with the reason when commits fail, and again, with undefined, when one succeeds. */
  readonly onStore?: (fault: string | undefined) => void
  readonly onDamaged?: (session: string, reason: string) => void
  readonly tracing?: Tracing
  /** Called when a session has something to commit, for the first time since the previous commit. */
  readonly waiting: (session: string) => void
  /** Called when everything of the session is committed. */
  readonly committed: (journal: Journal) => void
  /** Retention has removed a session, or a session's events up to an offset. */
  readonly removed: (session: string) => void
  readonly trimmed: (session: string, trimmed: Offset) => void
  readonly holds: (session: string) => boolean
}

const retryMs = 250
const retryMsMax = 5_000

/**
 * Commits the changes of all sessions to the store: one commit at a time, each with everything since the previous one.
 * Acknowledgements wait for it; delivery does not.
 *
 * While commits fail, publishing is refused, and the same batch is tried again until it succeeds.
 */
export class Committing {
  readonly store: Store
  readonly #options: CommittingOptions
  readonly #clock: Clock
  readonly #dirty = new Set<Journal>()
  #committing: ReadonlySet<Journal> | undefined = undefined
  #scheduled = false
  /** The waiters for the current commit, and for the next one. */
  #current: Waiting | undefined = undefined
  #next: Waiting | undefined = undefined
  #fault: StoreError | undefined = undefined
  /** A fault that the store itself has reported. */
  #noticed: StoreError | undefined = undefined
  readonly damaged: DamagedSessions
  readonly removals: Removals
  readonly #trimming: Trimming | undefined
  /** One of these caused a commit to fail, so each is committed alone. */
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
    this.damaged = new DamagedSessions(options.onDamaged)
    this.#clock = options.clock
    this.store.onFault?.((fault) => this.#notice(fault))
    this.removals = new Removals(this.store, this.damaged)
    this.#trimming = this.#trimmingOf(options)
  }

  /** Why nothing can be published now; undefined otherwise. */
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

  /** The dependencies of journals. */
  get journals(): JournalSetting {
    const { publishIdsMax: idsMax } = this.#options
    return { idsMax, weight: this.#uncommitted, waiting: (journal) => this.#touch(journal) }
  }

  /**
   * @param journal of the session; absent if it is new
   * @throws ProtocolError `unavailable` when the store fails or does not keep up; `damaged` when the session is damaged
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
   * @returns when everything that the session has published is stored; rejects at once while the store fails, and with
   *   `damaged` if the session is damaged
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
    // While sessions are committed one by one, a commit contains only a part of them.
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

  /** @returns whether the session has uncommitted changes */
  busy(journal: Journal): boolean {
    return this.#dirty.has(journal) || this.#committing?.has(journal) === true
  }

  /** The session was removed: its uncommitted changes are dropped. */
  drop(journal: Journal): void {
    this.#dirty.delete(journal)
    journal.drop()
  }

  /**
   * Removes a session, here and in the store.
   *
   * @throws ProtocolError `unavailable` when the store fails; then the session still exists
   */
  remove(journal: Journal): Promise<void> {
    this.drop(journal)
    return this.removals.remove(journal)
  }

  /**
   * @returns when the store has more of the session than up to an offset, or the session has no uncommitted changes, however
   *   long the store fails. A read may return more than was acknowledged; the next acknowledgement then brings nothing new
   */
  async progress(journal: Journal, after: Offset): Promise<void> {
    while (journal.kept <= after && this.busy(journal) && !this.#ended) {
      this.#progress ??= waiting()
      await this.#progress.promise
    }
  }

  /** @returns when everything is stored, or cannot be, and the store is closed */
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
      damaged: (session) => this.damaged.note(session, 'retention cannot remove what is due'),
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
    // If all failed changes are gone, an empty commit shows whether the store works again.
    if (this.#dirty.size === 0 && this.#fault === undefined) {
      // The awaited changes were removed with their session.
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

  /** All journals with changes, or a single one while the cause of a failed commit is sought. */
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
   * Excludes the session that caused a commit to fail, so that the others continue.
   *
   * @returns whether it is known, or will be found
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
    // Waiters for other sessions wait for the commits that follow.
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
