import { spawn } from 'node:child_process'
import { EventSource } from 'eventsource'
import t, { type Test } from 'tap'
import { SimulatedClock } from '../../kit/clock.js'
import { exact, overLog } from '../../kit/over-log.js'
import { type Block, dial, openStream, served } from '../../kit/served.js'
import { dataOf, isLive, problemOf, publish } from './stream-kit.js'

t.test('streams a session: retry first, then what happens, each with its cursor', async (t) => {
  const { hub, url } = await served(t)
  const stream = await openStream(t, `${url}/api/sessions/s/events`)
  t.equal(stream.response.status, 200)
  t.equal(stream.response.headers.get('content-type'), 'text/event-stream')
  t.equal(stream.response.headers.get('cache-control'), 'no-cache, no-transform')
  t.equal(stream.response.headers.get('x-accel-buffering'), 'no')
  t.match(await stream.next(), { retry: /^\d+$/ })
  await stream.until(isLive)
  publish(hub, 'sessions/s', 'a')
  await hub.settled()
  const { epoch } = hub.find('s') ?? {}
  const block = await stream.until(({ event }) => event === 'a')
  t.equal(block.id, `${epoch}:1`)
  t.match(dataOf(block), { topic: 'sessions/s', offset: 1, type: 'a', data: { of: 'sessions/s' } })
})

t.test('streams a worker, and all of a session', async (t) => {
  const { hub, url } = await served(t)
  const worker = await openStream(t, `${url}/api/sessions/s/workers/w/events`)
  const all = await openStream(t, `${url}/api/sessions/s/events?all=1`)
  const own = await openStream(t, `${url}/api/sessions/s/events?all=0`)
  publish(hub, 'sessions/s/workers/w', 'a')
  publish(hub, 'sessions/s', 'b')
  t.match(dataOf(await worker.until(({ event }) => event === 'a')), { worker: 'w' })
  t.match(dataOf(await all.until(({ event }) => event === 'a')), { topic: 'sessions/s/**' })
  await all.until(({ event }) => event === 'b')
  const first = await own.until(({ event }) => event === 'a' || event === 'b')
  t.equal(first.event, 'b')
})

t.test('filters by types and by mode', async (t) => {
  const { hub, url } = await served(t)
  const types = await openStream(t, `${url}/api/sessions/s/events?types=a,b*&types=!bc`)
  const mode = await openStream(t, `${url}/api/sessions/s/events?mode=control`)
  publish(hub, 'sessions/s', 'c', 'bc', 'bd', 'a', 'execution_paused')
  t.equal((await types.until(({ event }) => event?.startsWith('hub.') === false)).event, 'bd')
  t.equal((await types.next())?.event, 'a')
  t.equal((await mode.until(({ event }) => event?.startsWith('hub.') === false)).event, 'execution_paused')
})

t.test('brings nothing for an empty filter, and all for none', async (t) => {
  const { hub, url } = await served(t)
  const nothing = await openStream(t, `${url}/api/sessions/s/events?types=&slices=`)
  const dialect = await openStream(t, `${url}/api/sessions/s/stream?types=`)
  publish(hub, 'sessions/s', 'a', 'data-start')
  hub.setState('sessions/s', 'plan', 1)
  hub.endSession('s')
  const blocks = (await nothing.rest()).filter(({ event = 'hub.' }) => !event.startsWith('hub.'))
  t.same(
    blocks.map(({ event }) => event),
    ['state.initial', 'complete'],
    'the end passes every filter',
  )
  t.same(JSON.parse(blocks[0]?.data ?? '').data, { slices: {} })
  t.match(JSON.parse((await dialect.until(({ data }) => data !== undefined)).data ?? ''), {
    type: 'data-start',
  })
  const get = async (path: string) => (await (await fetch(`${url}/api/sessions/s/${path}`)).json()) as object
  t.match(await get('history?types='), { events: [{ type: 'complete' }] })
  t.match(await get('history'), { events: [{ type: 'a' }, { type: 'data-start' }, { type: 'complete' }] })
  t.same(((await get('state?slices=')) as { slices: object }).slices, {})
})

t.test('begins at the newest events, or at a time', async (t) => {
  const { hub, url } = await served(t)
  const times = [1_000, 2_000, 3_000, 4_000]
  hub.publish(
    'sessions/s',
    times.map((time) => ({ type: 'note', time, data: time })),
  )
  hub.endSession('s')
  const came = async (query: string) => {
    const stream = await openStream(t, `${url}/api/sessions/s/events?${query}`)
    const blocks = (await stream.rest()).filter(({ event }) => event === 'note')
    return blocks.map(({ data }) => JSON.parse(data ?? '').data)
  }
  t.strictSame(await came('last=3'), [3_000, 4_000], 'the end counts')
  t.strictSame(await came('since=2001'), [3_000, 4_000])
  t.strictSame(await came('since=1970-01-01T00:00:04Z'), [4_000])
  t.strictSame(await came('since=2001&last=2'), [4_000])
  const { status, headers } = await fetch(`${url}/api/sessions/s/events?since=yesterday`)
  t.strictSame([status, headers.get('content-type')], [400, 'application/problem+json'])
  t.equal((await fetch(`${url}/api/sessions/s/events?last=0`)).status, 400)
  const client = await dial(t, url)
  client.send({ type: 'subscribe', sub: 1, topic: 'sessions/s', last: 2 })
  t.match(await client.expect('events'), { replay: true, events: [{ data: 4_000 }, { type: 'complete' }] })
  client.send({ type: 'subscribe', sub: 2, topic: 'sessions/s', last: 1_001, since: 1 })
  t.match(await client.expect('error'), { sub: 2, message: /subscribe.last: expected 1 to 1000 events/ })
})

t.test('replays in a dialect what the request asks for', async (t) => {
  const { hub, url } = await served(t)
  hub.publish('sessions/s/workers/w', [{ type: 'subagent_report', data: { text: 'done' } }])
  hub.publish('sessions/s', [{ type: 'toolcall', data: { tool: 'grep', args: {} } }])
  const until = (end: RegExp) => (block: Block) => end.test(block.comment ?? '')
  const typesOf = async (path: string): Promise<string[]> => {
    const stream = await openStream(t, `${url}${path}`)
    const blocks: Block[] = []
    await stream.until((block) => {
      blocks.push(block)
      return until(/^hub\.live/)(block)
    })
    stream.close()
    return blocks.flatMap(({ data, event }) => (data === undefined ? [] : [event ?? JSON.parse(data).type]))
  }
  const worker = '/api/sessions/s/workers/w/events?dialect=session-bus'
  t.same(await typesOf(worker), [], 'by the traits')
  t.same(await typesOf(`${worker}&replay=all`), ['subagent_report'])
  t.same(await typesOf('/api/sessions/s/events?dialect=session-bus&replay=all'), ['subagent_report'])
  t.same(await typesOf('/tasks/s/events/stream'), ['toolcall'])
  t.same(await typesOf('/tasks/s/events/stream?replay=false'), [])
  const refused = await fetch(`${url}${worker}&replay=some`)
  t.equal(refused.status, 400)
})

t.test('leaves names out with framing=data, and says hub events as comments', async (t) => {
  const { hub, url } = await served(t)
  const stream = await openStream(t, `${url}/api/sessions/s/events?framing=data`)
  await stream.until(({ comment }) => comment?.startsWith('hub.live') === true)
  publish(hub, 'sessions/s', 'a')
  const block = await stream.next()
  t.notOk(block?.event)
  t.match(dataOf(block ?? {}), { type: 'a' })
})

t.test('resumes after the header, the query, or not at all', async (t) => {
  const { hub, url } = await served(t)
  publish(hub, 'sessions/s', 'a', 'b', 'c', 'd')
  await hub.settled()
  const { epoch } = hub.find('s') ?? {}
  const first = async (query: string, headers: Record<string, string> = {}): Promise<string | undefined> => {
    const stream = await openStream(t, `${url}/api/sessions/s/events?${query}`, headers)
    return (await stream.until(({ event }) => event !== undefined)).event
  }
  t.equal(await first(`after=${epoch}:1`), 'b')
  t.equal(await first(`last_event_id=${epoch}:2`), 'c')
  t.equal(await first(`after=${epoch}:1`, { 'last-event-id': `${epoch}:3` }), 'd')
  t.equal(await first('replay=all'), 'a')
  t.equal(await first('replay=false'), 'hub.live')
  t.equal(await first(''), 'hub.live')
  t.equal(await first(`after=other:2`), 'hub.gap')
})

t.test('answers what it cannot stream with a problem', async (t) => {
  const { url } = await served(t)
  const one = `${url}/api/sessions/s/events`
  const cases: readonly [url: string, detail: string][] = [
    [`${one}?types=*a`, 'types[0]: expected a type'],
    [`${one}?mode=loud`, 'mode: expected one of full, summary'],
    [`${one}?slices=a%20b`, 'slices[0]: expected a name of a slice'],
    [`${one}?replay=some`, 'replay: expected one of true, false, all'],
    [`${one}?framing=loose`, 'framing: expected one of named, data'],
    [`${one}?all=maybe`, 'all: expected one of 1, true, 0, false'],
    [`${one}?dialect=martian`, 'dialect: '],
    [`${url}/api/stream?topic=a`, 'topic: expected sessions/{id}'],
    [`${url}/api/stream?${'topic=hub&'.repeat(101)}`, 'topic: expected at most 100 topics'],
  ]
  for (const [bad, detail] of cases) t.match(await problemOf(bad), { status: 400, detail })
})

t.test('takes an id that is no cursor for one of another epoch: a gap, and all anew', async (t) => {
  const { hub, url } = await served(t)
  hub.setState('sessions/s', 'plan', 'new')
  publish(hub, 'sessions/s/workers/w', 'a')
  const one = `${url}/api/sessions/s/events?slices=plan`
  const ids = ['0', '5', 'x', 'b7a5e6c4-8d1e-4d6f-9a3b-2f1c0e9d8b7a', 'a:b:c', 's=e:1', 'e:01', ':', ' ', 'ü']
  for (const id of ids) {
    const asked: readonly [url: string, headers: Record<string, string>][] = [
      [one, { 'last-event-id': id }],
      [`${one}&after=${encodeURIComponent(id)}`, {}],
      [`${one}&last_event_id=${encodeURIComponent(id)}`, {}],
      [`${url}/api/sessions/s/workers/w/events?after=${encodeURIComponent(id)}`, {}],
      [`${url}/api/stream?topic=sessions/s&slices=plan`, { 'last-event-id': id.replace('s=e', 'e') }],
    ]
    for (const [path, headers] of asked) {
      // What a header cannot carry, or would be nothing in it, comes in no header.
      if ('last-event-id' in headers && (id === ' ' || id === 'ü')) continue
      const stream = await openStream(t, path, headers)
      t.match(dataOf(await stream.until(({ event }) => event === 'hub.gap')), { reason: 'epoch' }, path)
      if (path.includes('slices')) {
        t.match(dataOf((await stream.next()) ?? {}), { data: { slices: { plan: 'new' } } })
      } else t.match(dataOf(await stream.until(({ event }) => event === 'a')), { type: 'a' })
      await stream.until(isLive)
      stream.close()
    }
  }
  const source = new EventSource(`${one}&after=5`)
  t.teardown(() => source.close())
  await new Promise((resolve) => source.addEventListener('hub.live', resolve, { once: true }))
  t.equal(source.readyState, EventSource.OPEN)
})

t.test('leaves the topic out of events with without=topic, which resume like others', async (t) => {
  const { hub, url } = await served(t)
  const events = `${url}/api/sessions/s/events?without=topic`
  const stream = await openStream(t, events)
  await stream.until(({ event }) => event === 'hub.live')
  hub.publish('sessions/s', [{ type: 'note', data: 1 }])
  const first = await stream.until(({ event }) => event === 'note')
  t.strictSame(Object.keys(dataOf(first) as object), ['offset', 'type', 'time', 'data'])
  hub.publish('sessions/s', [{ type: 'note', data: 2 }])
  const resumed = await openStream(t, `${events}&after=${first.id}`)
  t.match(dataOf(await resumed.until(({ event }) => event === 'note')), { offset: exact(2), data: 2 })
  t.match(await problemOf(`${events}s`), { detail: 'without: expected one of topic' })
  t.match(await problemOf(`${url}/api/stream?topic=sessions/s&without=topic`), { status: 400 })
})

t.test('tells gaps as data with framing=data&gaps=data, and as comments without', async (t) => {
  const { url } = await served(t)
  for (const path of ['/api/sessions/s/events', '/api/stream']) {
    const sub = path === '/api/stream' ? { sub: 1 } : {}
    const query = `framing=data&after=other:2${path === '/api/stream' ? '&topic=sessions/s' : ''}`
    const stream = await openStream(t, `${url}${path}?${query.replace('other', '5')}&gaps=data`)
    const told = await stream.until(({ data }) => data !== undefined)
    t.notOk(told.event)
    t.strictSame(dataOf(told), {
      type: 'hub.gap',
      topic: 'sessions/s',
      ...sub,
      data: { reason: 'epoch', after: 0, offset: 0 },
    })
    const quiet = await openStream(t, `${url}${path}?${query.replace('other', '5')}`)
    await quiet.until(({ comment }) => comment?.startsWith('hub.gap {"topic":') === true)
  }
  const named = await openStream(t, `${url}/api/sessions/s/events?after=other:2&gaps=data`)
  t.match(dataOf(await named.until(({ event }) => event === 'hub.gap')), { reason: 'epoch' })
  const source = new EventSource(`${url}/api/sessions/s/events?framing=data&gaps=data&after=5`)
  t.teardown(() => source.close())
  const message = await new Promise<MessageEvent>((resolve) => {
    source.onmessage = resolve
  })
  t.match(JSON.parse(message.data), { type: 'hub.gap', data: { reason: 'epoch' } })
  t.match(await problemOf(`${url}/api/stream?gaps=loud`), { detail: 'gaps: expected one of data' })
})

t.test('tells each response another time to come back after', async (t) => {
  const { url } = await served(t)
  const waits: number[] = []
  for (let opened = 0; opened < 20; opened += 1) {
    const stream = await openStream(t, `${url}/api/sessions/s/events`)
    waits.push(Number((await stream.next())?.retry))
    stream.close()
  }
  t.ok(
    waits.every((ms) => ms >= 1_000 && ms <= 3_000),
    waits.join(' '),
  )
  t.ok(Math.max(...waits) - Math.min(...waits) > 500, waits.join(' '))
})

t.test('refuses a subscription before the response begins', async (t) => {
  const { hub, url } = await served(t, { hub: { limits: { sessionsMax: 1, connectionsMax: 3 } } })
  publish(hub, 'sessions/s', 'a')
  await openStream(t, `${url}/api/sessions/t/events`)
  const response = await fetch(`${url}/api/sessions/u/events`)
  t.equal(response.status, 503)
  t.equal(response.headers.get('retry-after'), '1')
  t.match(await response.json(), { type: 'urn:runcast:unavailable' })
  t.equal(hub.stats().connections, 1)
  await openStream(t, `${url}/api/sessions/s/events`)
  await openStream(t, `${url}/api/sessions/s/events`)
  t.match(await problemOf(`${url}/api/sessions/s/events`), {
    status: 503,
    detail: /Connection limit reached \(connectionsMax = 3\)/,
  })
})

t.test('ends with the session, and answers 204 to one who has it all', async (t) => {
  const { hub, url } = await served(t)
  publish(hub, 'sessions/s', 'execution_started')
  await hub.settled()
  const { epoch } = hub.find('s') ?? {}
  const one = `${url}/api/sessions/s/events`
  const stream = await openStream(t, `${one}?types=none`)
  await stream.until(isLive)
  hub.endSession('s', 'done')
  await hub.settled()
  const { offset } = hub.history('sessions/s', { order: 'desc', limit: 1 }).events[0] ?? {}
  t.match(offset, exact(2))
  t.match(await stream.rest(), [{ event: 'complete', id: `${epoch}:${offset}` }])

  const late = await (await openStream(t, `${one}?types=none`)).rest()
  const ids = late.filter(({ id }) => id !== undefined)
  t.match(ids.at(-1), { id: overLog ? RegExp(`^${epoch}:`) : `${epoch}:2` })
  t.ok(
    late.some(({ event }) => event === 'complete'),
    'complete passes every filter',
  )
  t.equal((await fetch(`${one}?after=${epoch}:1`)).status, 200)
  for (const end of [`${epoch}:${offset}`]) {
    const again = await fetch(one, { headers: { 'last-event-id': end } })
    t.equal(again.status, 204)
    t.equal(await again.text(), '')
  }
})

t.test('breaks a silence with a comment, and only a silence', async (t) => {
  const clock = new SimulatedClock()
  const { hub, url } = await served(t, { serve: { clock, keepaliveMs: 15_000 } })
  const stream = await openStream(t, `${url}/api/sessions/s/events`)
  await stream.until(isLive)
  clock.advance(14_000)
  publish(hub, 'sessions/s', 'a')
  await stream.until(({ event }) => event === 'a')
  clock.advance(14_000)
  publish(hub, 'sessions/s', 'b')
  t.equal((await stream.next())?.event, 'b', 'no comment came before')
  clock.advance(15_000)
  t.match(await stream.next(), { comment: 'keep-alive' })
  clock.advance(15_000)
  t.match(await stream.next(), { comment: 'keep-alive' })
})

t.test('tells streams that the hub goes away, after what was published', async (t) => {
  const { hub, server, url } = await served(t)
  const named = await openStream(t, `${url}/api/sessions/s/events`)
  const data = await openStream(t, `${url}/api/sessions/s/events?framing=data`)
  await named.until(isLive)
  await data.until(({ comment }) => comment?.startsWith('hub.live') === true)
  publish(hub, 'sessions/s', 'last')
  await server.close()
  const blocks = await named.rest()
  t.match(
    blocks.map(({ event }) => event),
    ['last', 'hub.close'],
  )
  const { retryMs } = dataOf(blocks[1] ?? {}) as { retryMs: number }
  t.match(blocks[1], { retry: `${retryMs}` })
  t.ok(retryMs >= 1_000 && retryMs <= 3_000)
  t.match(dataOf(blocks[1] ?? {}), { code: 4000 })
  t.match((await data.rest()).at(-1), { comment: /^hub\.close {"code":4000/ })
  t.equal(hub.stats().closed.get('shutdown'), 2)
})

function listen(t: Test, url: string): { readonly source: EventSource; readonly offsets: number[] } {
  const source = new EventSource(url)
  t.teardown(() => source.close())
  const offsets: number[] = []
  source.addEventListener('a', ({ data }) => offsets.push(JSON.parse(data).offset))
  return { source, offsets }
}

t.test('serves an EventSource, which resumes by itself and stops at the end', async (t) => {
  const { hub, url } = await served(t)
  const { source, offsets } = listen(t, `${url}/api/sessions/s/events`)
  await new Promise((resolve) => source.addEventListener('hub.live', resolve, { once: true }))
  publish(hub, 'sessions/s', 'a', 'a')
  await new Promise((resolve) => source.addEventListener('a', resolve, { once: true }))
  for (const connection of hub.connections) connection.close('lagging', 'to see it come back')
  publish(hub, 'sessions/s', 'a', 'a')
  await new Promise((resolve) => source.addEventListener('hub.live', resolve, { once: true }))
  t.same(offsets, overLog ? [1, 2, 5, 6] : [1, 2, 3, 4])
  const stopped = new Promise<void>((resolve) => {
    source.addEventListener('error', () => source.readyState === EventSource.CLOSED && resolve())
  })
  hub.endSession('s')
  await stopped
  t.same(offsets, overLog ? [1, 2, 5, 6] : [1, 2, 3, 4])
})

t.test('serves curl', async (t) => {
  const { hub, url } = await served(t)
  publish(hub, 'sessions/s', 'execution_started', 'a')
  hub.endSession('s')
  const curl = spawn('curl', ['-sN', `${url}/api/sessions/s/events?replay=all`])
  let text = ''
  for await (const piece of curl.stdout) text += piece
  t.match(text, /^retry: \d+\n\n/)
  t.match(text, /\nevent: execution_started\ndata: \{"topic":"sessions\/s","replay":true,"offset":1,/)
  t.match(text, /\nevent: complete\ndata: /)
  t.notMatch(text, '\r')
})
