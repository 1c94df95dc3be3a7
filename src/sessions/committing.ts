import type { Clock, Timer } from '../lib/clock.js'
import { Histogram, type HistogramReading } from '../lib/histogram.js'
import { Weight } from '../lib/weight.js'
import { ProtocolError } from '../protocol/codes.js'
import type { Offset } from '../protocol/cursor.js'
import type { Journal, JournalSetting } from '../session/journal.js'
import type { Tracing } from '../session/tracing.js'
import {
  type Batch,
  offsetsAhead,
  type Retention,
  type Size,
  type Store,
  StoreError,
} from '../store/store.js'

export interface CommittingOptions {
  readonly store: Store
  readonly clock: Clock
  /** What has not been kept yet, in bytes: beyond it publishing is refused. */
  readonly unkeptBytesMax: number
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

/** How the store fares. */
export interface StoreStats {
  /** How long commits took, those that failed included. Milliseconds. */
  readonly commitMs: HistogramReading
  /** Commits that failed; the same batch is tried again. */
  readonly failures: number
  readonly failing: boolean
  /** Sessions with something that no commit has taken yet, or that is being kept now. */
  readonly waitingSessions: number
  /** What these sessions have to keep. About the bytes of its JSON text. */
  readonly waitingBytes: number
  readonly kept: Size
}

// A commit of the embedded store takes under a millisecond; beyond a second producers have noticed.
const commitMsBounds = [0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 1_000, 5_000]

/** Of a hub without a store. */
export const noStore: StoreStats = {
  commitMs: new Histogram(commitMsBounds).read(),
  failures: 0,
  failing: false,
  waitingSessions: 0,
  waitingBytes: 0,
  kept: { sessions: 0, events: 0, bytes: 0 },
}

interface Waiting {
  readonly promise: Promise<void>
  readonly resolve: () => void
  readonly reject: (error: Error) => void
}

const retryMs = 250
const retryMsMax = 5_000
const trimEveryMs = 60_000

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
  #retryMs = retryMs
  #retry: Timer | undefined = undefined
  #trimTimer: Timer | undefined = undefined
  readonly #uncommitted = new Weight()
  readonly #commitMs = new Histogram(commitMsBounds)
  #failures = 0
  #ended = false
  readonly #leaving = new Set<string>()
  #progress: Waiting | undefined = undefined

  constructor(options: CommittingOptions) {
    this.#options = options
    this.store = options.store
    this.#clock = options.clock
    if (options.retention !== undefined) this.#scheduleTrim()
  }

  /** Why nothing can be published now; nothing when all is well. */
  get fault(): StoreError | undefined {
    return this.#fault
  }

  stats(): StoreStats {
    let waitingSessions = this.#dirty.size
    for (const journal of this.#committing ?? []) if (!this.#dirty.has(journal)) waitingSessions++
    return {
      commitMs: this.#commitMs.read(),
      failures: this.#failures,
      failing: this.#fault !== undefined,
      waitingSessions,
      waitingBytes: this.#uncommitted.bytes,
      kept: this.store.size(),
    }
  }

  /** What the journals of sessions need. */
  get journals(): JournalSetting {
    return { weight: this.#uncommitted, waiting: (journal) => this.#touch(journal) }
  }

  /**
   * @param journal of the session, unless it is new
   * @throws ProtocolError `unavailable` when the store fails, or does not keep up
   */
  admit(journal?: Journal): void {
    if (this.#fault !== undefined) throw unavailable(this.#fault)
    const { unkeptBytesMax } = this.#options
    if (this.#uncommitted.bytes > unkeptBytesMax) {
      throw new ProtocolError(
        'unavailable',
        `the store does not keep up: ${unkeptBytesMax} bytes wait for it; wait for acknowledgements`,
      )
    }
    if (journal !== undefined && journal.ahead >= offsetsAhead - 1) {
      throw new ProtocolError('unavailable', `the store does not keep up with session ${journal.session}`)
    }
  }

  /** @returns once all that the session has published is kept; rejects at once while the store fails. */
  committed(journal: Journal): Promise<void> {
    if (this.#dirty.has(journal)) {
      if (this.#fault !== undefined) return Promise.reject(unavailable(this.#fault))
      this.#next ??= waiting()
      return this.#next.promise
    }
    if (this.#committing?.has(journal) !== true) return Promise.resolve()
    this.#current ??= waiting()
    return this.#current.promise
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
  async remove(journal: Journal): Promise<void> {
    const { session: id } = journal
    this.drop(journal)
    this.#leaving.add(id)
    try {
      await this.store.remove(id)
    } catch (error) {
      throw error instanceof StoreError ? unavailable(error) : error
    } finally {
      this.#leaving.delete(id)
    }
  }

  /** @returns whether the store has a session of that id that is about to be gone. */
  leaves(id: string): boolean {
    return this.#leaving.has(id)
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
    this.#trimTimer?.cancel()
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
    if (this.#committing !== undefined || this.#dirty.size === 0) return
    const given = new Set(this.#dirty)
    this.#dirty.clear()
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

  #settle(given: ReadonlySet<Journal>): void {
    for (const journal of given) journal.settle()
    const waited = this.#current
    this.#committing = undefined
    this.#current = undefined
    if (this.#fault !== undefined) this.#options.onStore?.(undefined)
    this.#fault = undefined
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
    const waited = [this.#current, this.#next]
    this.#committing = undefined
    this.#current = undefined
    this.#next = undefined
    if (this.#fault === undefined) this.#options.onStore?.(fault.message)
    this.#fault = fault
    this.#failures++
    for (const waiter of waited) waiter?.reject(unavailable(fault))
    if (this.#ended) return
    this.#retry = this.#clock.after(this.#retryMs, () => {
      this.#retry = undefined
      void this.#commit()
    })
    this.#retryMs = Math.min(2 * this.#retryMs, retryMsMax)
  }

  #scheduleTrim(): void {
    this.#trimTimer = this.#clock.after(trimEveryMs, () => {
      void this.trim().then(() => {
        if (!this.#ended) this.#scheduleTrim()
      })
    })
  }

  /** Does what retention asks for, in small steps; one that fails is left for the next time. */
  async trim(): Promise<void> {
    const { retention, holds, removed, trimmed } = this.#options
    if (retention === undefined) return
    for (let more = true; more && !this.#ended; ) {
      try {
        const step = await this.store.trim(retention, this.#clock.now(), holds)
        for (const session of step.removed) removed(session)
        for (const cut of step.trimmed) trimmed(cut.session, cut.trimmed)
        more = step.more
      } catch (error) {
        if (error instanceof StoreError) return
        throw error
      }
    }
  }
}

function waiting(): Waiting {
  let resolve: Waiting['resolve'] = () => undefined
  let reject: Waiting['reject'] = () => undefined
  const promise = new Promise<void>((done, failed) => {
    resolve = done
    reject = failed
  })
  return { promise, resolve, reject }
}

function unavailable({ message }: StoreError): ProtocolError {
  return new ProtocolError('unavailable', message)
}
