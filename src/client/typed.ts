import type { JsonValue } from '../lib/json.js'
import type { HubEvent } from '../protocol/frames.js'

/** A catalog as types: what `data` is, by event type. */
export type Catalog = object

/** The catalog of those who give none: any type, any JSON. */
export interface AnyCatalog {
  readonly [type: string]: JsonValue
}

/**
 * What becomes JSON when it is sent: interfaces, optional fields and dates too. A function is none; what is deeper in it is
 * looked at when it is sent.
 */
export type JsonInput = JsonValue | (object & { readonly call?: never })

type TypeIn<C extends Catalog> = keyof C & string

/** What `types` may list of a catalog: editors complete it, and tell a name that is nearly one. */
export type TypePattern<C extends Catalog> = TypeIn<C> | `${string}*` | `!${string}`

/** The data of a type as a producer hands it over: where any JSON is allowed, what becomes JSON. */
type DataIn<Data> = JsonValue extends Data ? JsonInput : Data

/** One event of a catalog: `data` is known as soon as `type` is. */
export type EventOf<C extends Catalog, Type extends TypeIn<C> = TypeIn<C>> =
  Type extends TypeIn<C>
    ? Omit<HubEvent, 'type' | 'data'> & {
        readonly type: Type
        readonly data: C[Type]
        /** Retained from before the subscription joined. */
        readonly replay?: true
      }
    : never

type Matching<Type extends string, Pattern extends string> = Pattern extends `${infer Prefix}*`
  ? Extract<Type, `${Prefix}${string}`>
  : Extract<Type, Pattern>

/** The types of a catalog that a filter lets through; all of them where it excludes or is only known at run time. */
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

/** An event as a producer of a catalog hands it over. */
export type NewEventOf<C extends Catalog, Type extends TypeIn<C> = TypeIn<C>> =
  Type extends TypeIn<C>
    ? {
        readonly type: Type
        readonly data?: DataIn<C[Type]>
        /** Made where it is absent, so that sending again after a cut publishes nothing twice. */
        readonly id?: string
        readonly key?: string
        readonly time?: number
        readonly force?: boolean
        /** A `traceparent` and `tracestate` (W3C Trace Context). */
        readonly trace?: string
        readonly tracestate?: string
      }
    : never
