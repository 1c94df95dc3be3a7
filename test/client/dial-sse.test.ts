import assert from 'node:assert/strict'
import t, { type Test } from 'tap'
import { SseLink } from '../../src/client/dial-sse.js'
import type { LinkEvents, LinkFrame } from '../../src/client/link.js'
import { Relay } from '../../src/client/relay.js'
import { connect, type Status } from '../../src/client.js'
import { SimulatedClock, settle } from '../kit/clock.js'
import { farHub } from '../kit/far-hub.js'
import { SeededRandom } from '../kit/random.js'
import { until } from '../kit/wait.js'

/** `fetch` that notes what is asked for. */
function noting(): { readonly asked: string[]; readonly fetch: typeof fetch } {
  const asked: string[] = []
  return {
    asked,
    fetch: (url, init) => {
      const { pathname } = new URL(url)
      asked.push(`${init?.method ?? 'GET'} ${pathname.replace(/(stream\/).*/, '$1…')}`)
      return fetch(url, init)
    },
  }
}

t.test('asks for what is followed with the response itself, at first and after a cut', async (t) => {
  const { url, far } = await farHub(t)
  const { asked, fetch } = noting()
  const client = connect(url, { transport: 'sse', fetch, backoff: { firstMs: 4, mostMs: 20 } })
  t.teardown(() => client.close())
  const seen: unknown[] = []
  const listener = { onEvent: ({ data }: { data: unknown }) => seen.push(data) }
  const one = client.subscribe({ topic: 'sessions/s', types: ['a'], slices: ['plan'] }, listener)
  const two = client.subscribe({ topic: 'sessions/t' }, listener)
  await far.setState('sessions/s', 'plan', { step: 1 })
  await until('both are live', () => one.live && two.live && 'plan' in one.state)
  t.same(asked, ['GET /api/stream'])
  t.same(one.state, { plan: { step: 1 } })
  await far.publish('sessions/s', [{ type: 'a', data: 1 }, { type: 'b' }])
  await until('it has come', () => seen.length === 1)

  await far.cut('hard')
  await far.publish('sessions/s', [{ type: 'a', data: 2 }])
  await far.publish('sessions/t', [{ type: 'a', data: 3 }])
  await until('the others have come', () => seen.length === 3 && one.live && two.live)
  t.same(
    seen.toSorted((one, other) => Number(one) - Number(other)),
    [1, 2, 3],
  )
  t.ok(
    asked.slice(1).every((request) => request === 'GET /api/stream'),
    asked.join(', '),
  )

  const three = client.subscribe({ topic: 'sessions/u' }, listener)
  await until('the third is live', () => three.live)
  t.equal(asked.at(-1), 'POST /api/stream/…')
})

t.test(
  'heeds what has changed since the response was asked for, and what the hub refuses of it',
  async (t) => {
    const { url } = await farHub(t)
    const { asked, fetch: asking } = noting()
    let release: (() => void) | undefined
    const client = connect(url, {
      transport: 'sse',
      fetch: async (target, init) => {
        const response = await asking(target, init)
        if (release === undefined) await new Promise<void>((resolve) => (release = resolve))
        return response
      },
    })
    t.teardown(() => client.close())
    const ends: unknown[] = []
    const closed = client.subscribe(
      { topic: 'sessions/closed' },
      { onEvent() {}, onEnd: (end) => ends.push(end) },
    )
    const changed = client.subscribe({ topic: 'sessions/changed', types: ['a'] }, { onEvent() {} })
    const refused = client.subscribe({ topic: 'rooms/7' }, { onEvent() {}, onEnd: (end) => ends.push(end) })
    const kept = client.subscribe({ topic: 'sessions/kept' }, { onEvent() {} })
    await until('it is asked for', () => release !== undefined)
    closed.close()
    changed.update({ types: ['b'] })
    const late = client.subscribe({ topic: 'sessions/late' }, { onEvent() {} })
    release?.()
    await until('all are live', () => changed.live && kept.live && late.live)
    t.match(ends, [{ code: 'refused', reason: /rooms\/7/ }])
    t.equal(refused.live, false)
    t.equal(asked[0], 'GET /api/stream')
  },
)

t.test('asks for what an address has no room for once the response is open', async (t) => {
  const { url } = await farHub(t)
  const { asked, fetch } = noting()
  const client = connect(url, { transport: 'sse', fetch })
  t.teardown(() => client.close())
  const all = Array.from({ length: 150 }, (_, n) =>
    client.subscribe({ topic: `sessions/${'s'.repeat(60)}${n}` }, { onEvent() {} }),
  )
  await until('all are live', () => all.every(({ live }) => live))
  t.same(asked, ['GET /api/stream', 'POST /api/stream/…'])
})

/** A client over SSE whose requests the test answers, or does not. */
function setUp(t: Test, answer: (path: string) => Response | undefined) {
  const clock = new SimulatedClock()
  const statuses: Status[] = []
  const client = connect('http://hub.test', {
    transport: 'sse',
    clock,
    random: new SeededRandom(1),
    fetch: (url, init) =>
      new Promise((resolve, reject) => {
        const response = answer(new URL(url).pathname)
        if (response !== undefined) return resolve(response)
        init?.signal?.addEventListener('abort', () => reject(new Error('aborted')))
      }),
  })
  client.onStatus((status) => statuses.push(status))
  t.teardown(() => {
    client.close()
    assert.equal(clock.timers, 0, 'expected no timer to be left')
  })
  return { clock, client, statuses }
}

t.test('gives up on a request that cannot leave, and says so', async (t) => {
  const opened = () =>
    new Response(
      new ReadableStream({
        start(controller) {
          controller.enqueue(new TextEncoder().encode('event: hub.open\ndata: {"connection":"c"}\n\n'))
        },
      }),
    )
  const { clock, client, statuses } = setUp(t, (path) => (path === '/api/stream' ? opened() : undefined))
  await until('it is open', () => client.status.kind === 'open')
  client.subscribe({ topic: 'sessions/s' }, { onEvent() {} })
  await settle()
  clock.advance(9_999)
  t.equal(client.status.kind, 'open')
  clock.advance(1)
  t.match(statuses.at(-1), {
    kind: 'waiting',
    code: 1006,
    reason: /within 10 s; other tabs may hold all links/,
  })

  clock.advance(1_000)
  await until('it is open again', () => client.status.kind === 'open')
  const published = client.publish('sessions/s', { type: 'a' }, { timeoutMs: 100_000 })
  const failed = t.rejects(published, { message: /it may have been done/ })
  await settle()
  clock.advance(29_999)
  t.equal(statuses.at(-1)?.kind, 'open')
  clock.advance(1)
  t.match(statuses.at(-1), { kind: 'waiting', reason: /within 30 s/ })
  clock.advance(100_000)
  await failed
})

t.test('leaves a response that has fallen silent, though requests are answered', async (t) => {
  const clock = new SimulatedClock()
  let responses = 0
  const fetch = (async (_: URL, { method }: RequestInit = {}) => {
    if (method === 'POST') return Response.json({ first: 1, last: 1, duplicates: 0 })
    responses += 1
    const open = 'event: hub.open\ndata: {"connection":"c"}\n\n'
    return new Response(new ReadableStream({ start: (out) => out.enqueue(Buffer.from(open)) }))
  }) as typeof globalThis.fetch
  const random = new SeededRandom(1)
  const client = connect('http://hub.test', { transport: 'sse', fetch, clock, random })
  t.teardown(() => client.close())
  const statuses: Status[] = []
  client.onStatus((status) => statuses.push(status))
  await until('it is open', () => client.status.kind === 'open')
  for (let seconds = 0; seconds < 44; seconds += 4) {
    await client.publish('sessions/s', { type: 'note' })
    await clock.pass(4_000)
  }
  // Nothing of this depends on the wall clock.
  clock.jump(-3_600_000)
  t.equal(client.status.kind, 'open')
  await clock.pass(1_000)
  t.match(statuses.at(-1), { kind: 'waiting', code: 4002, reason: 'a response fell silent' })
  await clock.pass(1_000)
  await until('it is open again', () => client.status.kind === 'open')
  t.equal(responses, 2)
})

t.test('answers the ping of each tab that shares it, with a response and without', async (t) => {
  const clock = new SimulatedClock()
  let response: ReadableStreamDefaultController<Uint8Array> | undefined
  const fetch = (async (url: URL) => {
    if (url.pathname === '/healthz') return new Response('ok')
    const start = (controller: ReadableStreamDefaultController<Uint8Array>) => {
      response = controller
      controller.enqueue(Buffer.from('event: hub.open\ndata: {"connection":"c"}\n\n'))
    }
    return new Response(new ReadableStream({ start }))
  }) as typeof globalThis.fetch
  const events: LinkEvents = {
    frame: (frame) => relay.frame(frame),
    heard: () => undefined,
    closed: (_, reason) => t.fail(reason),
  }
  const link = new SseLink({ fetch, clock }, { base: 'http://hub.test/', token: undefined }, events)
  t.teardown(() => link.close())
  const relay: Relay = new Relay(link)
  const seen: [leader: LinkFrame[], other: LinkFrame[]] = [[], []]
  const [leader, other] = seen.map((frames) => ({ frame: (frame: LinkFrame) => void frames.push(frame) }))
  if (leader === undefined || other === undefined) return
  for (const member of [leader, other]) relay.add(member)
  const pongs = () => seen.map((frames) => frames.filter(({ type }) => type === 'pong').length)
  await until('it is open', () => seen.every((frames) => frames.length === 1))
  relay.send(other, [{ type: 'ping' }])
  t.same(pongs(), [0, 1], 'else the tab would leave the link')
  response?.close()
  await settle()
  relay.send(other, [{ type: 'ping' }])
  relay.send(leader, [{ type: 'ping' }])
  await until('both are answered', () => pongs().join() === '1,2')
})

t.test('passes over what it cannot read, and does not come back for it', async (t) => {
  const { url, far } = await farHub(t)
  let streams = 0
  // What a proxy, or a hub of before, may make of blocks.
  const spoil = (text: string): string =>
    text
      .replaceAll('"data":"bad"', '"data":bad')
      .replaceAll(/event: (forged|snapshot)\n/g, (_, type: string) =>
        type === 'forged' ? 'event: hub.close\n' : 'event: state.initial\n',
      )
  const spoiling: typeof fetch = async (address, init) => {
    const response = await fetch(address, init)
    if (init?.method === 'POST' || response.body === null) return response
    streams += 1
    const text = new TransformStream<string, string>({
      transform: (piece, out) => out.enqueue(spoil(piece)),
    })
    const body = response.body
      .pipeThrough(new TextDecoderStream())
      .pipeThrough(text)
      .pipeThrough(new TextEncoderStream())
    return new Response(body, response)
  }
  const client = connect(url, { transport: 'sse', fetch: spoiling, backoff: { firstMs: 4, mostMs: 20 } })
  t.teardown(() => client.close())
  const seen: unknown[] = []
  const gaps: unknown[] = []
  const errors: string[] = []
  client.onError(({ message }) => errors.push(message))
  const subscription = client.subscribe(
    { topic: 'sessions/s', slices: ['*'] },
    {
      onEvent: ({ data }) => seen.push(data),
      onGap: ({ reason, after, offset }) => gaps.push([reason, after, offset]),
    },
  )
  await until('it is live', () => subscription.live)
  const types = ['note', 'forged', 'snapshot', 'note']
  const data = ['bad', 1, { slices: null }, 'good']
  await far.publish(
    'sessions/s',
    types.map((type, at) => ({ type, data: data[at] ?? null })),
  )
  await until('what can be read has come', () => seen.length === 1)
  await until('the position is behind it', () => Number(subscription.position?.split(':')[1]) >= 4)
  t.equal(streams, 1, 'on the same link')
  t.same(gaps, [['unreadable', 0, 3]])
  t.same(
    errors,
    ['note', 'hub.close', 'state.initial'].map((name) => `an event that cannot be read: ${name}`),
  )

  await far.cut('hard')
  await far.publish('sessions/s', [{ type: 'note', data: 'more' }])
  await until('it has come back', () => seen.length === 2)
  t.same(seen, ['good', 'more'])
  t.equal(streams, 2)
})

t.test('sends what follows a request that cannot be sent', async (t) => {
  const { url } = await farHub(t)
  const client = connect(url, { transport: 'sse', fetch, backoff: { firstMs: 4, mostMs: 20 } })
  t.teardown(() => client.close())
  const topic = 'sessions/s'
  const data = { n: 1n } as unknown as number
  const all = await Promise.allSettled([
    client.publish(topic, { type: 'a', data }),
    client.publish(topic, { type: 'a', data: 1 }),
    client.setState(topic, 'plan', data),
    client.publish('sessions/s/workers/..', { type: 'a' }),
    client.setState(topic, '..', 1),
    client.publish(topic, { type: 'a', data: 2 }),
  ])
  t.same(
    all.map((one) => (one.status === 'fulfilled' ? 'done' : (one.reason as { code: string }).code)),
    ['badFrame', 'done', 'badFrame', 'badFrame', 'badFrame', 'done'],
  )
  t.throws(() => client.subscribe({ topic, types: [1n as unknown as string] }), TypeError)
})
