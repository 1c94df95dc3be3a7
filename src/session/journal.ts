import type { Entry } from '../history/entry.js'
import type { JsonValue } from '../lib/json.js'
import type { Weight } from '../lib/weight.js'
import { type Epoch, type Offset, start } from '../protocol/cursor.js'
import type { StateUpdate } from '../protocol/frames.js'
import type {
  Latest,
  PublishId,
  SessionBatch,
  SessionRecord,
  SliceChange,
  StoredEvent,
  WorkerRecord,
} from '../store/store.js'

/** The session of a journal, read when a batch is taken. */
export interface JournalSource {
  readonly id: string
  readonly epoch: Epoch
  readonly offset: Offset
  record(): SessionRecord
  /** Hashes of the ids that have left the window. */
  formerIds(): readonly number[]
}

/** A worker that has begun, or is only followed. */
export interface RecordedWorker {
  record(): WorkerRecord | undefined
}

export interface JournalSetting {
  /** How many ids of published events the store must remember per session. */
  readonly idsMax: number
  /** The weight of the uncommitted data of all sessions. */
  readonly weight: Weight
  /** Called when there is something to commit, for the first time since a batch was taken. */
  waiting(journal: Journal): void
}

/** The stored range of a session that is loaded into memory. */
export interface StoredRange {
  /** The newest offset. */
  readonly last: Offset
  /** Events up to here are only in the store. */
  readonly floor: Offset
  /** Events up to here were trimmed from the store. */
  readonly trimmed: Offset
}

/** The uncommitted changes of a session, and the state of the store. */
export class Journal {
  readonly #source: JournalSource
  readonly #setting: JournalSetting
  #uncommitted: Uncommitted | undefined = undefined
  #taken: (Uncommitted & { readonly last: Offset }) | undefined = undefined
  #dropped = false
  #kept: Offset = start
  #floor: Offset = start
  #trimmed: Offset = start
  #restoredAt: Offset = start

  constructor(source: JournalSource, setting: JournalSetting) {
    this.#source = source
    this.#setting = setting
  }

  get session(): string {
    return this.#source.id
  }

  get epoch(): Epoch {
    return this.#source.epoch
  }

  /** The newest offset in use. */
  get offset(): Offset {
    return this.#source.offset
  }

  /** The newest offset in the store. */
  get kept(): Offset {
    return this.#kept
  }

  /** The number of offsets since then. */
  get ahead(): number {
    return this.#source.offset - this.#kept
  }

  /** Events up to here are at most in the store. */
  get floor(): Offset {
    return this.#floor
  }

  /** Events up to here were trimmed from the store. */
  get trimmed(): Offset {
    return this.#trimmed
  }

  /** The offset at which the session was loaded from the store; 0 otherwise. */
  get restoredAt(): Offset {
    return this.#restoredAt
  }

  /** Whether the session was removed, so that nothing of it is committed any more. */
  get dropped(): boolean {
    return this.#dropped
  }

  add(entry: Entry): void {
    const { entries } = this.#open(entry.bytes)
    entries.push(entry)
  }

  addId(id: PublishId): void {
    this.#open(0).ids.push(id)
  }

  /** @param value the new value of the slice; absent if it was removed */
  addChange(entry: Entry, value: JsonValue | undefined): void {
    const { slice, ...update } = entry.event.data as StateUpdate
    const { worker, offset } = entry.event
    this.#open(entry.bytes).slices.push({
      ...(worker !== undefined && { worker }),
      slice,
      offset,
      ...(value !== undefined && { value }),
      ...('patch' in update && { patch: update.patch }),
    })
  }

  /** The values of slices are stored whole with the next commit, which leaves nothing of earlier values and patches. */
  rewriteSlices(slices: readonly SliceChange[]): void {
    const open = this.#open(0)
    const removals = open.slices.filter(({ value }) => value === undefined)
    open.slices.splice(0, open.slices.length, ...removals, ...slices)
  }

  formerIdsChanged(): void {
    this.#open(0).formerIds = true
  }

  /** Fresh joins no longer get this pinned event. */
  forget(pinned: Omit<Latest, 'event'>): void {
    this.#open(0).forgotten.push(pinned)
  }

  workerChanged(worker: RecordedWorker): void {
    this.#open(0).workers.add(worker)
  }

  recordChanged(): void {
    this.#open(0).record = true
  }

  /** An offset was used for something that is not stored; the store has to know that it is in use. */
  offsetTaken(): void {
    this.#open(0)
  }

  /** @returns the changes for a commit, as of this moment; their parts must not be mutated */
  take(): SessionBatch {
    const { id: session, offset: last } = this.#source
    const taken = this.#uncommitted ?? nothingUncommitted()
    this.#uncommitted = undefined
    this.#taken = { ...taken, last }
    const { entries, ids, formerIds, workers, slices, record, forgotten } = taken
    const events: StoredEvent[] = []
    const latest = new Map<string, Latest>()
    for (const entry of entries) {
      const event = storedEvent(entry)
      events.push(event)
      const name = pinnedName(entry)
      if (name !== undefined) latest.set(nameText(name), { ...name, event })
    }
    for (const name of forgotten) latest.set(nameText(name), name)
    return {
      session,
      last,
      ...(record ? { record: this.#source.record() } : undefined),
      events,
      ids,
      idsMax: this.#setting.idsMax,
      ...(formerIds ? { formerIds: this.#source.formerIds() } : undefined),
      workers: [...workers].flatMap((worker) => worker.record() ?? []),
      slices,
      latest: [...latest.values()],
    }
  }

  /** The taken batch was stored. */
  settle(): void {
    if (this.#taken === undefined) return
    this.#kept = this.#taken.last
    this.#setting.weight.bytes -= this.#taken.bytes
    this.#taken = undefined
  }

  /** The taken batch was not stored: it is put before the changes since, unless the session was removed. */
  putBack(): void {
    const earlier = this.#taken
    if (earlier === undefined) return
    this.#taken = undefined
    if (this.#dropped) {
      this.#setting.weight.bytes -= earlier.bytes
      return
    }
    const { entries, ids, formerIds, workers, slices, record, bytes, forgotten } = this.#open(0)
    this.#uncommitted = {
      entries: earlier.entries.concat(entries),
      ids: earlier.ids.concat(ids),
      formerIds: earlier.formerIds || formerIds,
      workers: new Set([...earlier.workers, ...workers]),
      slices: earlier.slices.concat(slices),
      record: earlier.record || record,
      forgotten: earlier.forgotten.concat(forgotten),
      bytes: earlier.bytes + bytes,
    }
  }

  /** The session was removed: its uncommitted changes are dropped. */
  drop(): void {
    this.#dropped = true
    this.#setting.weight.bytes -= this.#uncommitted?.bytes ?? 0
    this.#uncommitted = undefined
  }

  /** Retention has removed events up to an offset from the store. */
  trimmedTo(offset: Offset): void {
    // Events that are not stored cannot have been removed, so this is about an earlier session with the same id.
    if (offset > this.#trimmed && offset <= this.#kept) this.#trimmed = offset
  }

  /** The session was loaded from the store. */
  restored({ last, floor, trimmed }: StoredRange): void {
    this.#kept = last
    this.#restoredAt = last
    this.#floor = floor
    this.#trimmed = trimmed
  }

  #open(bytes: number): Uncommitted {
    if (this.#uncommitted === undefined) {
      this.#uncommitted = nothingUncommitted()
      this.#setting.waiting(this)
    }
    this.#uncommitted.bytes += bytes
    this.#setting.weight.bytes += bytes
    return this.#uncommitted
  }
}

interface Uncommitted {
  readonly entries: Entry[]
  readonly ids: PublishId[]
  readonly workers: Set<RecordedWorker>
  readonly slices: SliceChange[]
  readonly forgotten: Omit<Latest, 'event'>[]
  formerIds: boolean
  record: boolean
  bytes: number
}

function nothingUncommitted(): Uncommitted {
  return {
    entries: [],
    ids: [],
    workers: new Set(),
    slices: [],
    forgotten: [],
    formerIds: false,
    record: false,
    bytes: 0,
  }
}

/** @returns the event for the store */
export function storedEvent({ event, force, everywhere }: Entry): StoredEvent {
  if (everywhere) return { ...event, passes: 'all' }
  return force ? { ...event, passes: 'modes' } : event
}

/** @returns the key under which the store pins an event; undefined if it does not */
function pinnedName({ event, traits }: Entry): Omit<Latest, 'event'> | undefined {
  const { worker, type, key = '', offset } = event
  if (traits.command === 'request') return commandName({ worker, type, offset })
  return traits.replay === 'latest' ? { ...(worker !== undefined && { worker }), type, key } : undefined
}

/** @returns the key under which the store pins a command without a final state */
export function commandName({
  worker,
  type,
  offset,
}: {
  readonly worker: string | undefined
  readonly type: string
  readonly offset: Offset
}): Omit<Latest, 'event'> {
  return { ...(worker !== undefined && { worker }), type, key: `#${offset}` }
}

function nameText({ worker = '', type, key }: Omit<Latest, 'event'>): string {
  return `${worker} ${type} ${key}`
}
