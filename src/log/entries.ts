import { Packr } from 'msgpackr'
import type { Result } from '../catalog/traits.js'
import type { JsonObject, JsonValue } from '../lib/json.js'
import type { KeptValue } from '../mask/values.js'
import type { Mode, NewEvent, StateUpdate } from '../protocol/frames.js'
import { StoreError } from '../store/store.js'
import type { Append, Delivered } from './shared-log.js'

/** What a batch is made of: what producers did to a session, as all hubs that follow it do it again. */
export type LogEntry =
  | {
      readonly kind: 'event'
      readonly worker?: string | undefined
      readonly event: NewEvent
      /** About the bytes of its JSON text. */
      readonly bytes: number
      /** The session's mode keeps it from everybody. */
      readonly withheld?: boolean
    }
  /** Means nothing when the slice is not as of `base` any more. */
  | { readonly kind: 'change'; readonly worker?: string | undefined; readonly update: StateUpdate }
  | {
      readonly kind: 'configure'
      readonly mode?: Mode | undefined
      readonly metadata?: JsonObject | undefined
      /** Values that are secret, as hashes. */
      readonly secrets?: readonly KeptValue[] | undefined
    }
  | {
      readonly kind: 'end'
      readonly outcome?: JsonValue | undefined
      readonly result?: Result | undefined
      readonly reason?: string | undefined
    }

/** An entry, and its place in the batch. */
export interface PlacedEntry {
  readonly place: number
  readonly entry: LogEntry
}

/** Which of the two lanes of a batch an entry is in. */
export type Lane = 'critical' | 'droppable'

/** How blocks are made up; a hub reads those of its own version and the one before. */
const version = 1

// Values are JSON already: a field `toJSON` is a field, and not to be called.
const packr = new Packr({ useRecords: false, variableMapSize: true, useToJSON: false })

/**
 * Offsets that an entry takes. The end of a session has two before its own: what the hubs say of the session comes
 * before the event that ends it.
 */
export function widthOf({ kind }: LogEntry): number {
  return kind === 'end' ? 3 : 1
}

/** @returns the lanes of a batch, as MessagePack of `[version, place, entry, place, entry, …]` */
export function packEntries(
  entries: readonly PlacedEntry[],
  laneOf: (entry: LogEntry) => Lane,
): Pick<Append, 'critical' | 'droppable'> {
  const lanes = { critical: [version] as unknown[], droppable: [version] as unknown[] }
  for (const { place, entry } of entries) lanes[laneOf(entry)].push(place, entry)
  const { critical, droppable } = lanes
  return {
    ...(critical.length > 1 && { critical: packr.pack(critical) }),
    ...(droppable.length > 1 && { droppable: packr.pack(droppable) }),
  }
}

/**
 * @returns the entries of a batch in the order of their places
 * @throws StoreError `refused` when a newer version wrote it
 */
export function unpackEntries({
  critical,
  droppable,
}: Pick<Delivered, 'critical' | 'droppable'>): PlacedEntry[] {
  const entries: PlacedEntry[] = []
  for (const lane of [critical, droppable]) {
    if (lane === undefined) continue
    const [written, ...list] = packr.unpack(lane) as [number, ...unknown[]]
    if (written !== version) {
      throw new StoreError(
        'refused',
        `the log has blocks of version ${written}, and this hub reads ${version}`,
      )
    }
    for (let i = 0; i < list.length; i += 2) {
      entries.push({ place: list[i] as number, entry: list[i + 1] as LogEntry })
    }
  }
  return entries.sort((a, b) => a.place - b.place)
}
