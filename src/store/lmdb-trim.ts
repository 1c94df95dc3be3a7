import type { Offset } from '../protocol/cursor.js'
import { readHead } from './block.js'
import { isDamage } from './damage.js'
import { removeSession } from './lmdb-commit.js'
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
  size: Size
  blocks = 0

  constructor(size: Size) {
    this.size = size
  }
}

type Phase = 'sessions' | 'ended' | 'shares' | 'done'

/** One pass of retention over the store, in steps. */
export class TrimPass {
  readonly #tables: LmdbTables
  #phase: Phase = 'sessions'
  /** The session that was examined last. */
  #after = ''

  constructor(tables: LmdbTables) {
    this.#tables = tables
  }

  step(terms: Terms): Step {
    const work = new Work(terms.size)
    const swept = this.#sweepLeft(work)
    if (swept) this.#advance(work, terms)
    const { removed, trimmed } = work
    const more = !swept || this.#phase !== 'done' || removed.length > 0
    return { writes: this.#tables.writes(work.entries, work.size), trimmed: { removed, trimmed, more } }
  }

  /** Removes the remaining data of removed sessions. @returns whether nothing is left */
  #sweepLeft(work: Work): boolean {
    const { left, events, workers, slices, latest, ids } = this.#tables
    for (const key of left.getKeys({ limit: sessionsPerStep })) {
      for (const table of [events, workers, slices, latest, ids]) {
        const limit = entriesPerStep - work.entries.length
        for (const entry of table.getKeys({ ...within([key as number]), limit }))
          work.entries.push({ table, key: entry })
        if (work.entries.length >= entriesPerStep) return false
      }
      work.entries.push({ table: left, key })
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
    const sessions = [...this.#tables.extents.getKeys({ ...start, limit: sessionsPerStep })] as string[]
    for (const session of sessions) {
      if (work.entries.length >= entriesPerStep || work.blocks >= blocksPerStep) return false
      try {
        // A session with more work is examined again.
        if (!look(session)) return false
      } catch (error) {
        // A damaged session keeps its data until it is removed.
        if (!isDamage(error)) throw error
      }
      this.#after = session
    }
    return sessions.length < sessionsPerStep
  }

  #trimSession(session: string, work: Work, { retention, now, held }: Terms): boolean {
    const extent = this.#tables.extent(session)
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
    if (extent === undefined) return true
    const isToGo = (_: Droppable, rest: StoredExtent) =>
      isOver(work.size, retention) && isAboveShare(rest, retention, work.size)
    return this.#cut(session, extent, work, isToGo)
  }

  /** @returns whether no ended session is left, or there is room again */
  #removeEnded(work: Work, { retention }: Terms): boolean {
    const keys = [...this.#tables.ended.getKeys({ limit: sessionsPerStep })] as [number, string][]
    for (const key of keys) {
      if (!isOver(work.size, retention)) return true
      // Also if the record with the time of its end is damaged.
      work.entries.push({ table: this.#tables.ended, key })
      this.#remove(key[1], work)
    }
    return keys.length < sessionsPerStep
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

/** @returns the next block; undefined at the end, or if it is damaged: a damaged block is kept until its session is removed */
function oldestOf(
  blocks: Iterator<{ readonly key: LmdbKey; readonly value: Buffer }>,
): { readonly key: LmdbKey; readonly block: Droppable } | undefined {
  try {
    const { done, value: entry } = blocks.next()
    if (done === true) return undefined
    const { at, count } = readHead(entry.value)
    return { key: entry.key, block: { at, count, bytes: entry.value.length } }
  } catch (error) {
    if (!isDamage(error)) throw error
    return undefined
  }
}
