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

/** The session that a journal is of; asked when a batch is taken. */
export interface JournalSource {
  readonly id: string
  readonly epoch: Epoch
  readonly offset: Offset
  record(): SessionRecord
  /** Of what has left the window of ids. */
  formerIds(): readonly number[]
}

/** A worker that has begun, or is followed only. */
export interface RecordedWorker {
  record(): WorkerRecord | undefined
}

export interface JournalSetting {
  /** Ids of published events that the store is to remember of a session. */
  readonly idsMax: number
  /** Of what all sessions have that no commit has settled. */
  readonly weight: Weight
  /** The journal has something to commit, for the first time since a batch was taken. */
  waiting(journal: Journal): void
}

/** What the store holds of a session that comes back into memory. */
export interface StoredRange {
  /** The newest offset. */
  readonly last: Offset
  /** Events up to here are in the store alone. */
  readonly floor: Offset
  /** Events up to here are not even in the store. */
  readonly trimmed: Offset
}

/** What stands between a session and the store: what no commit has settled, and what the store is known to have. */
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

  /** The newest offset that was given out. */
  get offset(): Offset {
    return this.#source.offset
  }

  /** The newest offset that the store knows of. */
  get kept(): Offset {
    return this.#kept
  }

  /** Offsets that were given out since. */
  get ahead(): number {
    return this.#source.offset - this.#kept
  }

  /** Events up to here are in the store alone, if they are anywhere. */
  get floor(): Offset {
    return this.#floor
  }

  /** Events up to here are not even in the store. */
  get trimmed(): Offset {
    return this.#trimmed
  }

  /** Where memory began anew with what the store had; 0 otherwise. */
  get restoredAt(): Offset {
    return this.#restoredAt
  }

  /** The session is gone: nothing of it is committed any more. */
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

  /** @param value what the slice has become; absent when it was removed */
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

  formerIdsChanged(): void {
    this.#open(0).formerIds = true
  }

  /** What a fresh join got of it, it gets no more. */
  forget(pinned: Omit<Latest, 'event'>): void {
    this.#open(0).forgotten.push(pinned)
  }

  workerChanged(worker: RecordedWorker): void {
    this.#open(0).workers.add(worker)
  }

  recordChanged(): void {
    this.#open(0).record = true
  }

  /** An offset was given to what is not stored: the store has to know that it is taken. */
  offsetTaken(): void {
    this.#open(0)
  }

  /** @returns what a commit is to store; it is of this moment, and what it is of must not change */
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

  /** The store has what was taken. */
  settle(): void {
    if (this.#taken === undefined) return
    this.#kept = this.#taken.last
    this.#setting.weight.bytes -= this.#taken.bytes
    this.#taken = undefined
  }

  /** The store has not got what was taken: it comes before what was added since, unless the session is gone. */
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

  /** The session is gone: what it still has is not committed. */
  drop(): void {
    this.#dropped = true
    this.#setting.weight.bytes -= this.#uncommitted?.bytes ?? 0
    this.#uncommitted = undefined
  }

  /** Retention has taken events up to an offset out of the store. */
  trimmedTo(offset: Offset): void {
    // What it has not kept cannot be gone: that is said of an earlier session of the same id.
    if (offset > this.#trimmed && offset <= this.#kept) this.#trimmed = offset
  }

  /** The session has come back from the store. */
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

/** @returns the event as a store keeps it */
export function storedEvent({ event, force, everywhere }: Entry): StoredEvent {
  if (everywhere) return { ...event, passes: 'all' }
  return force ? { ...event, passes: 'modes' } : event
}

/** @returns by what the store pins an event; nothing where it does not */
function pinnedName({ event, traits }: Entry): Omit<Latest, 'event'> | undefined {
  const { worker, type, key = '', offset } = event
  if (traits.command === 'request') return commandName({ worker, type, offset })
  return traits.replay === 'latest' ? { ...(worker !== undefined && { worker }), type, key } : undefined
}

/** @returns by what the store pins a command that is under way */
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
