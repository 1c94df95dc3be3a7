import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { createHub } from '../../src/hub/hub.js'
import { systemClock } from '../../src/lib/clock.js'
import { systemRandom } from '../../src/lib/random.js'
import { MemoryLog } from '../../src/log/memory-log.js'
import { formatCursor, type Offset } from '../../src/protocol/cursor.js'
import { inspectFile } from '../../src/store/inspect-file.js'
import { openLmdb } from '../../src/store/lmdb.js'
import { memoryStore } from '../../src/store/memory.js'
import type { Fork, Store } from '../../src/store/store.js'
import { forkSuite } from '../conformance/forks.js'
import { served } from '../kit/served.js'
import { mint, secret } from '../kit/tokens.js'
import { typescript } from '../kit/typescript.js'
import { aDirectory, aHub, dataOf, historyOf, notes, publishAll, range, take } from './committing-kit.js'

t.test('in memory', async (t) => forkSuite(t, { options: () => ({}), knowsFormerState: false }))

t.test('in a store in memory', async (t) =>
  forkSuite(t, { options: () => ({ store: memoryStore() }), knowsFormerState: false }),
)

t.test('in lmdb', async (t) =>
  forkSuite(t, {
    options: (t) => ({ store: openLmdb({ directory: aDirectory(t) }) }),
    knowsFormerState: false,
  }),
)

t.test('in a log', async (t) =>
  forkSuite(t, {
    options: () => ({ log: new MemoryLog(systemClock, systemRandom).link() }),
    knowsFormerState: true,
  }),
)

t.test('what memory has evicted, a fork has evicted too, and says so', async (t) => {
  const hub = aHub(t, { limits: { laneEventsMax: 10 } })
  hub.session('s').publish(notes(1, 25))
  hub.session('s').publish({ type: 'trigger_activated', data: { trigger_id: 't' } })
  hub.session('s').publish(notes(27, 10))
  const { epoch } = await hub.forkSession('s', { session: 'f' })
  const { events, gaps } = await take(hub, 'sessions/f', 11, { after: formatCursor(epoch, 5 as Offset) })
  t.strictSame(gaps, ['evicted'])
  t.strictSame(
    events.map(({ offset }) => offset),
    range(26, 36),
  )
  const source = hub.find('s')?.epoch ?? ''
  const at = formatCursor(source, 30 as Offset)
  await t.rejects(hub.forkSession('s', { session: 'g', at }), { code: 'conflict', message: /not all events/ })
  const known = await hub.forkSession('s', { session: 'g', at, state: 'known' })
  t.strictSame(known.forkedFrom?.without, ['workers'])
  t.equal((await historyOf(hub, 'sessions/g', 100)).at(-1)?.offset, 30)
})

for (const kind of ['memory', 'lmdb'] as const) {
  t.test(`a long session is forked wherever its blocks begin and end: ${kind}`, async (t) => {
    const store = kind === 'lmdb' ? openLmdb({ directory: aDirectory(t) }) : memoryStore()
    const hub = aHub(t, { store, limits: { laneEventsMax: 50 } })
    await publishAll(hub, 's', notes(1, 3_000))
    const epoch = hub.find('s')?.epoch ?? ''
    for (const last of [0, 1, 255, 256, 257, 500, 501, 2_999, 3_000]) {
      const before = store.size()
      const id = `f${last}`
      await hub.forkSession('s', { session: id, at: formatCursor(epoch, last as Offset) })
      t.strictSame(dataOf(await historyOf(hub, `sessions/${id}`, 1_000)), last === 0 ? [] : range(1, last))
      t.equal(store.size().sessions, before.sessions + 1)
      t.equal(store.size().events, before.events + last)
      await publishAll(hub, id, notes(last + 1, 3))
      t.strictSame(dataOf(await historyOf(hub, `sessions/${id}`, 1_000)), range(1, last + 3))
      await hub.removeSession(id)
    }
  })

  t.test(`what retention has trimmed is not in a fork: ${kind}`, async (t) => {
    const store = kind === 'lmdb' ? openLmdb({ directory: aDirectory(t) }) : memoryStore()
    const hub = aHub(t, { store, limits: { laneEventsMax: 50 } })
    await publishAll(hub, 's', notes(1, 2_000))
    const { trimmed } = await store.trim({ sessionEvents: 1_000 }, 0, () => true)
    const first = (trimmed[0]?.trimmed ?? 0) + 1
    t.ok(first > 500)
    const epoch = hub.find('s')?.epoch ?? ''
    await hub.readHistory('sessions/s', { limit: 1 })
    const at = (offset: number) => formatCursor(epoch, offset as Offset)
    await t.rejects(hub.forkSession('s', { at: at(10), state: 'known' }), { message: /not kept any more/ })
    await t.rejects(hub.forkSession('s', { at: at(1_500) }), { code: 'conflict', message: /not all events/ })
    await hub.forkSession('s', { session: 'f', at: at(1_500), state: 'known' })
    t.strictSame(dataOf(await historyOf(hub, 'sessions/f', 1_000)), range(first, 1_500))
    const fork = await hub.forkSession('s', { session: 'g' })
    const after = formatCursor(fork.epoch, 10 as Offset)
    const { gaps } = await take(hub, 'sessions/g', 2_000 - first + 1, { after })
    t.strictSame(gaps, ['evicted'])
  })
}

/** @returns a fork of 3,000 stored events for the store itself */
async function prepared(store: Store): Promise<Fork> {
  const hub = createHub({ store })
  await publishAll(hub, 's', notes(1, 3_000, { data: 'x'.repeat(1_000) }))
  const loaded = await store.load('s')
  if (loaded === undefined) throw new Error('the session is stored')
  const { record, last } = loaded
  const batch = { session: 'f', last, record: { ...record, session: 'f', epoch: 'fork' } }
  return { at: 1, from: 's', epoch: record.epoch, batch }
}

t.test('a fork is copied whole or not at all, whatever happens to the session meanwhile', async (t) => {
  const store = openLmdb({ directory: aDirectory(t) })
  t.teardown(() => store.close())
  const fork = await prepared(store)
  const before = store.size()

  const copy = (fork: Fork) => store.fork?.(fork) ?? Promise.resolve()
  const trimmed = copy(fork)
  // Each read has a turn of its own, after the one in which the first step was asked for.
  await store.read('s', 0 as Offset, { limit: 1 })
  const trim = store.trim({ sessionEvents: 100 }, 0, () => true)
  await t.rejects(trimmed, { kind: 'failed', message: /trimmed while/ })
  await trim
  for (let more = true; more; ) ({ more } = await store.trim({}, 0, () => true))
  t.equal(await store.load('f'), undefined)
  t.equal(store.size().sessions, before.sessions)

  await copy(fork)
  await t.rejects(copy(fork), { kind: 'failed', message: /already/ })
  const gone = copy({ ...fork, batch: { ...fork.batch, session: 'g' } })
  await store.remove('s')
  await t.rejects(gone, { kind: 'failed', message: /not there any more/ })
  await t.rejects(copy(fork), { kind: 'failed', message: /already/ })
})

t.test('nobody begins a session under the name of a fork that is being made', async (t) => {
  const store = openLmdb({ directory: aDirectory(t) })
  const hub = aHub(t, { store })
  await publishAll(hub, 's', notes(1, 2_000, { data: 'x'.repeat(1_000) }))
  const forks = ['f', 'g', 'h', 'i'].map((session) => hub.forkSession('s', { session }))
  t.throws(() => hub.session('f').publish({ type: 'note' }), { code: 'conflict', message: /being made/ })
  t.throws(() => hub.setState('sessions/f', 'plan', 1), { code: 'conflict' })
  t.equal(hub.find('f'), undefined)
  await t.rejects(hub.forkSession('s', { session: 'f' }), { code: 'unavailable' })
  await Promise.all(forks)
  await t.rejects(hub.forkSession('s', { session: 'f' }), { code: 'conflict' })
  t.equal(hub.session('f').publish({ type: 'note' }).first, 2_001)
})

// For the long run: RUNCAST_KILLS=100 node --import tsx test/sessions/forks.test.ts
const kills = Number(process.env['RUNCAST_KILLS'] ?? 2)

t.test('a hub that is killed while it forks has the whole fork or none', async (t) => {
  t.setTimeout(60_000 + 10_000 * kills)
  const directory = aDirectory(t)
  const child = fileURLToPath(new URL('fork-child.ts', import.meta.url))
  const done = new Set<string>()
  const begun = new Set<string>()
  for (let kill = 0; kill < kills; kill++) {
    const args = [...typescript, child, directory, `${kill}`]
    const process_ = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
    const exited = once(process_, 'exit')
    const most = 2 + kill
    for await (const line of createInterface({ input: process_.stdout })) {
      const [what, id = ''] = line.split(' ')
      if (what === 'begins') begun.add(id)
      else done.add(id)
      if (what === 'begins' && begun.size - done.size > 0 && done.size >= most * (kill + 1)) {
        // In the middle of a copy, more or less.
        setImmediate(() => process_.kill('SIGKILL'))
      }
    }
    await exited
    t.equal(process_.signalCode, 'SIGKILL')
  }
  t.equal(inspectFile(directory, false), undefined)
  const store = openLmdb({ directory })
  for (let more = true; more; ) ({ more } = await store.trim({}, 0, () => true))
  const hub = aHub(t, { store })
  let whole = 0
  for (const id of begun) {
    const session = hub.find(id)
    if (done.has(id)) t.ok(session, `${id} was acknowledged`)
    if (session === undefined) continue
    whole++
    const events = await historyOf(hub, `sessions/${id}`, 1_000)
    t.strictSame(dataOf(events), range(1, 5_000), `${id} is whole`)
  }
  t.equal(store.size().sessions, whole + 1)
  t.equal(store.size().events, 5_000 * (whole + 1))
})

t.test(
  'POST …/fork needs the right to read the whole session, and to publish to the whole fork',
  async (t) => {
    const { hub, url } = await served(t, { serve: { auth: { secrets: [secret] } } })
    await hub.submit('sessions/s/workers/w', [{ type: 'note' }, { type: 'note' }])
    const ask = async (body: object, subscribe: string[], publish: string[]) => {
      const response = await fetch(`${url}/api/sessions/s/fork`, {
        method: 'POST',
        headers: {
          authorization: `Bearer ${await mint({ subscribe, publish })}`,
          'content-type': 'application/json',
        },
        body: JSON.stringify(body),
      })
      return { status: response.status, body: (await response.json()) as Record<string, unknown> }
    }
    const all = ['sessions/**']
    t.equal((await ask({ session: 'f' }, ['sessions/s'], all)).status, 403)
    t.equal((await ask({ session: 'f' }, all, ['sessions/f'])).status, 403)
    t.equal((await ask({ session: 'f' }, all, ['sessions/s/**'])).status, 403)
    const epoch = hub.find('s')?.epoch
    t.match(
      await ask({ session: 'f', at: `${epoch}:1` }, ['sessions/s/**'], ['sessions/f/**', 'sessions/f']),
      {
        status: 201,
        body: {
          id: 'f',
          offset: 1,
          forkedFrom: { session: 's', at: `${epoch}:1` },
          workers: [{ id: 'w', events: 1 }],
        },
      },
    )
    t.match(await ask({}, all, all), { status: 201, body: { id: String, offset: 2 } })
    t.match(await ask({ session: 'f' }, all, all), { status: 409 })
    t.match(await ask({ at: 7 }, all, all), { status: 400, body: { detail: /^at: / } })
    t.match(await ask({ state: 'some' }, all, all), { status: 400, body: { detail: /^state: / } })
    t.match(await ask({ session: '..' }, all, all), { status: 400 })
    t.match(await ask({ until: 7 }, all, all), { status: 400 })
  },
)
