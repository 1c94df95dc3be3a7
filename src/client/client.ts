// Longer than 350 lines: the face of the client. Half of it says what each call does, and each call hands on.

import type { JsonObject } from '../lib/json.js'
import type { Random } from '../lib/random.js'
import type { RequestCode } from '../protocol/codes.js'
import type {
  Cause,
  ClientFrame,
  PatchOperation,
  Publish,
  Published,
  Subscribe,
  Updated,
} from '../protocol/frames.js'
import { AskedSnapshots } from './asked-snapshots.js'
import { type Commands, commandType, follow, outcomeOf, type SentCommand, type Steering } from './commands.js'
import type { ConnectOptions } from './connect-options.js'
import { dialsOf } from './dials.js'
import { ClosedError } from './errors.js'
import type { LinkFrame } from './link.js'
import { outgoing } from './outgoing.js'
import { Reconnecting, type Status } from './reconnect.js'
import { type Receipt, type Request, type RequestOptions, Requests, type StateReceipt } from './requests.js'
import {
  type Followed,
  type Listener,
  type SubscribeOptions,
  Subscription,
  type Subscriptions,
} from './subscription.js'
import { baseUrl, clientClock, clientRandom, page } from './surroundings.js'
import type { AnyCatalog, Catalog, Chosen, EventOf, JsonInput, NewEventOf } from './typed.js'
import type { View } from './view.js'

const timeoutMsDefault = 60_000

/**
 * Opens a connection to a hub and keeps it open: it comes back after a cut, and every subscription with it.
 *
 * @param url of the hub, as `http://127.0.0.1:4600`; in a page it may be relative
 * @throws TypeError when the URL is none, or there is no WebSocket where one is demanded
 */
export function connect<C extends Catalog = AnyCatalog>(
  url: string,
  options: ConnectOptions = {},
): Client<C> {
  return new Client<C>(url, options)
}

/** One connection to a hub, and all that goes over it. */
export class Client<C extends Catalog = AnyCatalog> {
  readonly #reconnecting: Reconnecting
  readonly #requests: Requests
  readonly #subscriptions = new Set<Followed>()
  /** By their number on the present link. */
  readonly #views = new Map<number, View>()
  readonly #byFeed = new Map<number, Set<View>>()
  readonly #snapshots: AskedSnapshots
  readonly #statusListeners = new Set<(status: Status) => void>()
  readonly #errorListeners = new Set<(error: Error) => void>()
  readonly #seam: Subscriptions
  readonly #random: Random
  #numbers = 0
  #token: ConnectOptions['token']

  constructor(url: string, options: ConnectOptions) {
    const { clock = clientClock, random = clientRandom } = options
    const base = baseUrl(url)
    this.#random = random
    this.#token = options.token
    this.#requests = new Requests(random, clock, options.timeoutMs ?? timeoutMsDefault)
    this.#reconnecting = new Reconnecting(
      {
        base,
        token: () => (typeof this.#token === 'function' ? this.#token() : this.#token),
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
    this.#snapshots = new AskedSnapshots((frames) => this.#reconnecting.send(frames))
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

  /** Calls `listener` at every change of the status. @returns what stops it */
  onStatus(listener: (status: Status) => void): () => void {
    this.#statusListeners.add(listener)
    return () => this.#statusListeners.delete(listener)
  }

  /**
   * Calls `listener` when the hub, or what lies between, says what cannot be read. It is passed over; what may have been
   * lost with it, `onGap` tells. @returns what stops it
   */
  onError(listener: (error: Error) => void): () => void {
    this.#errorListeners.add(listener)
    return () => this.#errorListeners.delete(listener)
  }

  /**
   * Follows a topic. Nothing is lost and nothing comes twice over reconnects as long as the hub retains it;
   * what it does not, `onGap` tells.
   *
   * @throws ProtocolError `badFrame` when `after` is no cursor
   */
  subscribe<const Types extends readonly string[] | undefined = undefined>(
    options: SubscribeOptions<Types>,
    listener: Listener<EventOf<C, Chosen<C, Types>>> = {},
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
   * Publishes one event or many, in order. They wait while there is no link, and are sent again after a cut: ids,
   * made where there are none, keep the hub from publishing them twice.
   *
   * @param topic of a session or a worker
   * @returns once the hub has stored them
   * @throws RequestError when it refuses; `unavailable` when it has not answered in time, or 10,000 requests wait already;
   *   ClosedError when the client is closed before it answers; the signal's reason
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

  /** Sets a slice of a topic's state. Nothing is published when it has this value already. */
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
   * Changes a slice by a JSON patch (RFC 6902). Not sent again after a cut, as its effect might be another then.
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

  /**
   * Asks whoever produces to a topic for something: `cancel`, `pause`, `resume`, `input`, or a type of your own.
   *
   * @param topic of a session or a worker, which has begun
   * @param data `{ reason }`, `{ text }` or `{ value }` with the `key` of the need that it answers; `ttlMs`, how long it waits
   * @returns once the hub has stored it
   * @throws RequestError as `publish` does; `notFound` where there is nobody to ask
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
   * Follows what those who watch ask of this agent: each command once and in order, over cuts too, those under way first.
   * Say of each what became of it.
   *
   * @param types which; `command.*` unless given
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

  /** Uses another token from now on, on this link and the next ones. One that cannot be sent closes the client (4501). */
  authorize(token: string): void {
    if (!this.#reconnecting.expectSendable(token)) return
    this.#token = token
    this.#reconnecting.send([{ type: 'authorize', token }])
  }

  /** Ends everything: subscriptions, requests without an answer, the link. */
  close(): void {
    this.#reconnecting.close(1000, 'closed by the client')
  }

  [Symbol.dispose](): void {
    this.close()
  }

  async #change(request: Request, options: RequestOptions | undefined): Promise<StateReceipt> {
    const { offset, changed } = (await this.#ask(request, options)) as Updated
    return { offset, changed }
  }

  async #ask(request: Request, options: RequestOptions | undefined): Promise<Published | Updated> {
    return this.#requests.ask(outgoing(request), (frame) => this.#reconnecting.send([frame]), options)
  }

  #greeting(): readonly Subscribe[] {
    this.#views.clear()
    return [...this.#subscriptions].flatMap(({ view, follows }) => (follows ? [this.#number(view)] : []))
  }

  #opened(asked: readonly Subscribe[] | undefined): void {
    const frames: ClientFrame[] = []
    if (asked === undefined) this.#views.clear()
    // Meanwhile some may have been closed, others changed or made.
    for (const { sub } of asked ?? []) {
      if (this.#views.get(sub)?.isAsked) continue
      this.#views.delete(sub)
      frames.push({ type: 'unsubscribe', sub })
    }
    for (const { view, follows } of this.#subscriptions) {
      if (follows && this.#views.get(view.sub) !== view) frames.push(this.#number(view))
    }
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
    this.#requests.close(new ClosedError(status.code, status.reason))
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

  /** @returns a type that no event has, to tell filters apart, also from those of tabs that share the connection. */
  #mark(): string {
    return `.${this.#random.id(8)}`
  }

  #frame(frame: LinkFrame): void {
    switch (frame.type) {
      case 'unread': {
        for (const view of this.#views.values()) view.unread()
        for (const listener of this.#errorListeners) listener(new Error(frame.reason))
        return
      }
      case 'events': {
        // A listener may subscribe or close meanwhile: what leaves the set is not told, what is new is not joined yet.
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
        // What should have come before could not be read, and would not be if it came again.
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
        return this.#requests.answered(frame)
      case 'error':
        if (frame.sub === undefined) return this.#requests.answered(frame)
        return this.#refused(frame.sub, frame.code, frame.message)
      case 'welcome':
      case 'authorized':
      case 'leased':
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
