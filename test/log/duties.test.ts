import t from 'tap'
import { createHub, type Hub } from '../../src/hub/hub.js'
import { MemoryLog } from '../../src/log/memory-log.js'
import type { HubFrame } from '../../src/protocol/frames.js'
import { SimulatedClock } from '../kit/clock.js'
import { SeededRandom } from '../kit/random.js'
import { setUp, slice } from './hubs-kit.js'

const topic = 'sessions/s'
const worker = `${topic}/workers/w`

/** What a follower was told, without the slices. */
const told = (frames: readonly HubFrame[]) =>
  frames
    .flatMap((frame) => (frame.type === 'events' ? frame.events : []))
    .filter(({ type }) => type !== 'state.update')

t.test('a command is sent at one hub, reaches an agent at another, and has one final state', async (t) => {
  const { hubs, done, follow, clock } = setUp(t, 3)
  const [a, b, c] = hubs as [Hub, Hub, Hub]
  await t.rejects(done(a.submit(topic, [{ type: 'command.cancel' }])), { code: 'notFound' })
  await done(a.submit(topic, [{ type: 'note' }]))
  const agent = b.session('s').commands()
  const next = agent.next()
  await clock.pass(10)
  const viewer = await follow(c, topic, undefined, ['$commands'])
  const { first } = await done(a.submit(topic, [{ type: 'command.cancel', data: { reason: 'enough' } }]))
  const { value: command } = await done(next)
  t.match(command, { name: 'cancel', offset: first, data: { reason: 'enough' } })
  await clock.pass(20)
  const stateOf = (hub: Hub) =>
    done(Promise.resolve(hub.catchUp(topic)).then(() => hub.state(topic, ['$commands'])))
  for (const hub of hubs)
    t.match((await stateOf(hub)).slices, { $commands: { [first]: { state: 'delivered' } } })
  command.applied()
  await clock.pass(20)
  for (const hub of hubs)
    t.match((await stateOf(hub)).slices, { $commands: { [first]: { state: 'applied' } } })
  t.strictSame(
    told(viewer.frames).map(({ type }) => type),
    ['command.cancel', 'command.done'],
  )
  // The first word counts, at whatever hub the second is said.
  const again = { type: 'command.done', data: { offset: first, state: 'refused', reason: 'no' } }
  const both = [a, c].map((hub) => done(hub.submit(topic, [again])))
  t.match(await Promise.all(both), [
    { accepted: 0, duplicates: 1 },
    { accepted: 0, duplicates: 1 },
  ])
  t.equal(told(viewer.frames).length, 2)
  await done(Promise.resolve(agent.return?.()))
})

t.test(
  'a command that waited is delivered at all hubs when an agent comes to one, and to nobody else',
  async (t) => {
    const { hubs, done, follow, clock } = setUp(t, 2)
    const [a, b] = hubs
    await done(a.submit(topic, [{ type: 'note' }]))
    const { first } = await done(a.submit(topic, [{ type: 'command.cancel' }]))
    const statesOf = async () => {
      const states: unknown[] = []
      for (const hub of hubs) {
        await done(Promise.resolve(hub.catchUp(topic)))
        const commands = hub.state(topic, ['$commands']).slices['$commands'] as Record<
          string,
          { state: string }
        >
        states.push(commands[String(first)]?.state)
      }
      return states
    }
    await follow(b, topic, undefined, ['$commands'])
    await clock.pass(20)
    t.strictSame(await statesOf(), ['queued', 'queued'], 'who only watches is no agent')
    const agent = b.session('s').commands()
    const next = done(agent.next())
    t.match((await next).value, { name: 'cancel', offset: first })
    await clock.pass(20)
    t.strictSame(await statesOf(), ['delivered', 'delivered'])
    await done(Promise.resolve(agent.return?.()))
  },
)

t.test('two words on a command at the same moment are one', async (t) => {
  const { hubs, done, follow, clock } = setUp(t, 3)
  const [a, b, c] = hubs as [Hub, Hub, Hub]
  await done(a.submit(worker, [{ type: 'note' }]))
  const { first } = await done(a.submit(worker, [{ type: 'command.pause' }]))
  const viewer = await follow(c, worker)
  for (const hub of [a, b]) await done(Promise.resolve(hub.catchUp(topic)))
  const say = (state: string, reason?: string) => ({
    type: 'command.done',
    data: { offset: first, state, ...(reason !== undefined && { reason }) },
  })
  const results = await done(
    Promise.all([a.submit(worker, [say('applied')]), b.submit(worker, [say('refused', 'no')])]),
  )
  await clock.pass(10)
  t.equal(results[0].first, results[1].first, 'both are told of the same')
  t.equal(results[0].accepted + results[1].accepted, 1)
  t.equal(told(viewer.frames).filter(({ type }) => type === 'command.done').length, 1)
})

t.test('a command that nobody obeys expires once, also at the end of its session', async (t) => {
  const { hubs, done, follow, clock } = setUp(t, 3)
  const [a, b] = hubs
  await done(a.submit(topic, [{ type: 'note' }]))
  const viewers = await Promise.all(hubs.map((hub) => follow(hub, topic, undefined, ['$commands'])))
  await done(a.submit(topic, [{ type: 'command.cancel', data: { ttlMs: 2_000 } }]))
  await clock.pass(5_000)
  for (const { frames } of viewers) {
    t.match(
      told(frames).map(({ type, data }) => [type, data]),
      [['command.cancel'], ['command.done', { state: 'expired' }]],
    )
  }
  await done(b.submit(topic, [{ type: 'command.cancel' }, { type: 'command.pause' }]))
  await done(a.submitEnd('s'))
  await clock.pass(10)
  for (const { frames } of viewers) {
    t.strictSame(
      told(frames).map(({ type }) => type),
      [
        'command.cancel',
        'command.done',
        'command.cancel',
        'command.pause',
        'command.done',
        'command.done',
        'complete',
      ],
    )
  }
  t.same(told(viewers[0]?.frames ?? []), told(viewers[2]?.frames ?? []))
})

t.test('a lease runs out once, whichever hub says so, and is renewed at any', async (t) => {
  const { hubs, done, follow, clock } = setUp(t, 3)
  const [a, b, c] = hubs as [Hub, Hub, Hub]
  const viewers = await Promise.all(hubs.map((hub) => follow(hub, worker, undefined, ['$workers'])))
  await done(a.submitLease(worker, 2_000))
  for (let i = 0; i < 4; i++) {
    await clock.pass(1_500)
    if (i % 2 === 0) await done(b.submit(worker, [{ type: 'note' }]))
    else await done(c.submitLease(worker, 2_000))
  }
  const isLost = ({ type }: { type: string }) => type === 'worker.lost'
  t.equal(told(viewers[0]?.frames ?? []).filter(isLost).length, 0, 'it was heard of in time')
  await clock.pass(4_000)
  for (const { frames } of viewers) t.equal(told(frames).filter(isLost).length, 1)
  for (const hub of hubs) t.match(hub.find('s')?.workers, [{ id: 'w', status: 'ended', result: 'lost' }])
  t.equal(
    hubs.reduce((sum, hub) => sum + hub.stats().leases.lost.workers, 0),
    1,
  )
  await done(c.submit(worker, [{ type: 'note' }]))
  await clock.pass(10)
  for (const hub of hubs) t.match(hub.find('s')?.workers, [{ id: 'w', status: 'running', result: undefined }])
  await t.rejects(done(a.submitLease(topic, 5)), { code: 'badFrame' })
})

t.test(
  'a connection renews its lease by living, and a hub that dies with it is noticed by the others',
  async (t) => {
    const { hubs, links, done, follow, clock } = setUp(t)
    const [a, b] = hubs
    const viewer = await follow(b, topic)
    const holder = {}
    await done(a.submitLease(topic, 2_000, holder))
    await clock.pass(20_000)
    t.strictSame(told(viewer.frames), [])
    links[0]?.kill()
    await clock.pass(5_000)
    t.match(told(viewer.frames), [{ type: 'session.lost' }])
    const other = {}
    await done(b.submitLease(topic, 2_000, other))
    await clock.pass(10_000)
    b.releaseLeases(other)
    await clock.pass(5_000)
    t.equal(told(viewer.frames).filter(({ type }) => type === 'session.lost').length, 2)
  },
)

t.test('a call that is open for long is told once, and no more once it has ended', async (t) => {
  const { hubs, done, follow, clock } = setUp(t, 3, { limits: { stalledCallMs: 5_000 } })
  const [a, b] = hubs
  const viewers = await Promise.all(hubs.map((hub) => follow(hub, worker)))
  const call = (id: string) => ({ type: 'tool_call_started', data: { tool_use_id: id, tool_name: 'grep' } })
  await done(a.submit(worker, [call('1')]))
  await done(b.submit(worker, [{ type: 'tool_call_completed', data: { tool_use_id: '1' } }]))
  await clock.pass(10_000)
  await done(b.submit(worker, [call('2')]))
  await clock.pass(10_000)
  for (const { frames } of viewers) {
    t.match(
      told(frames).filter(({ type }) => type === 'worker.stalled'),
      [{ data: { why: 'call', tool: 'grep' } }],
    )
  }
  t.match(a.find('s')?.workers, [{ stalled: { why: 'call' } }])
})

t.test('a wall clock that jumps ahead makes nobody stalled at several hubs', async (t) => {
  const { hubs, done, clock } = setUp(t, 2, { limits: { stalledSilenceMs: 60_000, stalledCallMs: 60_000 } })
  const [a, b] = hubs
  const shown = () => a.find('s')?.workers[0] as unknown as { stalled?: unknown }
  const call = { type: 'tool_call_started', data: { tool_use_id: '1', tool_name: 'grep' } }
  await done(a.submitLease(worker, 3_600_000))
  await done(a.submit(worker, [{ type: 'execution_started' }]))
  await clock.pass(30_000)
  await done(b.submit(worker, [call]))
  clock.jump(7_200_000)
  // Every hub looks now, for the silence before the call.
  await clock.pass(35_000)
  t.notOk(shown().stalled)
  await clock.pass(26_000)
  t.match(shown().stalled, { why: 'call' })
})

t.test('a new attempt takes the place of the former one at all hubs', async (t) => {
  const { hubs, done, follow, clock } = setUp(t)
  const [a, b] = hubs
  const viewers = await Promise.all(hubs.map((hub) => follow(hub, topic)))
  const text = (content: string, number: number) => ({
    type: 'llm_text_delta',
    data: { content },
    attempt: { step: 'one', number },
  })
  const { first } = await done(a.submit(topic, [text('a', 1), text('b', 1)]))
  const second = await done(b.submit(topic, [text('c', 2)]))
  await done(a.submit(topic, [text('late', 1)]))
  // Of one request both attempts are in the same batch.
  const third = await done(a.submit(topic, [text('d', 3), text('e', 4)]))
  await clock.pass(10)
  const offsetsOf = (n: number) => told(viewers[n]?.frames ?? []).map(({ type, data }) => [type, data])
  t.match(offsetsOf(1), [
    ['llm_text_delta', { content: 'a' }],
    ['llm_text_delta', { content: 'b' }],
    ['attempt.superseded', { number: 2, offsets: [first, first + 1] }],
    ['llm_text_delta', { content: 'c' }],
    ['attempt.superseded', { number: 3, offsets: [second.first] }],
    // What is taken back within a flush nobody is given.
    ['attempt.superseded', { number: 4, offsets: [third.first] }],
    ['llm_text_delta', { content: 'e' }],
  ])
  t.same(offsetsOf(0), offsetsOf(1))
  const late = await follow(b, topic, `${b.find('s')?.epoch}:0`)
  await clock.pass(10)
  const texts = told(late.frames).filter(({ type }) => type === 'llm_text_delta')
  t.match(texts, [{ data: { content: 'e' } }])
})

t.test('what the hubs said themselves is there for a hub that opens the session later', async (t) => {
  const { hubs, done, follow, clock, log } = setUp(t, 2, { limits: { logTailBytes: 500, stalledCallMs: 0 } })
  const [a, b] = hubs
  const viewer = await follow(a, topic, undefined, ['$commands'])
  await done(a.submitLease(worker, 1_000))
  const { first } = await done(a.submit(topic, [{ type: 'command.pause' }, { type: 'command.cancel' }]))
  const receipt = { type: 'command.done', data: { offset: first, state: 'applied' } }
  await done(a.submit(topic, [receipt]))
  await done(a.submit(topic, [receipt]))
  await clock.pass(3_000)
  for (let i = 0; i < 5; i++) await done(a.submit(topic, [{ type: 'note', data: 'x'.repeat(1_000) }]))
  await clock.pass(10)
  t.ok((log.image().sessions.get('s')?.checkpoint?.offset ?? 0) > 20, 'there is a checkpoint')
  const page = (hub: Hub) => done(hub.readHistory(`${topic}/**`, { limit: 100 }))
  const events = (await page(a)).events
  t.same((await page(b)).events, events)
  t.equal(events.filter(({ type }) => type === 'command.done').length, 1)
  t.equal(events.filter(({ type }) => type === 'worker.lost').length, 1)
  await done(Promise.resolve(b.open(topic)).then(() => t.same(b.find('s'), a.find('s'))))
  // The second command is open at both.
  const { last } = await done(
    b.submit(topic, [{ type: 'command.done', data: { offset: first + 2, state: 'applied' } }]),
  )
  await clock.pass(10)
  t.match(slice(viewer.frames, '$commands') ?? told(viewer.frames).at(-1), {})
  t.equal(told(viewer.frames).at(-1)?.offset, last)
})

const hourMs = 3_600_000

t.test('sessions to which nobody has written for long are removed, at all hubs', async (t) => {
  const { clock, hubs, done, follow } = setUp(t, 2, { retention: { ageMs: hourMs } })
  const [a, b] = hubs
  for (const session of ['idle', 'followed', 'busy', 'ended'])
    await done(a.submit(`sessions/${session}`, [{ type: 'note' }]))
  await done(a.submitEnd('ended'))
  const viewers = {
    followed: await follow(b, 'sessions/followed'),
    ended: await follow(b, 'sessions/ended'),
  }
  // Nobody but the sender knows of this.
  const write = () => done(a.submit('sessions/busy', [{ type: 'note' }]))
  for (let minute = 0; minute < 55; minute += 5) {
    await clock.pass(5 * 60_000)
    await write()
  }
  const listed = async () => (await done(b.listSessions('', 100))).sessions.map(({ id }) => id)
  t.strictSame(await listed(), ['busy', 'ended', 'followed', 'idle'])
  await clock.pass(10 * 60_000)
  t.strictSame(await listed(), ['busy', 'followed'])
  t.ok(
    viewers.ended.frames.some(({ type }) => type === 'unsubscribed'),
    'who follows is told',
  )
  t.notOk(viewers.followed.frames.some(({ type }) => type === 'unsubscribed'))
  await clock.pass(3 * hourMs)
  t.strictSame(await listed(), ['followed'])
  viewers.followed.connection.closed()
  await clock.pass(3 * hourMs)
  t.strictSame(await listed(), [])
})

t.test('a wall clock that jumps ahead expires nothing of a log, and removes nothing', async (t) => {
  const { clock, hubs, done } = setUp(t, 2, { retention: { ageMs: hourMs } })
  const [a, b] = hubs
  await done(a.submit('sessions/old', [{ type: 'note' }]))
  await done(a.submitEnd('old'))
  await done(a.submit(topic, [{ type: 'note' }]))
  // The sessions are described, with their time, some moments later.
  await clock.pass(10_000)
  await done(
    a.submit(topic, [
      { type: 'command.cancel', data: { ttlMs: 600_000 } },
      { type: 'command.pause', data: { ttlMs: 2_000 } },
    ]),
  )
  clock.jump(60 * 24 * hourMs)
  await clock.pass(5_000)
  const commands = await done(
    Promise.resolve(b.catchUp(topic)).then(() => b.state(topic, ['$commands']).slices['$commands']),
  )
  t.match(Object.values(commands ?? {}), [{ state: 'queued' }, { state: 'expired' }])
  await clock.pass(120_000)
  const listed = async () => (await done(b.listSessions('', 100))).sessions.map(({ id }) => id)
  t.strictSame(await listed(), ['old', 's'])
  await clock.pass(2 * hourMs)
  t.notOk((await listed()).includes('old'), 'an hour has passed')
})

t.test('a session that was changed without a word to the lists is not removed', async (t) => {
  const clock = new SimulatedClock()
  const log = new MemoryLog(clock, new SeededRandom(1))
  const link = log.link()
  const hub = createHub({ clock, random: new SeededRandom(2), log: log.link(), retention: { ageMs: hourMs } })
  t.teardown(() => hub.closeStore())
  const { epoch } = await link.open('s')
  const batch = { session: 's', hub: 'h', epoch, width: 1, droppable: Buffer.from('x') }
  await link.append({ ...batch, number: 1, at: clock.now() })
  await link.describe('s', { epoch, offset: (await link.open('s')).last, about: '{}' })
  await clock.pass(hourMs - 1_000)
  await link.append({ ...batch, number: 2, at: clock.now() })
  await clock.pass(30 * 60_000)
  t.strictSame(await link.sessions('', 10), ['s'])
  await clock.pass(2 * hourMs)
  t.strictSame(await link.sessions('', 10), [])
})

t.test('over a log sessions are removed by age alone', (t) => {
  const log = new MemoryLog(new SimulatedClock(), new SeededRandom(1)).link()
  t.throws(() => createHub({ log, retention: { bytes: 1 } }), /retention\.bytes: .*by age alone/)
  t.end()
})
