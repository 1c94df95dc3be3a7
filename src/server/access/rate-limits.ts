import { isIP } from 'node:net'
import { Buckets } from '../../lib/bucket.js'
import type { Clock } from '../../lib/clock.js'
import { ProtocolError } from '../../protocol/codes.js'
import type { Limits } from '../../protocol/limits.js'
import type { Request } from '../../transport/transport.js'
import { BodyTurns } from './body-turns.js'

/** The length of a body is ambiguous, and so is the beginning of the next request (RFC 9112, section 6.3). */
export class UnclearLength extends ProtocolError {
  constructor(message: string) {
    super('badFrame', message)
  }
}

/** A client exceeded a rate limit. */
export class RateError extends ProtocolError {
  /** After how long to try again. Milliseconds. */
  readonly afterMs: number

  constructor(message: string, afterMs: number) {
    super('rateExceeded', `${message}; try again in ${afterMs} ms`)
    this.afterMs = afterMs
  }
}

export interface RateLimitsOptions {
  readonly limits: Limits
  readonly clock: Clock
  /** Addresses of proxies whose last entry in `X-Forwarded-For` is trusted. */
  readonly trustedProxies: readonly string[]
}

/** The checks before a request is handled: its size, its content coding, and the rate. */
export class RateLimits {
  readonly #limits: Limits
  readonly #clock: Clock
  readonly #trustedProxies: ReadonlySet<string>
  readonly #rates: Buckets
  /** The rate limit of bodies. */
  readonly bodies: BodyTurns

  constructor({ limits, clock, trustedProxies }: RateLimitsOptions) {
    this.#limits = limits
    this.#clock = clock
    this.#trustedProxies = new Set(trustedProxies.map(plainAddress))
    this.#rates = new Buckets(
      { perSecond: limits.requestRateMax, burst: limits.requestBurstMax },
      limits.ratedMax,
    )
    this.bodies = new BodyTurns(limits, clock)
  }

  /** @returns the address of the client, possibly as reported by a trusted proxy */
  addressOf({ address, headers }: Request): string {
    const peer = plainAddress(address)
    if (!this.#trustedProxies.has(peer)) return peer
    // The proxy itself wrote the last entry; those before it may be forged.
    const forwarded = headers.get('x-forwarded-for')?.split(',').at(-1)
    return forwarded === undefined ? peer : (forwardedAddress(forwarded.trim()) ?? peer)
  }

  /**
   * @throws ProtocolError `frameTooLarge` for the head, `badFrame` for a body of ambiguous length, `unsupportedMediaType` for a
   *   body with a content coding, which could unpack to a thousand times its size
   */
  expectFit({ path, query, headers }: Request): void {
    const { urlLengthMax, headBytesMax } = this.#limits
    const urlLength = path.length + query.length
    if (urlLength > urlLengthMax) {
      throw new ProtocolError(
        'frameTooLarge',
        `url: expected at most ${urlLengthMax} characters, got ${urlLength}`,
      )
    }
    let bytes = 0
    for (const [name, value] of headers) bytes += name.length + value.length
    if (bytes > headBytesMax) {
      throw new ProtocolError(
        'frameTooLarge',
        `headers: expected at most ${headBytesMax} bytes, got ${bytes}`,
      )
    }
    // RFC 9112 section 6.3: if the length of a body is ambiguous, a proxy in front may have read another one.
    const length = headers.get('content-length')
    const transfer = headers.get('transfer-encoding')
    if (length !== undefined && !/^\d{1,15}$/.test(length))
      throw new UnclearLength('content-length: expected one number')
    if (transfer !== undefined && transfer.trim().toLowerCase() !== 'chunked')
      throw new UnclearLength('transfer-encoding: expected nothing but chunked')
    const coding = headers.get('content-encoding')?.trim().toLowerCase() ?? ''
    if (coding !== '' && coding !== 'identity') {
      throw new ProtocolError(
        'unsupportedMediaType',
        'content-encoding: expected none; send the body as it is',
      )
    }
  }

  /**
   * @param identity a token's subject, or an address; without either there is no limit
   * @param cost requests or frames
   * @throws RateError
   */
  charge(identity: string, cost = 1): void {
    const afterMs = identity === '' ? 0 : this.#rates.take(identity, cost, this.#clock.elapsed())
    if (afterMs === 0) return
    throw new RateError(
      `expected at most ${this.#limits.requestRateMax} requests and frames a second`,
      afterMs,
    )
  }

  /**
   * Waits until a whole body may be read.
   *
   * @param identity as for `charge`
   * @throws RateError when that would take too long
   */
  enterBody(identity: string, over: () => boolean): Promise<void> | undefined {
    const { bodyRateMax, bodyWaitMs } = this.#limits
    const ms = this.bodies.waitMs(identity)
    if (ms > bodyWaitMs) throw new RateError(`bodies: expected at most ${bodyRateMax} bytes a second`, ms)
    return this.bodies.pass(identity, 0, over)
  }
}

const bracketed = /^\[([\da-f:.]{2,45})\](?::\d{1,5})?$/i
const withPort = /^([\d.]{7,15}):\d{1,5}$/

/**
 * Some proxies write a port after the address. It is ignored, because it differs for each link.
 *
 * @returns the address in an entry of `X-Forwarded-For`; undefined if it is not an address
 */
function forwardedAddress(entry: string): string | undefined {
  const text = bracketed.exec(entry)?.[1] ?? withPort.exec(entry)?.[1] ?? entry
  if (isIP(text) === 0 || text.includes('%')) return undefined
  return plainAddress(isIP(text) === 6 ? canonical(text) : text)
}

/** An address in the form of RFC 5952; an embedded IPv4 address keeps its form. */
function canonical(address: string): string {
  return address.includes('.') ? address.toLowerCase() : new URL(`http://[${address}]`).hostname.slice(1, -1)
}

/** Returns an IPv4 address in its own form, even if the socket is one of IPv6. */
export function plainAddress(address: string): string {
  return address.replace(/^(?:::ffff:|0000:0000:0000:0000:0000:ffff:)(?=\d+\.)/i, '')
}
