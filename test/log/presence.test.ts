import t from 'tap'
import { connect, type Watchers } from '../../src/client/client.js'
import { createHub, type Hub } from '../../src/hub/hub.js'
import { redisLog } from '../../src/redis/open.js'
import { SeededRandom } from '../kit/random.js'
import { missingRedis, RedisServer } from '../kit/redis.js'
import { served } from '../kit/served.js'
import { until } from '../kit/wait.js'
import { setUp, slice } from './hubs-kit.js'

const topic = 'sessions/s'
const ask = ['$watchers'] as const
const watchers = (hub: Hub, of = topic) => hub.state(of, ask).slices.$watchers

t.test('watchers are counted over all hubs of a log, and the same at each', async (t) => {
  const { hubs, done, follow, clock, events } = setUp(t, 3)
  const [a, b, c] = hubs as [Hub, Hub, Hub]
  await done(a.submit(topic, [{ type: 'start' }]))
  const other = await follow(b, topic)
  await follow(b, topic)
  await clock.pass(5_000)
  t.equal(watchers(b), undefined, 'nothing is counted where nobody asks')
  const asker = await follow(a, topic, undefined, ask)
  await clock.pass(2_500)
  t.strictSame(slice(asker.frames, '$watchers'), { count: 3 })
  const third = await follow(c, 'sessions/s/**', undefined, ask)
  await clock.pass(2_500)
  for (const { frames } of [asker, third]) t.strictSame(slice(frames, '$watchers'), { count: 4 })
  for (const hub of hubs) t.strictSame(watchers(hub), { count: 4 })
  const updates = (frames: Parameters<typeof events>[0]) => events(frames).slice(-1)
  other.connection.closed()
  await clock.pass(2_500)
  t.strictSame(updates(asker.frames), updates(third.frames), 'at the same offset')
  t.strictSame(watchers(c), { count: 3 })
  asker.connection.closed()
  third.connection.closed()
  await clock.pass(2_500)
  t.equal(watchers(b), undefined, 'and no more once the last one who asked has left')
})

t.test('a change is reported within two seconds, and nothing is left once nobody asks', async (t) => {
  const { hubs, done, follow, clock } = setUp(t, 2)
  const [a, b] = hubs
  await done(a.submit(topic, [{ type: 'start' }]))
  await follow(b, topic)
  await follow(a, topic)
  await clock.pass(5_000)
  const idle = clock.timers
  const asker = await follow(a, topic, undefined, ask)
  const more = [await follow(b, topic), await follow(b, topic)]
  await clock.pass(2_000)
  t.strictSame(watchers(a), { count: 5 })
  for (const { connection } of more) connection.closed()
  await clock.pass(2_000)
  t.strictSame(slice(asker.frames, '$watchers'), { count: 3 })
  asker.connection.closed()
  await clock.pass(15_000)
  t.equal(clock.timers, idle, 'no report is due')
  t.equal(watchers(b), undefined)
})

t.test('a hub that dies takes its watchers along, one that comes later counts', async (t) => {
  const { hubs, links, log, done, follow, clock } = setUp(t, 2)
  const [a, b] = hubs
  await done(a.submit('sessions/s/workers/w', [{ type: 'start' }]))
  const asker = await follow(a, 'sessions/s/workers/w', undefined, ask)
  await follow(b, 'sessions/s/workers/w')
  await clock.pass(2_500)
  t.strictSame(slice(asker.frames, '$watchers'), { count: 2 })
  links[1]?.kill()
  await clock.pass(15_000)
  t.strictSame(slice(asker.frames, '$watchers'), { count: 1 })
  links[0]?.kill()
  // The hub that asked is gone: one that finds that it had asked asks for nobody.
  const later = createHub({ clock, random: new SeededRandom(9), log: log.link() })
  t.teardown(() => later.closeStore())
  await follow(later, 'sessions/s/workers/w')
  await clock.pass(2_000)
  t.strictSame(watchers(later, 'sessions/s/workers/w'), { count: 2 })
  await clock.pass(15_000)
  t.equal(watchers(later, 'sessions/s/workers/w'), undefined)
})

t.test('a session that ends, or begins later, is counted as on one hub', async (t) => {
  const { hubs, done, follow, clock, events } = setUp(t, 2)
  const [a, b] = hubs
  const asker = await follow(a, topic, undefined, ask)
  await clock.pass(3_000)
  t.equal(slice(asker.frames, '$watchers'), undefined)
  await done(b.submit(topic, [{ type: 'start' }]))
  await clock.pass(2_500)
  t.strictSame(slice(asker.frames, '$watchers'), { count: 1 })
  await done(b.submitEnd('s'))
  await clock.pass(2_500)
  for (const hub of hubs) t.equal(watchers(hub), undefined)
  t.match(events(asker.frames).slice(-2), [/ state.update$/, / complete$/])
})

t.test('who opens a session from its checkpoint has the same count', async (t) => {
  const { hubs, log, done, follow, clock } = setUp(t, 2, { limits: { logTailBytes: 1_000 } })
  const [a, b] = hubs
  await done(a.submit(topic, [{ type: 'start' }]))
  const asker = await follow(a, topic, undefined, ask)
  await clock.pass(2_500)
  for (let n = 0; n < 40; n++) await done(a.submit(topic, [{ type: 'x', data: 'y'.repeat(100) }]))
  const { checkpoint } = await done(log.link().open('s'))
  t.ok(checkpoint, 'the batches that said it are not read any more')
  await done(Promise.resolve(b.catchUp(topic)))
  t.strictSame(watchers(b), { count: 1 })
  const second = await follow(b, topic, undefined, ask)
  await clock.pass(2_500)
  for (const { frames } of [asker, second]) t.strictSame(slice(frames, '$watchers'), { count: 2 })
})

t.test('clients at two hubs over Redis are told the same', { skip: missingRedis() ?? false }, async (t) => {
  const redis = await RedisServer.start(t)
  const join = async () => {
    const { url, hub } = await served(t, { hub: { log: await redisLog({ url: redis.url }) } })
    const client = connect(url)
    t.teardown(() => client.close())
    const told: Watchers[] = []
    const ask = () => client.watchers(topic, (now) => void told.push(now))
    return { hub, client, told, ask }
  }
  const [one, other] = [await join(), await join()]
  await one.hub.submit(topic, [{ type: 'start' }])
  one.ask()
  other.client.subscribe({ topic })
  await until('two are told', () => one.told.at(-1)?.count === 2)
  other.ask()
  await until('the other client is told', () => other.told.at(-1)?.count === 2)
  other.client.close()
  await until('one has left', () => one.told.at(-1)?.count === 1)
})
