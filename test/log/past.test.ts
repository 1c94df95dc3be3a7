import t from 'tap'
import type { Hub } from '../../src/hub/hub.js'
import type { HubFrame } from '../../src/protocol/frames.js'
import { redisLog } from '../../src/redis/open.js'
import { StoreError } from '../../src/store/store.js'
import type { FaultyLink } from '../kit/faulty-log.js'
import { missingRedis, RedisServer } from '../kit/redis.js'
import { served } from '../kit/served.js'
import { setUp } from './hubs-kit.js'

const topic = 'sessions/s'
/** Hubs whose memory is much smaller than the log. */
const limits = { laneEventsMax: 10, logTailBytes: 2_000 }
const count = 200

/** The number in each event that a follower got, replayed or not. */
const numbersOf = (frames: readonly HubFrame[]): unknown[] =>
  frames.flatMap((frame) => (frame.type === 'events' ? frame.events.map(({ data }) => data) : []))
const numbers = (from: number, to = count): number[] =>
  Array.from({ length: to - from + 1 }, (_, index) => from + index)

const even = (from: number) => numbers(from).filter((n) => n % 2 === 0)

async function publishAll(hub: Hub, done: <T>(promise: Promise<T>) => Promise<T>): Promise<number[]> {
  const offsets: number[] = []
  for (let n = 1; n <= count; n++) {
    const to = n % 2 === 0 ? topic : `${topic}/workers/w`
    offsets.push((await done(hub.submit(to, [{ type: 'note', data: n }]))).first)
  }
  return offsets
}

t.test('what a hub has no longer in memory comes from the log', async (t) => {
  const { hubs, done, follow, clock } = setUp(t, 2, { limits })
  const [a, b] = hubs
  const offsets = await publishAll(a, done)
  const { epoch } = a.find('s') ?? {}
  for (const hub of [a, b]) {
    const resumed = await follow(hub, `${topic}/**`, `${epoch}:${offsets[19]}`, [])
    await clock.pass(10)
    t.match(resumed.frames[1], { type: 'subscribed', resumed: true, gap: undefined })
    t.strictSame(numbersOf(resumed.frames), numbers(21), 'a cursor')
    const joined = await follow(hub, topic, undefined, [])
    joined.connection.receive({ type: 'subscribe', sub: 2, topic, replay: 'all' })
    joined.connection.receive({
      type: 'subscribe',
      sub: 3,
      topic: `${topic}/workers/w`,
      last: 60,
    })
    await clock.pass(10)
    const odd = numbers(81).filter((n) => n % 2 === 1)
    t.strictSame(new Set(numbersOf(joined.frames)), new Set([...even(1), ...odd]), 'fresh joins')
    const page = await done(hub.readHistory(`${topic}/**`, { limit: 50 }))
    t.strictSame(
      page.events.map(({ data }) => data),
      numbers(1, 50),
      'a page',
    )
    const newest: unknown[] = []
    for (let before: string | undefined, isFirst = true; isFirst || before !== undefined; isFirst = false) {
      const back = await done(
        hub.readHistory(`${topic}/workers/w`, { order: 'desc', limit: 30, ...(before && { before }) }),
      )
      newest.push(...back.events.map(({ data }) => data))
      before = back.next
    }
    t.strictSame(
      newest,
      numbers(1)
        .filter((n) => n % 2 === 1)
        .reverse(),
      'backwards',
    )
  }
})

t.test('what the log has no longer is told as a gap', async (t) => {
  const { hubs, log, done, follow, clock } = setUp(t, 2, { limits: { ...limits, logTailBytes: 200 } })
  const [a, b] = hubs
  await done(a.submit(topic, [{ type: 'note', data: 0 }]))
  const { epoch } = a.find('s') ?? {}
  for (let n = 1; n <= 2_500; n++) void a.submit(topic, [{ type: 'note', data: n }])
  await done(a.submit(topic, [{ type: 'execution_completed' }]))
  for (let n = 0; n < 30; n++) await done(a.submit(topic, [{ type: 'note', data: 'x'.repeat(100) }]))
  const { whole } = await done(log.link().open('s'))
  t.ok(whole > 1, `the log lacks some up to ${whole}`)
  const { frames } = await follow(b, topic, `${epoch}:1`, [])
  await clock.pass(10)
  t.match(frames[1], {
    type: 'subscribed',
    resumed: false,
    gap: { reason: 'evicted', after: 1, offset: whole },
  })
})

t.test('a log that fails or is slow while it is read costs a reconnect or time, and no event', async (t) => {
  const { hubs, links, done, follow, clock } = setUp(t, 2, { limits })
  const [a] = hubs
  const [link] = links as [FaultyLink]
  const offsets = await publishAll(a, done)
  const { epoch } = a.find('s') ?? {}
  const cursor = `${epoch}:${offsets[19]}`
  const open = link.open.bind(link)
  link.open = () => Promise.reject(new StoreError('failed', 'the link broke'))
  await t.rejects(done(a.readHistory(topic)), { code: 'unavailable' })
  const failed = await follow(a, topic, cursor, [])
  await clock.pass(10)
  t.strictSame(failed.endings, ['lagging'], 'it comes back with its cursor')
  let answer = (): void => undefined
  link.open = (session) => new Promise<void>((resolve) => (answer = resolve)).then(() => open(session))
  const slow = await follow(a, topic, cursor, [])
  const other = await follow(a, topic, undefined, [])
  await done(a.submit(topic, [{ type: 'note', data: 'now' }]))
  await clock.pass(1_000)
  t.strictSame(numbersOf(other.frames), ['now'], 'others go on')
  t.strictSame(numbersOf(slow.frames), [])
  answer()
  await clock.pass(10)
  t.strictSame(numbersOf(slow.frames), [...even(21), 'now'])
})

t.test('pages and exports go back in Redis', { skip: missingRedis() ?? false }, async (t) => {
  const redis = await RedisServer.start(t)
  const { url, hub } = await served(t, { hub: { log: await redisLog({ url: redis.url }), limits } })
  await publishAll(hub, (promise) => promise)
  const read = async (rest: string) => (await fetch(`${url}/api/sessions/s/${rest}`)).text()
  const { events } = JSON.parse(await read('history?limit=30')) as { events: { data: number }[] }
  t.strictSame(
    events.map(({ data }) => data),
    even(1).slice(0, 30),
  )
  t.equal((await read('export?format=ndjson')).trim().split('\n').length, count)
})
