import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { openLmdb } from '../../src/store/lmdb.js'
import { type Repair, repairFile } from '../../src/store/repair.js'
import { lastOf, type SessionBatch, type Store } from '../../src/store/store.js'
import { aSession, at, offset, readAll, someEvents, trimAll } from '../conformance/store-kit.js'
import { breakValues } from './break-values.js'

// Damage that only a write meets: it replaces or removes a value without reading it.

function aStore(t: Test): { readonly store: Store; readonly path: string } {
  const folder = mkdtempSync(join(tmpdir(), 'runcast-write-damage-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const directory = join(folder, 'data')
  const store = openLmdb({ directory })
  t.teardown(() => store.close())
  return { store, path: join(directory, 'data.lmdb') }
}

const large = 'x'.repeat(9_000)
const worker = { worker: 'w', startedAt: at, events: 1, reason: large }
const pin = (place: number) => ({
  type: 'state',
  key: 'k',
  event: { offset: offset(place), type: 'state', time: at, data: large },
})
const slice = (place: number) => ({ slice: 'plan', offset: offset(place), value: { large, place } })

const parts: Record<string, (place: number) => Partial<SessionBatch>> = {
  workers: () => ({ workers: [worker] }),
  latest: (place) => ({ latest: [pin(place)] }),
  slices: (place) => ({ slices: [slice(place)] }),
  'former ids': () => ({ formerIds: Array.from({ length: 2_000 }, (_, hash) => 2 ** 50 + hash) }),
}

for (const [name, part] of Object.entries(parts)) {
  t.test(`a commit that meets damage is refused for its session (${name})`, async (t) => {
    const { store, path } = aStore(t)
    // The order of their first commits gives them their numbers.
    const sessions = ['bad', 'a', 'b']
    for (const session of sessions)
      await store.commit({ at, sessions: [{ ...aSession(session, someEvents(1, 1)), ...part(1) }] })
    t.ok(breakValues(path, 1) > 0)
    const next = (session: string) => ({
      session,
      last: offset(2),
      events: someEvents(2, 1),
      ...part(2),
    })
    const damage = { kind: 'damaged', session: 'bad', message: /^Session bad is damaged in / }
    for (const order of [sessions, sessions.toReversed(), ['bad']])
      await t.rejects(store.commit({ at, sessions: order.map(next) }), damage)
    t.equal(store.size().events, 3, 'none of it is counted')
    for (const session of ['a', 'b']) t.equal((await store.load(session))?.last, 1, 'or stored')
    await store.commit({ at, sessions: ['a', 'b'].map(next) })
    for (const session of ['a', 'b']) {
      t.strictSame(await readAll(store, session), someEvents(1, 2))
      t.equal((await store.load(session))?.last, 2)
    }
    await store.remove('bad')
    t.equal(await store.load('bad'), undefined)
    t.equal(store.size().sessions, 2)
    await store.commit({ at, sessions: [aSession('bad', someEvents(1, 1))] })
    t.strictSame(await readAll(store, 'bad'), someEvents(1, 1), 'a new session may have its id')
  })
}

t.test('retention passes over what it cannot remove, and does the rest', async (t) => {
  const { store, path } = aStore(t)
  const ids = ['left', 'ended', 'kept', 'other']
  const events = (first: number) => someEvents(first, 1).map((event) => ({ ...event, data: large }))
  for (const [index, session] of ids.entries()) {
    const ended = session === 'ended' ? ({ status: 'ended', endedAt: at } as const) : {}
    const first = aSession(session, events(1), { ...ended, metadata: index })
    await store.commit({ at, sessions: [{ ...first, slices: [slice(1)] }] })
    for (let place = 2; place <= 4; place++)
      await store.commit({ at, sessions: [{ session, last: offset(place), events: events(place) }] })
  }
  for (const number of [1, 3]) t.ok(breakValues(path, number) > 0)
  await store.remove('left')
  const { removed, trimmed } = await trimAll(store, { sessionEvents: 2, ageMs: 1_000 }, at + 500)
  t.strictSame(removed, [])
  t.strictSame(Object.fromEntries(trimmed), { ended: 2, other: 2 })
  const damaged = new Set<string>()
  for (let more = true; more; ) {
    const step = await store.trim({ sessionEvents: 2 }, at, () => false)
    for (const session of step.damaged ?? []) damaged.add(session)
    more = step.more
  }
  t.strictSame([...damaged], ['kept'], 'and says of which session')
  const old = await trimAll(store, { ageMs: 1_000 }, at + 5_000)
  t.strictSame(old.removed.toSorted(), ['ended', 'kept', 'other'], 'a session goes even if its values cannot')
  t.strictSame(store.size(), { sessions: 0, events: 0, bytes: 0 })
  await store.commit({ at, sessions: [aSession('kept', someEvents(1, 3))] })
  const next = await trimAll(store, { ageMs: 1_000 }, at + 5_000)
  t.strictSame(next.removed, ['kept'], 'a new session with its id is removed as any other')
})

t.test('a session whose record is damaged is the only one that is listed so, and stays', async (t) => {
  const { store, path } = aStore(t)
  const ids = ['a', 'bad', 'c', 'd']
  for (const session of ids)
    await store.commit({ at, sessions: [aSession(session, someEvents(1, 1), { metadata: large })] })
  t.equal(breakValues(path, 'bad') > 0, true)
  const listed: string[] = []
  const damaged: string[] = []
  for (let after = '', end = false; !end; ) {
    const page = await store.sessions(after, 3)
    listed.push(...page.sessions.map(({ record }) => record.session))
    damaged.push(...(page.damaged ?? []))
    after = lastOf(page) ?? after
    end = page.end
  }
  t.strictSame([listed, damaged], [['a', 'c', 'd'], ['bad']])
  await t.rejects(store.remove('bad'), { kind: 'damaged', session: 'bad', message: /^Session bad/ })
  await store.commit({ at, sessions: [aSession('c', someEvents(1, 1), { metadata: 'small' })] })
  const { removed } = await trimAll(store, { ageMs: 1_000 }, at + 5_000)
  t.strictSame(removed.toSorted(), ['a', 'c', 'd'])
  t.equal(store.size().sessions, 1)
})

t.test('a value whose page claims a later transaction is found when the file is opened', async (t) => {
  const { store, path } = aStore(t)
  await store.commit({ at, sessions: [{ ...aSession('s', someEvents(1, 1)), slices: [slice(1)] }] })
  await store.close()
  const bytes = readFileSync(path)
  for (let page = 0; page < bytes.length; page += 4_096)
    if (bytes.readUInt16LE(page + 18) === 4) bytes.writeUInt8(0x40, page + 15)
  writeFileSync(path, bytes)
  const directory = dirname(path)
  t.throws(() => openLmdb({ directory }), { kind: 'refused', message: /the head of a value/ })
  let repair: Repair | undefined
  const repaired = openLmdb({ directory, onRepair: (done) => (repair = done) })
  t.teardown(() => repaired.close())
  t.strictSame(repair?.losses, [])
  t.strictSame((await repaired.load('s'))?.slices, [slice(1)])
})

t.test('a repair keeps the size of a window of ids that is not the default', async (t) => {
  const { store, path } = aStore(t)
  const ids = ['x', 'y', 'z'].map((id, index) => ({ id, offset: offset(index + 1) }))
  await store.commit({ at, sessions: [{ ...aSession('s', someEvents(1, 3)), ids, idsMax: 2 }] })
  await store.close()
  const directory = dirname(path)
  const { aside } = repairFile(directory, true, at)
  t.match(aside, /data\.damaged-/)
  const repaired = openLmdb({ directory })
  t.teardown(() => repaired.close())
  const stored = await repaired.load('s')
  t.equal(stored?.record.epoch, 'epoch-s', 'nothing was lost')
  t.strictSame(stored?.ids, ids.slice(1))
})

t.test('what cannot be told any more does not hold up what happens in sessions', async (t) => {
  const { store, path } = aStore(t)
  const { outbox } = store
  if (outbox === undefined) throw new Error('expected an outbox')
  await store.commit({ at, sessions: [aSession('s', someEvents(1, 1))] })
  for (const key of [1_001, 1_002]) outbox.put(key, { large })
  await outbox.flush()
  t.ok(breakValues(path, 1_001) > 0)
  t.strictSame(
    outbox.entries().map(({ key }) => key),
    [1_002],
  )
  outbox.remove(1_001)
  outbox.put(1_003, { key: 1_003 })
  await store.commit({ at, sessions: [{ session: 's', last: offset(2), events: someEvents(2, 1) }] })
  t.strictSame(await readAll(store, 's'), someEvents(1, 2))
  outbox.remove(1_001)
  outbox.remove(1_002)
  await outbox.flush()
  t.strictSame(
    outbox.entries().map(({ key }) => key),
    [1_003],
  )
})
