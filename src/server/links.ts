import type { CloseCode } from '../protocol/codes.js'
import { ProtocolError } from '../protocol/codes.js'

export type LinkKind = 'websocket' | 'sse'
export const linkKinds: readonly LinkKind[] = ['websocket', 'sse']

/** What can be told to close. */
export interface Closable {
  close(code: CloseCode, reason: string): void
}

/** The open links of a server: counted, bounded, and closed with it. */
export class Links {
  readonly #max: number
  readonly #open: Readonly<Record<LinkKind, Set<Closable>>> = { websocket: new Set(), sse: new Set() }
  #emptied: (() => void) | undefined = undefined

  constructor(max: number) {
    this.#max = max
  }

  get size(): number {
    return this.#open.websocket.size + this.#open.sse.size
  }

  count(kind: LinkKind): number {
    return this.#open[kind].size
  }

  /** @throws ProtocolError `unavailable` when there are as many as may be */
  expectRoom(): void {
    if (this.size >= this.#max) {
      throw new ProtocolError('unavailable', `The hub has its ${this.#max} connections; come back later.`)
    }
  }

  add(kind: LinkKind, link: Closable): void {
    this.#open[kind].add(link)
  }

  remove(kind: LinkKind, link: Closable): void {
    this.#open[kind].delete(link)
    if (this.size === 0) this.#emptied?.()
  }

  closeAll(code: CloseCode, reason: string): void {
    for (const kind of linkKinds) for (const link of this.#open[kind]) link.close(code, reason)
  }

  /** @returns once the last link has gone. */
  async empty(): Promise<void> {
    if (this.size === 0) return
    await new Promise<void>((resolve) => {
      this.#emptied = resolve
    })
  }
}
