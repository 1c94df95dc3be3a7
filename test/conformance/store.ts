import type { Test } from 'tap'
import type { Offset } from '../../src/protocol/cursor.js'
import type { HubEvent } from '../../src/protocol/frames.js'
import {
  blockEventsMax,
  type Page,
  pageScanMax,
  publishIdsMax,
  type Retention,
  type SessionBatch,
  type SessionRecord,
  type Store,
} from '../../src/store/store.js'

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

const offsets = (events: readonly HubEvent[]) => events.map((event) => event.offset)
const isClosed = { name: 'StoreError', kind: 'closed' }

/** What every store does, whatever it is made of. */
export function storeConformance(t: Test, openStore: (t: Test) => Store): void {
  t.test('a new store is empty', async (t) => {
    const store = openStore(t)
    t.strictSame(store.found, { sessions: 0, events: 0, bytes: 0, clean: true })
    t.strictSame(store.size(), { sessions: 0, events: 0, bytes: 0 })
    t.equal(await store.load('s'), undefined)
    t.strictSame(await store.read('s', offset(7)), { events: [], last: 7, end: true, trimmed: 0 })
    t.strictSame(await store.newest('s'), { events: [], last: 0, end: true, trimmed: 0 })
    t.strictSame(await store.sessions('', 10), { sessions: [], end: true })
    await store.remove('s')
    t.strictSame(await trimAll(store, { ageMs: 1, bytes: 1 }, at), { removed: [], trimmed: new Map() })
  })

  t.test('what a commit was given is there', async (t) => {
    const store = openStore(t)
    const record = aRecord('s', { mode: 'summary', metadata: { by: 'ci', tags: ['a', null, 1.5] } })
    const event: HubEvent = {
      offset: offset(3),
      type: 'tool',
      time: at,
      worker: 'w',
      id: 'an id',
      key: 'a key',
      data: {
        text: 'häuser 🏠\n',
        list: [1, -2, 1e300, 2 ** 53, true, null],
        nested: { '': {}, deep: [[[]]] },
      },
    }
    const worker = { worker: 'w', status: 'running' as const, startedAt: at, events: 1 }
    await store.commit({
      at: at + 5,
      sessions: [
        {
          session: 's',
          record,
          last: offset(4),
          events: [event],
          workers: [worker],
          slices: [
            { slice: 'plan', offset: offset(1), value: ['a'] },
            { worker: 'w', slice: 'plan', offset: offset(2), value: null },
          ],
          latest: [
            { type: 'b', key: '', event: { offset: offset(2), type: 'b', time: at, data: 2 } },
            { worker: 'w', type: 'a', key: 'k', event: { offset: offset(1), type: 'a', time: at, data: 1 } },
          ],
          ids: [{ id: 'an id', offset: offset(3) }],
        },
      ],
    })
    const stored = await store.load('s')
    t.ok(stored !== undefined && stored.bytes > 0)
    t.strictSame(stored, {
      record,
      last: 4,
      trimmed: 0,
      stored: 3,
      events: 1,
      bytes: stored?.bytes,
      at: at + 5,
      workers: [worker],
      slices: [
        { slice: 'plan', offset: 1, value: ['a'] },
        { worker: 'w', slice: 'plan', offset: 2, value: null },
      ],
      latest: [
        { worker: 'w', type: 'a', key: 'k', event: { offset: 1, type: 'a', time: at, data: 1 } },
        { type: 'b', key: '', event: { offset: 2, type: 'b', time: at, data: 2 } },
      ],
      ids: [{ id: 'an id', offset: 3 }],
    })
    t.strictSame((await store.read('s', offset(0))).events, [event])
    t.strictSame(store.size(), { sessions: 1, events: 1, bytes: stored?.bytes })
  })

  t.test('events come in pages, in order, whatever gaps their offsets have', async (t) => {
    const store = openStore(t)
    const events = [...someEvents(1, 700), ...someEvents(2_000, 10, 7), ...someEvents(2 ** 40, 3)]
    await store.commit({ at, sessions: [aSession('s', events.slice(0, 400))] })
    await store.commit({
      at,
      sessions: [{ session: 's', last: offset(2 ** 40 + 2), events: events.slice(400) }],
    })
    await store.commit({ at, sessions: [aSession('t', someEvents(1, 5))] })
    t.strictSame(await readAll(store, 's'), events)
    for (const after of [0, 1, 255, 256, 399, 400, 700, 1_999, 2_003, 2 ** 40, 2 ** 40 + 2, 2 ** 41]) {
      const due = events.filter((event) => event.offset > after)
      const page = await store.read('s', offset(after), { limit: 5 })
      t.strictSame(page.events, due.slice(0, 5), `after ${after}`)
      t.equal(page.last, due.slice(0, 5).at(-1)?.offset ?? after)
      t.equal(page.end, due.length <= 5)
    }
    t.strictSame(await readAll(store, 't'), someEvents(1, 5))
  })

  t.test('a reader comes to the end of a session whose events were all trimmed', async (t) => {
    const store = openStore(t)
    await store.commit({ at, sessions: [aSession('s', someEvents(1, 5))] })
    await trimAll(store, { sessionEvents: 0 }, at, ['s'])
    const { events, last, end, trimmed } = await store.read('s', offset(0))
    t.strictSame({ events, last, end, trimmed }, { events: [], last: 5, end: true, trimmed: 5 })
  })

  t.test('a page ends after the bytes it was allowed, and has one event at least', async (t) => {
    const store = openStore(t)
    const data = 'x'.repeat(100_000)
    const events = someEvents(1, 20).map((event) => ({ ...event, data }))
    await store.commit({ at, sessions: [aSession('s', events)] })
    t.equal((await store.read('s', offset(0), { bytes: 1 })).events.length, 1)
    const page = await store.read('s', offset(4), { bytes: 450_000 })
    t.strictSame(offsets(page.events), [5, 6, 7, 8, 9])
    t.notOk(page.end)
    t.equal((await store.newest('s', { bytes: 250_000 })).events.length, 3)
  })

  t.test('a filter passes over events, and tells how far it looked', async (t) => {
    const store = openStore(t)
    const events = someEvents(1, pageScanMax + 500)
    await store.commit({ at, sessions: [aSession('s', events)] })
    const none = await store.read('s', offset(0), { filter: () => false })
    t.strictSame(none, { events: [], last: pageScanMax, end: false, trimmed: 0 })
    const rest = await store.read('s', none.last, { filter: (event) => event.worker === 'w1' })
    t.strictSame(
      rest.events,
      events.filter((event) => event.offset > none.last && event.worker === 'w1'),
    )
    t.equal(rest.last, pageScanMax + 500)
    t.ok(rest.end)
    const newest = await store.newest('s', { limit: 3, filter: (event) => event.worker === 'w0' })
    t.strictSame(newest.events, events.filter((event) => event.worker === 'w0').slice(-3))
  })

  t.test('the newest events come in offset order', async (t) => {
    const store = openStore(t)
    await store.commit({ at, sessions: [aSession('s', someEvents(1, 300))] })
    await store.commit({ at, sessions: [{ session: 's', last: offset(320), events: someEvents(301, 20) }] })
    const page = await store.newest('s', { limit: 30 })
    t.strictSame(page, { events: someEvents(291, 30), last: 320, end: true, trimmed: 0 })
    t.strictSame((await store.newest('s', { limit: 1_000 })).events, someEvents(1, 320))
  })

  t.test('a batch that cannot be kept is kept in no part', async (t) => {
    const store = openStore(t)
    await store.commit({ at, sessions: [aSession('a', someEvents(1, 3))] })
    const sessions = [
      { session: 'a', last: offset(4), events: someEvents(4, 1) },
      aSession('b', someEvents(1, 1)),
      { session: 'unknown', last: offset(1), events: someEvents(1, 1) },
    ]
    const failure = { name: 'StoreError', kind: 'failed', message: /unknown/ }
    await t.rejects(store.commit({ at, sessions }), failure)
    t.equal((await store.load('a'))?.last, 3)
    t.equal(await store.load('b'), undefined)
    t.equal(store.size().events, 3)
    await store.commit({ at, sessions: sessions.slice(0, 2) })
    t.strictSame(await readAll(store, 'a'), someEvents(1, 4))
    t.strictSame(await readAll(store, 'b'), someEvents(1, 1))
    t.match(store.size(), { sessions: 2, events: 5 })
  })

  t.test('commits that are given without waiting are kept in their order', async (t) => {
    const store = openStore(t)
    const commits = [store.commit({ at, sessions: [aSession('s', someEvents(1, 10))] })]
    for (let first = 11; first <= 91; first += 10) {
      const sessions = [{ session: 's', last: offset(first + 9), events: someEvents(first, 10) }]
      commits.push(store.commit({ at, sessions }))
    }
    await Promise.all(commits)
    t.strictSame(await readAll(store, 's'), someEvents(1, 100))
    t.match(await store.load('s'), { last: 100, stored: 100, events: 100 })
  })

  t.test('sessions with similar ids are kept apart', async (t) => {
    const store = openStore(t)
    const names = ['s', 's.', 's~', 'S', '10', '9', 'a'.repeat(128)]
    const sessions = names.map((name, index) => aSession(name, someEvents(1, index + 1)))
    await store.commit({ at, sessions })
    for (const [index, name] of names.entries()) t.equal((await readAll(store, name)).length, index + 1, name)
    t.equal(store.size().events, 28)
  })

  t.test('a record with a new epoch replaces all that was kept', async (t) => {
    const store = openStore(t)
    const ids = [{ id: 'x', offset: offset(1) }]
    const slices = [{ slice: 'plan', offset: offset(2), value: 1 }]
    const latest = [{ type: 'note', key: '', event: someEvents(1, 1)[0] as HubEvent }]
    const workers = [{ worker: 'w', status: 'running' as const, startedAt: at, events: 1 }]
    await store.commit({
      at,
      sessions: [{ ...aSession('s', someEvents(1, 9)), ids, slices, latest, workers }],
    })
    await store.commit({ at, sessions: [aSession('s', someEvents(1, 2), { epoch: 'another' })] })
    t.match(await store.load('s'), { record: { epoch: 'another' }, last: 2, events: 2 })
    const {
      ids: idsLeft,
      slices: slicesLeft,
      latest: latestLeft,
      workers: workersLeft,
    } = { ...(await store.load('s')) }
    t.strictSame([idsLeft, slicesLeft, latestLeft, workersLeft], [[], [], [], []])
    t.strictSame(await readAll(store, 's'), someEvents(1, 2))
    t.match(store.size(), { sessions: 1, events: 2 })
  })

  t.test('records and workers have their newest value', async (t) => {
    const store = openStore(t)
    const worker = { worker: 'w', status: 'running' as const, startedAt: at, events: 1 }
    await store.commit({ at, sessions: [{ ...aSession('s', someEvents(1, 1)), workers: [worker] }] })
    const record = aRecord('s', { status: 'ended', endedAt: at + 9, outcome: 'done' })
    const ended = { ...worker, status: 'ended' as const, endedAt: at + 8, outcome: 0 }
    await store.commit({
      at: at + 9,
      sessions: [{ session: 's', record, last: offset(5), workers: [ended] }],
    })
    const stored = await store.load('s')
    t.match(stored, { last: 5, stored: 1, at: at + 9 })
    t.strictSame(stored?.record, record)
    t.strictSame(stored?.workers, [ended])
  })

  t.test('a slice is what its values and patches lead to', async (t) => {
    const store = openStore(t)
    const first = { slice: 'list', offset: offset(1), value: { items: [] } }
    const other = { slice: 'list2', offset: offset(2), value: 'other' }
    await store.commit({
      at,
      sessions: [{ ...aSession('s', []), last: offset(2), slices: [first, other] }],
    })
    const items: number[] = []
    for (let round = 0; round < 30; round++) {
      const slices = [0, 1, 2].map((step) => {
        const item = round * 3 + step
        items.push(item)
        const patch = [{ op: 'add', path: '/items/-', value: item } as const]
        return { slice: 'list', offset: offset(3 + item), value: { items: [...items] }, patch }
      })
      await store.commit({ at, sessions: [{ session: 's', last: offset(5 + round * 3), slices }] })
      t.strictSame((await store.load('s'))?.slices, [
        { slice: 'list', offset: 5 + round * 3, value: { items } },
        { slice: 'list2', offset: 2, value: 'other' },
      ])
    }
    const gone = [
      { slice: 'list', offset: offset(100) },
      { slice: 'list2', offset: offset(101), value: 'again' },
    ]
    await store.commit({ at, sessions: [{ session: 's', last: offset(101), slices: gone }] })
    t.strictSame((await store.load('s'))?.slices, [{ slice: 'list2', offset: 101, value: 'again' }])
  })

  t.test('the latest event of a type and key replaces the one before, until it is forgotten', async (t) => {
    const store = openStore(t)
    const event = (place: number) => someEvents(place, 1)[0] as HubEvent
    const pin = (key: string, place?: number) => ({
      type: 'note',
      key,
      ...(place === undefined ? {} : { event: event(place) }),
    })
    await store.commit({
      at,
      sessions: [{ ...aSession('s', []), last: offset(2), latest: [pin('a', 1), pin('b', 2)] }],
    })
    await store.commit({
      at,
      sessions: [{ session: 's', last: offset(3), latest: [pin('a', 3), pin('b')] }],
    })
    t.strictSame((await store.load('s'))?.latest, [{ type: 'note', key: 'a', event: event(3) }])
  })

  t.test('the newest ids are remembered, as many as the window holds', async (t) => {
    const store = openStore(t)
    const all = Array.from({ length: publishIdsMax + 3_333 }, (_, index) => ({
      id: `id-${index}`,
      offset: offset(index + 1),
    }))
    await store.commit({ at, sessions: [aSession('s', [])] })
    for (let from = 0; from < all.length; from += 100) {
      const ids = all.slice(from, from + 100)
      await store.commit({ at, sessions: [{ session: 's', last: offset(from + ids.length), ids }] })
    }
    t.strictSame((await store.load('s'))?.ids, all.slice(-publishIdsMax))
  })

  t.test('sessions are listed by their ids, in pages', async (t) => {
    const store = openStore(t)
    const names = ['A', 'a', 'b', 'b-1', 'b.1', 'ba', 'z', '~']
    await store.commit({ at, sessions: names.toReversed().map((name) => aSession(name, someEvents(1, 2))) })
    const listed: string[] = []
    let after = ''
    for (;;) {
      const page = await store.sessions(after, 3)
      listed.push(...page.sessions.map(({ record }) => record.session))
      t.ok(page.sessions.every(({ extent }) => extent.events === 2 && extent.stored === 2))
      if (page.end) break
      after = listed.at(-1) ?? ''
    }
    t.strictSame(listed, names.toSorted())
  })

  t.test('a session that was removed is gone, and may come again', async (t) => {
    const store = openStore(t)
    await store.commit({
      at,
      sessions: [aSession('s', someEvents(1, 3_000)), aSession('t', someEvents(1, 1))],
    })
    await store.remove('s')
    t.equal(await store.load('s'), undefined)
    t.strictSame(await readAll(store, 's'), [])
    t.match(store.size(), { sessions: 1, events: 1 })
    await store.commit({ at, sessions: [aSession('s', someEvents(1, 2), { epoch: 'second' })] })
    t.strictSame(await readAll(store, 's'), someEvents(1, 2))
    await trimAll(store, {}, at)
    t.strictSame(await readAll(store, 's'), someEvents(1, 2))
    t.match(store.size(), { sessions: 2, events: 3 })
  })

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

  t.test('a closed store refuses everything, and closing it again does nothing', async (t) => {
    const store = openStore(t)
    await store.commit({ at, sessions: [aSession('s', someEvents(1, 3))] })
    const last = store.commit({
      at,
      sessions: [{ session: 's', last: offset(4), events: someEvents(4, 1) }],
    })
    await Promise.all([last, store.close()])
    await store.close()
    await t.rejects(store.commit({ at, sessions: [] }), isClosed)
    await t.rejects(store.load('s'), isClosed)
    await t.rejects(store.read('s', offset(0)), isClosed)
    await t.rejects(store.newest('s'), isClosed)
    await t.rejects(store.sessions('', 1), isClosed)
    await t.rejects(store.remove('s'), isClosed)
    const trim = store.trim({}, at, () => false)
    await t.rejects(trim, isClosed)
  })
}
