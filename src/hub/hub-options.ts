import type { Extensions } from '../catalog/catalog.js'
import type { Dialect } from '../codec/dialect.js'
import type { Clock } from '../lib/clock.js'
import type { Random } from '../lib/random.js'
import type { SharedLog } from '../log/shared-log.js'
import type { GivenLimits } from '../protocol/limits.js'
import type { Tracer } from '../session/tracing.js'
import type { Retention, Store } from '../store/store.js'

export interface HubOptions {
  readonly clock?: Clock
  readonly random?: Random
  /** Event types beyond the built-in ones, or traits that differ from theirs. */
  readonly catalog?: Extensions
  /** Shapes of events beside the built-in ones; one with the name of a built-in takes its place. */
  readonly dialects?: readonly Dialect[]
  /** Bounds that differ from `defaultLimits`. */
  readonly limits?: GivenLimits
  /** Where events survive a restart; without one, history is what memory holds. The hub closes it. */
  readonly store?: Store
  /**
   * Gives the offsets, and is shared by several hubs: each of them follows the sessions that it serves. It takes the place
   * of a store. Publishing is `submit` and its like then, and what is asked for has to be opened first. The hub closes it.
   */
  readonly log?: SharedLog
  /** Whether subscriptions and requests may have a slice of a topic at all; all of them unless given. */
  readonly expose?: (slice: string, topic: string) => boolean
  /** What the store keeps; everything unless given. */
  readonly retention?: Retention
  /** Takes spans of publishing, storing and delivering; they cost nothing unless given. */
  readonly tracer?: Tracer
  /** Told why nothing can be published any more, and again, with nothing, once it can. */
  readonly onStore?: (fault: string | undefined) => void
  /** Told of every fault: a mistake of the hub's own, which cost one connection. Written to the console unless given. */
  readonly report?: (error: unknown, connection: string) => void
}
