import { isIP } from 'node:net'
import { Buckets } from '../../lib/bucket.js'
import type { Clock } from '../../lib/clock.js'
import { ProtocolError } from '../../protocol/codes.js'
import type { Limits } from '../../protocol/limits.js'
import type { Request } from '../../transport/transport.js'
import { BodyTurns } from './body-turns.js'

/** It is open how long a body is: where the next request begins is open, too (RFC 9112, section 6.3). */
export class UnclearLength extends ProtocolError {
  constructor(message: string) {
    super('badFrame', message)
  }
}

/** Somebody sends more than they may. */
export class RateError extends ProtocolError {
  /** When it may be tried again. Milliseconds. */
  readonly afterMs: number

  constructor(message: string, afterMs: number) {
    super('rateExceeded', `${message}; try again in ${afterMs} ms`)
    this.afterMs = afterMs
  }
}

export interface RateLimitsOptions {
  readonly limits: Limits
  readonly clock: Clock
  /** Addresses of proxies of which the last entry of `X-Forwarded-For` is believed. */
  readonly trustedProxies: readonly string[]
}

/** What is looked at before a request is: whether it is too large, coded, or one too many. */
export class RateLimits {
  readonly #limits: Limits
  readonly #clock: Clock
  readonly #trustedProxies: ReadonlySet<string>
  readonly #rates: Buckets
  /** What comes in bodies. */
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

  /** @returns the address of whoever asks, whom a trusted proxy names */
  addressOf({ address, headers }: Request): string {
    const peer = plainAddress(address)
    if (!this.#trustedProxies.has(peer)) return peer
    // The last one was written by the proxy itself; those before it are anybody's invention.
    const forwarded = headers.get('x-forwarded-for')?.split(',').at(-1)
    return forwarded === undefined ? peer : (forwardedAddress(forwarded.trim()) ?? peer)
  }

  /**
   * @throws ProtocolError `frameTooLarge` for the head, `badFrame` for a body of which it is open how long it is,
   *   `unsupportedMediaType` for a body in any content coding: one
   *   that unpacks to a thousand times its size is then no danger
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
    // RFC 9112 section 6.3: where it is open how long a body is, somebody before the hub may see another one.
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
   * @param identity a token's subject, or an address; whom nobody knows, nobody can bound
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
   * Waits for the turn of a whole body.
   *
   * @param identity as of `charge`
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
 * Some proxies write a port beside the address. It counts for nothing: each link has another.
 *
 * @returns the address of an entry of `X-Forwarded-For`; nothing when it is none
 */
function forwardedAddress(entry: string): string | undefined {
  const text = bracketed.exec(entry)?.[1] ?? withPort.exec(entry)?.[1] ?? entry
  if (isIP(text) === 0 || text.includes('%')) return undefined
  return plainAddress(isIP(text) === 6 ? canonical(text) : text)
}

/** One address, written as RFC 5952 has it; an IPv4 address within stays as it is. */
function canonical(address: string): string {
  return address.includes('.') ? address.toLowerCase() : new URL(`http://[${address}]`).hostname.slice(1, -1)
}

/** An IPv4 address as such, also where the socket is one of IPv6. */
export function plainAddress(address: string): string {
  return address.replace(/^(?:::ffff:|0000:0000:0000:0000:0000:ffff:)(?=\d+\.)/i, '')
}
