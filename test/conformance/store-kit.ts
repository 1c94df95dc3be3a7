import type { Offset } from '../../src/protocol/cursor.js'
import type { HubEvent } from '../../src/protocol/frames.js'
import type { Page, Retention, SessionBatch, SessionRecord, Store } from '../../src/store/store.js'

export const at = Date.UTC(2025, 0, 1)
export const offset = (value: number) => value as Offset

/** @returns `count` events from an offset on, every third one a worker's. */
export function someEvents(first: number, count: number, step = 1): HubEvent[] {
  return Array.from({ length: count }, (_, index) => {
    const place = first + index * step
    const worker = place % 3 === 0 ? { worker: `w${place % 2}` } : {}
    return { offset: offset(place), type: 'note', time: at + place, ...worker, data: { place } }
  })
}

export function aRecord(session: string, more: Partial<SessionRecord> = {}): SessionRecord {
  return { session, epoch: `epoch-${session}`, status: 'running', startedAt: at, ...more }
}

/** @returns a session's first batch. */
export function aSession(
  session: string,
  events: readonly HubEvent[],
  more: Partial<SessionRecord> = {},
): SessionBatch {
  return { session, record: aRecord(session, more), last: events.at(-1)?.offset ?? offset(0), events }
}

export async function readAll(store: Store, session: string, after = offset(0)): Promise<HubEvent[]> {
  const events: HubEvent[] = []
  let page: Page
  do {
    page = await store.read(session, after, { limit: 300 })
    events.push(...page.events)
    after = page.last
  } while (!page.end)
  return events
}

/** Trims until nothing is left to do. */
export async function trimAll(
  store: Store,
  retention: Retention,
  now: number,
  held: readonly string[] = [],
): Promise<{ removed: string[]; trimmed: Map<string, number> }> {
  const removed: string[] = []
  const trimmed = new Map<string, number>()
  for (let steps = 0; steps < 10_000; steps++) {
    const step = await store.trim(retention, now, (session) => held.includes(session))
    removed.push(...step.removed)
    for (const cut of step.trimmed) trimmed.set(cut.session, cut.trimmed)
    if (!step.more) return { removed, trimmed }
  }
  throw new Error('trimming does not come to an end')
}
