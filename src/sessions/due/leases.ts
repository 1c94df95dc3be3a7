import type { Clock, Timer } from '../../lib/clock.js'

/** Called when a lease may have expired. @returns the milliseconds that are left; 0 if it has expired */
export type RunOut = (session: string, worker: string | undefined) => number

/** Reports to the hubs of a log that the holder of a lease is alive. */
export type Renew = (session: string, worker: string | undefined, ms: number) => void

interface Lease {
  readonly session: string
  readonly worker: string | undefined
  readonly ms: number
  /** The connection that renews it while it is open. */
  holder: object | undefined
  timer: Timer | undefined
}

/**
 * Promises of producers to report again. A lease is renewed by a request, by any event of its worker or session, or by the
 * connection that requested it as long as it is open.
 */
export class Leases {
  readonly #clock: Clock
  readonly #runOut: RunOut
  readonly #renew: Renew | undefined
  /** Connections that have gone. */
  readonly #released = new WeakSet<object>()
  /** By session, then by worker; empty for the session's own. */
  readonly #leases = new Map<string, Map<string, Lease>>()
  /** By the connection that renews them. */
  readonly #held = new Map<object, Set<Lease>>()

  /** @param renew is called from time to time for each live holder, if other hubs follow the session */
  constructor(clock: Clock, runOut: RunOut, renew?: Renew) {
    this.#clock = clock
    this.#runOut = runOut
    this.#renew = renew
  }

  /** The number of leases. */
  get size(): number {
    let size = 0
    for (const leases of this.#leases.values()) size += leases.size
    return size
  }

  /**
   * Begins or renews a lease.
   *
   * @param holder the connection that renews it while it is open; absent: it expires from now on
   */
  hold(session: string, worker: string | undefined, ms: number, given?: object): void {
    this.drop(session, worker)
    const holder = given !== undefined && this.#released.has(given) ? undefined : given
    const lease: Lease = { session, worker, ms, holder, timer: undefined }
    let leases = this.#leases.get(session)
    if (leases === undefined) this.#leases.set(session, (leases = new Map()))
    leases.set(worker ?? '', lease)
    if (holder === undefined) return this.#arm(lease, ms)
    let held = this.#held.get(holder)
    if (held === undefined) this.#held.set(holder, (held = new Set()))
    held.add(lease)
    this.#keepAlive(lease)
  }

  /** The log has a new lease, or its end: 0 milliseconds. Leases that a connection renews here stay unchanged. */
  follow(session: string, worker: string | undefined, ms: number): void {
    if (ms === 0) return this.drop(session, worker)
    if (this.#leases.get(session)?.get(worker ?? '')?.holder !== undefined) return
    this.hold(session, worker, ms)
  }

  #keepAlive(lease: Lease): void {
    const renew = this.#renew
    if (renew === undefined) return
    lease.timer = this.#clock.after(lease.ms / 2, () => {
      renew(lease.session, lease.worker, lease.ms)
      this.#keepAlive(lease)
    })
  }

  /** A connection has closed: its leases expire from now on. */
  released(holder: object): void {
    this.#released.add(holder)
    for (const lease of this.#held.get(holder) ?? []) {
      lease.holder = undefined
      lease.timer?.cancel()
      this.#arm(lease, lease.ms)
    }
    this.#held.delete(holder)
  }

  has(session: string, worker: string | undefined): boolean {
    return this.#leases.get(session)?.has(worker ?? '') === true
  }

  /** The lease was given up, or its session or worker has ended. */
  drop(session: string, worker: string | undefined): void {
    const leases = this.#leases.get(session)
    const lease = leases?.get(worker ?? '')
    if (leases === undefined || lease === undefined) return
    lease.timer?.cancel()
    if (lease.holder !== undefined) this.#held.get(lease.holder)?.delete(lease)
    leases.delete(worker ?? '')
    if (leases.size === 0) this.#leases.delete(session)
  }

  /** The session has ended or was removed. */
  dropAll(session: string): void {
    for (const worker of this.#leases.get(session)?.keys() ?? []) {
      this.drop(session, worker === '' ? undefined : worker)
    }
  }

  #arm(lease: Lease, ms: number): void {
    lease.timer = this.#clock.after(ms, () => {
      const leftMs = this.#runOut(lease.session, lease.worker)
      if (leftMs > 0) this.#arm(lease, leftMs)
      else if (this.#leases.get(lease.session)?.get(lease.worker ?? '') === lease) {
        this.drop(lease.session, lease.worker)
      }
    })
  }
}
