import type { Client } from '../client/client.js'
import type { Ending, SubscribeOptions, Subscription } from '../client/subscription.js'
import type { AnyCatalog, EventOf } from '../client/typed.js'
import type { Loss } from '../client/view-events.js'
import { Listeners, type Store } from './shared.js'

/** The result of `useEvents`: immutable, a new object after every change. */
export interface Events<Event> {
  /**
   * The newest `eventsMax`, oldest first. `complete` and `redacted`, which pass every filter, only if `types` select them. After
   * `redacted` the list begins anew with what the hub has.
   */
  readonly events: readonly Event[]
  /** Whether everything from before the join has been received. */
  readonly live: boolean
  /** The latest gap. One with the reason `epoch` restarts the list, because offsets restart. */
  readonly gap?: Loss
  /** Why the subscription has ended: refused, or ended by the hub. */
  readonly ended?: Ending
}

export interface EventsQuery
  extends Pick<SubscribeOptions, 'topic' | 'types' | 'mode' | 'replay' | 'last' | 'since'> {
  readonly eventsMax: number
}

type AnyEvent = EventOf<AnyCatalog>

/** The value before anything has been received, and on the server. */
export const noEvents: Events<AnyEvent> = { events: [], live: false }

/** @returns whether a list of names, `prefix*` and exclusions selects the type, as the hub reads it */
function selects(types: readonly string[], type: string): boolean {
  const names = (pattern: string) =>
    pattern.endsWith('*') ? type.startsWith(pattern.slice(0, -1)) : pattern === type
  const excluded = types.filter((pattern) => pattern.startsWith('!'))
  if (excluded.some((pattern) => names(pattern.slice(1)))) return false
  const included = types.filter((pattern) => !pattern.startsWith('!'))
  return included.length === 0 ? excluded.length > 0 : included.some(names)
}

/** The events of one subscription, for all components with the same arguments. */
export class EventsStore implements Store<Events<AnyEvent>> {
  shown = noEvents
  readonly #eventsMax: number
  readonly #hidden: ReadonlySet<string>
  readonly #listeners: Listeners
  #subscription: Subscription
  /** At most twice as many as are shown, so that old ones are removed in batches. */
  #events: AnyEvent[] = []
  #gap: Loss | undefined
  #ended: Ending | undefined

  constructor(client: Client, { eventsMax, ...query }: EventsQuery, forget: () => void) {
    this.#eventsMax = eventsMax
    const { types } = query
    this.#hidden = new Set(types && ['complete', 'redacted'].filter((type) => !selects(types, type)))
    this.#listeners = new Listeners(() => {
      this.#subscription.close()
      forget()
    })
    const { last: _, since: __, ...rest } = query
    const isRedaction = ({ type, replay }: AnyEvent) => type === 'redacted' && replay !== true
    const subscribe = (options: SubscribeOptions): Subscription =>
      client.subscribe(options, {
        onEvent: (event) => {
          if (!isRedaction(event)) return this.#put(event)
          // What it has may have texts joined of several: all is read again.
          this.#subscription.close()
          this.#events = []
          this.#subscription = subscribe({ ...rest, replay: 'all' })
        },
        onGap: (gap) => {
          this.#gap = gap
          if (gap.reason === 'epoch') this.#events = []
          this.#changed()
        },
        onLive: () => this.#changed(),
        onEnd: (ending) => {
          this.#ended = ending
          this.#changed()
        },
      })
    this.#subscription = subscribe(query)
  }

  listen(listener: () => void): () => void {
    return this.#listeners.add(listener)
  }

  #put(event: AnyEvent): void {
    // They pass every filter, and would stand in a list of other types.
    if (this.#hidden.has(event.type)) return
    this.#events.push(event)
    if (this.#events.length >= 2 * this.#eventsMax) this.#events = this.#newest()
    this.#changed()
  }

  #newest(): AnyEvent[] {
    return this.#events.slice(Math.max(0, this.#events.length - this.#eventsMax))
  }

  #changed(): void {
    this.#listeners.soon(() => {
      this.shown = {
        events: this.#newest(),
        live: this.#subscription.live,
        ...(this.#gap && { gap: this.#gap }),
        ...(this.#ended && { ended: this.#ended }),
      }
    })
  }
}
