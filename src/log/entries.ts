import { Packr } from 'msgpackr'
import type { Result } from '../catalog/traits.js'
import type { JsonObject, JsonValue } from '../lib/json.js'
import type { GivenMark } from '../mask/masks.js'
import type { Pattern } from '../mask/patterns.js'
import type { KeptValue } from '../mask/values.js'
import type { Offset } from '../protocol/cursor.js'
import type { Attempt, Mode, NewEvent, StateUpdate } from '../protocol/frames.js'
import { StoreError, type StreamFork, type StreamProducer } from '../store/store.js'
import type { Append, Delivered } from './shared-log.js'

/** What a batch is made of: what producers did to a session, as all hubs that follow it do it again. */
export type LogEntry = AnyEntry & {
  /** Marks that secrets have got with the batch; its first entry has them. */
  readonly marks?: readonly GivenMark[]
}

type AnyEntry =
  | {
      readonly kind: 'event'
      readonly worker?: string | undefined
      readonly event: NewEvent
      /** About the bytes of its JSON text. */
      readonly bytes: number
      /** The session's mode keeps it from everybody. */
      readonly withheld?: boolean
      /** It is a command or a receipt, and changes the slice `$commands`. A receipt means nothing where there is one already. */
      readonly steers?: boolean
      /** A hub says it, and not the worker itself. */
      readonly byHub?: boolean
      /** Lone surrogates that wait for the next text of the session from here on; absent where they are as before. */
      readonly halves?: readonly (readonly [stream: string, unit: number])[]
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
      /** So many commands may expire with it. `$watchers` of two topics are removed in place of one. */
      readonly room: number
    }
  /** A new attempt at a step begins. Means nothing where the newest one is not `base` any more. */
  | {
      readonly kind: 'attempt'
      readonly worker?: string | undefined
      readonly attempt: Attempt
      readonly base?: number | undefined
      /** What it takes the place of. */
      readonly offsets: readonly Offset[]
      /** The same, of this batch: places. */
      readonly places: readonly number[]
    }
  /** Somebody follows who was given these commands. */
  | {
      readonly kind: 'delivered'
      readonly worker?: string | undefined
      readonly commands: readonly Offset[]
    }
  | { readonly kind: 'lease'; readonly worker?: string | undefined; readonly ms: number }
  /** A lease has run out. Means nothing where its holder was heard of after `seen`. */
  | {
      readonly kind: 'lost'
      readonly worker?: string | undefined
      readonly seen: Offset
      readonly reason: string
    }
  /** A request to a durable stream, decided by the state of the stream when it is applied. */
  | { readonly kind: 'stream'; readonly change: StreamChange; readonly messages: readonly StreamMessage[] }
  /** Each hub redacts what it has of the session, and tells its followers which events have changed. */
  | {
      readonly kind: 'redact'
      /** Hashes of values, and of their spellings. They are secret from now on. */
      readonly secrets: readonly KeptValue[]
      readonly patterns: readonly Pattern[]
      readonly offsets: readonly (readonly [first: Offset, last: Offset])[]
    }
  /** The watchers of a topic at one hub. */
  | { readonly kind: 'watchers'; readonly worker?: string | undefined; readonly watchers: HubWatchers }
  /** Somebody is stuck. Means nothing where it was heard of after `seen`. */
  | {
      readonly kind: 'stalled'
      readonly worker?: string | undefined
      readonly seen: Offset
      readonly stalled: {
        readonly since: number
        readonly why: 'call' | 'repeat' | 'silence'
        readonly tool?: string
      }
    }

/** The watchers of a topic at one hub; none, and nobody asks: they are not counted any more. */
export interface HubWatchers {
  readonly hub: string
  readonly count: number
  /** Some of the holders of their tokens, sorted. */
  readonly subjects?: readonly string[] | undefined
  /** Somebody there follows `$watchers`. */
  readonly asks: boolean
}

/** A request to a durable stream, as its protocol has them. */
export type StreamChange =
  | {
      readonly kind: 'create'
      readonly contentType: string
      readonly ttlSeconds?: number | undefined
      /** RFC 3339 */
      readonly expiresAt?: string | undefined
      readonly closes: boolean
      /** It goes on with the past of another stream: its offsets, and the end of what it takes from it. */
      readonly fork?: (StreamFork & { readonly lifetime: number; readonly tail: Offset }) | undefined
    }
  | {
      readonly kind: 'append'
      /** Absent if there are no messages, because it only closes. */
      readonly contentType?: string | undefined
      readonly closes: boolean
      readonly seq?: string | undefined
      readonly producer?: StreamProducer | undefined
    }
  /** It was read. */
  | { readonly kind: 'touch' }
  /** It is deleted, but has forks. */
  | { readonly kind: 'delete' }
  /** A fork of it is about to be made. */
  | { readonly kind: 'refer'; readonly fork: string }
  /** A fork of it has gone. */
  | { readonly kind: 'release'; readonly fork: string }

/** A message of a durable stream as an event, and about the bytes of its JSON text. */
export interface StreamMessage {
  readonly event: NewEvent
  readonly bytes: number
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
 * Offsets that an entry takes. What steers has one for the slice after its own. The end of a session has two before its own:
 * what the hubs say of the session comes before the event that ends it, and before that the commands that expire.
 */
export function widthOf(entry: LogEntry): number {
  switch (entry.kind) {
    case 'event':
      return entry.steers === true ? 2 : 1
    case 'end':
      return 2 * entry.room + 3
    case 'stream':
      return Math.max(1, entry.messages.length)
    default:
      return 1
  }
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
