import type { Clock } from '../../lib/clock.js'
import type { CloseCode } from '../../protocol/codes.js'
import { ProtocolError } from '../../protocol/codes.js'
import type { Limits } from '../../protocol/limits.js'

export type LinkKind = 'websocket' | 'sse'
export const linkKinds: readonly LinkKind[] = ['websocket', 'sse']

/** A link that can be closed. */
export interface Closable {
  close(code: CloseCode, reason: string, retryMs?: number): void
}

// Short enough that each step closes only a small part.
const closeEveryMs = 50

/** The open links of a server: counted, bounded, and closed with it. */
export class Links {
  readonly #max: number
  readonly #perAddressMax: number
  /** Connections by address, those with at least one. */
  readonly #byAddress = new Map<string, number>()
  readonly #open: Readonly<Record<LinkKind, Set<Closable>>> = { websocket: new Set(), sse: new Set() }
  readonly #opened: Record<LinkKind, number> = { websocket: 0, sse: 0 }
  /** Waiters for the end of the last link. */
  readonly #emptied: (() => void)[] = []

  constructor({ connectionsMax, connectionsPerAddressMax }: Limits) {
    this.#max = connectionsMax
    this.#perAddressMax = connectionsPerAddressMax
  }

  get size(): number {
    return this.#open.websocket.size + this.#open.sse.size
  }

  count(kind: LinkKind): number {
    return this.#open[kind].size
  }

  /** @returns the number of links so far, open ones included */
  opened(kind: LinkKind): number {
    return this.#opened[kind]
  }

  /**
   * @param address empty if unknown
   * @throws ProtocolError at a limit: `unavailable` for all links, `rateExceeded` for those of one address
   */
  expectRoom(address: string): void {
    if (this.size >= this.#max) {
      throw new ProtocolError(
        'unavailable',
        `Connection limit reached (connectionsMax = ${this.#max}); try again later.`,
      )
    }
    if (address !== '' && (this.#byAddress.get(address) ?? 0) >= this.#perAddressMax) {
      throw new ProtocolError(
        'rateExceeded',
        `Connection limit of this address reached (connectionsPerAddressMax = ${this.#perAddressMax}); close some, or try again later.`,
      )
    }
  }

  add(kind: LinkKind, link: Closable, address: string): void {
    this.#open[kind].add(link)
    this.#opened[kind]++
    this.#byAddress.set(address, (this.#byAddress.get(address) ?? 0) + 1)
  }

  /** Replaces the object that closes a link. */
  replace(kind: LinkKind, link: Closable, by: Closable): void {
    if (this.#open[kind].delete(link)) this.#open[kind].add(by)
  }

  remove(kind: LinkKind, link: Closable, address: string): void {
    if (!this.#open[kind].delete(link)) return
    const left = (this.#byAddress.get(address) ?? 1) - 1
    if (left > 0) this.#byAddress.set(address, left)
    else this.#byAddress.delete(address)
    if (this.size > 0) return
    for (const tell of this.#emptied.splice(0)) tell()
  }

  /**
   * Closes all open links, evenly over a period.
   *
   * @returns when all of them have been asked to close
   */
  async closeAll(close: (link: Closable) => void, over: { clock: Clock; ms: number }): Promise<void> {
    const links = linkKinds.flatMap((kind) => [...this.#open[kind]])
    const parts = Math.max(1, Math.ceil(over.ms / closeEveryMs))
    for (let part = 0; part < parts; part++) {
      if (part > 0) await Promise.race([this.#pause(over.clock), this.empty()])
      const [from, to] = [part, part + 1].map((n) => Math.round((n * links.length) / parts))
      for (const link of links.slice(from, to)) close(link)
    }
  }

  /** @returns when the last link has closed */
  async empty(): Promise<void> {
    if (this.size === 0) return
    await new Promise<void>((resolve) => void this.#emptied.push(resolve))
  }

  #pause(clock: Clock): Promise<void> {
    return new Promise((resolve) => void clock.after(closeEveryMs, resolve))
  }
}
