import { type Offset, start } from '../protocol/cursor.js'
import { type Extent, lastOf, type SessionRecord, type Size, type Store } from './store.js'

/** One session in the store, and its faults. */
export interface Finding {
  readonly record: SessionRecord
  readonly extent: Extent
  readonly workers: number
  readonly slices: number
  /** The oldest stored event; 0 if there is none. */
  readonly first: Offset
  readonly faults: readonly string[]
}

const sessionsPerPage = 100

/** Reads all data of a store, session by session, and compares it with the store's own counts. */
export async function* inspectStore(store: Store): AsyncGenerator<Finding, readonly string[]> {
  let after = ''
  let sessions = 0
  let events = 0
  let bytes = 0
  const faults: string[] = []
  for (let end = false; !end; ) {
    const page = await store.sessions(after, sessionsPerPage)
    end = page.end
    after = lastOf(page) ?? after
    for (const session of page.damaged ?? []) {
      sessions += 1
      faults.push(`${session}: its record or its extent is damaged`)
    }
    for (const { record, extent } of page.sessions) {
      sessions += 1
      events += extent.events
      bytes += extent.bytes
      yield await inspectSession(store, record, extent)
    }
  }
  // The contents of a session with a damaged extent are part of the total, but their size is unknown.
  const size = faults.length > 0 ? { sessions } : { sessions, events, bytes }
  return [...faults, ...differences('the store', store.size(), size)]
}

async function inspectSession(store: Store, record: SessionRecord, extent: Extent): Promise<Finding> {
  const faults: string[] = []
  let first = start
  let last = start
  let events = 0
  try {
    for (let end = false, after = start; !end; ) {
      const page = await store.read(record.session, after)
      for (const { offset } of page.events) {
        if (offset <= last) faults.push(`the event ${offset} follows the event ${last}`)
        if (first === start) first = offset
        last = offset
      }
      events += page.events.length
      after = page.last
      end = page.end
    }
  } catch (error) {
    faults.push(`its events cannot be read: ${error instanceof Error ? error.message : String(error)}`)
  }
  faults.push(...differences('it', { events: extent.events }, { events }))
  if (events > 0 && last !== extent.stored)
    faults.push(`its newest event is ${last}, and should be ${extent.stored}`)
  if (events > 0 && first <= extent.trimmed)
    faults.push(`the event ${first} should be gone: ${extent.trimmed} is trimmed`)
  const { workers, slices } = await loaded(store, record.session, faults)
  return { record, extent, workers, slices, first, faults }
}

async function loaded(
  store: Store,
  session: string,
  faults: string[],
): Promise<{ workers: number; slices: number }> {
  try {
    const stored = await store.load(session)
    if (stored === undefined) faults.push('it cannot be loaded')
    else if (stored.last < stored.stored)
      faults.push(`its last offset is ${stored.last}, below ${stored.stored}`)
    return { workers: stored?.workers.length ?? 0, slices: stored?.slices.length ?? 0 }
  } catch (error) {
    faults.push(`it cannot be loaded: ${error instanceof Error ? error.message : String(error)}`)
    return { workers: 0, slices: 0 }
  }
}

function differences(what: string, recorded: Partial<Size>, found: Partial<Size>): string[] {
  return (['sessions', 'events', 'bytes'] as const)
    .filter((name) => found[name] !== undefined && recorded[name] !== found[name])
    .map((name) => `${what} says that there are ${recorded[name]} ${name}, and there are ${found[name]}`)
}
