import t from 'tap'
import { createHub, type Hub } from '../../src/hub/hub.js'
import { MemoryLog } from '../../src/log/memory-log.js'
import type { Offset } from '../../src/protocol/cursor.js'
import { Permissions } from '../../src/protocol/permissions.js'
import { memoryStore } from '../../src/store/memory.js'
import { SimulatedClock } from '../kit/clock.js'
import { SeededRandom } from '../kit/random.js'
import { setUp, slice } from './hubs-kit.js'

t.test('what is published at one hub is watched at another, with one order', async (t) => {
  const { hubs, done, follow, events, clock } = setUp(t)
  const [a, b] = hubs
  const at = await follow(b, 'sessions/s')
  t.strictSame(await done(a.submit('sessions/s', [{ type: 'x', id: '1' }, { type: 'y' }])), {
    first: 1,
    last: 2,
    accepted: 2,
    duplicates: 0,
  })
  const both = [
    done(a.submit('sessions/s', [{ type: 'z' }])),
    done(b.submit('sessions/s/workers/w', [{ type: 'execution_completed', id: '1' }])),
  ]
  t.strictSame(
    (await Promise.all(both)).map(({ first }) => first),
    [5, 8],
  )
  t.match(await done(b.submit('sessions/s', [{ type: 'x', id: '1' }])), { first: 1, duplicates: 1 })
  await clock.pass(10)
  t.strictSame(events(at.frames), [
    '1 x',
    '2 y',
    '3 state.update',
    '4 state.update',
    '5 z',
    '8 execution_completed',
    '10 state.update',
  ])
})

const topic = 'sessions/s'

t.test('a client goes on at another hub, also at one that is behind', async (t) => {
  const { hubs, done, follow, events, clock } = setUp(t, 3)
  const [a, b, c] = hubs as [Hub, Hub, Hub]
  await done(a.submit(topic, [{ type: 'x' }]))
  const first = await follow(b, topic, undefined, ['plan'])
  await done(a.submitState(topic, 'plan', { value: [1, 2, 3] }))
  await done(c.submit(topic, [{ type: 'y' }]))
  await clock.pass(10)
  t.strictSame(events(first.frames), ['4 state.update', '7 y'])
  const epoch = a.find('s')?.epoch
  const second = await follow(a, topic, `${epoch}:4`, ['plan'])
  await clock.pass(10)
  t.match(second.frames[1], { type: 'subscribed', resumed: true, offset: 4, gap: undefined })
  t.strictSame(events(second.frames), ['7 y'])
})

t.test('who was away while a slice was removed is given what there is now', async (t) => {
  const { hubs, done, follow, clock } = setUp(t)
  const [a, b] = hubs
  await done(a.submitState(topic, 'plan', { value: 1 }))
  await done(a.submitState(topic, 'other', { value: 2 }))
  const epoch = a.find('s')?.epoch
  await done(a.submitState(topic, 'plan', { removed: true }))
  const { frames } = await follow(b, topic, `${epoch}:4`, ['plan', 'other'])
  await clock.pass(10)
  t.match(frames[1], { type: 'subscribed', resumed: true, slices: { other: 2 } })
  const here = await follow(a, topic, `${epoch}:4`, ['plan', 'other'])
  t.equal((here.frames[1] as { slices?: unknown }).slices, undefined, 'this one knows of the removal')
})

t.test('that nothing changes is said only of what the log has', async (t) => {
  const { hubs, links, done, clock } = setUp(t)
  const [a, b] = hubs
  await done(a.submitState(topic, 'plan', { value: 1 }))
  // The feed of the first hub brings nothing: it has the slice as it was.
  links[0]?.deafen()
  t.match(await done(b.submitState(topic, 'plan', { value: 2 })), { changed: true })
  t.same(a.state(topic, ['plan']).slices, { plan: 1 })
  t.match(await done(a.submitState(topic, 'plan', { value: 1 })), { changed: true })
  t.match(await done(a.submitState(topic, 'plan', { value: 1 })), { changed: false })
  await clock.pass(1_000)
  t.same(b.state(topic, ['plan']).slices, { plan: 1 })
})

t.test('a slice that two hubs change at once is compared anew by the second', async (t) => {
  const { hubs, done } = setUp(t)
  const [a, b] = hubs
  await done(a.submitState(topic, 'plan', { value: {} }))
  await done(b.submitState(topic, 'plan', { merge: { b: 1 } }))
  const changes = [a, b, a, b].map((hub, index) =>
    hub.submitState(topic, 'plan', { merge: { [`n${index}`]: 1 } }),
  )
  const results = await done(Promise.all(changes))
  t.ok(results.every(({ changed }) => changed) && new Set(results.map(({ offset }) => offset)).size === 4)
  await done(Promise.resolve(b.open(topic)))
  t.same(b.state(topic, ['plan']).slices, { plan: { b: 1, n0: 1, n1: 1, n2: 1, n3: 1 } })
  const since = { epoch: results[0]?.epoch as string, offset: results[0]?.offset as Offset }
  await t.rejects(done(a.submitState(topic, 'plan', { value: 1 }, { unless: { changedSince: since } })), {
    code: 'preconditionFailed',
  })
})

t.test('a session ends once, takes nothing more, and begins anew when it was removed', async (t) => {
  const { hubs, done, follow, clock } = setUp(t)
  const [a, b] = hubs
  await t.rejects(done(a.submitEnd('s')), { code: 'notFound' })
  t.equal(await done(a.submitSession('s', { metadata: { title: 'x' } })), true)
  t.equal(await done(b.submitSession('s', { mode: 'summary' })), false)
  await done(
    a.submit(topic, [
      { type: 'llm_text_delta', data: { content: 'no' } },
      { type: 'x', id: '1' },
    ]),
  )
  const watcher = await follow(b, topic)
  await done(b.submitEnd('s', { code: 0 }))
  await t.rejects(done(a.submitEnd('s')), { code: 'conflict' })
  await t.rejects(done(a.submit(topic, [{ type: 'x', id: '2' }])), { code: 'conflict', message: /has ended/ })
  await t.rejects(done(b.submitState(topic, 'plan', { value: 1 })), { code: 'conflict' })
  t.match(await done(b.submit(topic, [{ type: 'x', id: '1' }])), { duplicates: 1, accepted: 0 })
  for (const hub of hubs) {
    t.match(hub.find('s'), {
      status: 'ended',
      outcome: { code: 0 },
      mode: 'summary',
      metadata: { title: 'x' },
    })
    t.strictSame(
      hub.history(topic).events.map(({ type }) => type),
      ['x', 'complete'],
    )
  }
  await done(a.removeSession('s'))
  await clock.pass(10)
  t.match(watcher.frames.at(-1), { type: 'unsubscribed', code: 'removed' })
  t.match(await done(b.submit(topic, [{ type: 'x', id: '1' }])), { first: 1, accepted: 1 })
})

t.test(
  'a character that was split over two texts is whole, wherever its second half is published',
  async (t) => {
    const { hubs, done, follow, clock } = setUp(t)
    const [a, b] = hubs
    const [first = '', second = ''] = '😀'.split('')
    const text = (content: string) => ({ type: 'llm_text_delta', data: { content } })
    const contents = (hub: Hub) =>
      hub.history(topic).events.map(({ data }) => (data as { content: string }).content)
    await follow(b, topic)
    // Nothing is under way any more when the second half comes.
    await done(a.submit(topic, [text(`one ${first}`)]))
    await done(a.submit(topic, [text(`${second}!`)]))
    await done(b.submit(topic, [text(`two ${first}`)]))
    await done(a.submit(topic, [text(`${second}?${first}`), text(`${second}.`)]))
    await clock.pass(10)
    const whole = ['one ', '😀!', 'two ', '😀?', '😀.']
    for (const hub of hubs) t.strictSame(contents(hub), whole)
    // One that nothing follows is dropped with the end.
    await done(a.submit(topic, [text(first)]))
    await done(b.submitEnd('s'))
    t.strictSame(contents(b).slice(0, 6), [...whole, ''])
  },
)

t.test('a half that waits is in the checkpoint', async (t) => {
  const { hubs, done, log } = setUp(t, 2, { limits: { logTailBytes: 4_096 } })
  const [a, b] = hubs
  const [first = '', second = ''] = '😀'.split('')
  const text = (content: string) => ({ type: 'llm_text_delta', data: { content } })
  await done(a.submit(topic, [text(first)]))
  for (let i = 0; i < 10; i++) {
    await done(a.submit(`${topic}/workers/w`, [{ type: 'note', data: 'x'.repeat(1_000) }]))
  }
  t.ok(log.image().sessions.get('s')?.checkpoint !== undefined)
  await done(b.submit(topic, [text(second)]))
  t.match(b.history(topic, { order: 'desc', limit: 1 }).events, [{ data: { content: '😀' } }])
})

t.test('of several hubs one tells what has happened, and a command only if nobody follows it', async (t) => {
  const { hubs, done, clock, links } = setUp(t, 3)
  const [a, b, c] = hubs as [Hub, Hub, Hub]
  const told: string[] = []
  const tell = (name: string, hub: Hub) =>
    hub.onNotice(({ kind, session, worker }) => told.push([name, kind, session, worker].join(' ')))
  const ends = [tell('a', a), tell('b', b), tell('c', c)]
  for (const hub of hubs) await done(Promise.resolve(hub.open(topic)))
  const worker = `${topic}/workers/w`
  await done(a.submit(worker, [{ type: 'execution_failed', data: { error: 'no' } }]))
  await done(b.submit(topic, [{ type: 'client_input_requested', data: { prompt: 'yes?', request_id: '1' } }]))
  await clock.pass(5_000)
  t.strictSame(told, ['a failed s w', 'b needs s '])
  await done(c.submitLease(`${topic}/workers/v`, 1_000))
  await clock.pass(5_000)
  t.equal(told.length, 3, 'one hub says that it is lost, and the same one tells')
  t.match(told[2], / lost s v$/)
  told.length = 0
  await done(a.submit(topic, [{ type: 'command.pause' }]))
  t.strictSame(told, [], 'an agent at any hub may have it')
  await clock.pass(5_000)
  t.strictSame(told, ['a command s '])
  const agent = b.session('s').commands()
  const next = agent.next()
  await clock.pass(100)
  await done(a.submit(topic, [{ type: 'command.cancel' }]))
  await clock.pass(5_000)
  t.strictSame(told, ['a command s '])
  await done(next)
  await done(Promise.resolve(agent.return?.()))
  links[0]?.deafen()
  for (const end of ends) end()
  await done(b.submitEnd('s'))
  t.equal(told.length, 1, 'and nobody who wants it no more')
})

t.test('the sessions of all hubs are searched, ordered and listed at each', async (t) => {
  const { hubs, done, clock, follow } = setUp(t, 3)
  const [a, b, c] = hubs as [Hub, Hub, Hub]
  await done(a.submitSession('old', { metadata: { title: 'Deploy to Zürich', labels: ['ci'] } }))
  await done(a.submitSession('broken'))
  await done(a.submit('sessions/broken', [{ type: 'execution_failed', data: { error: 'no disk' } }]))
  await clock.pass(200)
  await done(
    b.submit('sessions/asks', [
      { type: 'client_input_requested', data: { prompt: 'yes?', request_id: '1' } },
    ]),
  )
  await clock.pass(200)
  const found = async (hub: Hub, query: object, permissions?: Permissions) => {
    const { sessions, next } = await done(hub.findSessions({ limit: 10, ...query }, permissions))
    return [...sessions.map(({ id }) => id), ...(next === undefined ? [] : ['…'])]
  }
  for (const hub of hubs) {
    t.strictSame(await found(hub, { order: 'attention' }), ['asks', 'broken', 'old'])
    t.strictSame(await found(hub, { order: 'attention', limit: 1 }), ['asks', '…'])
    t.strictSame(await found(hub, { order: 'started' }), ['asks', 'broken', 'old'])
    t.strictSame(await found(hub, { needs: true }), ['asks'])
    t.strictSame(await found(hub, { q: 'zürich' }), ['old'])
    t.strictSame(await found(hub, { labels: ['ci'] }), ['old'])
    const some = new Permissions({ subscribe: ['sessions/broken', 'sessions/none'] })
    t.strictSame(await found(hub, { order: 'attention' }, some), ['broken'])
  }
  t.equal(c.stats().sessions, 0, 'none of them is held here for that')
  const listed = () => c.state('hub', ['sessions']).slices['sessions'] as object
  const { connection } = await follow(c, 'hub', undefined, ['sessions'])
  await clock.pass(1)
  t.match(listed(), {
    asks: { needs: 1 },
    broken: { result: 'failed' },
    old: { title: 'Deploy to Zürich' },
  })
  await done(a.submitEnd('old'))
  await clock.pass(2_000)
  t.match(listed(), { old: { status: 'ended' } })
  await done(b.removeSession('old'))
  await clock.pass(2_000)
  t.strictSame(Object.keys(listed()).sort(), ['asks', 'broken'])
  t.strictSame(await found(c, { order: 'attention' }), ['asks', 'broken'])
  connection.closed()
  await done(b.removeSession('broken'))
  await clock.pass(5_000)
  const { frames } = await follow(c, 'hub', undefined, ['sessions'])
  t.strictSame(Object.keys(slice(frames, 'sessions') as object), ['asks'])
})

t.test('who reads while another opens the session sees what was acknowledged before', async (t) => {
  const { hubs, links, done } = setUp(t)
  const [a, b] = hubs
  const [, link] = links
  if (link === undefined) throw new Error('expected two links')
  // What the log says of the session arrives late, and its feed brings nothing.
  let arrive: () => void = () => undefined
  const late = new Promise<void>((resolve) => (arrive = resolve))
  const open = link.open.bind(link)
  link.open = async (session) => {
    const opened = await open(session)
    await late
    return opened
  }
  link.follow = async () => undefined
  const opening = b.open(topic)
  await done(a.submit(topic, [{ type: 'note' }]))
  const reading = Promise.resolve(b.catchUp(topic))
  arrive()
  await done(reading)
  t.match(b.find('s'), { status: 'running', offset: a.find('s')?.offset })
  await opening
})

t.test('publishing no events begins a session, and nothing else', async (t) => {
  const { hubs, done } = setUp(t)
  const [a, b] = hubs
  const nothing = { first: 0, last: 0, accepted: 0, duplicates: 0 }
  t.strictSame(await done(a.submit(topic, [])), nothing)
  await done(Promise.resolve(b.catchUp(topic)).then(() => t.match(b.find('s'), { status: 'running' })))
  t.strictSame(await done(b.submit(topic, [])), nothing)
  t.strictSame(b.history(topic).events, [])
})

t.test('what was opened late is what was followed from the beginning', async (t) => {
  const { hubs, done, clock, log } = setUp(t, 2)
  const [a, b] = hubs
  for (let i = 0; i < 200; i++) {
    const worker = `${topic}/workers/w${i % 3}`
    await done(
      a.submit(i % 2 ? topic : worker, [{ type: 'execution_started', data: { text: 'x'.repeat(1_000), i } }]),
    )
    await done(a.submit(topic, [{ type: 'trigger_updated', data: { trigger_id: i % 5, i } }]))
    await done(a.submitState(worker, 'plan', { merge: { [`n${i % 7}`]: i } }))
  }
  await done(a.submit(`${topic}/workers/w0`, [{ type: 'execution_failed', data: { error: 'no' } }]))
  await clock.pass(10)
  const kept = log.image().sessions.get('s')
  t.ok((kept?.checkpoint?.offset ?? 0) > 500, 'there is a checkpoint')
  await done(Promise.resolve(b.open(topic)).then(() => t.same(b.find('s'), a.find('s'))))
  await done(
    Promise.resolve(b.open(topic)).then(() => {
      for (const of of [topic, `${topic}/workers/w0`, `${topic}/workers/w1`]) {
        t.same(b.state(of, ['plan']).slices, a.state(of, ['plan']).slices)
        t.same(b.history(of, { limit: 50 }).events.at(-1), a.history(of, { limit: 50 }).events.at(-1))
      }
    }),
  )
})

t.test(
  'who waits for a session to begin gets its first event, whatever the log went through meanwhile',
  async (t) => {
    type Setup = ReturnType<typeof setUp>
    const faults: Record<string, (setup: Setup) => void> = {
      'a dead feed': ({ links }) => links[0]?.deafen(),
      'a broken link': ({ links }) => links[0]?.cut(500),
      'a restart': ({ log }) => log.failOver(log.image()),
      'a dead feed and a restart': ({ log, links }) => {
        links[0]?.deafen()
        log.failOver(log.image())
      },
    }
    for (const [name, strike] of Object.entries(faults)) {
      const setup = setUp(t)
      const { hubs, clock, done, follow, events } = setup
      const { frames, connection } = await follow(hubs[0], topic, undefined, ['plan'])
      t.ok(
        frames.some(({ type }) => type === 'live'),
        name,
      )
      strike(setup)
      const { first } = await done(hubs[1].submit(topic, [{ type: 'note' }]))
      for (let i = 0; i < 200 && events(frames).length === 0; i++) await clock.pass(10)
      t.strictSame(events(frames), [`${first} note`], name)
      t.notOk(
        frames.some(({ type }) => type === 'gap'),
        `${name}: nothing was lost`,
      )
      t.ok(connection.open, name)
    }
  },
)

t.test('who waits for a session that the log forgets comes back for its first event', async (t) => {
  const { hubs, log, clock, done, follow, events } = setUp(t)
  const before = log.image()
  const { frames, connection } = await follow(hubs[0], topic, undefined, ['plan'])
  const epoch = frames.flatMap((frame) => (frame.type === 'subscribed' ? frame.epoch : []))[0]
  log.failOver(before)
  const { first } = await done(hubs[1].submit(topic, [{ type: 'note' }]))
  for (let i = 0; i < 200 && connection.open; i++) await clock.pass(10)
  t.notOk(connection.open, 'its hub had another lifetime of the session')
  t.strictSame(events(frames), [])
  const again = await follow(hubs[0], topic, `${epoch}:0`, ['plan'])
  await clock.pass(10)
  t.strictSame(events(again.frames), [`${first} note`])
  const gaps = again.frames.flatMap((frame) => (frame.type === 'subscribed' ? frame.gap?.reason : []))
  t.strictSame(gaps, ['epoch'], 'and it is told of that')
})

t.test('each hub lists the sessions of all, without following them', async (t) => {
  const { hubs, links, log, done, clock } = setUp(t)
  const [a, b] = hubs
  for (const id of ['c', 'a', 'b']) {
    await done(a.submit(`sessions/${id}`, [{ type: 'execution_started', data: { text: id } }]))
    await done(a.submit(`sessions/${id}/workers/w`, [{ type: 'execution_failed', data: { error: 'no' } }]))
    await done(a.submitState(`sessions/${id}`, 'plan', { value: id }))
    // So much that the log has a checkpoint of it.
    for (let i = 0; id === 'b' && i < 200; i++) {
      await done(a.submit('sessions/b/workers/v', [{ type: 'note', data: { text: 'x'.repeat(1_000), i } }]))
    }
  }
  await done(a.submitEnd('c'))
  await done(Promise.resolve(b.open('sessions/mentioned')))
  t.ok(log.image().sessions.get('b')?.checkpoint, 'there is a checkpoint')
  const before = b.stats()
  const listed = await done(a.listSessions('', 10))
  t.same(
    listed.sessions.map(({ id, status }) => [id, status]),
    [
      ['a', 'running'],
      ['b', 'running'],
      ['c', 'ended'],
    ],
  )
  t.ok(listed.end)
  t.same(await done(b.listSessions('', 10)), listed, 'another hub says the same of all of them')
  t.same(b.sessions(), [], 'and has none of them in memory')
  t.same({ ...b.stats(), uptimeMs: 0 }, { ...before, uptimeMs: 0 }, 'they count for nothing there')
  t.same(await done(b.listSessions('a', 1)), { sessions: listed.sessions.slice(1, 2), end: false })
  const some = new Permissions({ subscribe: ['sessions/a', 'sessions/none'] })
  t.same(await done(b.listSessions('', 10, some)), { sessions: listed.sessions.slice(0, 1), end: true })
  // What was only looked at is not there when it goes on.
  await done(a.submit('sessions/a', [{ type: 'note' }]))
  await clock.pass(10)
  t.same(await done(b.listSessions('', 10)), await done(a.listSessions('', 10)))
  links[1]?.cut(500)
  await t.rejects(done(b.listSessions('', 10)), { code: 'unavailable' })
})

t.test('a page of the sessions of a log has at most 100', async (t) => {
  const { hubs, done } = setUp(t)
  const [a, b] = hubs
  for (let i = 0; i < 120; i++) await done(a.submit(`sessions/${1_000 + i}`, [{ type: 'note' }]))
  for (const hub of [a, b]) {
    const first = await done(hub.listSessions('', 1_000))
    t.match([first.sessions.length, first.end, first.sessions.at(-1)?.id], [100, false, '1099'])
    const second = await done(hub.listSessions('1099', 1_000))
    t.match([second.sessions.length, second.end, second.sessions.at(-1)?.id], [20, true, '1119'])
  }
})

t.test('a hub with a log writes by submitting alone, and has no store', (t) => {
  const { hubs } = setUp(t)
  const [a] = hubs
  t.throws(() => a.publish(topic, [{ type: 'x' }]), /submit instead/)
  t.throws(() => a.setState(topic, 'plan', 1), /submit instead/)
  t.throws(() => a.createSession('s'), /submit instead/)
  t.throws(() => a.endSession('s'), /submit instead/)
  t.throws(() => a.lease(topic, 1_000), /submit instead/)
  const clock = new SimulatedClock()
  const log = new MemoryLog(clock, new SeededRandom(1)).link()
  t.throws(() => createHub({ log, store: memoryStore() }), /a log or a store/)
  t.end()
})

t.test('a hub without a log submits as it publishes', async (t) => {
  const hub = createHub()
  t.equal(await hub.submitSession('s'), true)
  t.match(await hub.submit(topic, [{ type: 'x', id: '1' }]), { first: 1, accepted: 1 })
  t.match(await hub.submitState(topic, 'plan', { value: { a: 1 } }), { changed: true })
  t.match(await hub.submitState(topic, 'plan', { patch: [{ op: 'add', path: '/b', value: 2 }] }), {
    changed: true,
  })
  t.same(hub.state(topic, ['plan']).slices, { plan: { a: 1, b: 2 } })
  t.equal(hub.open(topic), undefined)
  await hub.submitEnd('s')
  await t.rejects(hub.submit(topic, [{ type: 'x' }]), { code: 'conflict' })
})
