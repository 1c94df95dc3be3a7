import type { Clock } from '../../lib/clock.js'
import {
  type HubAnswer,
  type HubHttp,
  type HubRequest,
  parseObject,
  problemOf,
  reasonOf,
} from '../hub-http.js'
import { type Outgoing, Unacknowledged } from './unacknowledged.js'

/** The events of a sender. */
export type SenderNews =
  | { readonly kind: 'away'; readonly answered: boolean; readonly reason: string; readonly waiting: number }
  | { readonly kind: 'back'; readonly awayMs: number; readonly waiting: number }
  /** No room for more until `room`: the producer must stop. */
  | { readonly kind: 'full'; readonly away: boolean }
  | { readonly kind: 'room' }
  /** The last event: the hub refuses the events, and nothing more is sent. */
  | { readonly kind: 'refused'; readonly status: number; readonly detail: string; readonly line?: number }

/**
 * @param doing the current activity, such as `waiting`
 * @returns the message for people about a hub that accepts nothing at the moment
 */
export function awayText(
  name: string,
  { answered, reason }: SenderNews & { readonly kind: 'away' },
  doing: string,
): string {
  return answered
    ? `the hub at ${name} takes nothing for now (${reason}); ${doing} until it does`
    : `the hub at ${name} has gone away (${reason}); ${doing} until it is back`
}

export interface SenderOptions {
  readonly hub: HubHttp
  readonly session: string
  /** The query for the shape of the events: `?dialect=…`; empty by default. */
  readonly query?: string
  readonly clock: Clock
  readonly tell: (news: SenderNews) => void
  readonly bounds?: Partial<SenderBounds>
}

export interface SenderBounds {
  /** Maximum of waiting events, in number and UTF-16 units of JSON; more of either is `full`. */
  readonly eventsMax: number
  readonly charactersMax: number
  /**
   * Maximum of events per request. It is well below the hub's window of ids (10,000), so that the hub recognises a batch
   * that is sent again, regardless of the session's other workers.
   */
  readonly batchEventsMax: number
  readonly batchCharactersMax: number
  /** Longest pause between two attempts while the hub is away. Milliseconds. */
  readonly retryMsMax: number
}

const defaultBounds: SenderBounds = {
  eventsMax: 100_000,
  charactersMax: 64 * 1024 * 1024,
  batchEventsMax: 2_000,
  batchCharactersMax: 512 * 1024,
  retryMsMax: 1_000,
}

type Delivery =
  | { readonly kind: 'taken'; readonly body: string }
  | { readonly kind: 'refused'; readonly answer: HubAnswer }
  | { readonly kind: 'stopped' }

/**
 * Publishes events of one session's workers over HTTP, and repeats each batch until the hub has
 * acknowledged it.
 *
 * The events of a worker arrive in the order they were pushed in. One request is in flight at a time; the
 * workers take turns, so that a busy one does not delay the others. Events that the hub has not
 * acknowledged are kept, within bounds, while it is away.
 */
export class Sender {
  readonly #hub: HubHttp
  readonly #session: string
  readonly #query: string
  readonly #clock: Clock
  readonly #tell: (news: SenderNews) => void
  readonly #bounds: SenderBounds
  readonly #queues = new Map<string, Unacknowledged>()
  #events = 0
  #characters = 0
  #accepted = 0
  #duplicates = 0
  #full = false
  #sending = false
  #stopped = false
  #refused = false
  #awaySince: number | undefined
  #idle: (() => void)[] = []
  #roomy: (() => void)[] = []
  /** Ends the pause before the next attempt. */
  #wake = (): void => {}

  constructor(options: SenderOptions) {
    this.#hub = options.hub
    this.#session = options.session
    this.#query = options.query ?? ''
    this.#clock = options.clock
    this.#tell = options.tell
    this.#bounds = { ...defaultBounds, ...options.bounds }
  }

  /** Events that the hub has not acknowledged yet. */
  get waiting(): number {
    return this.#events
  }

  /** Events that the hub has acknowledged, and how many of them were duplicates. */
  get acknowledged(): { readonly events: number; readonly duplicates: number } {
    return { events: this.#accepted, duplicates: this.#duplicates }
  }

  /** Whether the hub has refused the events. */
  get refused(): boolean {
    return this.#refused
  }

  /**
   * Takes an event of a worker, or of the session itself (`undefined`). After `stop` or a refusal it is
   * dropped.
   */
  push(worker: string | undefined, event: Outgoing): void {
    if (this.#stopped) return
    const name = worker ?? ''
    let queue = this.#queues.get(name)
    if (queue === undefined) {
      queue = new Unacknowledged(pathOf(this.#session, worker) + this.#query)
      this.#queues.set(name, queue)
    }
    queue.push(event)
    this.#events++
    this.#characters += event.json.length
    if (
      !this.#full &&
      (this.#events >= this.#bounds.eventsMax || this.#characters >= this.#bounds.charactersMax)
    ) {
      this.#full = true
      this.#tell({ kind: 'full', away: this.#awaySince !== undefined })
    }
    if (!this.#sending) {
      this.#sending = true
      // Deferred, so that the events of one turn leave in one request.
      this.#clock.defer(() => void this.#send())
    }
  }

  /** Resolves when there is room for more, or when sending has stopped. */
  room(): Promise<void> {
    return this.#full && !this.#stopped
      ? new Promise((resolve) => this.#roomy.push(resolve))
      : Promise.resolve()
  }

  /** Resolves when everything is acknowledged, or when sending has stopped. */
  drained(): Promise<void> {
    return this.#sending && !this.#stopped
      ? new Promise((resolve) => this.#idle.push(resolve))
      : Promise.resolve()
  }

  /** Ends the session once everything is acknowledged. It is not an error if the session has already ended. */
  async end(outcome: Readonly<Record<string, number | string>>): Promise<void> {
    await this.drained()
    if (this.#stopped) return
    const delivery = await this.#deliver({
      method: 'POST',
      path: `/api/sessions/${this.#session}/end`,
      body: JSON.stringify({ outcome }),
    })
    if (delivery.kind === 'refused' && delivery.answer.status !== 409) this.#refuse(delivery.answer, [])
  }

  /** Sends nothing more, and drops the waiting events. */
  stop(): void {
    if (this.#stopped) return
    this.#stopped = true
    this.#wake()
    this.#settle(this.#idle)
    this.#settle(this.#roomy)
  }

  async #send(): Promise<void> {
    for (let queue = this.#next(); queue !== undefined && !this.#stopped; queue = this.#next()) {
      const batch = queue.head(this.#bounds.batchEventsMax, this.#bounds.batchCharactersMax)
      const delivery = await this.#deliver({
        method: 'POST',
        path: queue.path,
        body: `${batch.map((event) => event.json).join('\n')}\n`,
        contentType: 'application/x-ndjson',
      })
      if (delivery.kind === 'stopped') break
      if (delivery.kind === 'refused') this.#refuse(delivery.answer, batch)
      else this.#acknowledge(queue, batch, delivery.body)
    }
    this.#sending = false
    this.#settle(this.#idle)
  }

  /** The next queue: one with events, and not the previous one if another has events. */
  #next(): Unacknowledged | undefined {
    for (const [name, queue] of this.#queues) {
      if (queue.empty) continue
      this.#queues.delete(name)
      this.#queues.set(name, queue)
      return queue
    }
    return undefined
  }

  #acknowledge(queue: Unacknowledged, batch: readonly Outgoing[], body: string): void {
    const duplicates = parseObject(body)?.['duplicates']
    if (typeof duplicates === 'number') this.#duplicates += duplicates
    this.#accepted += batch.length
    this.#events -= batch.length
    for (const event of batch) this.#characters -= event.json.length
    queue.drop(batch.length)
    // It continues when half empty; otherwise it would stop again after a few events.
    if (
      this.#full &&
      this.#events <= this.#bounds.eventsMax / 2 &&
      this.#characters <= this.#bounds.charactersMax / 2
    ) {
      this.#full = false
      this.#tell({ kind: 'room' })
      this.#settle(this.#roomy)
    }
  }

  #refuse(answer: HubAnswer, batch: readonly Outgoing[]): void {
    const { detail, line: refused } = problemOf(answer)
    const taken = refused === undefined ? 0 : refused - 1
    const line = batch[taken]?.line
    if (refused !== undefined && line !== undefined) this.#accepted += taken
    this.#refused = true
    this.stop()
    this.#tell({
      kind: 'refused',
      status: answer.status,
      // The line number of the request means nothing to the user.
      detail: detail.replace(/^line \d+: /, ''),
      ...(refused !== undefined && line !== undefined && { line }),
    })
  }

  /** Sends one request as often as necessary, because a lost response cannot be distinguished from a lost request. */
  async #deliver(request: HubRequest): Promise<Delivery> {
    for (let attempt = 1; !this.#stopped; attempt++) {
      let reason: string
      let answered = false
      let refusedToConnect = false
      try {
        const answer = await this.#hub.ask(request)
        if (answer.status < 300) {
          this.#hubAnswered()
          return { kind: 'taken', body: answer.body }
        }
        if (!mayPass(answer.status)) {
          this.#hubAnswered()
          return { kind: 'refused', answer }
        }
        reason = problemOf(answer).detail
        answered = true
      } catch (error) {
        reason = reasonOf(error)
        refusedToConnect = error instanceof Error && 'code' in error && error.code === 'ECONNREFUSED'
      }
      // A kept-alive connection that the hub has just closed is not reported: the next attempt opens another.
      if (attempt > 1 || refusedToConnect) this.#hubIsAway(reason, answered)
      await this.#pause(Math.min(this.#bounds.retryMsMax, 50 * 2 ** (attempt - 1)))
    }
    return { kind: 'stopped' }
  }

  #hubIsAway(reason: string, answered: boolean): void {
    if (this.#awaySince !== undefined || this.#stopped) return
    this.#awaySince = this.#clock.elapsed()
    this.#tell({ kind: 'away', answered, reason, waiting: this.#events })
  }

  #hubAnswered(): void {
    if (this.#awaySince === undefined) return
    const awayMs = Math.round(this.#clock.elapsed() - this.#awaySince)
    this.#awaySince = undefined
    this.#tell({ kind: 'back', awayMs, waiting: this.#events })
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#clock.after(ms, resolve)
      this.#wake = () => {
        timer.cancel()
        resolve()
      }
    })
  }

  #settle(waiters: (() => void)[]): void {
    for (const resolve of waiters.splice(0)) resolve()
  }
}

/** Statuses after which a later attempt may succeed. */
function mayPass(status: number): boolean {
  return status >= 500 || status === 408 || status === 429
}

function pathOf(session: string, worker: string | undefined): string {
  return worker === undefined
    ? `/api/sessions/${session}/events`
    : `/api/sessions/${session}/workers/${worker}/events`
}
