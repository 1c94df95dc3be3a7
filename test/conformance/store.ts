import type { Test } from 'tap'
import type { HubEvent } from '../../src/protocol/frames.js'
import { pageScanMax, publishIdsMax, type Store } from '../../src/store/store.js'
import { aRecord, aSession, at, offset, readAll, someEvents, trimAll } from './store-kit.js'
import { retention } from './store-retention.js'

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

  t.test('events are read backwards, in pages, and by the time at which they were kept', async (t) => {
    const store = openStore(t)
    const all = someEvents(1, 900, 2)
    for (let from = 0; from < all.length; from += 100) {
      const events = all.slice(from, from + 100)
      const last = events.at(-1)?.offset ?? offset(0)
      const record = from === 0 ? { record: aRecord('s') } : {}
      await store.commit({ at: at + from, sessions: [{ session: 's', last, events, ...record }] })
    }
    const filter = ({ worker }: HubEvent) => worker === undefined
    for (const [before, limit] of [
      [10_000, 300],
      [1_000, 7],
      [201, 1_000],
      [200, 99],
      [1, 10],
    ] as const) {
      const read: HubEvent[] = []
      for (let place = offset(before), end = false; !end; ) {
        const page = await store.readBefore('s', place, { limit, filter })
        read.push(...page.events)
        place = page.last
        end = page.end
      }
      const due = all.filter((event) => event.offset < before && filter(event)).toReversed()
      t.strictSame(read, due, `before ${before}`)
    }
    t.equal(await store.keptBefore('s', at), 0)
    for (const [time, last] of [
      [1, 199],
      [100, 199],
      [350, 799],
      [801, 1_799],
    ] as const) {
      t.equal(await store.keptBefore('s', at + time), last, `kept before ${time}`)
    }
    t.match(await store.readBefore('none', offset(5)), { events: [], end: true })
    t.equal(await store.keptBefore('none', at), 0)
  })

  t.test('records and workers have their newest value', async (t) => {
    const store = openStore(t)
    const worker = { worker: 'w', status: 'running' as const, startedAt: at, events: 1 }
    await store.commit({ at, sessions: [{ ...aSession('s', someEvents(1, 1)), workers: [worker] }] })
    const record = aRecord('s', { status: 'ended', endedAt: at + 9, outcome: 'done' })
    const ended = { ...worker, status: 'ended' as const, endedAt: at + 8 }
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
    for (const idsMax of [undefined, publishIdsMax + 1_000, 5]) {
      const session = `of-${idsMax}`
      const window = idsMax === undefined ? {} : { idsMax }
      await store.commit({ at, sessions: [aSession(session, [])] })
      for (let from = 0; from < all.length; from += 100) {
        const ids = all.slice(from, from + 100)
        const last = offset(from + ids.length)
        await store.commit({ at, sessions: [{ session, last, ids, ...window }] })
      }
      t.strictSame((await store.load(session))?.ids, all.slice(-(idsMax ?? publishIdsMax)))
    }
  })

  t.test('what is left of earlier ids is kept as it was last given', async (t) => {
    const store = openStore(t)
    const ids = [{ id: 'a', worker: '', offset: offset(1) }]
    await store.commit({ at, sessions: [{ ...aSession('s', []), ids }] })
    t.equal((await store.load('s'))?.formerIds, undefined)
    for (const formerIds of [[7], [7, 2 ** 53 - 1, 0]]) {
      await store.commit({ at, sessions: [{ session: 's', last: offset(1), formerIds }] })
      t.strictSame((await store.load('s'))?.formerIds, formerIds)
    }
    // Ids are removed in steps, and this is no id.
    for (let from = 1; from < 1_000; from += 10) {
      const more = Array.from({ length: 10 }, (_, i) => ({ id: `${from + i}`, offset: offset(from + i) }))
      await store.commit({ at, sessions: [{ session: 's', last: offset(from + 9), ids: more, idsMax: 5 }] })
    }
    const { ids: kept, formerIds } = (await store.load('s')) ?? {}
    t.strictSame([kept?.length, formerIds], [5, [7, 2 ** 53 - 1, 0]])
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

  retention(t, openStore)
}
