import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { connect } from '../../src/client/client.js'
import { createHub, type Hub } from '../../src/hub/hub.js'
import type { HubOptions } from '../../src/hub/hub-options.js'
import type { JsonValue } from '../../src/lib/json.js'
import type { Cursor, Offset } from '../../src/protocol/cursor.js'
import type { HubEvent, NewEvent } from '../../src/protocol/frames.js'
import { EventsStore } from '../../src/react/events-store.js'
import type { RedactOptions } from '../../src/sessions/redact/redacting.js'
import { StateMirror } from '../../src/state/mirror.js'
import { backupLmdb } from '../../src/store/backup.js'
import { inspectFile } from '../../src/store/inspect-file.js'
import { openLmdb } from '../../src/store/lmdb.js'
import { memoryStore } from '../../src/store/memory.js'
import { served } from '../kit/served.js'
import { typescript } from '../kit/typescript.js'
import { until } from '../kit/wait.js'
import { aDirectory, aHub, historyOf, notes, publishAll } from './committing-kit.js'

const secret = 'correct-horse-battery'
const redact: RedactOptions = { values: [{ value: secret, kind: 'db-password' }] }
const mark = '[secret:db-password]'

/** Everything that the hub would tell somebody who asks. */
async function readable(hub: Hub): Promise<string> {
  const topics = ['sessions/s', 'sessions/s/workers/w', 'sessions/s/**']
  const pages = await Promise.all(topics.map((topic) => historyOf(hub, topic, 500)))
  return JSON.stringify([
    pages,
    topics.map((topic) => hub.state(topic)),
    hub.find('s'),
    await hub.listSessions('', 10),
  ])
}

/** Whether a file of the store has a text, byte by byte. */
function hasBytes(directory: string, text: string): boolean {
  return readdirSync(directory).some((name) => readFileSync(join(directory, name)).includes(text))
}

/** Puts the secret into everything that an event or a change may leave behind. */
function fill(hub: Hub): void {
  const session = hub.session('s')
  hub.createSession('s', { metadata: { title: `deploy with ${secret}` } })
  session.publish([
    { type: 'note', data: { text: `the password is ${secret}`, [secret]: [secret, 1] } },
    {
      type: 'llm_completed',
      data: { text: `${encodeURIComponent(secret)} ${Buffer.from(secret).toString('base64')}` },
    },
    { type: 'execution_status', key: 'k', data: { message: secret } },
  ])
  const worker = session.worker('w')
  worker.publish([
    { type: 'execution_started', data: {} },
    { type: 'permission_requested', key: 'q', data: { prompt: `May I use ${secret}?` } },
    { type: 'custom-event', data: { value: secret } },
  ])
  for (const piece of ['say corr', 'ect-', 'horse-ba', 'ttery twice'])
    worker.publish({ type: 'llm_text_delta', data: { content: piece } })
  hub.setState(
    'sessions/s',
    'plan',
    { steps: [{ text: secret }], done: 0 },
    { cause: { type: 'x', payload: secret } },
  )
  hub.patchState('sessions/s', 'plan', [{ op: 'replace', path: '/done', value: 1 }])
  hub.setState('sessions/s/workers/w', 'env', { PASSWORD: secret })
  hub.setState('sessions/s/workers/w', 'clean', { was: secret })
  hub.patchState('sessions/s/workers/w', 'clean', [{ op: 'remove', path: '/was' }])
}

const stores = {
  'without a store': () => ({}),
  'with a store in memory': () => ({ store: memoryStore() }),
  'with LMDB': (t: Parameters<typeof aDirectory>[0]) => ({ store: openLmdb({ directory: aDirectory(t) }) }),
} satisfies Record<string, (t: Parameters<typeof aDirectory>[0]) => HubOptions>

for (const [name, make] of Object.entries(stores)) {
  t.test(`${name}: a value is taken out of all that can be read`, async (t) => {
    const hub = aHub(t, { ...make(t), masking: { mode: 'off' } })
    fill(hub)
    await hub.committed('s')
    t.match(await readable(hub), new RegExp(secret))
    const before = hub.find('s')
    const { redacted, next } = await hub.redact('s', redact)
    t.equal(next, undefined)
    t.ok(redacted >= 8, `${redacted} events`)
    const now = await readable(hub)
    t.notMatch(now, new RegExp(`${secret}|${Buffer.from(secret).toString('base64')}`))
    t.notMatch(now, /corr|ttery/, 'nor any piece of it')
    t.match(now, /say \[secret:db-password\]/)
    t.match(now, / twice/)
    t.match(hub.find('s'), { metadata: { title: `deploy with ${mark}` } })
    t.strictSame(hub.state('sessions/s').slices['plan'], { steps: [{ text: mark }], done: 1 })
    t.equal(hub.find('s')?.epoch, before?.epoch)
    t.match(await hub.redact('s', redact), { redacted: 0 }, 'a second time there is nothing left')
  })
}

t.test(
  'the store has no byte of it after a backup, and a hub that continues from it shows none',
  async (t) => {
    const directory = aDirectory(t)
    const copy = aDirectory(t)
    const options = { masking: { mode: 'off' } } as const
    const hub = aHub(t, { ...options, store: openLmdb({ directory }) })
    fill(hub)
    await publishAll(
      hub,
      's',
      Array.from(
        { length: 3_000 },
        (_, index): NewEvent => ({
          type: 'note',
          data: {
            index,
            text: index % 7 === 0 ? `login with ${secret}` : 'nothing of interest'.repeat(index % 20),
          },
        }),
      ),
    )
    t.ok(hasBytes(directory, secret))
    await hub.redact('s', redact)
    await hub.committed('s')
    await backupLmdb(directory, copy)
    t.notOk(hasBytes(copy, secret), 'the copy has none of its bytes')
    const other = aHub(t, { ...options, store: openLmdb({ directory: copy }) })
    const [left, right] = [await historyOf(hub, 'sessions/s', 500), await historyOf(other, 'sessions/s', 500)]
    t.strictSame(right, left)
    t.equal(left.length > 3_000, true)
  },
)

for (const [name, make] of Object.entries(stores)) {
  t.test(`${name}: a session and its fork are redacted each by itself`, async (t) => {
    const hub = aHub(t, { ...make(t), masking: { mode: 'off' } })
    fill(hub)
    await hub.committed('s')
    for (const session of ['f', 'g']) await hub.forkSession('s', { session })
    const shown = async (session: string) =>
      JSON.stringify([
        await historyOf(hub, `sessions/${session}/**`, 500),
        hub.state(`sessions/${session}`),
        hub.find(session),
      ])
    const before = await shown('f')
    t.match(before, secret)
    await hub.redact('s', redact)
    t.equal(await shown('f'), before, 'the fork has what it had')
    await hub.redact('f', redact)
    t.notMatch(await shown('f'), secret)
    t.notMatch(await shown('s'), secret)
    t.match(await shown('g'), secret)
  })
}

t.test('followers get the changes of slices and one notice, and equal the hub', async (t) => {
  const hub = aHub(t, { masking: { mode: 'off' }, store: memoryStore() })
  const told: HubEvent[] = []
  const following = (async () => {
    for await (const event of hub.subscribe('sessions/s', { slices: ['*'], types: ['redacted'] }))
      told.push(event)
  })()
  fill(hub)
  await until('the follower has the slice', () => JSON.stringify(told).includes(secret))
  const before = told.length
  const { redacted } = await hub.redact('s', redact)
  hub.flush()
  await until('the notice has come', () => told.some(({ type }) => type === 'redacted'))
  const notices = told.filter(({ type }) => type === 'redacted')
  t.equal(notices.length, 1)
  const { offsets } = (notices[0] as HubEvent).data as unknown as { offsets: [number, number][] }
  t.equal(
    offsets.reduce((sum, [first, last]) => sum + last - first + 1, 0),
    redacted,
  )
  t.equal(offsets[0]?.[0], 1)
  let mirror = StateMirror.of({}, 0 as Offset)
  for (const event of told) {
    if (event.type !== 'state.update') continue
    const next = mirror.apply(event)
    if (next.kind === 'applied') mirror = next.mirror
  }
  const { plan } = mirror.slices as Record<string, JsonValue>
  t.strictSame(plan, hub.state('sessions/s').slices['plan'])
  t.notMatch(JSON.stringify(told.slice(before)), new RegExp(secret))
  hub.endSession('s')
  await following
})

t.test('cursors stay valid, and one who comes back gets the notice', async (t) => {
  const hub = aHub(t, { masking: { mode: 'off' }, store: memoryStore() })
  hub.session('s').publish([...notes(1, 5), { type: 'note', data: secret }, ...notes(7, 5)])
  const page = await hub.readHistory('sessions/s', { limit: 3 })
  await hub.redact('s', redact)
  const rest = await hub.readHistory('sessions/s', { limit: 100, after: page.next as Cursor })
  t.strictSame(
    rest.events.map(({ offset }) => offset),
    [4, 5, 6, 7, 8, 9, 10, 11, 12],
  )
  t.equal(rest.events[2]?.data, mark)
  t.match(rest.events.at(-1), { type: 'redacted', data: { offsets: [[6, 6]] } })
})

t.test('what is published afterwards is masked, and patterns are found across pieces', async (t) => {
  const hub = aHub(t, { store: memoryStore() })
  for (const content of ['staff EMP', '-12', '3456, or EMP-1', '2'])
    hub.session('s').publish({ type: 'llm_text_delta', data: { content } })
  const given = { ...redact, patterns: [{ pattern: 'EMP-[0-9]{6}', kind: 'staff-id' }] }
  t.match(await hub.redact('s', given), { redacted: 3, masksLater: false }, 'patterns are not masked later')
  t.equal(hub.stats().redacted, 3)
  t.match(await hub.redact('s', redact), { redacted: 0, masksLater: true })
  hub.session('s').publish({ type: 'note', data: `again ${secret}` })
  const texts = (await historyOf(hub, 'sessions/s', 100)).map(({ data }) => data)
  t.strictSame(texts.slice(0, 4), [
    { content: 'staff [secret:staff-id]' },
    { content: '' },
    { content: ', or EMP-1' },
    { content: '2' },
  ])
  t.equal(texts.at(-1), `again ${mark}`)
})

t.test('an ended session is redacted without further events', async (t) => {
  const directory = aDirectory(t)
  const hub = aHub(t, { masking: { mode: 'off' }, store: openLmdb({ directory }) })
  fill(hub)
  hub.endSession('s', { said: secret }, { result: 'failed', reason: `refused ${secret}` })
  await hub.committed('s')
  await hub.redact('s', redact)
  t.notMatch(await readable(hub), new RegExp(secret))
  t.match(hub.find('s'), { outcome: { said: mark }, reason: `refused ${mark}` })
  t.equal((await historyOf(hub, 'sessions/s', 100)).at(-1)?.type, 'complete')
})

t.test('a long session is redacted in several calls', async (t) => {
  const hub = aHub(t, {
    masking: { mode: 'off' },
    store: memoryStore(),
    limits: { laneEventsMax: 100, restoredEventsMax: 100 },
  })
  for (let part = 0; part < 22; part++) {
    hub.session('s').publish(notes(1, 999))
    hub.session('s').publish({ type: 'note', data: secret })
    await hub.committed('s')
  }
  let total = 0
  let calls = 0
  for (let after: number | undefined = 0; after !== undefined; calls++) {
    const result: { redacted: number; next?: number } = await hub.redact('s', { ...redact, after })
    total += result.redacted
    after = result.next
  }
  t.ok(calls > 1, `${calls} calls`)
  t.equal(total, 22)
  const texts = JSON.stringify(await historyOf(hub, 'sessions/s', 1_000))
  t.notMatch(texts, new RegExp(secret))
  t.equal(texts.split(mark).length - 1, 22)
})

t.test('a file whose values need fewer pages after a redaction is whole', async (t) => {
  const directory = aDirectory(t)
  const open = () => aHub(t, { masking: { mode: 'off' }, store: openLmdb({ directory }) })
  const long = 'correct-horse-battery'.repeat(10)
  const hub = open()
  // 21 KB become 2.5 KB.
  await publishAll(hub, 's', [{ type: 'note', data: `${long} and `.repeat(100) }])
  await hub.committed('s')
  await hub.redact('s', { values: [{ value: long, kind: 'db-password' }] })
  await hub.closeStore()
  t.equal(inspectFile(directory, false), undefined)
  const again = open()
  t.match(await historyOf(again, 'sessions/s', 10), [{ data: `${mark} and `.repeat(100) }, {}])
})

t.test('refuses what it cannot do', async (t) => {
  const hub = aHub(t, {})
  hub.session('s').publish(notes(1, 1))
  await t.rejects(hub.redact('none', redact), { code: 'notFound' })
  await t.rejects(hub.redact('s', {}), { code: 'badFrame' })
  await t.rejects(hub.redact('s', { values: ['short'] }), { code: 'badFrame' })
  await t.rejects(hub.redact('s', { patterns: ['('] }), { code: 'badFrame' })
  await t.rejects(hub.redact('s', { patterns: ['x*'] }), { code: 'badFrame' })
  await t.rejects(hub.redact('s', { ...redact, after: -1 }), { code: 'badFrame' })
  t.throws(() => hub.session('s').publish({ type: 'redacted', data: {} }), { code: 'badFrame' })
})

t.test('the list of a hook begins anew with what the hub has', async (t) => {
  const { hub, url } = await served(t, { hub: { masking: { mode: 'off' }, store: memoryStore() } })
  const client = connect(url)
  t.teardown(() => client.close())
  const store = new EventsStore(
    client,
    { topic: 'sessions/s', types: ['llm_*'], last: 2, eventsMax: 10 },
    () => {},
  )
  t.teardown(store.listen(() => {}))
  const shown = () => JSON.stringify(store.shown.events.map(({ data }) => data))
  await until('it follows', () => store.shown.live)
  for (const content of ['it is correct-', 'horse-battery', '.'])
    await hub.submit('sessions/s', [{ type: 'llm_text_delta', data: { content } }])
  await until('it has come', () => /"\."/.test(shown()))
  t.match(shown(), /horse/)
  await hub.redact('s', redact)
  await until('it shows the mark', () => shown().includes(mark))
  t.notMatch(shown(), /horse|correct/)
  await hub.submit('sessions/s', [{ type: 'llm_text_delta', data: { content: 'and on' } }])
  await until('it goes on', () => shown().includes('and on'))
  t.notMatch(shown(), /offsets/)
})

// For the long run: RUNCAST_KILLS=50 node --import tsx test/sessions/redacting.test.ts
const kills = Number(process.env['RUNCAST_KILLS'] ?? 2)
if (kills > 2) t.setTimeout(60_000 + 10_000 * kills)

t.test('a hub that is killed while it redacts leaves each event as it was, or redacted', async (t) => {
  t.setTimeout(60_000 + 10_000 * kills)
  const child = fileURLToPath(new URL('redact-child.ts', import.meta.url))
  let between = 0
  for (let kill = 0; kill < kills; kill++) {
    const directory = aDirectory(t)
    const count = 6_000
    const texts = Array.from({ length: count }, (_, index) =>
      index % 3 === 0 ? `login ${index} with ${secret}` : `nothing of interest ${index}`,
    )
    const before = openLmdb({ directory })
    const filling = createHub({ masking: { mode: 'off' }, store: before })
    await publishAll(
      filling,
      's',
      texts.map((data) => ({ type: 'note', data })),
    )
    filling.setState('sessions/s', 'plan', { password: secret })
    await filling.committed('s')
    await filling.closeStore()
    const running = spawn(process.execPath, [...typescript, child, directory, secret], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const exited = once(running, 'exit')
    // Each kill at a later page, and in the middle of it, more or less.
    let left = 1 + (kill % 5)
    for await (const line of createInterface({ input: running.stdout }))
      if (line === 'replaces' && --left === 0) setImmediate(() => running.kill('SIGKILL'))
    await exited
    t.equal(inspectFile(directory, false), undefined, 'the file is whole')
    const hub = aHub(t, { masking: { mode: 'off' }, store: openLmdb({ directory }) })
    const shown = async () =>
      (await historyOf(hub, 'sessions/s', 1_000)).flatMap(({ type, data }) => (type === 'note' ? [data] : []))
    const found = await shown()
    t.equal(found.length, count)
    const isLeft = (data: unknown) => typeof data === 'string' && data.includes(secret)
    const wrong = found.filter(
      (data, index) => data !== texts[index] && data !== texts[index]?.replace(secret, mark),
    )
    t.strictSame(wrong, [], 'each event is as it was, or redacted')
    if (found.some(isLeft) && found.some((data) => typeof data === 'string' && data.includes(mark))) between++
    await hub.redact('s', redact)
    t.strictSame(
      await shown(),
      texts.map((text) => text.replace(secret, mark)),
      'another call finishes it',
    )
    t.notMatch(JSON.stringify(hub.state('sessions/s')), secret)
  }
  t.comment(`${between} of ${kills} redactions were interrupted between pages`)
})
