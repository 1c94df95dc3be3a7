import type { JsonValue } from '../lib/json.js'
import type { Random } from '../lib/random.js'
import type { RequestCode } from '../protocol/codes.js'
import type { Offset } from '../protocol/cursor.js'
import type {
  Cause,
  ClientFrame,
  HubFrame,
  PatchOperation,
  Publish,
  Published,
  Slices,
  Subscribe,
  Subscribed,
  Updated,
} from '../protocol/frames.js'
import { Assembly } from './assembly.js'
import { dialShared, dialSse } from './dial.js'
import { type CodecName, dialWebSocket } from './dial-websocket.js'
import { ClosedError } from './errors.js'
import type { Dial } from './link.js'
import { outgoing } from './outgoing.js'
import { type BackoffOptions, type PauseOptions, Reconnecting, type Status } from './reconnect.js'
import { type Receipt, type Request, type RequestOptions, Requests, type StateReceipt } from './requests.js'
import {
  type Followed,
  type Listener,
  type SubscribeOptions,
  Subscription,
  type Subscriptions,
} from './subscription.js'
import {
  baseUrl,
  type ClientClock,
  clientClock,
  clientRandom,
  globalSocketClass,
  type Page,
  page,
  type SocketClass,
} from './surroundings.js'
import type { AnyCatalog, Catalog, Chosen, EventOf, NewEventOf } from './typed.js'
import type { View } from './view.js'

export interface ConnectOptions {
  /** A JWT, or what makes one: it is called for each attempt to connect. */
  readonly token?: string | (() => string | undefined | Promise<string | undefined>)
  /** Of WebSocket frames. Default `msgpack`. */
  readonly codec?: CodecName
  /** Default `auto`: WebSocket where there is one and it opens, else SSE and POST. */
  readonly transport?: 'auto' | 'websocket' | 'sse'
  /**
   * Shares one connection with the other tabs of this origin that say the same: `true`, or a name that tells groups
   * apart, as the user's id; the token is that of the tab that has the connection. Needs Web Locks, which browsers
   * have in secure contexts; without them, and by default, each tab has its own.
   */
  readonly tabs?: boolean | string
  /** How long a request may take, unless it says otherwise: what waits for a link included. Default 60,000 ms. */
  readonly timeoutMs?: number
  /** Default: 250 ms, doubling, to 15 s at most. */
  readonly backoff?: Partial<BackoffOptions>
  /** Default: never. */
  readonly pause?: PauseOptions
  /** Default: the global one, which Node 20 does not have; `ws` fits. */
  readonly WebSocket?: SocketClass
  /** Default: the global one. */
  readonly fetch?: typeof fetch
  /** For tests. */
  readonly clock?: ClientClock
  readonly random?: Random
  readonly page?: Page
}

/** A snapshot that was asked for, and what has come of it. */
interface AskedSnapshot {
  view: View | undefined
  /** The number that the view had then. */
  readonly for: number
  offset: Offset
  /** Absent where it comes in one piece. */
  assembly: Assembly | undefined
}

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
  /** Snapshots that were asked for, by the number of the subscription that brings them. */
  readonly #snapshots = new Map<number, AskedSnapshot>()
  readonly #statusListeners = new Set<(status: Status) => void>()
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
        lost: () => this.#lost(),
        status: (status) => this.#status(status),
      },
    )
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
    value: JsonValue,
    cause?: Cause,
    options?: RequestOptions,
  ): Promise<StateReceipt> {
    return this.#change({ type: 'set', topic, slice, value, ...(cause && { cause }) }, options)
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
    merge: JsonValue,
    cause?: Cause,
    options?: RequestOptions,
  ): Promise<StateReceipt> {
    return this.#change({ type: 'merge', topic, slice, merge, ...(cause && { cause }) }, options)
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
    this.#snapshots.clear()
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

  /** A subscription of its own brings the state as it is; the view's own place is not touched. */
  #askSnapshot(view: View): void {
    const { topic, slices } = view.interest
    if (slices === undefined || this.status.kind !== 'open') return
    // One that is still on its way is of no use any more.
    for (const asked of this.#snapshots.values()) if (asked.view === view) asked.view = undefined
    this.#numbers += 1
    this.#snapshots.set(this.#numbers, { view, for: view.sub, offset: 0 as Offset, assembly: undefined })
    const sub = this.#numbers
    this.#reconnecting.send([{ type: 'subscribe', sub, topic, types: [this.#mark()], slices, replay: false }])
  }

  /** @returns a type that no event has, to tell filters apart, also from those of tabs that share the connection. */
  #mark(): string {
    return `.${this.#random.id(8)}`
  }

  #frame(frame: HubFrame): void {
    switch (frame.type) {
      case 'events': {
        // A listener may subscribe or close meanwhile: what leaves the set is not told, what is new is not joined yet.
        for (const view of this.#byFeed.get(frame.feed) ?? []) view.events(frame)
        return
      }
      case 'subscribed': {
        const view = this.#views.get(frame.sub)
        if (view === undefined) return this.#brought(frame)
        this.#leaveFeed(view)
        const views = this.#byFeed.get(frame.feed) ?? new Set()
        this.#byFeed.set(frame.feed, views.add(view))
        return view.subscribed(frame)
      }
      case 'part': {
        const asked = this.#snapshots.get(frame.sub)
        asked?.assembly?.take(frame)
        return asked === undefined
          ? this.#views.get(frame.sub)?.part(frame)
          : this.#assembled(frame.sub, asked)
      }
      case 'live':
        return this.#views.get(frame.sub)?.live(frame)
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

  #brought({ sub, slices, parts, offset }: Subscribed): void {
    const asked = this.#snapshots.get(sub)
    if (asked === undefined) return
    asked.offset = offset
    if (parts !== undefined) {
      asked.assembly = new Assembly()
      asked.assembly.left = parts
    }
    this.#assembled(sub, asked, slices)
  }

  #assembled(sub: number, { view, for: number, offset, assembly }: AskedSnapshot, slices?: Slices): void {
    if (assembly !== undefined && assembly.left > 0) return
    this.#snapshots.delete(sub)
    this.#reconnecting.send([{ type: 'unsubscribe', sub }])
    if (view?.sub === number) view.snapshot(assembly?.slices ?? slices ?? {}, offset)
  }

  #refused(sub: number, code: RequestCode, reason: string): void {
    this.#snapshots.delete(sub)
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

function dialsOf(options: ConnectOptions, base: string, clock: ClientClock, random: Random): Dial[] {
  const { transport = 'auto', codec = 'msgpack', tabs } = options
  const Socket = options.WebSocket ?? globalSocketClass()
  if (transport === 'websocket' && Socket === undefined) {
    throw new TypeError('connect: no global WebSocket; give one, as { WebSocket } of the package ws')
  }
  const dials: Dial[] = []
  if (transport !== 'sse' && Socket !== undefined) dials.push(dialWebSocket(Socket, codec))
  if (transport !== 'websocket') dials.push(dialSse(options.fetch ?? fetch, clock))
  if (!tabs) return dials
  return dials.map((dial) => dialShared(dial, { name: `runcast ${base} ${tabs}`, clock, random }))
}
