import { createHash } from 'node:crypto'
import type { Clock } from '../../lib/clock.js'
import { ProtocolError } from '../../protocol/codes.js'
import type { Limits } from '../../protocol/limits.js'
import { type Authorize, type AuthorizeRequest, unanswered } from './authorize.js'
import { checkedGrant, type Grant } from './grant.js'
import { readUpTo } from './read-up-to.js'
import { expectSafe, messageOf } from './token-keys.js'

export interface AuthorizeUrlOptions {
  /** `https`, or `http` on loopback. */
  readonly url: string
  /** Headers of a request that are passed on; default `cookie` and `authorization`. */
  readonly headers?: readonly string[]
}

interface AskingOptions {
  readonly clock: Clock
  readonly limits: Limits
  /** Called when there is no answer, or an invalid one. */
  readonly report: (error: unknown) => void
}

interface Known {
  readonly grant: Grant
  /** Milliseconds since 1970. */
  readonly until: number
}

/** A day. Seconds. */
const maxAgeMax = 86_400

/**
 * Asks another server what a request may do: `POST { method, path, headers, address }`. The answer is 200 with a grant and
 * optionally `maxAge`, for how many seconds it may be reused for the same question; 401 if the user is unknown; or 403.
 *
 * @throws Error when the URL is not safe
 */
export function authorizeByUrl(
  { url, headers = ['cookie', 'authorization'] }: AuthorizeUrlOptions,
  options: AskingOptions,
): Authorize {
  expectSafe(url)
  const names = headers.map((name) => name.toLowerCase())
  const asker = new Asker(url, options)
  return (request) => asker.ask(questionOf(request, names))
}

function questionOf({ method, path, headers, address }: AuthorizeRequest, names: readonly string[]): string {
  const passed = names.flatMap((name) => {
    const value = headers.get(name)
    return value === undefined ? [] : [[name, value]]
  })
  return JSON.stringify({ method, path, headers: Object.fromEntries(passed), address })
}

class Asker {
  readonly #url: string
  readonly #options: AskingOptions
  /** By a digest of the question, because the headers of ten thousand questions may be long. The oldest answer is first. */
  readonly #known = new Map<string, Known>()
  readonly #asking = new Map<string, Promise<Grant | undefined>>()

  constructor(url: string, options: AskingOptions) {
    this.#url = url
    this.#options = options
  }

  ask(question: string): Grant | undefined | Promise<Grant | undefined> {
    const key = createHash('sha256').update(question).digest('base64')
    const known = this.#known.get(key)
    if (known !== undefined && known.until > this.#options.clock.elapsed()) return known.grant
    this.#known.delete(key)
    const pending = this.#asking.get(key)
    if (pending !== undefined) return pending
    const { authorizingMax } = this.#options.limits
    if (this.#asking.size >= authorizingMax) {
      throw new ProtocolError(
        'unavailable',
        `${authorizingMax} requests are waiting for authorization; try again later.`,
      )
    }
    const asking = this.#fetched(question, key).finally(() => this.#asking.delete(key))
    this.#asking.set(key, asking)
    return asking
  }

  async #fetched(question: string, key: string): Promise<Grant | undefined> {
    const { limits, report } = this.#options
    const { signal, done } = this.#deadline()
    try {
      const response = await fetch(this.#url, {
        method: 'POST',
        body: question,
        headers: { 'content-type': 'application/json', accept: 'application/json' },
        redirect: 'error',
        signal,
      })
      const text = await readUpTo(response, limits.authorizeBytesMax)
      if (response.status === 401) return undefined
      if (response.status === 403)
        throw new ProtocolError('forbidden', 'The authorization server does not permit this.')
      if (response.status !== 200) throw new Error(`HTTP ${response.status}`)
      return this.#taken(JSON.parse(text), key)
    } catch (error) {
      if (error instanceof ProtocolError) throw error
      report(new Error(`${this.#url}: expected a grant, 401 or 403: ${messageOf(error)}`))
      throw signal.aborted
        ? unanswered(limits)
        : new ProtocolError('unavailable', 'The authorization server does not answer; try again later.')
    } finally {
      done()
    }
  }

  #taken(value: unknown, key: string): Grant {
    const { limits, clock } = this.#options
    const { maxAge = 0, ...grant } = value as Grant & { readonly maxAge?: unknown }
    checkedGrant(grant, limits)
    if (typeof maxAge !== 'number' || !(maxAge >= 0 && maxAge <= maxAgeMax)) {
      throw new TypeError(`maxAge: expected seconds, at most ${maxAgeMax}`)
    }
    if (maxAge === 0) return grant
    this.#known.set(key, { grant, until: clock.elapsed() + maxAge * 1_000 })
    if (this.#known.size > limits.authorizedMax) {
      const [oldest] = this.#known.keys()
      if (oldest !== undefined) this.#known.delete(oldest)
    }
    return grant
  }

  #deadline(): { readonly signal: AbortSignal; readonly done: () => void } {
    const { clock, limits } = this.#options
    const controller = new AbortController()
    const timer = clock.after(limits.authorizeMs, () =>
      controller.abort(new Error(`no answer within ${limits.authorizeMs} ms`)),
    )
    return { signal: controller.signal, done: () => timer.cancel() }
  }
}
