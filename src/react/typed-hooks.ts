'use client'
import type { Client } from '../client/client.js'
import type { Status } from '../client/reconnect.js'
import type { AnyCatalog, Catalog, Chosen, EventOf, TypePattern } from '../client/typed.js'
import type { JsonValue } from '../lib/json.js'
import type { Events } from './events-store.js'
import {
  RuncastProvider,
  type UseEventsOptions,
  useClient,
  useEvents,
  useSessionState,
  useStatus,
} from './hooks.js'
import { type Needs, type Sessions, useNeeds, useSessions } from './lists.js'

/** The hooks for one catalog of events, and for slices of known types. */
export interface RuncastHooks<C extends Catalog, Slices extends object> {
  readonly RuncastProvider: typeof RuncastProvider
  useClient(): Client<C> | undefined
  useStatus(): Status
  useSessions(follows?: boolean): Sessions
  useNeeds(topic: string | undefined): Needs
  /** Like the hook of this name; the type of the events follows from `types`. */
  useEvents<const Types extends readonly TypePattern<C>[] | undefined = undefined>(
    topic: string | undefined,
    options?: UseEventsOptions<Types>,
  ): Events<EventOf<C, Chosen<C, Types>>>
  /** Like the hook of this name; the type of the value is that of the slice. */
  useSessionState<Slice extends keyof Slices & string>(
    topic: string | undefined,
    slice: Slice,
  ): Slices[Slice] | undefined
}

const hooks = {
  RuncastProvider,
  useClient,
  useEvents,
  useNeeds,
  useSessions,
  useSessionState,
  useStatus,
}

/**
 * Creates the hooks for a catalog, once for a whole application. They are the hooks of this package with other types, so that
 * components need not name the catalog.
 *
 * @example `export const { useEvents, useSessionState } = createRuncastHooks<BuiltInCatalog, { plan: Plan }>()`
 */
export function createRuncastHooks<
  C extends Catalog = AnyCatalog,
  Slices extends object = { readonly [slice: string]: JsonValue },
>(): RuncastHooks<C, Slices> {
  return hooks as unknown as RuncastHooks<C, Slices>
}
