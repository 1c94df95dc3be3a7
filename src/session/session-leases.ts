import type { SessionRecord } from '../store/store.js'

/** The leases of a session and its workers: how long after the last sign of life each is lost. They are stored. */
export class SessionLeases {
  /** Milliseconds, by worker; empty for the session's own. Absent as long as there is none. */
  #ms: Map<string, number> | undefined = undefined
  /** When this hub last heard of them, where several hubs follow the session: each has a clock of its own. */
  #heard: Map<string, number> | undefined = undefined

  readonly #elapsed: (() => number) | undefined

  /** @param elapsed milliseconds on a clock that does not go back; given if several hubs follow the session */
  constructor(elapsed?: () => number) {
    this.#elapsed = elapsed
  }

  /** This hub has got a sign of life. Without a clock of its own nothing is noted. */
  heard(worker: string | undefined): void {
    if (this.#elapsed === undefined || this.of(worker) === 0) return
    this.#heard ??= new Map()
    this.#heard.set(worker ?? '', this.#elapsed())
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
   * @param heardAt the time of the last sign of life; used only without an own clock. Milliseconds since 1970, as `now`
   * @returns how long the lease still lasts; 0 if it has expired. Milliseconds
   */
  left(
    worker: string | undefined,
    { heardAt, now }: { readonly heardAt: number; readonly now: number },
  ): number {
    const ms = this.of(worker)
    if (this.#elapsed === undefined) return Math.max(0, Math.min(ms, heardAt + ms - now))
    const at = this.#elapsed()
    return Math.max(0, Math.min(ms, (this.#heard?.get(worker ?? '') ?? at) + ms - at))
  }

  /**
   * @param ms 0 gives the lease up
   * @returns whether it has changed
   */
  set(worker: string | undefined, ms: number): boolean {
    if (this.of(worker) === ms) return false
    this.#ms ??= new Map()
    if (ms === 0) this.#heard?.delete(worker ?? '')
    if (ms === 0) this.#ms.delete(worker ?? '')
    else this.#ms.set(worker ?? '', ms)
    return true
  }

  clear(): void {
    this.#ms = undefined
    this.#heard = undefined
  }

  record(): Pick<SessionRecord, 'leases'> | undefined {
    return this.#ms === undefined || this.#ms.size === 0
      ? undefined
      : { leases: Object.fromEntries(this.#ms) }
  }

  /** Where several hubs follow the session, this hub counts the leases from now on. */
  restore({ leases = {} }: Pick<SessionRecord, 'leases'>): void {
    for (const [worker, ms] of Object.entries(leases)) this.set(worker, ms)
    for (const { worker } of this.all()) this.heard(worker)
  }
}
