import type { Clock } from '../../lib/clock.js'
import { ProtocolError } from '../../protocol/codes.js'
import type { Limits } from '../../protocol/limits.js'

interface Body {
  readonly sender: string
  /** Called with the reason when the body is evicted. */
  readonly evict: (error: ProtocolError) => void
  bytes: number
  /** When its last data arrived, by the monotonic clock. Milliseconds. */
  heardAt: number
  evicted: ProtocolError | undefined
}

/**
 * The memory of all incomplete bodies. Many at once must not fill the memory, and those of one sender must not prevent others
 * from sending.
 *
 * When there is no room, the sender that holds most gives way, its longest silent body first. While more than half is in use,
 * only short silences are permitted.
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
   * @param evict called at most once, when the body is evicted; its bytes no longer count then
   * @returns the share of one body, which must be released
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

  /** @throws ProtocolError `unavailable` when no other sender holds more */
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

  /** Evicts silent bodies, those of the heaviest senders first, until there is enough room. */
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
   * @throws ProtocolError `unavailable` when the total is too large and no other sender holds more
   */
  hold(bytes: number): void
  release(): void
}
