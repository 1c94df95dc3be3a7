// Several topics on one response.

import t from 'tap'
import type { Hub } from '../../../src/hub/hub.js'
import { overLog } from '../../kit/over-log.js'
import { type Block, openStream, served } from '../../kit/served.js'
import { dataOf, isLive, problemOf, publish } from './stream-kit.js'

/** Waits until the hub has but so many connections. */
async function gone(hub: Hub, connections: number): Promise<void> {
  while (hub.stats().connections > connections) await new Promise((resolve) => setImmediate(resolve))
}

t.test('takes subscribe frames with the request, and tells which of them it refuses', async (t) => {
  const { hub, url } = await served(t)
  publish(hub, 'sessions/s', 'a', 'b')
  await hub.settled()
  const epoch = hub.find('s')?.epoch
  const query = (frames: readonly object[]) =>
    frames.map((frame) => `subscribe=${encodeURIComponent(JSON.stringify(frame))}`).join('&')
  const frames = [
    { type: 'subscribe', sub: 7, topic: 'sessions/s', after: `${epoch}:1` },
    { type: 'subscribe', sub: 8, topic: 'rooms/8' },
    { type: 'subscribe', sub: 7, topic: 'sessions/t' },
    { type: 'subscribe', sub: 9, topic: 'sessions/t', after: '5' },
    { type: 'unsubscribe', sub: 7 },
  ]
  const stream = await openStream(t, `${url}/api/stream?${query(frames)}`)
  const told: unknown[] = []
  await stream.until((block) => {
    if (block.data !== undefined) told.push([block.event, dataOf(block).sub, dataOf(block).code])
    return isLive(block)
  })
  t.same(told, [
    ['hub.open', undefined, undefined],
    ['hub.subscribed', 7, undefined],
    ['hub.error', 8, 'badFrame'],
    ['hub.error', 7, 'conflict'],
    ['hub.error', 9, 'badFrame'],
    ['hub.error', 7, 'badFrame'],
    ['b', undefined, undefined],
    ['hub.live', 7, undefined],
  ])
  t.match(await problemOf(`${url}/api/stream?subscribe={`), { status: 400, detail: 'subscribe: ' })
  t.match(await problemOf(`${url}/api/stream?subscribe=null`), { status: 400, detail: 'frame: expected' })
  const many = Array.from({ length: 101 }, () => ({}))
  t.match(await problemOf(`${url}/api/stream?${query(many)}`), { detail: 'topic: expected at most 100' })
})

t.test('streams many topics on one response, and ends when all of their sessions have', async (t) => {
  const { hub, url } = await served(t)
  const stream = await openStream(t, `${url}/api/stream?topic=sessions/a&topic=sessions/b/**`)
  await stream.next()
  t.match(dataOf((await stream.next()) ?? {}), { connection: /^[\w-]{21}$/ })
  publish(hub, 'sessions/a', 'x')
  publish(hub, 'sessions/b/workers/w', 'y')
  t.equal((await stream.until(({ event }) => event === 'x')).id, undefined)
  t.match(dataOf(await stream.until(({ event }) => event === 'y')), { topic: 'sessions/b/**' })
  const cursor = (await stream.until(({ id }) => id !== undefined)).id ?? ''
  t.match(cursor, overLog ? /^[ab]=[\w-]+:\d+,[ab]=[\w-]+:\d+$/ : /^[ab]=[\w-]+:1,[ab]=[\w-]+:1$/)
  publish(hub, 'sessions/a', 'z')
  await stream.until(({ event }) => event === 'z')
  stream.close()

  const again = await openStream(t, `${url}/api/stream?topic=sessions/a&topic=sessions/b/**`, {
    'last-event-id': cursor,
  })
  const missed = await again.until(({ event }) => ['x', 'y', 'z'].includes(event ?? ''))
  t.equal(missed.event, 'z')
  hub.endSession('a')
  await again.until(({ event, data }) => event === 'complete' && data?.includes('sessions/a') === true)
  publish(hub, 'sessions/b', 'x')
  await again.until(({ event }) => event === 'x')
  hub.endSession('b')
  const rest = await again.rest()
  t.ok(rest.some(({ event }) => event === 'complete'))
  const end = rest.findLast(({ id }) => id !== undefined)?.id ?? ''
  const after = await fetch(`${url}/api/stream?topic=sessions/a&topic=sessions/b/**&after=${end}`)
  t.equal(after.status, 204)
})

t.test('joins all of its topics before it tells a position or ends', async (t) => {
  const { hub, url } = await served(t)
  publish(hub, 'sessions/a', 'x')
  publish(hub, 'sessions/a/workers/w', 'y')
  await hub.settled()
  const { epoch } = hub.find('a') ?? {}
  const both = 'topic=sessions/a&topic=sessions/a/workers/w'
  const stream = await openStream(t, `${url}/api/stream?${both}&after=a=${epoch}:0`)
  const blocks: Block[] = []
  await stream.until((block) => blocks.push(block) > 0 && block.event === 'y')
  t.notOk(
    blocks.some(({ id }) => id !== undefined && id !== `a=${epoch}:0`),
    'no position is told before the worker has been read',
  )

  hub.endSession('a')
  await stream.rest()
  const mixed = await openStream(t, `${url}/api/stream?topic=sessions/a&topic=sessions/b`)
  await mixed.until(({ event, data }) => event === 'hub.live' && data?.includes('sessions/b') === true)
  publish(hub, 'sessions/b', 'z')
  await mixed.until(({ event }) => event === 'z')
})

t.test('changes a response over many topics live', async (t) => {
  const { hub, url } = await served(t)
  const stream = await openStream(t, `${url}/api/stream`)
  const { connection } = dataOf(await stream.until(({ event }) => event === 'hub.open'))
  const change = async (frames: object | string, id = connection) => {
    const body = typeof frames === 'string' ? frames : JSON.stringify(frames)
    const response = await fetch(`${url}/api/stream/${String(id)}`, { method: 'POST', body })
    return { status: response.status, body: (await response.json()) as object }
  }
  const reply = await change([
    { type: 'subscribe', sub: 1, topic: 'sessions/a' },
    { type: 'subscribe', sub: 2, topic: 'sessions/b', types: ['x'] },
  ])
  t.match(reply, { status: 200, body: { applied: 2 } })
  await stream.until(isLive)
  await stream.until(isLive)
  publish(hub, 'sessions/b', 'x', 'y')
  await stream.until(({ event }) => event === 'x')
  t.match(await change({ type: 'update', sub: 2, types: ['y'] }), { body: { applied: 1 } })
  publish(hub, 'sessions/b', 'x', 'y')
  t.equal((await stream.until(({ event }) => event === 'x' || event === 'y')).event, 'y')
  await change({ type: 'unsubscribe', sub: 2 })
  t.match(dataOf(await stream.until(({ event }) => event === 'hub.unsubscribed')), { sub: 2, code: 'asked' })
  publish(hub, 'sessions/b', 'y')
  publish(hub, 'sessions/a', 'z')
  t.equal((await stream.until(({ event }) => ['y', 'z'].includes(event ?? ''))).event, 'z')

  const bad = await change([
    { type: 'subscribe', sub: 3, topic: 'sessions/c' },
    { type: 'subscribe', sub: 4, topic: 'c' },
  ])
  t.match(bad, {
    status: 400,
    body: { pointer: '/1/topic', applied: 1, detail: 'subscribe.topic: expected' },
  })
  t.match(await change({ type: 'subscribe', sub: 1, topic: 'sessions/c' }), {
    status: 409,
    body: { detail: /in use/ },
  })
  t.match(await change({ type: 'update', sub: 9 }), { status: 404, body: { detail: /no subscription 9/ } })
  t.match(await change({ type: 'ping' }), {
    status: 400,
    body: { detail: 'frame.type: expected one of subscribe,' },
  })
  t.match(await change('nonsense'), { status: 400, body: { detail: /^body: / } })
  t.match(await change({ type: 'ping' }, 'nobody'), { status: 404 })
  const other = await openStream(t, `${url}/api/sessions/a/events`)
  t.equal(other.response.status, 200)
  stream.close()
  await t.resolves(gone(hub, 1))
  t.match(await change({ type: 'unsubscribe', sub: 1 }), { status: 404 })
})
