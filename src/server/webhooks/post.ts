import { lookup as systemLookup } from 'node:dns'
import * as http from 'node:http'
import * as https from 'node:https'
import type { LookupFunction } from 'node:net'
import type { Clock } from '../../lib/clock.js'
import type { PermittedAddresses } from './addresses.js'
import { addressIn } from './webhook-options.js'

/** How one attempt went: taken, refused by us because of its address, or not taken. */
export type Attempt =
  | { readonly kind: 'delivered' }
  | { readonly kind: 'refused' | 'failed'; readonly reason: string }

/** Finds the addresses of a host: Node's `dns.lookup` with `all`, or a test's. */
export type Resolve = (
  host: string,
  found: (error: Error | null, addresses: readonly { address: string; family: number }[]) => void,
) => void

export const systemResolve: Resolve = (host, found) => systemLookup(host, { all: true }, found)

export interface Posting {
  readonly url: URL
  readonly addresses: PermittedAddresses
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  readonly clock: Clock
  readonly resolve: Resolve
  /** Cuts the attempt off. */
  readonly signal: AbortSignal
}

/** An attempt from the first byte to the head of the answer. Milliseconds. */
const attemptMs = 10_000

class AddressRefused extends Error {}

/**
 * Sends a body once. The address is checked once it has been found, and that very address is connected to: a name that
 * means something else a moment later leads nowhere. Redirects are not followed, and of the answer only the status is read.
 */
export function post({ url, addresses, headers, body, clock, resolve, signal }: Posting): Promise<Attempt> {
  const isPlain = url.protocol === 'http:'
  const literal = addressIn(url)
  const fault = literal && addresses.faultOf(literal, isPlain)
  if (fault !== undefined) return Promise.resolve({ kind: 'refused', reason: fault })
  return new Promise((settle) => {
    const request = (isPlain ? http : https).request(url, {
      method: 'POST',
      agent: false,
      headers: { ...headers, 'content-length': Buffer.byteLength(body) },
      lookup: checkedLookup(resolve, (address) => addresses.faultOf(address, isPlain)),
      signal,
    })
    const timer = clock.after(attemptMs, () => request.destroy(new Error(`no answer within ${attemptMs} ms`)))
    const end = (attempt: Attempt): void => {
      timer.cancel()
      settle(attempt)
      request.destroy()
    }
    request.on('response', ({ statusCode: status = 0 }) => {
      if (status >= 200 && status < 300) end({ kind: 'delivered' })
      else end({ kind: 'failed', reason: `HTTP ${status}` })
    })
    request.on('error', (error) =>
      end({ kind: error instanceof AddressRefused ? 'refused' : 'failed', reason: error.message }),
    )
    request.on('close', () => end({ kind: 'failed', reason: 'closed without an answer' }))
    request.end(body)
  })
}

/** Gives a socket only addresses that it may be connected to. */
function checkedLookup(resolve: Resolve, faultOf: (address: string) => string | undefined): LookupFunction {
  return (host, options, found) => {
    resolve(host, (error, addresses) => {
      if (error !== null) return found(error, '', 0)
      const [good] = addresses.filter(({ address }) => faultOf(address) === undefined)
      if (good === undefined) {
        const [bad] = addresses
        const reason = bad === undefined ? 'it has no address' : faultOf(bad.address)
        return found(new AddressRefused(`${host}: ${reason}`), '', 0)
      }
      if (options.all === true) found(null, [good])
      else found(null, good.address, good.family)
    })
  }
}
