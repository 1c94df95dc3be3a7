import type { SessionRecord } from '../store/store.js'

/** The leases of a session and its workers: how long after the last sign of life each is lost. They are stored. */
export class SessionLeases {
  /** Milliseconds, by worker; empty for the session's own. Absent as long as there is none. */
  #ms: Map<string, number> | undefined = undefined
  /** When this hub last heard of them, where several hubs follow the session: each has a clock of its own. */
  #heard: Map<string, number> | undefined = undefined

  /** @returns when this hub has last heard of it, as `heard` was told; nothing where it has not */
  heardAt(worker: string | undefined): number | undefined {
    return this.#heard?.get(worker ?? '')
  }

  /** This hub has heard of it. @param at milliseconds, on a clock that does not go back */
  heard(worker: string | undefined, at: number): void {
    if (this.of(worker) > 0) (this.#heard ??= new Map()).set(worker ?? '', at)
  }

  /** Whose they are; nothing for the session itself. */
  *holders(): Iterable<string | undefined> {
    for (const worker of this.#ms?.keys() ?? []) yield worker === '' ? undefined : worker
  }

  /** @returns milliseconds; 0 if there is no lease */
  of(worker: string | undefined): number {
    return this.#ms?.get(worker ?? '') ?? 0
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

  restore({ leases = {} }: Pick<SessionRecord, 'leases'>): void {
    for (const [worker, ms] of Object.entries(leases)) this.set(worker, ms)
  }
}
