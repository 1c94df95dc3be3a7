import type { JsonObject } from '../lib/json.js'
import { type Cursor, parseCursor } from '../protocol/cursor.js'
import type { ClientFrame, HubEvent, Mode, UnsubscribedCode } from '../protocol/frames.js'
import { ClosedError } from './errors.js'
import { Queue } from './queue.js'
import type { AnyCatalog, Catalog, Delivered, EventOf } from './typed.js'
import { View } from './view.js'
import type { Interest, Loss, StateChange } from './view-events.js'

export interface SubscribeOptions<
  Types extends readonly string[] | undefined = readonly string[] | undefined,
> {
  /** `sessions/{s}`, `sessions/{s}/workers/{w}`, `sessions/{s}/**` for all of a session, or `hub`. */
  readonly topic: string
  /** Names, `prefix*`, and `!` before either to exclude. Absent: all. */
  readonly types?: Types
  /** Default `full`. */
  readonly mode?: Mode
  /** Which slices of the state to mirror: names, `prefix*`, `*`. Absent: none. */
  readonly slices?: readonly string[]
  /** Continues after this cursor, the `position` of an earlier subscription. */
  readonly after?: Cursor
  /** What a fresh join replays: by the catalog (`true`, the default), nothing, or all retained events. */
  readonly replay?: boolean | 'all'
  /** Instead, a fresh join replays this many of the newest events. */
  readonly last?: number
  /** Instead, a fresh join replays the events since that time, milliseconds since 1970. */
  readonly since?: number
  /** How many events may wait for a `for await` loop before the subscription pauses. Default 10,000. */
  readonly queueEventsMax?: number
}

/** Changes that keep the position; `null` resets to the default. */
export interface Changes {
  readonly types?: readonly string[] | null
  readonly mode?: Mode
  readonly slices?: readonly string[] | null
}

/** Why a subscription ended without being closed by its owner. */
export interface Ending {
  readonly code: Exclude<UnsubscribedCode, 'asked'> | 'refused' | 'closed'
  readonly reason: string
}

/** The callbacks of a subscription; they must not throw. */
export interface Listener<Event> {
  onEvent?(event: Event): void
  /** Events were lost: the hub no longer had them, or they could not be read (`unreadable`). */
  onGap?(gap: Loss): void
  /** Everything from before the join or reconnect has been received. */
  onLive?(): void
  /** The state has changed; without `change` it was replaced by a snapshot. */
  onState?(state: JsonObject, change: StateChange | undefined): void
  /** The hub ended it, or the client is closed. */
  onEnd?(ending: Ending): void
}

/** The part of a client that a subscription needs. */
export interface Subscriptions {
  /** @returns whether the link is open */
  send(frames: readonly ClientFrame[]): boolean
  /** Sends `subscribe` for the view, under a new number, if the link is open. */
  follow(view: View): void
  /** Forgets the view's number, and unsubscribes. */
  leave(view: View): void
  askSnapshot(view: View): void
  forget(subscription: Followed): void
}

/** The part of a subscription that the client uses. */
export interface Followed {
  readonly view: View
  /** Whether to subscribe on a new link; false while it is paused. */
  readonly follows: boolean
  end(ending: Ending): void
}

const queueEventsMaxDefault = 10_000

/**
 * A position in a topic, and the events after it.
 *
 * Read it with `for await`, or pass a listener with `onEvent`; not both. If a loop is so slow that `queueEventsMax` events
 * wait, the subscription pauses: it unsubscribes, keeps its position, and resumes when half of them have been read. So no event
 * is lost that the hub still has; adjacent texts may come as one event, and evicted events are reported as a gap.
 */
export class Subscription<
  C extends Catalog = AnyCatalog,
  Types extends readonly string[] | undefined = undefined,
> implements Followed
{
  readonly view: View
  readonly #client: Subscriptions
  readonly #listener: Listener<EventOf<C, Delivered<C, Types>>>
  readonly #queue: Queue<EventOf<C, Delivered<C, Types>>> | undefined
  readonly #queueEventsMax: number
  #phase: 'following' | 'resting' | 'ended' = 'following'
  #live = false

  constructor(
    client: Subscriptions,
    options: SubscribeOptions<Types>,
    listener: Listener<EventOf<C, Delivered<C, Types>>>,
  ) {
    const { after, queueEventsMax, ...interest } = options
    // Throws here for values that cannot be sent, instead of on each new link.
    JSON.stringify(interest)
    this.#client = client
    this.#listener = listener
    this.#queue = listener.onEvent === undefined ? new Queue() : undefined
    this.#queueEventsMax = queueEventsMax ?? queueEventsMaxDefault
    const position = after === undefined ? undefined : parseCursor(after, 'subscribe.after')
    this.view = new View(interest as Interest, position, {
      event: (event, replayed) => this.#event(event, replayed),
      gap: (gap) => {
        if (this.#phase !== 'ended') this.#listener.onGap?.(gap)
      },
      live: () => {
        this.#live = true
        if (this.#phase !== 'ended') this.#listener.onLive?.()
      },
      state: (change) => {
        if (this.#phase !== 'ended') this.#listener.onState?.(this.view.state, change)
      },
      ended: (code, reason) => this.end({ code: code === 'asked' ? 'closed' : code, reason }),
      diverged: () => {
        this.#client.leave(this.view)
        this.#client.follow(this.view)
      },
      needsSnapshot: () => this.#client.askSnapshot(this.view),
    })
  }

  /** Everything up to here has been received (with `for await`: queued); absent until the first join is complete. */
  get position(): Cursor | undefined {
    return this.view.position
  }

  /** The requested slices. Immutable: an unchanged part is the same object as before. */
  get state(): JsonObject {
    return this.view.state
  }

  /**
   * Whether everything from before the join has been received and the subscription is up to date, as far as the client knows.
   */
  get live(): boolean {
    return this.#live && this.#phase === 'following'
  }

  get follows(): boolean {
    return this.#phase === 'following'
  }

  /** Changes the filter and keeps the position. */
  update(changes: Changes): void {
    if (this.#phase === 'ended') return
    JSON.stringify(changes)
    const { types, mode, slices } = changes
    const interest: { -readonly [field in keyof Interest]: Interest[field] } = { ...this.view.interest }
    if (types === null) delete interest.types
    else if (types !== undefined) interest.types = types
    if (mode !== undefined) interest.mode = mode
    if (slices === null) delete interest.slices
    else if (slices !== undefined) interest.slices = slices
    this.view.interest = interest
    if (this.#phase === 'following' && this.view.sub !== 0) {
      const sent = types === undefined ? changes : { ...changes, types: this.view.types ?? null }
      this.#client.send([{ type: 'update', sub: this.view.sub, ...sent }])
    }
    if (slices !== undefined) this.view.slicesChanged()
  }

  /** Ends the subscription. A `for await` loop still gets the queued events. */
  close(): void {
    if (this.#phase === 'ended') return
    this.#leave('ended')
    this.#client.forget(this)
    this.#queue?.end()
  }

  end(ending: Ending): void {
    if (this.#phase === 'ended') return
    this.#phase = 'ended'
    this.#client.forget(this)
    this.#queue?.end(
      ending.code === 'closed' ? undefined : new ClosedError(1000, `${ending.code}: ${ending.reason}`),
    )
    this.#listener.onEnd?.(ending)
  }

  [Symbol.asyncIterator](): AsyncIterator<EventOf<C, Delivered<C, Types>>, undefined> {
    const queue = this.#queue
    if (queue === undefined)
      throw new TypeError('subscription: expected either onEvent or for await, got both')
    return {
      next: async () => {
        const result = await queue.next()
        if (this.#phase === 'resting' && queue.length <= this.#queueEventsMax / 2) {
          this.#phase = 'following'
          this.#client.follow(this.view)
        }
        return result
      },
      return: async () => {
        this.close()
        return { done: true, value: undefined }
      },
    }
  }

  #event(event: HubEvent, replayed: boolean): void {
    if (this.#phase === 'ended') return
    const shown = (replayed ? { ...event, replay: true } : event) as unknown as EventOf<
      C,
      Delivered<C, Types>
    >
    if (this.#queue === undefined) return this.#listener.onEvent?.(shown)
    this.#queue.put(shown)
    if (this.#phase === 'following' && this.#queue.length >= this.#queueEventsMax) this.#leave('resting')
  }

  #leave(phase: 'resting' | 'ended'): void {
    const wasFollowing = this.#phase === 'following'
    this.#phase = phase
    this.#live = false
    if (wasFollowing) this.#client.leave(this.view)
  }
}
