import { createHmac } from 'node:crypto'
import { setMaxListeners } from 'node:events'
import type { Hub } from '../../hub/hub.js'
import type { Clock, Timer } from '../../lib/clock.js'
import type { JsonObject } from '../../lib/json.js'
import type { Notice } from '../../session/notice.js'
import type { Outbox } from '../../store/store.js'
import type { Log } from '../operations/log.js'
import { packageVersion } from '../version.js'
import { post, type Resolve, systemResolve } from './post.js'
import type { Webhook } from './webhook-options.js'

/** What became of what had to be told. */
export interface WebhookCounts {
  /** Attempts by how they went. */
  readonly attempts: { delivered: number; failed: number; refused: number }
  /** What was never delivered: too old, pushed out of a full queue, or of a webhook that is not there any more. */
  readonly dropped: { expired: number; full: number; gone: number }
  waiting: number
}

export function noWebhookCounts(): WebhookCounts {
  return {
    attempts: { delivered: 0, failed: 0, refused: 0 },
    dropped: { expired: 0, full: 0, gone: 0 },
    waiting: 0,
  }
}

export interface WebhooksOptions {
  readonly hub: Hub
  readonly webhooks: readonly Webhook[]
  readonly clock: Clock
  readonly log: Log
  readonly counts: WebhookCounts
  readonly resolve?: Resolve
}

/** What waits to be delivered to one URL. */
interface Entry {
  readonly key: number
  readonly hook: Hook
  readonly id: string
  body: string
  /** When it was taken, on the monotonic clock: a wall clock that jumps does not make it old. */
  readonly since: number
  attempts: number
  timer: Timer | undefined
}

/** As the outbox has it; `at` in milliseconds since 1970. */
type Kept = { readonly url: string; readonly id: string; readonly body: string; readonly at: number }

interface Hook extends Webhook {
  /** Entries that are due, in order. */
  readonly due: Set<Entry>
  underWay: number
  /** The last attempt failed; said once in the log. */
  failing: boolean
}

/** Entries that wait, of all webhooks. */
const queueMax = 10_000
/** How long an entry is tried. */
const ageMsMax = 24 * 60 * 60 * 1_000
/** Attempts at once, of one webhook. */
const attemptsMax = 4
const backoffMs = 1_000
const backoffMsMax = 10 * 60 * 1_000

/** Tells others outside what happens in sessions: kept with what happened, and tried until it is taken. */
export class Webhooks {
  readonly #options: WebhooksOptions
  readonly #hooks: readonly Hook[]
  readonly #outbox: Outbox | undefined
  /** In the order of their keys. */
  readonly #entries = new Map<number, Entry>()
  readonly #stop = new AbortController()
  readonly #endNotices: () => void
  readonly #endRedactions: () => void
  readonly #agent = `runcast/${packageVersion()}`
  #key = 0
  #flushing = false

  constructor(options: WebhooksOptions) {
    this.#options = options
    // Each attempt listens to it.
    setMaxListeners(0, this.#stop.signal)
    this.#hooks = options.webhooks.map((hook) => ({ ...hook, due: new Set(), underWay: 0, failing: false }))
    this.#outbox = options.hub.outbox
    for (const { key, value } of this.#outbox?.entries() ?? []) this.#restore(key, value)
    this.#endNotices = options.hub.onNotice((notice) => this.#take(notice))
    this.#endRedactions = options.hub.onRedaction((change) => {
      for (const entry of this.#entries.values()) entry.body = change(entry.body)
    })
    for (const hook of this.#hooks) this.#next(hook)
  }

  /** What waits stays in the store. */
  close(): void {
    this.#endNotices()
    this.#endRedactions()
    for (const { timer } of this.#entries.values()) timer?.cancel()
    this.#stop.abort()
  }

  #restore(key: number, kept: JsonObject): void {
    const { url, id, body, at } = kept as Kept
    this.#key = Math.max(this.#key, key)
    const hook = this.#hooks.find((one) => one.url.href === url)
    if (hook === undefined) {
      this.#options.counts.dropped.gone++
      this.#outbox?.remove(key)
      this.#flushLater()
    } else {
      const { clock } = this.#options
      this.#add({ key, hook, id, body, since: clock.elapsed() - Math.max(0, clock.now() - at) })
    }
  }

  #take(notice: Notice): void {
    const { clock, hub } = this.#options
    const { kind } = notice
    const isEnd = kind === 'failed' || kind === 'lost'
    for (const hook of this.#hooks) {
      if (!hook.kinds.has(kind) && !(isEnd && hook.kinds.has('ended'))) continue
      const id = hub.random.id()
      const body = JSON.stringify({ id, ...notice })
      const at = clock.now()
      const key = ++this.#key
      this.#outbox?.put(key, { url: hook.url.href, id, body, at } satisfies Kept)
      this.#add({ key, hook, id, body, since: clock.elapsed() })
      this.#expectRoom()
      this.#next(hook)
    }
  }

  #add(entry: Omit<Entry, 'attempts' | 'timer'>): void {
    const added: Entry = { ...entry, attempts: 0, timer: undefined }
    this.#entries.set(entry.key, added)
    entry.hook.due.add(added)
    this.#options.counts.waiting = this.#entries.size
  }

  #expectRoom(): void {
    if (this.#entries.size <= queueMax) return
    for (const oldest of this.#entries.values()) {
      this.#drop(oldest, 'full')
      return
    }
  }

  #drop(entry: Entry, why: 'expired' | 'full'): void {
    const { counts, log } = this.#options
    counts.dropped[why]++
    log.error({ url: entry.hook.url.origin, id: entry.id, why }, 'a webhook was not delivered')
    this.#forget(entry)
  }

  #forget(entry: Entry): void {
    entry.timer?.cancel()
    entry.hook.due.delete(entry)
    if (!this.#entries.delete(entry.key)) return
    this.#options.counts.waiting = this.#entries.size
    this.#outbox?.remove(entry.key)
    this.#flushLater()
  }

  /** What was removed in one turn is written as one. */
  #flushLater(): void {
    if (this.#flushing || this.#outbox === undefined) return
    this.#flushing = true
    this.#options.clock.defer(() => {
      this.#flushing = false
      // A store that fails says so itself; what is not removed is sent once more.
      this.#outbox?.flush().catch(() => undefined)
    })
  }

  #next(hook: Hook): void {
    for (const entry of hook.due) {
      if (hook.underWay >= attemptsMax || this.#stop.signal.aborted) return
      hook.due.delete(entry)
      hook.underWay++
      void this.#attempt(entry).finally(() => {
        hook.underWay--
        this.#next(hook)
      })
    }
  }

  async #attempt(entry: Entry): Promise<void> {
    const { clock, counts, log, resolve = systemResolve } = this.#options
    const { hook, body, id } = entry
    const { url, addresses, secret } = hook
    const seconds = Math.floor(clock.now() / 1_000)
    const headers = {
      'content-type': 'application/json',
      'user-agent': this.#agent,
      'runcast-id': id,
      'runcast-signature': `t=${seconds},v1=${signature(secret, seconds, body)}`,
    }
    const { signal } = this.#stop
    const attempt = await post({ url, addresses, headers, body, clock, resolve, signal })
    if (signal.aborted) return
    entry.attempts++
    counts.attempts[attempt.kind]++
    if (attempt.kind === 'delivered') {
      if (hook.failing) log.info({ url: url.origin }, 'a webhook works again')
      hook.failing = false
      return this.#forget(entry)
    }
    if (!hook.failing)
      log.warn({ url: url.origin, why: attempt.reason }, 'a webhook fails: it is tried again')
    hook.failing = true
    if (!this.#entries.has(entry.key)) return
    if (clock.elapsed() - entry.since > ageMsMax) return this.#drop(entry, 'expired')
    this.#tryLater(entry)
  }

  #tryLater(entry: Entry): void {
    const { clock, hub } = this.#options
    const ms = Math.min(backoffMs * 2 ** (entry.attempts - 1), backoffMsMax)
    // Those that failed together do not come back together.
    entry.timer = clock.after(ms * (0.75 + hub.random.fraction() / 2), () => {
      entry.hook.due.add(entry)
      this.#next(entry.hook)
    })
  }
}

/** @returns HMAC-SHA256 in hexadecimal over the time in seconds since 1970, a full stop and the body */
export function signature(secret: string, seconds: number, body: string): string {
  return createHmac('sha256', secret).update(`${seconds}.${body}`).digest('hex')
}
