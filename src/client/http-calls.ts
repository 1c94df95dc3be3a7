import type { JsonObject } from '../lib/json.js'
import type { RequestCode } from '../protocol/codes.js'
import type { RequestError } from './errors.js'
import type { RequestOptions } from './requests.js'
import { failure, readJson } from './sse-requests.js'
import type { ClientClock } from './surroundings.js'
import type { Tokens } from './tokens.js'

/** What calls over HTTP need of their client. */
export interface Caller {
  readonly base: string
  readonly fetch: typeof globalThis.fetch
  readonly clock: ClientClock
  readonly tokens: Tokens
  readonly timeoutMs: number
  /** Given, not imported: a class of two chunks would be a chunk of its own, which every page would load. */
  readonly RequestError: typeof RequestError
  /** Aborted when the client is closed. */
  readonly closed: AbortSignal
}

/** One call; its effect is the same when it is made twice. */
export interface HttpCall {
  readonly method: 'GET' | 'POST' | 'DELETE'
  /** Below the base, as `api/sessions`. */
  readonly path: string
  readonly query?: Readonly<Record<string, string | readonly string[] | undefined>>
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: JsonObject
  /** What a call that is made again is answered when the first one had its effect, but its answer was lost. */
  readonly doneCode?: RequestCode
}

/** Ends a call early. The signals of React Native have neither `reason` nor `throwIfAborted`. */
class Abort {
  readonly #controller = new AbortController()
  /** What the call fails with, once it is aborted. */
  reason = new Error('the call was aborted')

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  abort(reason = this.reason): void {
    if (this.signal.aborted) return
    this.reason = reason
    this.#controller.abort(reason)
  }

  throwIfAborted(): void {
    if (this.signal.aborted) throw this.reason
  }
}

const pauseMsFirst = 250
const pauseMsMost = 15_000

/**
 * Calls the hub, and again while it cannot be reached or has no room.
 *
 * @returns the answer; empty where there is none, or the call had been done before
 * @throws RequestError when the hub refuses; `unavailable` when it has not answered in time; the signal's reason;
 *   ClosedError when the client is closed meanwhile
 */
export async function call(
  caller: Caller,
  asked: HttpCall,
  options: RequestOptions = {},
): Promise<JsonObject> {
  const { timeoutMs = caller.timeoutMs, signal } = options
  const ended = new Abort()
  const stop = ({ target }: Event) => ended.abort((target as AbortSignal).reason)
  for (const one of [signal, caller.closed]) {
    if (one?.aborted) throw one.reason
    one?.addEventListener('abort', stop)
  }
  let trouble = 'no answer'
  const timer =
    timeoutMs === Number.POSITIVE_INFINITY
      ? undefined
      : caller.clock.after(timeoutMs, () =>
          ended.abort(new caller.RequestError('unavailable', `not done within ${timeoutMs} ms: ${trouble}`)),
        )
  try {
    let token = caller.tokens.latest ?? (await caller.tokens.ask())
    let isRenewed = false
    for (let attempt = 1; ; attempt += 1) {
      const answer = await attempted(caller, asked, token, ended)
      if (answer.kind === 'done') return answer.body
      if (answer.kind === 'refused') {
        if (attempt > 1 && answer.error.code === asked.doneCode) return {}
        const { code, message } = answer.error
        if (code !== 'unauthorized' || (isRenewed && !caller.tokens.mayRenew(message, token)))
          throw answer.error
        if (isRenewed) await paused(caller.clock, pauseMsOf(attempt), ended)
        isRenewed = true
        trouble = message
        token = await caller.tokens.ask()
        continue
      }
      trouble = answer.trouble
      await paused(caller.clock, Math.max(answer.retryMs, pauseMsOf(attempt)), ended)
    }
  } finally {
    timer?.cancel()
    for (const one of [signal, caller.closed]) one?.removeEventListener('abort', stop)
  }
}

/** @param attempt from 1 */
function pauseMsOf(attempt: number): number {
  return Math.min(pauseMsMost, pauseMsFirst * 2 ** Math.min(attempt - 1, 10))
}

type Attempted =
  | { readonly kind: 'done'; readonly body: JsonObject }
  | { readonly kind: 'refused'; readonly error: RequestError }
  /** It may be answered later. */
  | { readonly kind: 'failed'; readonly trouble: string; readonly retryMs: number }

async function attempted(
  { base, fetch, RequestError }: Caller,
  { method, path, query = {}, headers, body }: HttpCall,
  token: string | undefined,
  ended: Abort,
): Promise<Attempted> {
  const url = new URL(path, base)
  for (const [name, value] of Object.entries(query)) {
    for (const one of value === undefined ? [] : [value].flat()) url.searchParams.append(name, one)
  }
  let response: Response
  try {
    response = await fetch(url, {
      method,
      signal: ended.signal,
      headers: {
        ...headers,
        ...(body && { 'content-type': 'application/json' }),
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
      },
      ...(body && { body: JSON.stringify(body) }),
    })
  } catch (error) {
    ended.throwIfAborted()
    return { kind: 'failed', trouble: String(error), retryMs: 0 }
  }
  const answer = await readJson(response)
  ended.throwIfAborted()
  if (response.ok) return { kind: 'done', body: answer ?? {} }
  const { code, message } = failure(answer ?? {}, `${path}: HTTP ${response.status}`)
  const { status } = response
  if (status === 429 || status > 500) {
    return {
      kind: 'failed',
      trouble: message,
      retryMs: 1_000 * Number(response.headers.get('retry-after') ?? 0) || 0,
    }
  }
  return { kind: 'refused', error: new RequestError(code, message) }
}

function paused(clock: ClientClock, ms: number, ended: Abort): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = () => {
      timer.cancel()
      reject(ended.reason)
    }
    const timer = clock.after(ms, () => {
      ended.signal.removeEventListener('abort', abort)
      resolve()
    })
    ended.signal.addEventListener('abort', abort)
  })
}
