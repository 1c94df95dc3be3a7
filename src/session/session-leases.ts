import { type Clock, elapsedAt } from '../lib/clock.js'
import type { SessionRecord } from '../store/store.js'

/** The leases of a session and its workers: how long after the last sign of life each is lost. They are stored. */
export class SessionLeases {
  /** Milliseconds, by worker; empty for the session's own. Absent as long as there is none. */
  #ms: Map<string, number> | undefined = undefined
  /** When this hub last heard of them, on its monotonic clock. What it heard in an earlier run is not in it. */
  #heard: Map<string, number> | undefined = undefined

  /** The last events of those who hold a lease, on the same clock. */
  #spoke: Map<string, number> | undefined = undefined

  readonly #clock: Clock
  readonly #isShared: boolean

  /** @param isShared several hubs follow the session, each with a clock of its own */
  constructor(clock: Clock, isShared: boolean) {
    this.#clock = clock
    this.#isShared = isShared
  }

  /** This hub has got a sign of life. */
  heard(worker: string | undefined): void {
    if (this.of(worker) === 0) return
    this.#heard ??= new Map()
    this.#heard.set(worker ?? '', this.#clock.elapsed())
  }

  /** It has published, or one of the session's workers has. @param at milliseconds since 1970 */
  spoke(worker: string | undefined, at: number): void {
    if (this.of(worker) === 0) return
    this.#spoke ??= new Map()
    this.#spoke.set(worker ?? '', elapsedAt(this.#clock, at))
  }

  /**
   * @param at the time of the last event of one who holds a lease, which may have been before it. Milliseconds since 1970
   * @returns when that was, on this hub's monotonic clock
   */
  spokeAt(worker: string | undefined, at: number): number {
    const known = this.#spoke?.get(worker ?? '')
    if (known === undefined) this.spoke(worker, at)
    return known ?? elapsedAt(this.#clock, at)
  }

  /** @returns the leases, without a worker for the session's own */
  *all(): Iterable<{ readonly worker: string | undefined; readonly ms: number }> {
    for (const [worker, ms] of this.#ms ?? []) yield { worker: worker === '' ? undefined : worker, ms }
  }

  /** @returns milliseconds; 0 if there is no lease */
  of(worker: string | undefined): number {
    return this.#ms?.get(worker ?? '') ?? 0
  }

  /**
   * @param heardAt the time of the last sign of life, for what an earlier run of the only hub heard. Milliseconds since 1970
   * @returns how long the lease still lasts; 0 if it has expired. Milliseconds
   */
  left(worker: string | undefined, heardAt: number): number {
    const ms = this.of(worker)
    const heard = this.#heard?.get(worker ?? '')
    if (heard === undefined && this.#isShared) return ms
    const silentMs = heard === undefined ? this.#clock.now() - heardAt : this.#clock.elapsed() - heard
    return Math.max(0, Math.min(ms, ms - silentMs))
  }

  /**
   * @param ms 0 gives the lease up
   * @returns whether it has changed
   */
  set(worker: string | undefined, ms: number): boolean {
    if (this.of(worker) === ms) return false
    this.#ms ??= new Map()
    if (ms === 0) this.#heard?.delete(worker ?? '')
    if (ms === 0) this.#spoke?.delete(worker ?? '')
    if (ms === 0) this.#ms.delete(worker ?? '')
    else this.#ms.set(worker ?? '', ms)
    return true
  }

  clear(): void {
    this.#ms = undefined
    this.#heard = undefined
    this.#spoke = undefined
  }

  record(): Pick<SessionRecord, 'leases'> | undefined {
    return this.#ms === undefined || this.#ms.size === 0
      ? undefined
      : { leases: Object.fromEntries(this.#ms) }
  }

  /** Where several hubs follow the session, this hub counts the leases from now on. */
  restore({ leases = {} }: Pick<SessionRecord, 'leases'>): void {
    for (const [worker, ms] of Object.entries(leases)) this.set(worker, ms)
    if (this.#isShared) for (const { worker } of this.all()) this.heard(worker)
  }
}
