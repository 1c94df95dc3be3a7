import type { Row } from './rows.js'
import type { Chosen, From, TopicHistory } from './topic-history.js'

/** One match: a loaded row, or an event that is not loaded. */
export interface Match {
  readonly offset: number
  readonly row?: Row
}

/** The progress of the search in the hub's history. */
export type Searched =
  | { readonly kind: 'looking' | 'done' | 'more' }
  | { readonly kind: 'failed'; readonly why: string }

/** Maximum of found events of the history. */
export const foundMax = 1_000

/** The search of one panel: in its rows, and beyond them in the hub's history. */
export class Finder {
  searched: Searched = { kind: 'done' }
  /** Once all of the history that is not loaded has been looked through. */
  done: Promise<void> = Promise.resolve()
  readonly #matches: (row: Row) => boolean
  readonly #stop = new AbortController()
  /** Offsets of events that were found and may not be loaded, ascending. */
  #past: number[] = []

  constructor(matches: (row: Row) => boolean) {
    this.#matches = matches
  }

  begin(search: Promise<void>): void {
    this.searched = { kind: 'looking' }
    this.done = search
  }

  /** Searches the events that are not loaded, from these positions on. */
  async search(
    history: TopicHistory,
    chosen: Chosen,
    froms: readonly From[],
    onChange: () => void,
  ): Promise<void> {
    this.searched = { kind: froms.length === 0 ? 'done' : 'looking' }
    onChange()
    try {
      for (const from of froms) {
        for await (const { events } of history.pages(chosen, from, foundMax, this.#stop.signal)) {
          this.keep(events.map(({ offset }) => offset))
          onChange()
          if (this.#past.length < foundMax) continue
          this.searched = { kind: 'more' }
          return onChange()
        }
      }
      this.searched = { kind: 'done' }
    } catch (error) {
      if (this.#stop.signal.aborted) return
      this.searched = { kind: 'failed', why: error instanceof Error ? error.message : String(error) }
    }
    onChange()
  }

  stop(): void {
    this.#stop.abort()
  }

  /** Remembers found events, which may not stay loaded. */
  keep(offsets: readonly number[]): void {
    this.#past = [...new Set([...this.#past, ...offsets])].toSorted((one, other) => one - other)
  }

  /** @returns all that is found, in order. @param rows what is loaded */
  matching(rows: readonly Row[]): readonly Match[] {
    const local: Match[] = rows.filter(this.#matches).map((row) => ({ offset: row.offset, row }))
    if (this.#past.length === 0) return local
    // A row that grew is made of many events, any of which may have been found.
    const loaded = rows.filter(({ kind }) => kind !== 'notice' && kind !== 'date')
    const others: Match[] = []
    let [at, atLocal] = [0, 0]
    for (const offset of this.#past) {
      while (at < loaded.length && (loaded[at]?.last ?? 0) < offset) at += 1
      while (atLocal < local.length && (local[atLocal]?.row?.last ?? 0) < offset) atLocal += 1
      if ((local[atLocal]?.offset ?? Number.POSITIVE_INFINITY) <= offset) continue
      const row = loaded[at]
      if (row === undefined || row.offset > offset) others.push({ offset })
      else if (others.at(-1)?.row !== row) others.push({ offset, row })
    }
    return [...local, ...others].toSorted((one, other) => one.offset - other.offset)
  }
}

/**
 * @param by 1 for the next, -1 for the one before
 * @returns what follows `from` among what is found, around the end; nothing where nothing is
 */
export function following(
  matching: readonly Match[],
  from: Match | undefined,
  by: 1 | -1,
): Match | undefined {
  if (matching.length === 0) return undefined
  if (from === undefined) return by === 1 ? matching[0] : matching.at(-1)
  const at = indexOf(matching, from)
  if (at !== -1) return matching.at((at + by) % matching.length)
  // It is none any more: the first one after its place, or the last one before.
  const after = matching.findIndex(({ offset }) => offset > from.offset)
  if (by === 1) return matching.at(after === -1 ? 0 : after)
  return matching.at(after === -1 ? -1 : after - 1)
}

/** @returns where it is among what is found; -1 where it is not */
export function indexOf(matching: readonly Match[], sought: Match | undefined): number {
  if (sought === undefined) return -1
  const { row } = sought
  const same = row === undefined ? -1 : matching.findIndex((each) => each.row?.key === row.key)
  return same === -1 && row === undefined
    ? matching.findIndex(({ offset }) => offset === sought.offset)
    : same
}
