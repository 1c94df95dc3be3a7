import type { Offset } from '../protocol/cursor.js'
import { readHead } from './block.js'
import { isDamage } from './damage.js'
import { removeSession, whole } from './lmdb-commit.js'
import {
  type LmdbKey,
  type LmdbTables,
  packExtent,
  type StoredExtent,
  type Write,
  type Writes,
  within,
} from './lmdb-tables.js'
import { type Droppable, isAboveShare, isDue, isExpired, isOver } from './retention.js'
import type { Retention, Size, Trimmed } from './store.js'

export interface Terms {
  readonly retention: Retention
  readonly now: number
  readonly held: (session: string) => boolean
  readonly size: Size
}

interface Step {
  readonly writes: Writes
  readonly trimmed: Trimmed
}

// The bounds of one step, which takes a few milliseconds.
const sessionsPerStep = 500
const entriesPerStep = 1_000
const blocksPerStep = 100

/** The work of a step so far, and where the next one continues. */
class Work {
  readonly entries: Write[] = []
  readonly removed: string[] = []
  readonly trimmed: { session: string; trimmed: Offset }[] = []
  readonly damaged: string[] = []
  size: Size
  blocks = 0

  constructor(size: Size) {
    this.size = size
  }
}

type Phase = 'sessions' | 'ended' | 'shares' | 'done'

/** What cannot be written because of damage: numbers of sessions, and ids of those whose number cannot be read. */
export type Unwritable = Set<number | string>

/** One pass of retention over the store, in steps. */
export class TrimPass {
  readonly #tables: LmdbTables
  readonly #unwritable: Unwritable
  #phase: Phase = 'sessions'
  /** The session that was examined last. */
  #after = ''

  constructor(tables: LmdbTables, unwritable: Unwritable) {
    this.#tables = tables
    this.#unwritable = unwritable
  }

  step(terms: Terms): Step {
    const work = new Work(terms.size)
    const swept = this.#sweepLeft(work)
    if (swept) this.#advance(work, terms)
    const { removed, trimmed, damaged } = work
    const more = !swept || this.#phase !== 'done' || removed.length > 0
    const done = { removed, trimmed, ...(damaged.length > 0 && { damaged }), more }
    return { writes: this.#tables.writes(work.entries, work.size), trimmed: done }
  }

  /** Removes the remaining data of removed sessions. @returns whether nothing is left */
  #sweepLeft(work: Work): boolean {
    const { left, events, workers, slices, latest, ids } = this.#tables
    for (const key of left.getKeys({ limit: sessionsPerStep + this.#unwritable.size })) {
      if (this.#unwritable.has(key as number) || this.#tables.copying.has(key as number)) continue
      try {
        for (const table of [events, workers, slices, latest, ids]) {
          const limit = entriesPerStep - work.entries.length
          for (const entry of this.#tables.keys(table, { ...within([key as number]), limit }))
            work.entries.push({ table, key: entry })
          if (work.entries.length >= entriesPerStep) return false
        }
        work.entries.push({ table: left, key })
      } catch (error) {
        if (!isDamage(error)) throw error
        // Only a repair removes the rest.
        this.#unwritable.add(key as number)
        return false
      }
    }
    return work.entries.length === 0
  }

  #advance(work: Work, terms: Terms): void {
    switch (this.#phase) {
      case 'sessions':
        if (this.#eachSession(work, (session) => this.#trimSession(session, work, terms)))
          this.#enter('ended')
        return
      case 'ended':
        if (this.#removeEnded(work, terms))
          this.#enter(isOver(work.size, terms.retention) ? 'shares' : 'done')
        return
      case 'shares':
        if (this.#eachSession(work, (session) => this.#cutToShare(session, work, terms))) this.#enter('done')
        return
      case 'done':
        return
    }
  }

  #enter(phase: Phase): void {
    this.#phase = phase
    this.#after = ''
  }

  /** @returns whether all sessions have been examined */
  #eachSession(work: Work, look: (session: string) => boolean): boolean {
    const start = this.#after === '' ? {} : { start: this.#after, exclusiveStart: true }
    const sessions = this.#tables.keys(this.#tables.extents, { ...start, limit: sessionsPerStep }) as string[]
    for (const session of sessions) {
      if (work.entries.length >= entriesPerStep || work.blocks >= blocksPerStep) return false
      try {
        // A session with more work is examined again.
        if (!look(session)) return false
      } catch (error) {
        // A damaged session keeps its data until it is removed.
        if (!isDamage(error)) throw error
        work.damaged.push(session)
      }
      this.#after = session
      // The others need another transaction.
      if (this.#tables.broke) return false
    }
    return sessions.length < sessionsPerStep
  }

  #trimSession(session: string, work: Work, { retention, now, held }: Terms): boolean {
    const extent = this.#tables.extent(session)
    if (this.#isUnwritable(session, extent)) {
      work.damaged.push(session)
      return true
    }
    const record = this.#tables.record(session)
    if (extent === undefined || record === undefined) return true
    if (isExpired(record, extent, retention, now, held(session))) {
      this.#remove(session, work)
      return true
    }
    return this.#cut(session, extent, work, (oldest, rest) => isDue(oldest, rest, retention, now))
  }

  #cutToShare(session: string, work: Work, { retention }: Terms): boolean {
    const extent = this.#tables.extent(session)
    if (extent === undefined || this.#isUnwritable(session, extent)) return true
    const isToGo = (_: Droppable, rest: StoredExtent) =>
      isOver(work.size, retention) && isAboveShare(rest, retention, work.size)
    return this.#cut(session, extent, work, isToGo)
  }

  /** @returns whether no ended session is left, or there is room again */
  #removeEnded(work: Work, { retention }: Terms): boolean {
    const limit = sessionsPerStep + this.#unwritable.size
    const keys = this.#tables.keys(this.#tables.ended, { limit }) as [number, string][]
    for (const key of keys) {
      if (!isOver(work.size, retention)) return true
      if (this.#tables.broke) return false
      if (this.#isUnwritable(key[1])) continue
      // Also if the record with the time of its end is damaged.
      work.entries.push({ table: this.#tables.ended, key })
      this.#remove(key[1], work)
    }
    return keys.length < limit
  }

  #isUnwritable(session: string, extent = whole(() => this.#tables.extent(session))): boolean {
    if (this.#unwritable.size === 0) return false
    if (this.#unwritable.has(session)) return true
    return extent !== undefined && extent !== 'damaged' && this.#unwritable.has(extent.number)
  }

  #remove(session: string, work: Work): void {
    work.size = removeSession(this.#tables, session, work)
    work.removed.push(session)
  }

  /** Drops the oldest blocks that are due. @returns whether the step had room for all of them */
  #cut(
    session: string,
    extent: StoredExtent,
    work: Work,
    isToGo: (oldest: Droppable, rest: StoredExtent) => boolean,
  ): boolean {
    const { events } = this.#tables
    let rest = extent
    let whole = true
    const blocks = this.#tables.range(events, within([extent.number]))
    for (let next = oldestOf(blocks); next !== undefined; next = oldestOf(blocks)) {
      if (next === 'damaged') {
        // It is kept until its session is removed.
        work.damaged.push(session)
        break
      }
      const { key, block } = next
      if (!isToGo(block, rest)) break
      if (work.blocks >= blocksPerStep) {
        whole = false
        break
      }
      const { count } = block
      work.blocks += 1
      work.entries.push({ table: events, key })
      work.size = { ...work.size, events: work.size.events - count, bytes: work.size.bytes - block.bytes }
      const trimmed = (key as LmdbKey & [number, number])[1] as Offset
      rest = { ...rest, trimmed, events: rest.events - count, bytes: rest.bytes - block.bytes }
    }
    blocks.return(undefined)
    if (rest !== extent) {
      work.entries.push({ table: this.#tables.extents, key: session, value: packExtent(rest) })
      work.trimmed.push({ session, trimmed: rest.trimmed })
    }
    return whole
  }
}

/** @returns the next block; undefined at the end */
function oldestOf(
  blocks: Iterator<{ readonly key: LmdbKey; readonly value: Buffer }>,
): { readonly key: LmdbKey; readonly block: Droppable } | 'damaged' | undefined {
  try {
    const { done, value: entry } = blocks.next()
    if (done === true) return undefined
    const { at, count } = readHead(entry.value)
    return { key: entry.key, block: { at, count, bytes: entry.value.length } }
  } catch (error) {
    if (!isDamage(error)) throw error
    return 'damaged'
  }
}
