import type { Clock, Timer } from '../../lib/clock.js'
import type { HubHttp } from '../hub-http.js'

/** How long after the last sign of life a worker counts as lost. */
const leaseMs = 15_000

/**
 * Holds leases on the workers of a session, and on the session itself if this process began it: if this process is
 * killed, the hub reports them as lost.
 */
export class HeldLeases {
  readonly #hub: HubHttp
  readonly #clock: Clock
  readonly #session: string
  /** Paths of the held leases. */
  readonly #held = new Set<string>()
  #timer: Timer | undefined

  constructor(hub: HubHttp, clock: Clock, session: string) {
    this.#hub = hub
    this.#clock = clock
    this.#session = `/api/sessions/${session}`
  }

  /** @param worker absent: the session itself */
  hold(worker?: string): void {
    const path = this.#pathOf(worker)
    this.#held.add(path)
    void this.#put(path, leaseMs)
    this.#timer ??= this.#clock.after(leaseMs / 3, () => this.#renew())
  }

  /** A worker that has ended needs no lease. */
  ended(worker: string): void {
    this.#held.delete(this.#pathOf(worker))
  }

  /** @param tell the hub, which would wait for a sign of life. @returns once those that are left have been given up, or could not be */
  async release({ tell }: { readonly tell: boolean }): Promise<void> {
    this.#timer?.cancel()
    const held = tell ? [...this.#held] : []
    this.#held.clear()
    await Promise.all(held.map((path) => this.#put(path, 0)))
  }

  #renew(): void {
    this.#timer = undefined
    if (this.#held.size === 0) return
    for (const path of this.#held) void this.#put(path, leaseMs)
    this.#timer = this.#clock.after(leaseMs / 3, () => this.#renew())
  }

  async #put(path: string, ms: number): Promise<void> {
    try {
      await this.#hub.ask({ method: 'PUT', path: `${path}/lease`, body: JSON.stringify({ ms }) })
    } catch {
      // A hub that is away takes the next one, and what is published tells that it is away.
    }
  }

  #pathOf(worker: string | undefined): string {
    return worker === undefined ? this.#session : `${this.#session}/workers/${worker}`
  }
}
