import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { LocalOptions } from '../../src/delivery/local.js'
import { createHub, type Hub } from '../../src/hub/hub.js'
import type { HubOptions } from '../../src/hub/hub-options.js'
import type { Cursor } from '../../src/protocol/cursor.js'
import type { HubEvent, NewEvent } from '../../src/protocol/frames.js'

export function aDirectory(t: Test): string {
  const directory = mkdtempSync(join(tmpdir(), 'runcast-committing-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

export function aHub(t: Test, options: HubOptions): Hub {
  const hub = createHub(options)
  t.teardown(async () => {
    hub.close()
    await hub.closeStore()
  })
  return hub
}

export const notes = (first: number, count: number, more: Partial<NewEvent> = {}): NewEvent[] =>
  Array.from({ length: count }, (_, index) => ({ type: 'note', data: first + index, ...more }))

/** Publishes in several turns, each acknowledged. */
export async function publishAll(hub: Hub, session: string, events: readonly NewEvent[]): Promise<void> {
  for (let from = 0; from < events.length; from += 500) {
    hub.session(session).publish(events.slice(from, from + 500))
    await hub.committed(session)
  }
}

/** Reads as many events as are due, and what gaps there were. */
export async function take(hub: Hub, topic: string, count: number, options: LocalOptions = {}) {
  const gaps: string[] = []
  const events: HubEvent[] = []
  const subscription = hub.subscribe(topic, { ...options, onGap: ({ reason }) => gaps.push(reason) })
  for await (const event of subscription) {
    events.push(event)
    if (events.length === count) break
  }
  return { events, gaps }
}

export async function historyOf(
  hub: Hub,
  topic: string,
  limit: number,
  types?: string[],
): Promise<HubEvent[]> {
  const events: HubEvent[] = []
  let after: Cursor | undefined
  do {
    const page = await hub.readHistory(topic, { limit, ...(types && { types }), ...(after && { after }) })
    events.push(...page.events)
    after = page.next
  } while (after !== undefined)
  return events
}

export const dataOf = (events: readonly HubEvent[]) => events.map((event) => event.data)
export const range = (first: number, last: number) =>
  Array.from({ length: last - first + 1 }, (_, index) => first + index)
