import type { Test } from 'tap'
import { blockEventsMax, type Store } from '../../src/store/store.js'
import { aSession, at, offset, readAll, someEvents, trimAll } from './store-kit.js'

/** What every store forgets when it is told for how long, or how much, it should keep. */
export function retention(t: Test, openStore: (t: Test) => Store): void {
  t.test('retention by age removes ended and idle sessions, and old events of the others', async (t) => {
    const store = openStore(t)
    await store.commit({
      at,
      sessions: [
        aSession('ended-long-ago', someEvents(1, 5), { status: 'ended', endedAt: at }),
        aSession('ended-lately', someEvents(1, 5), { status: 'ended', endedAt: at + 900 }),
        aSession('idle', someEvents(1, 5)),
        aSession('idle-in-use', someEvents(1, 5)),
        aSession('busy', someEvents(1, 5)),
      ],
    })
    await store.commit({
      at: at + 1_000,
      sessions: [{ session: 'busy', last: offset(9), events: someEvents(6, 4) }],
    })
    const inUse = ['idle-in-use', 'ended-long-ago']
    const { removed, trimmed } = await trimAll(store, { ageMs: 500 }, at + 1_000, inUse)
    t.strictSame(removed, ['ended-long-ago', 'idle'])
    t.strictSame(Object.fromEntries(trimmed), { busy: 5, 'ended-lately': 5, 'idle-in-use': 5 })
    const page = await store.read('busy', offset(0))
    t.strictSame(page, { events: someEvents(6, 4), last: 9, end: true, trimmed: 5 })
    t.match(await store.load('idle-in-use'), { last: 5, trimmed: 5, stored: 5, events: 0, bytes: 0 })
    t.match(store.size(), { sessions: 3, events: 4 })
  })

  t.test('retention by count and bytes of one session keeps what it was told, and little more', async (t) => {
    const store = openStore(t)
    await store.commit({
      at,
      sessions: [aSession('s', someEvents(1, 5_000)), aSession('small', someEvents(1, 50))],
    })
    const { removed, trimmed } = await trimAll(store, { sessionEvents: 1_000 }, at)
    t.strictSame(removed, [])
    t.strictSame([...trimmed.keys()], ['s'])
    const stored = await store.load('s')
    const left = stored?.events ?? 0
    t.ok(left >= 1_000 && left < 1_000 + blockEventsMax, `${left} events are left`)
    t.strictSame(await readAll(store, 's'), someEvents(5_001 - left, left))
    t.equal(trimmed.get('s'), 5_000 - left)
    t.equal(stored?.trimmed, 5_000 - left)
    const sessionBytes = Math.floor((stored?.bytes ?? 0) / 2)
    await trimAll(store, { sessionBytes }, at)
    const bytes = (await store.load('s'))?.bytes ?? 0
    t.ok(bytes >= sessionBytes && bytes < (stored?.bytes ?? 0), `${bytes} of ${stored?.bytes} bytes are left`)
  })

  t.test(
    'retention of the whole removes ended sessions first, from the one that ended first on',
    async (t) => {
      const store = openStore(t)
      const ended = (session: string, endedAt: number) =>
        aSession(session, someEvents(1, 100), { status: 'ended', endedAt })
      const live = aSession('live', someEvents(1, 100))
      await store.commit({
        at,
        sessions: [ended('second', at + 2), ended('first', at + 1), ended('third', at + 3), live],
      })
      t.strictSame((await trimAll(store, { events: 250 }, at)).removed, ['first', 'second'])
      t.match(store.size(), { sessions: 2, events: 200 })
    },
  )

  t.test('once no ended session is left, those with more than an equal share lose events', async (t) => {
    const store = openStore(t)
    await store.commit({
      at,
      sessions: [
        aSession('ended', someEvents(1, 10), { status: 'ended', endedAt: at }),
        aSession('quiet', someEvents(1, 10)),
        aSession('busy', someEvents(1, 20_000)),
      ],
    })
    const { removed, trimmed } = await trimAll(store, { events: 2_000 }, at, ['quiet', 'busy'])
    t.strictSame(removed, ['ended'])
    t.strictSame([...trimmed.keys()], ['busy'])
    t.strictSame(await readAll(store, 'quiet'), someEvents(1, 10))
    const { events } = store.size()
    t.ok(events <= 2_000 && events > 2_000 - blockEventsMax, `${events} events are left`)
  })
}
