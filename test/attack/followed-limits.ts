import { createHub } from '../../src/hub/hub.js'
import { type Dialogue, dial, openStream } from '../kit/served.js'
import { type LimitTests, limited, statusOf, topic, weighEvent } from './limits-kit.js'

/** Of what is followed, and read. */
export const followedLimits = {
  async subscriptionsMax(t) {
    const { url } = await limited(t, { subscriptionsMax: 2 })
    const client = await dial(t, url)
    t.strictSame(await subscribeAll(client, ['a', 'b', 'c']), ['subscribed', 'subscribed', 'conflict'])
  },

  async topicSubscriptionsMax(t) {
    const { url } = await limited(t, { topicSubscriptionsMax: 2 })
    const client = await dial(t, url)
    const filters = ['a', 'b', 'c'].map((type) => ({ types: [type] }))
    t.strictSame(await subscribeAll(client, ['s', 's', 's'], filters), [
      'subscribed',
      'subscribed',
      'conflict',
    ])
    client.send({ type: 'unsubscribe', sub: 1 })
    await client.expect('unsubscribed')
    client.send({ type: 'subscribe', sub: 9, topic, types: ['d'] })
    await client.expect('subscribed')
    client.send({ type: 'subscribe', sub: 10, topic, types: ['e'] })
    t.match(await client.expect('error'), { sub: 10, code: 'conflict' })
  },

  async topicFeedsMax(t) {
    const { url } = await limited(t, { topicFeedsMax: 2 })
    const outcomes: unknown[] = []
    for (const type of ['a', 'b', 'c', 'b']) {
      const client = await dial(t, url)
      outcomes.push(...(await subscribeAll(client, ['s'], [{ types: [type] }])))
    }
    t.strictSame(outcomes, ['subscribed', 'subscribed', 'conflict', 'subscribed'])
  },

  async filterTypesMax(t) {
    const hub = await limited(t, { filterTypesMax: 2 })
    t.equal(await statusOf(hub, 'GET', '/api/stream?types=a,b'), 200)
    t.equal(await statusOf(hub, 'GET', '/api/stream?topic=sessions/s&types=a,b,c'), 400)
  },

  async filterSlicesMax(t) {
    const hub = await limited(t, { filterSlicesMax: 2 })
    t.equal(await statusOf(hub, 'GET', '/api/stream?topic=sessions/s&slices=a,b'), 200)
    t.equal(await statusOf(hub, 'GET', '/api/stream?topic=sessions/s&slices=a,b,c'), 400)
  },

  async streamTopicsMax(t) {
    const hub = await limited(t, { streamTopicsMax: 2 })
    const topics = (count: number) => 'abc'.slice(0, count).replaceAll(/./g, '&topic=sessions/$&')
    t.equal(await statusOf(hub, 'GET', `/api/stream?${topics(2)}`), 200)
    t.equal(await statusOf(hub, 'GET', `/api/stream?${topics(3)}`), 400)
  },

  async streamFramesMax(t) {
    const hub = await limited(t, { streamFramesMax: 2 })
    const stream = await openStream(t, `${hub.url}/api/stream`)
    const { data } = await stream.until(({ event }) => event === 'hub.open')
    const { connection } = JSON.parse(data ?? '') as { connection: string }
    const frames = (topics: string[]) =>
      JSON.stringify(topics.map((id, sub) => ({ type: 'subscribe', sub: sub + 1, topic: `sessions/${id}` })))
    t.equal(await statusOf(hub, 'POST', `/api/stream/${connection}`, frames(['a', 'b', 'c'])), 400)
    t.equal(hub.hub.stats().subscriptions, 0)
    t.equal(await statusOf(hub, 'POST', `/api/stream/${connection}`, frames(['a', 'b'])), 200)
  },

  async cursorSessionsMax(t) {
    const hub = await limited(t, { cursorSessionsMax: 2 })
    hub.hub.publish('sessions/a', [{ type: 'a' }])
    const epoch = hub.hub.find('a')?.epoch
    const begins = async (after: string): Promise<string | undefined> => {
      const stream = await openStream(t, `${hub.url}/api/stream?topic=sessions/a&after=${after}`)
      await stream.until(({ event }) => event === 'hub.subscribed')
      return (await stream.next())?.event
    }
    t.equal(await begins(`a=${epoch}:1,b=e:1`), 'hub.live')
    t.equal(await begins(`a=${epoch}:1,b=e:1,c=e:1`), 'hub.gap')
  },

  async pageItemsMax(t) {
    const hub = await limited(t, { pageItemsMax: 5 })
    hub.hub.publish(topic, [{ type: 'a' }])
    for (const path of ['/api/sessions', '/api/sessions/s/history']) {
      t.equal(await statusOf(hub, 'GET', `${path}?limit=5`), 200)
      t.equal(await statusOf(hub, 'GET', `${path}?limit=6`), 400)
    }
  },

  async pageBytesMax(t) {
    const page = (pageBytesMax: number) => {
      const hub = createHub({ limits: { pageBytesMax } })
      hub.publish(
        topic,
        Array.from({ length: 5 }, () => ({ type: 'a', data: 1 })),
      )
      return hub.history(topic).events.length
    }
    const each = weighEvent()
    t.equal(page(2 * each), 3, 'two fit, and one is beyond them')
    t.equal(page(2 * each - 1), 2, 'one fits, and one is beyond it')
  },
} satisfies LimitTests

/** Subscribes to the sessions, one after the other. @returns `subscribed` or the code of the error for each */
async function subscribeAll(client: Dialogue, ids: string[], filters: object[] = []): Promise<unknown[]> {
  const outcomes: unknown[] = []
  for (const [index, id] of ids.entries()) {
    client.send({ type: 'subscribe', sub: index + 1, topic: `sessions/${id}`, ...filters[index] })
    for (let frame = await client.next(); frame !== undefined; frame = await client.next()) {
      if (frame.type !== 'subscribed' && frame.type !== 'error') continue
      outcomes.push(frame.type === 'error' ? frame.code : frame.type)
      break
    }
  }
  return outcomes
}
