import type { Timer } from '../lib/clock.js'
import { tokenHasExpired } from '../protocol/token.js'
import type { ConnectOptions } from './connect-options.js'
import type { ClientClock } from './surroundings.js'

/** What the owner of tokens is told. */
export interface TokenEvents {
  /** Whether there is a link that a new token is of use to. */
  isOpen(): boolean
  /** Another token is to be used on the link that is open. */
  renewed(token: string): void
  failed(error: Error): void
}

/** A token is replaced when this part of its life is over. */
const renewalPart = 0.8
/** The shortest pause before a token is asked for again. Milliseconds. */
const pauseMsMin = 1_000
/** The longest time that a timer can wait. Milliseconds. */
const timerMsMax = 2 ** 31 - 1

/**
 * The token in use. Where a function makes tokens, it is called for each link, and again before the present one expires,
 * so that the hub cuts nothing.
 */
export class Tokens {
  readonly #clock: ClientClock
  readonly #events: TokenEvents
  #given: ConnectOptions['token']
  #latest: string | undefined
  #timer: Timer | undefined
  #isOver = false

  constructor(given: ConnectOptions['token'], clock: ClientClock, events: TokenEvents) {
    this.#given = given
    this.#clock = clock
    this.#events = events
  }

  /** The one that was used last; absent before the first link, and where there is none. */
  get latest(): string | undefined {
    return this.#latest
  }

  /** @returns a token for a new link or request. Throws or rejects as the function does that makes them */
  ask(): string | undefined | Promise<string | undefined> {
    const made = typeof this.#given === 'function' ? this.#given() : this.#given
    return made instanceof Promise ? made.then((token) => this.#use(token)) : this.#use(made)
  }

  /**
   * A token may be valid when it is asked for, and expire before a hub that starts or is busy looks at it.
   *
   * @param reason why the hub refused the token
   * @returns whether the next one may be accepted
   */
  mayRenew(reason: string, token = this.#latest): boolean {
    if (typeof this.#given !== 'function') return false
    return reason === tokenHasExpired || (lifeOf(token, this.#clock.now())?.leftMs ?? 1) <= 0
  }

  /** Uses this token from now on; no function is asked any more. */
  replace(token: string): void {
    this.#given = token
    this.#use(token)
  }

  close(): void {
    this.#isOver = true
    this.#timer?.cancel()
  }

  #use(token: string | undefined): string | undefined {
    this.#latest = token
    this.#timer?.cancel()
    const now = this.#clock.now()
    const life = typeof this.#given === 'function' ? lifeOf(token, now) : undefined
    if (life !== undefined) this.#renewIn(life.renewMs, now + life.leftMs)
    return token
  }

  #renewIn(ms: number, endsAt: number): void {
    if (this.#isOver) return
    const pauseMs = Math.min(timerMsMax, Math.max(pauseMsMin, ms))
    this.#timer = this.#clock.after(pauseMs, () => void this.#renew(endsAt))
  }

  async #renew(endsAt: number): Promise<void> {
    // A new link asks for a token of its own.
    if (!this.#events.isOpen()) return
    const before = this.#latest
    try {
      const token = await this.ask()
      if (this.#isOver || token === undefined || token === before || this.#latest !== token) return
      if (this.#events.isOpen()) this.#events.renewed(token)
    } catch (error) {
      if (this.#isOver || this.#latest !== before) return
      this.#events.failed(new Error(`no new token: ${String(error)}`))
      const leftMs = endsAt - this.#clock.now()
      if (leftMs > 0) this.#renewIn(leftMs / 4, endsAt)
    }
  }
}

/**
 * How long a JWT lives (RFC 7519, section 4.1), as far as one can read it without its key.
 *
 * @returns milliseconds to its end, and to when it should be replaced; nothing when it does not say, or is no JWT
 */
function lifeOf(token: string | undefined, now: number): { leftMs: number; renewMs: number } | undefined {
  const payload = token?.split('.')[1]
  if (payload === undefined) return undefined
  try {
    const { exp, iat } = JSON.parse(atob(payload.replaceAll('-', '+').replaceAll('_', '/'))) as {
      exp?: unknown
      iat?: unknown
    }
    if (typeof exp !== 'number') return undefined
    const leftMs = exp * 1_000 - now
    // The clock here may be behind the clock of the token's issuer.
    const lifeMs = typeof iat === 'number' ? Math.min(leftMs, (exp - iat) * 1_000) : leftMs
    return { leftMs, renewMs: lifeMs * renewalPart }
  } catch {
    return undefined
  }
}
