import type { Clock } from '../../lib/clock.js'
import { ProtocolError } from '../../protocol/codes.js'
import type { Limits } from '../../protocol/limits.js'

interface Body {
  readonly sender: string
  /** Told why it has to go. */
  readonly evict: (error: ProtocolError) => void
  bytes: number
  /** When something came of it, on the clock that never goes back. Milliseconds. */
  heardAt: number
  evicted: ProtocolError | undefined
}

/**
 * What has come of all bodies that are not complete: many of them at once must not fill the memory, and those of one
 * sender must not keep out what others send.
 *
 * When there is no room, who holds most makes it, beginning with what has been silent longest. While more than half is
 * taken, silence is short.
 */
export class BodyBudget {
  readonly #limits: Limits
  readonly #clock: Clock
  readonly #held = new Set<Body>()
  readonly #bySender = new Map<string, number>()
  #bytes = 0
  #willLook = false

  constructor(limits: Limits, clock: Clock) {
    this.#limits = limits
    this.#clock = clock
  }

  get bytes(): number {
    return this.#bytes
  }

  /**
   * @param sender a token's holder, or an address
   * @param evict told at most once, when the body has to make room: what is held of it counts no more
   * @returns the share of one body, which must be given back
   */
  take(sender: string, evict: (error: ProtocolError) => void): BodyShare {
    const body: Body = { sender, evict, bytes: 0, heardAt: 0, evicted: undefined }
    return {
      hold: (bytes) => {
        if (body.evicted !== undefined) throw body.evicted
        body.heardAt = this.#clock.elapsed()
        this.#change(body, bytes)
        this.#makeRoom(body)
        if (this.#isShort && !this.#willLook) this.#lookAfter(this.#limits.bodiesSilenceMs)
      },
      release: () => this.#change(body, 0),
    }
  }

  get #isShort(): boolean {
    return this.#bytes > this.#limits.bodiesBytesMax / 2
  }

  #change(body: Body, bytes: number): void {
    const more = bytes - body.bytes
    body.bytes = bytes
    this.#bytes += more
    const all = (this.#bySender.get(body.sender) ?? 0) + more
    if (all > 0) this.#bySender.set(body.sender, all)
    else this.#bySender.delete(body.sender)
    if (bytes > 0) this.#held.add(body)
    else this.#held.delete(body)
  }

  /** @throws ProtocolError `unavailable` when nobody holds more than the sender of this one */
  #makeRoom(coming: Body): void {
    while (this.#bytes > this.#limits.bodiesBytesMax) {
      let heaviest = coming.sender
      let most = this.#bySender.get(coming.sender) ?? 0
      for (const [sender, bytes] of this.#bySender) if (bytes > most) [heaviest, most] = [sender, bytes]
      let silent: Body | undefined
      for (const body of this.#held) {
        if (body.sender !== heaviest || body === coming) continue
        if (silent === undefined || body.heardAt < silent.heardAt) silent = body
      }
      if (heaviest === coming.sender || silent === undefined) throw this.#full()
      this.#evict(silent, this.#full())
    }
  }

  /** Ends those that are silent, the heaviest senders' first, until the room is not short any more. */
  #look(): void {
    this.#willLook = false
    const { bodiesSilenceMs } = this.#limits
    const silentSince = this.#clock.elapsed() - bodiesSilenceMs
    const weightOf = ({ sender }: Body): number => this.#bySender.get(sender) ?? 0
    const silent = [...this.#held].filter(({ heardAt }) => heardAt <= silentSince)
    for (const body of silent.sort((a, b) => weightOf(b) - weightOf(a) || a.heardAt - b.heardAt)) {
      if (!this.#isShort) return
      const message = `no data for ${bodiesSilenceMs} ms, and the hub is short of memory for bodies; try again later`
      this.#evict(body, new ProtocolError('unavailable', message))
    }
    if (!this.#isShort) return
    let next = Number.POSITIVE_INFINITY
    for (const { heardAt } of this.#held) next = Math.min(next, heardAt)
    this.#lookAfter(Math.max(1, next - silentSince))
  }

  #lookAfter(ms: number): void {
    this.#willLook = true
    this.#clock.after(ms, () => this.#look())
  }

  #evict(body: Body, error: ProtocolError): void {
    this.#change(body, 0)
    body.evicted = error
    body.evict(error)
  }

  #full(): ProtocolError {
    return new ProtocolError(
      'unavailable',
      `the hub holds ${this.#limits.bodiesBytesMax} bytes of incomplete bodies (bodiesBytesMax); try again later`,
    )
  }
}

export interface BodyShare {
  /**
   * @param bytes held of the body now
   * @throws ProtocolError `unavailable` when all of them together are too much, and nobody holds more than its sender
   */
  hold(bytes: number): void
  release(): void
}
