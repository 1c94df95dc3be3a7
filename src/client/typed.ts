import type { JsonValue } from '../lib/json.js'
import type { HubEvent } from '../protocol/frames.js'

/** A catalog as types: the type of `data`, by event type. */
export type Catalog = object

/** The default catalog: any type, any JSON. */
export interface AnyCatalog {
  readonly [type: string]: JsonValue
}

/**
 * Values that can be converted to JSON, including interfaces, optional fields and dates, but not functions. Nested values are
 * checked when they are sent.
 */
export type JsonInput = JsonValue | (object & { readonly call?: never })

type TypeIn<C extends Catalog> = keyof C & string

/** The items of `types` for a catalog: editors complete them and mark misspelt names. */
export type TypePattern<C extends Catalog> = TypeIn<C> | `${string}*` | `!${string}`

/** The data of a type as a producer passes it: if any JSON is allowed, any value that can be converted to JSON. */
type DataIn<Data> = JsonValue extends Data ? JsonInput : Data

/** One event of a catalog: `type` determines the type of `data`. */
export type EventOf<C extends Catalog, Type extends TypeIn<C> = TypeIn<C>> =
  Type extends TypeIn<C>
    ? Omit<HubEvent, 'type' | 'data'> & {
        readonly type: Type
        readonly data: C[Type]
        /** It was retained from before the join. */
        readonly replay?: true
      }
    : never

type Matching<Type extends string, Pattern extends string> = Pattern extends `${infer Prefix}*`
  ? Extract<Type, `${Prefix}${string}`>
  : Extract<Type, Pattern>

/** The types of a catalog that a filter includes; all types if it excludes some or is known only at run time. */
export type Chosen<
  C extends Catalog,
  Types extends readonly string[] | undefined,
> = Types extends readonly string[]
  ? string extends Types[number]
    ? TypeIn<C>
    : string extends TypeIn<C>
      ? TypeIn<C>
      : Extract<Types[number], `!${string}`> extends never
        ? Matching<TypeIn<C>, Types[number]>
        : TypeIn<C>
  : TypeIn<C>

/** The types that a subscription delivers: `complete`, which ends a session, passes every filter. */
export type Delivered<C extends Catalog, Types extends readonly string[] | undefined> =
  | Chosen<C, Types>
  | Extract<TypeIn<C>, 'complete'>

/** An event as a producer of a catalog publishes it. */
export type NewEventOf<C extends Catalog, Type extends TypeIn<C> = TypeIn<C>> =
  Type extends TypeIn<C>
    ? {
        readonly type: Type
        readonly data?: DataIn<C[Type]>
        /** Created if absent, so that sending the event again after a reconnect does not publish it twice. */
        readonly id?: string
        readonly key?: string
        readonly time?: number
        readonly force?: boolean
        /** A `traceparent` and `tracestate` (W3C Trace Context). */
        readonly trace?: string
        readonly tracestate?: string
      }
    : never
