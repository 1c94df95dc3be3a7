import type { Extensions } from '../catalog/catalog.js'
import type { Dialect } from '../codec/dialect.js'
import type { Clock } from '../lib/clock.js'
import type { Random } from '../lib/random.js'
import type { SharedLog } from '../log/shared-log.js'
import { type MaskingOptions, maskingModes } from '../mask/masking.js'
import { quote } from '../protocol/codes.js'
import type { GivenLimits } from '../protocol/given-limits.js'
import type { Tracer } from '../session/tracing.js'
import type { Retention, Store } from '../store/store.js'

/** What a hub is made with. */
export interface HubOptions {
  readonly clock?: Clock
  readonly random?: Random
  /** Further event types, or traits that differ from the built-in ones. */
  readonly catalog?: Extensions
  /** Further dialects; one with the name of a built-in replaces it. */
  readonly dialects?: readonly Dialect[]
  /** Bounds that differ from `defaultLimits`. */
  readonly limits?: GivenLimits
  /** What is masked of what is published: secrets of known forms unless given. */
  readonly masking?: MaskingOptions
  /** The store in which events survive a restart; without one, history is in memory only. The hub closes it. */
  readonly store?: Store
  /**
   * A log that several hubs share, which assigns the offsets; each hub follows the sessions that it serves. It replaces a
   * store. Publish with `submit` and the like then, and `open` a session before it is read. The hub closes it.
   */
  readonly log?: SharedLog
  /** Whether subscriptions and requests may get a slice of a topic; default: all slices. */
  readonly expose?: (slice: string, topic: string) => boolean
  /** What the store keeps; default: everything. Over a log only `ageMs` may be given: sessions are removed by age. */
  readonly retention?: Retention
  /** Receives spans of publishing, storing and delivering; without it they cost nothing. */
  readonly tracer?: Tracer
  /** Called with the reason when nothing can be published any more, and again, with undefined, when it can. */
  readonly onStore?: (fault: string | undefined) => void
  /** Called once for each session that is found damaged in the store, with what is damaged and what to do. */
  readonly onDamaged?: (session: string, reason: string) => void
  /** Called with every error of the hub itself that cost one connection. Default: the console. */
  readonly report?: (error: unknown, connection: string) => void
}

const fields: Readonly<Record<keyof HubOptions, true>> = {
  clock: true,
  random: true,
  catalog: true,
  dialects: true,
  limits: true,
  masking: true,
  store: true,
  log: true,
  expose: true,
  retention: true,
  tracer: true,
  onStore: true,
  onDamaged: true,
  report: true,
}

const retentionFields: readonly (keyof Retention)[] = [
  'ageMs',
  'sessionEvents',
  'sessionBytes',
  'events',
  'bytes',
]

/** @throws TypeError that names a field that there is not, or a mode of masking that there is not */
export function checkHubOptions(options: HubOptions): HubOptions {
  expectFields(options, Object.keys(fields), 'createHub')
  const { masking, retention } = options
  if (masking !== undefined) expectFields(masking, ['mode', 'patterns', 'key'], 'masking')
  if (retention !== undefined) expectFields(retention, retentionFields, 'retention')
  const { mode = 'shapes' } = masking ?? {}
  if (!maskingModes.includes(mode)) {
    throw new TypeError(`masking.mode: expected one of ${maskingModes.join(', ')}, got ${quote(mode)}`)
  }
  return options
}

function expectFields(given: object, names: readonly string[], name: string): void {
  const stranger = Object.keys(given).find((field) => !names.includes(field))
  if (stranger === undefined) return
  throw new TypeError(`${name}.${stranger}: expected no field but ${names.join(', ')}`)
}
