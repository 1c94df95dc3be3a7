// Longer than 350 lines: the interface of the client. Half of it describes the calls, and each call delegates.

import type { JsonObject } from '../lib/json.js'
import type { Random } from '../lib/random.js'
import type { RequestCode } from '../protocol/codes.js'
import type {
  Cause,
  ClientFrame,
  Lease,
  PatchOperation,
  Publish,
  Published,
  Subscribe,
  Updated,
} from '../protocol/frames.js'
import { Batch, type BatchOptions } from './batch.js'
import { type Commands, commandType, follow, outcomeOf, type SentCommand, type Steering } from './commands.js'
import type { ConnectOptions } from './connect-options.js'
import { dialsOf } from './dials.js'
import { ClosedError, RequestError } from './errors.js'
import type { Caller } from './http-calls.js'
import type { LinkFrame } from './link.js'
import { expectWritable, outgoing } from './outgoing.js'
import type {
  EndOptions,
  ForkOptions,
  HistoryQuery,
  SessionSummary,
  SessionsQuery,
  StateSnapshot,
} from './over-http.js'
import { Reconnecting, type Status } from './reconnect.js'
import { RequestedSnapshots } from './requested-snapshots.js'
import {
  type Answer,
  type Receipt,
  type Request,
  type RequestOptions,
  Requests,
  type StateReceipt,
} from './requests.js'
import {
  type Followed,
  type Listener,
  type SubscribeOptions,
  Subscription,
  type Subscriptions,
} from './subscription.js'
import { baseUrl, type ClientClock, clientClock, clientRandom, page } from './surroundings.js'
import { Tokens } from './tokens.js'
import type { AnyCatalog, Catalog, Chosen, Delivered, EventOf, JsonInput, NewEventOf } from './typed.js'
import type { View } from './view.js'

const timeoutMsDefault = 60_000

/** Loaded when it is first needed: most clients only follow and publish. */
const overHttp = () => import('./over-http.js')

/** Who watches a topic. */
export interface Watchers {
  /** How many connections. */
  readonly count: number
  /** The subjects of their tokens, at most 100. */
  readonly subjects?: readonly string[]
}

/**
 * Opens a connection to a hub and keeps it open: it reconnects by itself and resumes every subscription.
 *
 * @param url of the hub, as `http://127.0.0.1:4600`; in a page it may be relative
 * @throws TypeError when the URL is not valid, or `transport` is `websocket` and there is no WebSocket
 */
export function connect<C extends Catalog = AnyCatalog>(
  url: string,
  options: ConnectOptions = {},
): Client<C> {
  return new Client<C>(url, options)
}

/** One connection to a hub, with its subscriptions and requests. */
export class Client<C extends Catalog = AnyCatalog> {
  readonly #reconnecting: Reconnecting
  readonly #requests: Requests
  readonly #subscriptions = new Set<Followed>()
  /** By their subscription numbers on the current link. */
  readonly #views = new Map<number, View>()
  readonly #byFeed = new Map<number, Set<View>>()
  readonly #snapshots: RequestedSnapshots
  readonly #statusListeners = new Set<(status: Status) => void>()
  readonly #errorListeners = new Set<(error: Error) => void>()
  readonly #seam: Subscriptions
  readonly #random: Random
  readonly #clock: ClientClock
  readonly #tokens: Tokens
  readonly #caller: Caller
  readonly #over = new AbortController()
  /** Periods of the leases that are held, by topic. Each new link asks for them again. */
  readonly #leases = new Map<string, number>()
  #numbers = 0

  constructor(url: string, options: ConnectOptions) {
    const { clock = clientClock, random = clientRandom } = options
    const base = baseUrl(url)
    const { timeoutMs = timeoutMsDefault, fetch = globalThis.fetch } = options
    this.#random = random
    this.#clock = clock
    this.#tokens = new Tokens(options.token, clock, {
      isOpen: () => this.status.kind === 'open',
      renewed: (token) => this.#authorize(token),
      failed: (error) => this.#failed(error),
    })
    this.#requests = new Requests(random, clock, timeoutMs)
    this.#caller = {
      base,
      fetch,
      clock,
      tokens: this.#tokens,
      timeoutMs,
      RequestError,
      closed: this.#over.signal,
    }
    this.#reconnecting = new Reconnecting(
      {
        base,
        tokens: this.#tokens,
        carrier: options.transport === 'websocket' ? 'subprotocol' : 'header',
        dials: dialsOf(options, base, clock, random),
        backoff: { firstMs: 250, mostMs: 15_000, ...options.backoff },
        pause: options.pause ?? {},
        clock,
        random,
        page: options.page ?? page,
      },
      {
        greeting: () => this.#greeting(),
        opened: (asked) => this.#opened(asked),
        frame: (frame) => this.#frame(frame),
        isThrough: () => [...this.#subscriptions].every(({ view, follows }) => view.isLive || !follows),
        lost: () => this.#lost(),
        status: (status) => this.#status(status),
      },
    )
    this.#snapshots = new RequestedSnapshots((frames) => this.#reconnecting.send(frames))
    this.#seam = {
      send: (frames) => this.#reconnecting.send(frames),
      follow: (view) => this.#follow(view),
      leave: (view) => this.#leave(view),
      askSnapshot: (view) => this.#askSnapshot(view),
      forget: (subscription) => this.#subscriptions.delete(subscription),
    }
    this.#reconnecting.start()
  }

  get status(): Status {
    return this.#reconnecting.status
  }

  /** Calls `listener` at every change of the status. @returns a function that removes the listener */
  onStatus(listener: (status: Status) => void): () => void {
    this.#statusListeners.add(listener)
    return () => this.#statusListeners.delete(listener)
  }

  /**
   * Calls `listener` when data from the hub, or from a proxy in between, cannot be read. The data is skipped; `onGap` reports
   * events that may have been lost. @returns a function that removes the listener
   */
  onError(listener: (error: Error) => void): () => void {
    this.#errorListeners.add(listener)
    return () => this.#errorListeners.delete(listener)
  }

  /**
   * Follows a topic. Across reconnects no event is lost or repeated as long as the hub retains it; `onGap` reports events that
   * it does not.
   *
   * @throws ProtocolError `badFrame` when `after` is not a cursor
   */
  subscribe<const Types extends readonly string[] | undefined = undefined>(
    options: SubscribeOptions<Types>,
    listener: Listener<EventOf<C, Delivered<C, Types>>> = {},
  ): Subscription<C, Types> {
    const subscription = new Subscription<C, Types>(this.#seam, options, listener)
    if (this.status.kind === 'closed') {
      subscription.end({ code: 'closed', reason: 'the client is closed' })
      return subscription
    }
    this.#subscriptions.add(subscription)
    this.#follow(subscription.view)
    return subscription
  }

  /**
   * Publishes one event or many, in order. They wait while there is no link, and are sent again after a reconnect; ids, created
   * if absent, prevent the hub from publishing them twice.
   *
   * @param topic of a session or a worker
   * @returns when the hub has stored them
   * @throws RequestError when the hub refuses; `unavailable` when it has not answered in time, or 10,000 requests are already
   *   waiting; ClosedError when the client is closed before the answer; the signal's reason
   */
  async publish(
    topic: string,
    events: NewEventOf<C> | readonly NewEventOf<C>[],
    options?: RequestOptions,
  ): Promise<Receipt> {
    const list = (Array.isArray(events) ? events : [events]) as Publish['events']
    const answer = await this.#ask({ type: 'publish', topic, events: list }, options)
    const { first, last, duplicates } = answer as Published
    return { first, last, duplicates }
  }

  /** Sets a slice of a topic's state. Nothing is published if it already has this value. */
  setState(
    topic: string,
    slice: string,
    value: JsonInput,
    cause?: Cause,
    options?: RequestOptions,
  ): Promise<StateReceipt> {
    return this.#change({ type: 'set', topic, slice, value: value, ...(cause && { cause }) }, options)
  }

  /**
   * Changes a slice by a JSON patch (RFC 6902). Not sent again after a reconnect, because its effect might be different then.
   *
   * @throws RequestError `conflict` when it does not apply, `unavailable` when the link is cut before the answer
   */
  patchState(
    topic: string,
    slice: string,
    patch: readonly PatchOperation[],
    cause?: Cause,
    options?: RequestOptions,
  ): Promise<StateReceipt> {
    return this.#change({ type: 'patch', topic, slice, patch, ...(cause && { cause }) }, options)
  }

  /** Changes a slice by a JSON merge patch (RFC 7386). */
  mergeState(
    topic: string,
    slice: string,
    merge: JsonInput,
    cause?: Cause,
    options?: RequestOptions,
  ): Promise<StateReceipt> {
    return this.#change({ type: 'merge', topic, slice, merge: merge, ...(cause && { cause }) }, options)
  }

  /** Removes a slice. Nothing is published when there is none. */
  async removeState(
    topic: string,
    slice: string,
    cause?: Cause,
    options?: RequestOptions,
  ): Promise<StateReceipt> {
    const [own, http] = [this.#own(topic), await overHttp()]
    await this.#requests.idle()
    return http.removeSlice(this.#caller, own, slice, cause, options)
  }

  /**
   * Reads slices once. `subscribe` with `slices` keeps them up to date; this is for an application that owns its state.
   *
   * @param topic of a session or a worker
   * @param slices names, `prefix*`, `*`; all unless given
   */
  async getState(
    topic: string,
    slices?: readonly string[],
    options?: RequestOptions,
  ): Promise<StateSnapshot> {
    return (await overHttp()).readState(this.#caller, this.#own(topic), slices, options)
  }

  /**
   * Ends a session, after all that this client has published before.
   *
   * @param ending its result, the reason for it, and any JSON as its outcome; the result is the worst of the workers' unless given
   * @throws RequestError `notFound`; `conflict` when it has ended already
   */
  async end(topic: string, ending: EndOptions = {}, options?: RequestOptions): Promise<void> {
    const [own, http] = [this.#own(topic), await overHttp()]
    await this.#requests.idle()
    return http.endSession(this.#caller, own, ending, options)
  }

  /**
   * Makes a session with the past of another one up to a cursor, its workers and state included.
   *
   * @param topic of a session
   * @returns the fork. A call whose answer is lost is made again: give it a `session`, so that there is no second fork
   * @throws RequestError `conflict` when there is a session of that id, or the past is not known as of the cursor
   */
  async fork(topic: string, fork: ForkOptions = {}, options?: RequestOptions): Promise<SessionSummary> {
    const [own, http] = [this.#own(topic), await overHttp()]
    await this.#requests.idle()
    return http.forkSession(this.#caller, own, fork, options)
  }

  /**
   * Reads the retained events of a topic, over HTTP, page by page.
   *
   * @param topic of a session or a worker, or `sessions/{s}/**` for all of a session
   * @throws RequestError when the hub refuses, `unavailable` when a page does not come in time
   */
  async *history<const Types extends readonly string[] | undefined = undefined>(
    topic: string,
    query: HistoryQuery<Types> = {},
    options?: RequestOptions,
  ): AsyncGenerator<EventOf<C, Chosen<C, Types>>, undefined> {
    yield* (await overHttp()).readHistory(this.#caller, topic, query, options) as AsyncGenerator<
      never,
      undefined
    >
  }

  /** Reads the list of sessions that the token may see, over HTTP, page by page. */
  async *sessions(
    query: SessionsQuery = {},
    options?: RequestOptions,
  ): AsyncGenerator<SessionSummary, undefined> {
    yield* (await overHttp()).readSessions(this.#caller, query, options)
  }

  /**
   * Promises that this client will be heard of: the connection renews the lease, and after `ms` without one the hub says
   * that the session or worker is lost. It is asked for again on each new link.
   *
   * @param ms the period; 0 gives the lease up
   */
  async lease(topic: string, ms: number, options?: RequestOptions): Promise<void> {
    const request: Lease = { type: 'lease', topic, ms }
    if (ms === 0) this.#leases.delete(topic)
    await this.#ask(request, options)
    if (ms > 0) this.#leases.set(topic, ms)
  }

  /**
   * Follows who watches a topic: how many connections, and the subjects of their tokens.
   *
   * @returns what stops it
   */
  watchers(topic: string, listener: (watchers: Watchers) => void): () => void {
    const subscription = this.subscribe(
      { topic, types: ['!*'], slices: ['$watchers'], replay: false },
      { onState: ({ $watchers = { count: 0 } }) => listener($watchers as unknown as Watchers) },
    )
    return () => subscription.close()
  }

  /** Publishes the events that are added within a short time together, in order: for producers of many small events. */
  batch(topic: string, options: BatchOptions & RequestOptions = {}): Batch<NewEventOf<C>> {
    return new Batch<NewEventOf<C>>(
      (events) => this.publish(topic, events, options),
      (error) => this.#failed(error),
      this.#clock,
      options,
    )
  }

  /**
   * Sends a command to the producer of a topic: `cancel`, `pause`, `resume`, `input`, or a type of your own.
   *
   * @param topic of a session or a worker, which has begun
   * @param data `{ reason }`, `{ text }` or `{ value }` with the `key` of the need that it answers; `ttlMs`, how long it waits
   * @returns when the hub has stored it
   * @throws RequestError as `publish` does; `notFound` if the session or worker does not exist
   */
  async command(
    topic: string,
    name: string,
    data: JsonObject = {},
    options?: RequestOptions,
  ): Promise<SentCommand> {
    const events = [{ type: commandType(name), data }]
    const { first: offset } = (await this.#ask({ type: 'publish', topic, events }, options)) as Published
    return { offset, outcome: () => outcomeOf(this.#steering(topic), offset) }
  }

  /**
   * Follows the commands for this agent: each once and in order, also across reconnects, beginning with those without a final
   * state. Call `applied` or `refused` for each.
   *
   * @param types which commands; default `command.*`
   */
  commands(topic: string, types: readonly string[] = ['command.*']): Commands {
    return follow(this.#steering(topic), types)
  }

  #steering(topic: string): Steering {
    return {
      publish: (event) => this.#ask({ type: 'publish', topic, events: [event] }, undefined),
      subscribe: (types, replay, listener) =>
        this.subscribe({ topic, types, replay }, listener as Listener<never>) as unknown as ReturnType<
          Steering['subscribe']
        >,
    }
  }

  /** Uses another token from now on, on this link and later ones. A token that cannot be sent closes the client (4501). */
  authorize(token: string): void {
    if (!this.#reconnecting.expectSendable(token)) return
    this.#tokens.replace(token)
    this.#authorize(token)
  }

  /** Ends all subscriptions and unanswered requests, and closes the link. */
  close(): void {
    this.#reconnecting.close(1000, 'closed by the client')
  }

  [Symbol.dispose](): void {
    this.close()
  }

  #authorize(token: string): void {
    if (!this.#reconnecting.expectSendable(token)) return
    this.#reconnecting.send([{ type: 'authorize', token }])
  }

  #failed(error: Error): void {
    for (const listener of this.#errorListeners) listener(error)
  }

  /** @throws RequestError `badFrame` when it is not the topic of one session or worker */
  #own(topic: string): string {
    expectWritable('topic', topic)
    return topic
  }

  async #change(request: Request, options: RequestOptions | undefined): Promise<StateReceipt> {
    const { offset, changed } = (await this.#ask(request, options)) as Updated
    return { offset, changed }
  }

  async #ask(request: Request, options: RequestOptions | undefined): Promise<Answer> {
    return this.#requests.ask(outgoing(request), (frame) => this.#reconnecting.send([frame]), options)
  }

  #greeting(): readonly Subscribe[] {
    this.#views.clear()
    return [...this.#subscriptions].flatMap(({ view, follows }) => (follows ? [this.#number(view)] : []))
  }

  #opened(asked: readonly Subscribe[] | undefined): void {
    const frames: ClientFrame[] = []
    if (asked === undefined) this.#views.clear()
    // Since then subscriptions may have been closed, changed or added.
    for (const { sub } of asked ?? []) {
      if (this.#views.get(sub)?.isAsked) continue
      this.#views.delete(sub)
      frames.push({ type: 'unsubscribe', sub })
    }
    for (const { view, follows } of this.#subscriptions) {
      if (follows && this.#views.get(view.sub) !== view) frames.push(this.#number(view))
    }
    for (const [topic, ms] of this.#leases) frames.push({ type: 'lease', topic, ms })
    frames.push(...this.#requests.again())
    this.#reconnecting.send(frames)
  }

  #lost(): void {
    for (const view of this.#views.values()) view.lost()
    this.#views.clear()
    this.#byFeed.clear()
    this.#snapshots.lost()
    this.#requests.lost()
  }

  #status(status: Status): void {
    for (const listener of this.#statusListeners) listener(status)
    if (status.kind !== 'closed') return
    const error = new ClosedError(status.code, status.reason)
    this.#tokens.close()
    this.#over.abort(error)
    this.#requests.close(error)
    for (const subscription of this.#subscriptions) {
      subscription.end({ code: status.code === 1000 ? 'closed' : 'refused', reason: status.reason })
    }
  }

  #number(view: View): Subscribe {
    this.#numbers += 1
    this.#views.set(this.#numbers, view)
    return view.subscribe(this.#numbers)
  }

  #follow(view: View): void {
    if (this.status.kind === 'open') this.#reconnecting.send([this.#number(view)])
  }

  #leave(view: View): void {
    const { sub } = view
    if (!this.#views.delete(sub)) return
    this.#leaveFeed(view)
    view.lost()
    this.#reconnecting.send([{ type: 'unsubscribe', sub }])
  }

  #leaveFeed(view: View): void {
    if (view.feed === undefined) return
    const views = this.#byFeed.get(view.feed)
    views?.delete(view)
    if (views?.size === 0) this.#byFeed.delete(view.feed)
  }

  #askSnapshot(view: View): void {
    const { slices } = view.interest
    if (slices === undefined || this.status.kind !== 'open') return
    this.#numbers += 1
    this.#snapshots.ask(view, slices, { sub: this.#numbers, mark: this.#mark() })
  }

  /** @returns a type that no event has, which makes filters different, also from those of other tabs on the connection */
  #mark(): string {
    return `.${this.#random.id(8)}`
  }

  #frame(frame: LinkFrame): void {
    switch (frame.type) {
      case 'unread': {
        for (const view of this.#views.values()) view.unread()
        return this.#failed(new Error(frame.reason))
      }
      case 'events': {
        // A listener may subscribe or close meanwhile. Views that leave the set get nothing more; new ones have not joined yet.
        for (const view of this.#byFeed.get(frame.feed) ?? []) view.events(frame)
        return
      }
      case 'subscribed': {
        const view = this.#views.get(frame.sub)
        if (view === undefined) return this.#snapshots.subscribed(frame)
        this.#leaveFeed(view)
        const views = this.#byFeed.get(frame.feed) ?? new Set()
        this.#byFeed.set(frame.feed, views.add(view))
        return view.subscribed(frame)
      }
      case 'part':
        if (!this.#snapshots.part(frame)) this.#views.get(frame.sub)?.part(frame)
        return
      case 'live': {
        const view = this.#views.get(frame.sub)
        if (view === undefined ? !this.#snapshots.has(frame.sub) : view.feed !== undefined) {
          view?.live(frame)
          return this.#reconnecting.arrived()
        }
        // The frame before could not be read, and could not be read if it were sent again.
        this.#reconnecting.send([{ type: 'unsubscribe', sub: frame.sub }])
        return this.#refused(frame.sub, 'internalError', 'the answer to it cannot be read')
      }
      case 'gap':
        return this.#views.get(frame.sub)?.gap(frame)
      case 'unsubscribed': {
        const view = this.#views.get(frame.sub)
        if (view === undefined) return
        this.#views.delete(frame.sub)
        this.#leaveFeed(view)
        return view.ended(frame)
      }
      case 'published':
      case 'updated':
      case 'leased':
        return this.#requests.answered(frame)
      case 'error':
        if (frame.sub === undefined) return this.#requests.answered(frame)
        return this.#refused(frame.sub, frame.code, frame.message)
      case 'welcome':
      case 'authorized':
      case 'pong':
      case 'closing':
        return
    }
  }

  #refused(sub: number, code: RequestCode, reason: string): void {
    this.#snapshots.refused(sub)
    const view = this.#views.get(sub)
    if (code === 'conflict' && view !== undefined && view.apart === undefined) {
      view.apart = this.#mark()
      this.#leave(view)
      return this.#follow(view)
    }
    for (const subscription of this.#subscriptions) {
      if (view === subscription.view) return subscription.end({ code: 'refused', reason })
    }
  }
}
