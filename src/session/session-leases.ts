import type { SessionRecord } from '../store/store.js'

/** The leases of a session and its workers: how long after the last sign of life each is lost. They are stored. */
export class SessionLeases {
  /** Milliseconds, by worker; empty for the session's own. Absent as long as there is none. */
  #ms: Map<string, number> | undefined = undefined

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
    if (ms === 0) this.#ms.delete(worker ?? '')
    else this.#ms.set(worker ?? '', ms)
    return true
  }

  clear(): void {
    this.#ms = undefined
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
