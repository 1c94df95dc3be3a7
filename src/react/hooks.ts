'use client'
import {
  createContext,
  createElement,
  type ReactNode,
  useCallback,
  useContext,
  useEffect,
  useState,
  useSyncExternalStore,
} from 'react'
import { type Client, connect } from '../client/client.js'
import type { ConnectOptions } from '../client/connect-options.js'
import type { Status } from '../client/reconnect.js'
import type { SubscribeOptions } from '../client/subscription.js'
import type { AnyCatalog, Catalog, Chosen, EventOf } from '../client/typed.js'
import type { JsonValue } from '../lib/json.js'
import { type Events, type EventsQuery, EventsStore, noEvents } from './events-store.js'
import { Stores } from './shared.js'
import { noState, StateStore } from './state-store.js'

const eventsMaxDefault = 1_000

const ClientContext = createContext<Client | undefined>(undefined)

export type RuncastProviderProps = { readonly children?: ReactNode } & (
  | { /** One that exists; who made it closes it. */ readonly client: Client }
  | {
      /**
       * Connects in the browser when the component is mounted, and closes when it is unmounted. Another URL opens another
       * connection.
       */
      readonly url: string
      /** Read when it connects. */
      readonly options?: ConnectOptions
    }
)

/** Provides the client for the hooks below it. On the server there is none, so nothing connects. */
export function RuncastProvider(props: RuncastProviderProps): ReactNode {
  const given = 'client' in props ? props.client : undefined
  const [url, options] = 'url' in props ? [props.url, props.options] : []
  const [own, setOwn] = useState<Client>()
  useEffect(() => {
    if (url === undefined) return undefined
    const made = connect(url, options)
    setOwn(made)
    return () => {
      setOwn(undefined)
      made.close()
    }
    // `options` may be a new object in each rendering.
  }, [url])
  return createElement(ClientContext.Provider, { value: given ?? own }, props.children)
}

/** @returns the client of the provider above; undefined on the server and until it is mounted */
export function useClient(): Client | undefined {
  return useContext(ClientContext)
}

const notYet: Status = { kind: 'connecting', attempt: 0 }
const nothing = (): void => undefined

/** @returns the status of the connection */
export function useStatus(): Status {
  const client = useClient()
  const listen = useCallback((listener: () => void) => client?.onStatus(listener) ?? nothing, [client])
  return useSyncExternalStore(
    listen,
    () => client?.status ?? notYet,
    () => notYet,
  )
}

export interface UseEventsOptions<Types extends readonly string[] | undefined = readonly string[] | undefined>
  extends Pick<SubscribeOptions<Types>, 'types' | 'mode' | 'replay' | 'last' | 'since'> {
  /** How many of the newest events are kept. Default 1,000. */
  readonly eventsMax?: number
}

const eventsStores = new Stores<EventsStore>()

/**
 * The events of a topic, live. Components with the same arguments share one subscription; it ends with the last of them.
 * Changes within a frame are rendered together.
 *
 * @param topic without a topic there is no subscription
 * @param options are compared by content; different options make another subscription, which joins afresh
 */
export function useEvents<
  C extends Catalog = AnyCatalog,
  // A caller that passes the catalog as a type argument does not pass this one, so it must accept any list.
  const Types extends readonly string[] | undefined = readonly string[] | undefined,
>(topic: string | undefined, options: UseEventsOptions<Types> = {}): Events<EventOf<C, Chosen<C, Types>>> {
  const client = useClient()
  const { types, mode, replay, last, since, eventsMax = eventsMaxDefault } = options
  const query = { topic, types, mode, replay, last, since, eventsMax }
  const key = topic === undefined ? undefined : JSON.stringify(query)
  const listen = useCallback(
    (listener: () => void) => {
      if (client === undefined || key === undefined) return nothing
      const make = (forget: () => void) => new EventsStore(client, JSON.parse(key) as EventsQuery, forget)
      return eventsStores.get(client, key, make).listen(listener)
    },
    [client, key],
  )
  const shown = () =>
    client === undefined || key === undefined ? noEvents : (eventsStores.find(client, key)?.shown ?? noEvents)
  return useSyncExternalStore(listen, shown, () => noEvents) as unknown as Events<
    EventOf<C, Chosen<C, Types>>
  >
}

const stateStores = new Stores<StateStore>()

/**
 * One slice of a topic's state, live. An unchanged part is the same object as before, and a component is rendered only if its
 * own slice has changed. All slices of a topic share one subscription.
 *
 * @param topic without a topic there is no subscription
 * @returns undefined until it has been received, and if there is no such slice
 */
export function useSessionState<Value = JsonValue>(
  topic: string | undefined,
  slice: string,
): Value | undefined {
  const client = useClient()
  const listen = useCallback(
    (listener: () => void) => {
      if (client === undefined || topic === undefined) return nothing
      const make = (forget: () => void) => new StateStore(client, topic, forget)
      return stateStores.get(client, topic, make).want(slice, listener)
    },
    [client, topic, slice],
  )
  const shown = () => {
    const slices =
      client === undefined || topic === undefined
        ? noState
        : (stateStores.find(client, topic)?.shown ?? noState)
    return Object.hasOwn(slices, slice) ? slices[slice] : undefined
  }
  return useSyncExternalStore(listen, shown, () => undefined) as Value | undefined
}
