import type { HttpResponse } from 'uWebSockets.js'
import t, { type Test } from 'tap'
import { createHub, type Hub } from '../../src/hub/hub.js'
import type { JsonValue } from '../../src/lib/json.js'
import { checkFrame } from '../../src/protocol/check.js'
import { ProtocolError, type RequestCode } from '../../src/protocol/codes.js'
import { defaultLimits, type LimitName, type Limits, limitTable } from '../../src/protocol/limits.js'
import { serve } from '../../src/server/serve.js'
import { memoryStore } from '../../src/store/memory.js'
import { memoryLink } from '../../src/transport/memory.js'
import { OpenStreams, UwsStream } from '../../src/transport/uws-stream.js'
import { transportOptions } from '../conformance/transport.js'
import { SimulatedClock, settle } from '../kit/clock.js'
import { FaultyStore } from '../kit/faulty-store.js'
import { RawClient } from '../kit/raw-http.js'
import { type Dialogue, dial, openStream, type Served, served } from '../kit/served.js'
import { mint, secret } from '../kit/tokens.js'
import { until } from '../kit/wait.js'
import { tokenLimits } from './token-limits.js'

type LimitTest = (t: Test) => Promise<void>

/** A value of `limits` for one test, and what holds at it and one beyond it. */
const tests: Readonly<Record<LimitName, LimitTest>> = {
  // What is sent

  async frameBytesMax(t) {
    const hub = await limited(t, { frameBytesMax: 1_000 })
    t.equal(await statusOf(hub, 'PUT', '/api/sessions/s/state/a', text(1_000)), 200)
    t.equal(await statusOf(hub, 'PUT', '/api/sessions/s/state/a', text(1_001)), 413)
    const client = await dial(t, hub.url)
    const head = '{"type":"ping","ref":"'
    const ping = (bytes: number) => `${head}${'x'.repeat(9)}"${' '.repeat(bytes - head.length - 11)}}`
    client.send(ping(1_000))
    await client.expect('pong')
    client.send(ping(1_001))
    t.equal((await client.closed).code, 4504)
  },

  async lineBytesMax(t) {
    const hub = await limited(t, { lineBytesMax: 100 })
    const line = (bytes: number) => `{"type":"a","data":"${'x'.repeat(bytes - 22)}"}\n`
    t.equal(await statusOf(hub, 'POST', '/api/sessions/s/events', line(100), ndjson), 200)
    t.equal(await statusOf(hub, 'POST', '/api/sessions/s/events', line(101), ndjson), 413)
  },

  async bodiesBytesMax(t) {
    const hub = await limited(t, { bodiesBytesMax: 100 })
    t.equal(await statusOf(hub, 'PUT', '/api/sessions/s/state/a', text(100)), 200)
    t.equal(await statusOf(hub, 'PUT', '/api/sessions/s/state/a', text(101)), 503)
    t.equal(await statusOf(hub, 'PUT', '/api/sessions/s/state/a', text(100)), 200, 'it is given back')
    t.equal(await statusOf(hub, 'POST', '/api/sessions/s/events', text(101), ndjson), 503)
  },

  async aheadBytesMax(t) {
    const store = new FaultyStore(memoryStore())
    const hub = await served(t, { hub: { store, limits: { aheadBytesMax: 3_000 } } })
    t.teardown(() => hub.hub.closeStore())
    store.hold()
    const client = new RawClient(hub.server.port)
    t.teardown(() => client.socket.destroy())
    const line = `${JSON.stringify({ type: 'a', data: 'x'.repeat(1_000) }).slice(0, 997)}"}\n`
    t.equal(line.length, 1_000)
    client.send(
      `POST /api/sessions/s/events HTTP/1.1\nhost: 127.0.0.1\ncontent-type: ${ndjson}\ncontent-length: 5000\n\n`,
    )
    for (let sent = 1; sent <= 4; sent += 1) {
      client.socket.write(line)
      // The fourth is one byte more and beyond: it is published, and what follows it is not read.
      await until('the line is published', () => hub.hub.stats().published === sent)
    }
    client.socket.write(line)
    for (let asked = 0; asked < 5; asked += 1) await statusOf(hub, 'GET', '/healthz')
    t.equal(hub.hub.stats().published, 4)
    store.release()
    await until('the answer has come', () => client.text.includes('"accepted":5'))
  },

  async headBytesMax(t) {
    const hub = await limited(t, { headBytesMax: 100 })
    const heads = (bytes: number) => `host: 127.0.0.1\nconnection: close\nx: ${'y'.repeat(bytes - 29)}`
    t.match(await rawAnswer(t, hub, `GET /healthz HTTP/1.1\n${heads(100)}\n\n`), 'HTTP/1.1 200')
    t.match(await rawAnswer(t, hub, `GET /healthz HTTP/1.1\n${heads(101)}\n\n`), 'HTTP/1.1 413')
  },

  async urlLengthMax(t) {
    const hub = await limited(t, { urlLengthMax: 100 })
    t.equal(await statusOf(hub, 'GET', `/healthz?${'x'.repeat(92)}`), 200)
    t.equal(await statusOf(hub, 'GET', `/healthz?${'x'.repeat(93)}`), 413)
  },

  async depthMax(t) {
    const hub = createHub({ limits: { depthMax: 5 } })
    const nested = (levels: number) => JSON.parse('['.repeat(levels) + ']'.repeat(levels)) as JsonValue
    hub.publish('sessions/s', [{ type: 'a', data: nested(5) }])
    refused(t, 'badFrame', () => hub.publish('sessions/s', [{ type: 'a', data: nested(6) }]))
    hub.setState('sessions/s', 'a', nested(5))
    refused(t, 'badFrame', () => hub.setState('sessions/s', 'b', nested(6)))
    refused(t, 'badFrame', () => hub.mergeState('sessions/s', 'b', nested(6)))
    refused(t, 'badFrame', () => hub.endSession('s', nested(6)))

    // What is so long that parsing it would hold up the hub is looked at before.
    const over = await limited(t, { depthMax: 5 })
    const event = (levels: number) =>
      `${' '.repeat(5_000)}{"type":"a","data":${JSON.stringify(nested(levels))}}`
    const unparsed = `{"type":"a","data":${'['.repeat(10_000)}`
    for (const type of ['application/json', ndjson]) {
      const publish = async (body: string) => {
        const headers = { 'content-type': type }
        const response = await fetch(`${over.url}/api/sessions/s/events`, { method: 'POST', body, headers })
        return { status: response.status, text: await response.text() }
      }
      t.match(await publish(event(5)), { status: 200 })
      t.match(
        await publish(event(6)),
        { status: 400, text: /data/ },
        'what is a little too deep is told where',
      )
      t.match(await publish(unparsed), { status: 400, text: /nested more than 9 levels deep/ })
    }
    const client = await dial(t, over.url)
    client.send(unparsed)
    t.match(await client.closed, { code: 4500, reason: /nested more than 9 levels deep/ })
  },

  async idLengthMax(t) {
    const limits = { ...defaultLimits, idLengthMax: 5 }
    const subscribe = (topic: string) => checkFrame({ type: 'subscribe', sub: 1, topic }, limits)
    subscribe('sessions/aaaaa/workers/bbbbb')
    refused(t, 'badFrame', () => subscribe('sessions/aaaaaa'))
    refused(t, 'badFrame', () => subscribe('sessions/a/workers/bbbbbb'))
    const hub = await limited(t, { idLengthMax: 5 })
    t.equal(await statusOf(hub, 'PUT', '/api/sessions/aaaaa'), 201)
    t.equal(await statusOf(hub, 'PUT', '/api/sessions/aaaaaa'), 400)
  },

  async typeLengthMax(t) {
    const publish = (type: string) =>
      checkFrame({ type: 'publish', topic, events: [{ type }] }, { ...defaultLimits, typeLengthMax: 5 })
    publish('aaaaa')
    refused(t, 'badFrame', () => publish('aaaaaa'))
  },

  async eventIdLengthMax(t) {
    const limits = { ...defaultLimits, eventIdLengthMax: 5 }
    const publish = (event: object) =>
      checkFrame({ type: 'publish', topic, events: [{ type: 'a', ...event }] }, limits)
    publish({ id: 'aaaaa', key: 'bbbbb' })
    refused(t, 'badFrame', () => publish({ id: 'aaaaaa' }))
    refused(t, 'badFrame', () => publish({ key: 'bbbbbb' }))
    checkFrame({ type: 'ping', ref: 'aaaaa' }, limits)
    refused(t, 'badFrame', () => checkFrame({ type: 'ping', ref: 'aaaaaa' }, limits))
  },

  async publishEventsMax(t) {
    const hub = await limited(t, { publishEventsMax: 3 })
    const events = (count: number) => JSON.stringify(Array.from({ length: count }, () => ({ type: 'a' })))
    t.equal(await statusOf(hub, 'POST', '/api/sessions/s/events', events(3)), 200)
    t.equal(await statusOf(hub, 'POST', '/api/sessions/s/events', events(4)), 400)
  },

  async patchOperationsMax(t) {
    const hub = createHub({ limits: { patchOperationsMax: 3 } })
    hub.setState(topic, 'a', { n: 0 })
    const patch = (count: number) =>
      Array.from({ length: count }, (_, value) => ({ op: 'replace', path: '/n', value }) as const)
    hub.patchState(topic, 'a', patch(3))
    refused(t, 'badFrame', () => hub.patchState(topic, 'a', patch(4)))
  },

  async patchWorkMax(t) {
    const hub = createHub({ limits: { patchWorkMax: 102 } })
    hub.setState(topic, 'a', { from: 'x'.repeat(100) })
    hub.setState(topic, 'b', { from: 'x'.repeat(101) })
    // Quotes and all: 102 and 103 bytes are copied.
    hub.patchState(topic, 'a', [{ op: 'move', from: '/from', path: '/to' }])
    refused(t, 'badFrame', () => hub.patchState(topic, 'b', [{ op: 'move', from: '/from', path: '/to' }]))
  },

  async sliceBytesMax(t) {
    const hub = createHub({ limits: { sliceBytesMax: 100 } })
    hub.setState(topic, 'a', 'x'.repeat(98))
    refused(t, 'frameTooLarge', () => hub.setState(topic, 'a', 'x'.repeat(99)))
  },

  async slicesMax(t) {
    const hub = createHub({ limits: { slicesMax: 2 } })
    hub.setState(topic, 'a', 1)
    hub.setState(topic, 'b', 1)
    refused(t, 'conflict', () => hub.setState(topic, 'c', 1))
  },

  async stateBytesMax(t) {
    const hub = createHub({ limits: { stateBytesMax: 100 } })
    hub.setState(topic, 'a', 'x'.repeat(48))
    hub.setState(topic, 'b', 'x'.repeat(48))
    refused(t, 'conflict', () => hub.setState(topic, 'b', 'x'.repeat(49)))
  },

  async tokenLengthMax(t) {
    const authorize = (token: string) =>
      checkFrame({ type: 'authorize', token }, { ...defaultLimits, tokenLengthMax: 5 })
    authorize('aaaaa')
    refused(t, 'badFrame', () => authorize('aaaaaa'))
  },

  ...tokenLimits,

  // What is followed

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
    t.equal(await statusOf(hub, 'GET', '/api/stream?topic=sessions/a&after=a=e:1,b=e:1'), 200)
    t.equal(await statusOf(hub, 'GET', '/api/stream?topic=sessions/a&after=a=e:1,b=e:1,c=e:1'), 400)
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

  // Connections and rates

  async connectionsMax(t) {
    const hub = await limited(t, { connectionsMax: 2 })
    await dial(t, hub.url)
    await openStream(t, `${hub.url}/api/stream`)
    t.equal(await statusOf(hub, 'GET', '/api/stream'), 503)
    await t.rejects(dial(t, hub.url), { message: /503/ })
  },

  async connectionsPerAddressMax(t) {
    const hub = await served(t, {
      hub: { limits: { connectionsPerAddressMax: 2 } },
      serve: { trustedProxies: ['127.0.0.1'] },
    })
    const status = async (from: string) => {
      const stream = await openStream(t, `${hub.url}/api/stream`, { 'x-forwarded-for': `10.9.9.9, ${from}` })
      return { status: stream.response.status, stream }
    }
    const first = await status('10.0.0.1')
    t.equal((await status('10.0.0.1')).status, 200)
    t.equal((await status('10.0.0.1')).status, 429)
    t.equal((await status('10.0.0.2')).status, 200)
    first.stream.close()
    await until('it has gone', () => hub.hub.stats().connections === 2)
    t.equal((await status('10.0.0.1')).status, 200)
  },

  async idleLinksMax(t) {
    const hub = await limited(t, { connectionsMax: 1, idleLinksMax: 2 })
    const clients: RawClient[] = []
    const open = () => {
      const client = new RawClient(hub.server.port)
      t.teardown(() => client.socket.destroy())
      clients.push(client)
      return client
    }
    for (let count = 0; count < 3; count += 1) open().send('GET /healthz HTTP/1.1\nhost: 127.0.0.1\n\n')
    await until('three are answered', () => clients.every(({ text }) => text.includes('200 OK')))
    const fourth = open()
    await until('the fourth is cut', () => fourth.closed)
    t.equal(fourth.bytes, 0)
    clients[0]?.socket.destroy()
    const socket = async () => {
      const client = open()
      client.send(
        'GET /api/ws HTTP/1.1\nhost: 127.0.0.1\nupgrade: websocket\nconnection: upgrade\nsec-websocket-version: 13\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\n\n',
      )
      await until('it is answered or cut', () => client.closed || client.text.includes('101 Switching'))
      return client
    }
    let websocket = await socket()
    while (websocket.closed) websocket = await socket()
    for (let round = 0; round < 5; round += 1) {
      websocket.socket.destroy()
      await until('it has gone', () => hub.hub.stats().connections === 0)
      websocket = await socket()
      t.equal(websocket.closed, false, 'one that was a WebSocket gives its place back')
    }
  },

  async frameBurstMax(t) {
    const { client } = await still(t, { frameBurstMax: 3 })
    await ping(client, 3)
    client.send({ type: 'ping' })
    t.match(await client.closed, { code: 4004, reason: /5000 frames a second; come back in 1 ms/ })
  },

  async frameRateMax(t) {
    const { client, clock } = await still(t, { frameBurstMax: 1, frameRateMax: 10 })
    await ping(client, 1)
    clock.advance(100)
    await ping(client, 1)
    clock.advance(99)
    client.send({ type: 'ping' })
    t.match(await client.closed, { code: 4004, reason: /10 frames/ })
  },

  async byteBurstMax(t) {
    const { client } = await still(t, { byteBurstMax: 45 })
    await ping(client, 3)
    client.send({ type: 'ping' })
    t.match(await client.closed, { code: 4004, reason: /bytes a second/ })
    const other = await still(t, { byteBurstMax: 44 })
    await ping(other.client, 2)
    other.client.send({ type: 'ping' })
    t.match(await other.client.closed, { code: 4004 })
  },

  async byteRateMax(t) {
    const { client, clock } = await still(t, { byteBurstMax: 15, byteRateMax: 150 })
    await ping(client, 1)
    clock.advance(100)
    await ping(client, 1)
    clock.advance(99)
    client.send({ type: 'ping' })
    t.match(await client.closed, { code: 4004, reason: /150 bytes/ })
  },

  async bodyBurstMax(t) {
    const clock = new SimulatedClock()
    const hub = await served(t, { hub: { limits: { bodyBurstMax: 32, bodyRateMax: 16 } }, serve: { clock } })
    t.equal((await post(hub, 'a', oneEvent)).status, 200)
    t.equal((await post(hub, 'b', oneEvent)).status, 200, 'two of 16 bytes')
    t.equal((await post(hub, 'c', `${oneEvent} `)).status, 200, 'there was nothing to make up for')
    const response = await post(hub, 'd', oneEvent)
    t.equal(response.status, 429)
    t.equal(response.headers.get('retry-after'), '2')
    t.match(await response.json(), { detail: /^bodies: expected at most 16 bytes a second/ })
    t.equal((await post(hub, 'e', oneEvent, lines)).status, 429)
    t.equal(await statusOf(hub, 'GET', '/healthz'), 200)
  },

  async bodyRateMax(t) {
    const clock = new SimulatedClock()
    const hub = await served(t, { hub: { limits: { bodyBurstMax: 16, bodyRateMax: 16 } }, serve: { clock } })
    t.equal((await post(hub, 'a', oneEvent)).status, 200)
    t.equal((await post(hub, 'a', oneEvent)).status, 200)
    clock.advance(999)
    t.equal((await post(hub, 'a', oneEvent)).status, 429)
    clock.advance(1)
    // Lines are not refused on their way: their sender is held up, and nothing is lost.
    const answer = post(hub, 'b', `${oneEvent}\n`.repeat(3), lines)
    await until('they are published', () => hub.hub.find('b')?.offset === 3)
    for (let second = 0; second <= 3; second += 1) {
      t.equal(await Promise.race([answer, settle()]), undefined, `held up for more than ${second} s`)
      clock.advance(1_000)
    }
    t.match(await (await answer).json(), { accepted: 3 })
  },

  async requestBurstMax(t) {
    const clock = new SimulatedClock()
    const hub = await served(t, { hub: { limits: { requestBurstMax: 3 } }, serve: { clock } })
    for (let asked = 0; asked < 3; asked += 1) t.equal(await statusOf(hub, 'GET', '/healthz'), 200)
    const response = await fetch(`${hub.url}/healthz`)
    t.equal(response.status, 429)
    t.equal(response.headers.get('retry-after'), '1')
    t.match(await response.json(), { type: 'urn:runcast:rateExceeded', detail: /20000 requests and frames/ })
    await t.rejects(dial(t, hub.url), { message: /429/ })
  },

  async requestRateMax(t) {
    const clock = new SimulatedClock()
    const hub = await served(t, {
      hub: { limits: { requestBurstMax: 2, requestRateMax: 10 } },
      serve: { clock },
    })
    const client = await dial(t, hub.url)
    await ping(client, 1)
    clock.advance(100)
    t.equal(await statusOf(hub, 'GET', '/healthz'), 200, 'frames and requests of one address count together')
    clock.advance(99)
    t.equal(await statusOf(hub, 'GET', '/healthz'), 429)
    client.send({ type: 'ping' })
    t.match(await client.closed, { code: 4004, reason: /10 requests and frames/ })
  },

  async ratedMax(t) {
    const statuses = async (ratedMax: number) => {
      const hub = await served(t, {
        hub: { limits: { ratedMax, requestBurstMax: 1 } },
        serve: { clock: new SimulatedClock(), trustedProxies: ['127.0.0.1'] },
      })
      const found: number[] = []
      for (const from of ['10.0.0.1', '10.0.0.2', '10.0.0.1']) {
        const response = await fetch(`${hub.url}/healthz`, { headers: { 'x-forwarded-for': from } })
        found.push(response.status)
      }
      return found
    }
    t.strictSame(await statuses(2), [200, 200, 429])
    t.strictSame(await statuses(1), [200, 200, 200], 'the first one is forgotten')
  },

  // What the hub holds

  async sessionsMax(t) {
    const hub = createHub({ limits: { sessionsMax: 2 } })
    const follow = (id: string) => hub.subscribe(`sessions/${id}`)
    const following = [follow('x'), follow('y')]
    refused(t, 'unavailable', () => follow('z'))
    hub.publish('sessions/a', [{ type: 'a' }])
    hub.setState('sessions/b', 'plan', 1)
    refused(t, 'unavailable', () => hub.publish('sessions/c', [{ type: 'a' }]))
    refused(t, 'unavailable', () => hub.setState('sessions/c', 'plan', 1))
    refused(t, 'unavailable', () => hub.createSession('c'))
    t.equal(hub.stats().sessions, 4)
    for (const { close } of following) close()
    t.equal(hub.stats().sessions, 2)
    await hub.removeSession('a')
    hub.publish('sessions/c', [{ type: 'a' }])
  },

  async workersMax(t) {
    const hub = createHub({ limits: { workersMax: 2 } })
    const follow = (id: string) => hub.subscribe(`sessions/s/workers/${id}`)
    const following = [follow('x'), follow('y')]
    refused(t, 'conflict', () => follow('z'))
    for (const id of ['a', 'b']) hub.publish(`sessions/s/workers/${id}`, [{ type: 'a' }])
    refused(t, 'conflict', () => hub.publish('sessions/s/workers/c', [{ type: 'a' }]))
    refused(t, 'conflict', () => hub.publish('sessions/s/workers/x', [{ type: 'a' }]))
    for (const { close } of following) close()
    follow('z').close()
  },

  async backpressureBytesMax(t) {
    const { stream } = stalledStream({ backpressureBytesMax: 100 })
    t.equal(stream.write(Buffer.alloc(100)), true)
    t.equal(stream.write(Buffer.alloc(1)), false)
  },

  async overrunBytesMax(t) {
    const { stream, isCut } = stalledStream({ backpressureBytesMax: 100, overrunBytesMax: 1_000 })
    stream.write(Buffer.alloc(1_100))
    t.equal(isCut(), false)
    stream.write(Buffer.alloc(1))
    t.equal(isCut(), true)
  },

  async memoryBytesMax(t) {
    const fill = (memoryBytesMax: number) => {
      const hub = createHub({ limits: { memoryBytesMax } })
      for (const id of ['ended first', 'ended last'].map((name) => name.replace(' ', '-'))) {
        hub.publish(`sessions/${id}`, [{ type: 'a' }])
        hub.endSession(id)
      }
      hub.publish('sessions/idle', [{ type: 'a' }])
      hub.publish(topic, [{ type: 'a' }])
      const weight = hub.stats().memoryBytes
      hub.publish(topic, [{ type: 'a' }])
      return { weight, left: hub.sessions().map(({ id }) => id) }
    }
    const { weight, left } = fill(defaultLimits.memoryBytesMax)
    t.same(fill(weight).left, left)
    t.same(fill(weight - 1).left, left.slice(1), 'the one that ended first has left')
  },

  async laneEventsMax(t) {
    const hub = createHub({ limits: { laneEventsMax: 3 } })
    t.equal(oldestOf(hub, 3), 1)
    t.equal(oldestOf(hub, 1), 2)
  },

  async historyBytesMax(t) {
    const each = weighEvent()
    t.equal(oldestOf(createHub({ limits: { historyBytesMax: 3 * each } }), 3), 1)
    t.equal(oldestOf(createHub({ limits: { historyBytesMax: 3 * each - 1 } }), 3), 2)
  },

  async pinnedMax(t) {
    const replayed = async (keys: string[]) => {
      const hub = createHub({
        limits: { pinnedMax: 2, laneEventsMax: 1 },
        catalog: { pin: { replay: 'latest' } },
      })
      for (const key of keys) hub.publish(topic, [{ type: 'pin', key }])
      hub.publish(topic, [{ type: 'a' }])
      hub.endSession('s')
      const found: unknown[] = []
      for await (const { type, key } of hub.subscribe(topic)) if (type === 'pin') found.push(key)
      return found
    }
    t.strictSame(await replayed(['x', 'y']), ['x', 'y'])
    t.strictSame(await replayed(['x', 'y', 'z']), ['y', 'z'])
  },

  async publishIdsMax(t) {
    const hub = createHub({ limits: { publishIdsMax: 2 } })
    const publish = (id: string) => hub.publish(topic, [{ type: 'a', id }]).duplicates
    t.strictSame(['a', 'b', 'a', 'b'].map(publish), [0, 0, 1, 1])
    t.strictSame(['c', 'b', 'a'].map(publish), [0, 1, 0])
  },

  async pendingEventsMax(t) {
    const clock = new SimulatedClock()
    const hub = createHub({ clock, limits: { pendingEventsMax: 3 } })
    let frames = 0
    const { link, peer } = memoryLink(hub.codecs.object, {
      clock,
      backpressureMax: 1_000,
      receive: (chunk) => void (frames += Number('type' in chunk && chunk.type === 'events')),
      drained: () => {},
      closed: () => connection.closed(),
    })
    const connection = hub.connect(link)
    connection.receive({ type: 'subscribe', sub: 1, topic })
    const publish = (count: number) =>
      hub.publish(
        topic,
        Array.from({ length: count }, () => ({ type: 'a' })),
      )
    publish(2)
    t.equal(frames, 0, 'they wait for the end of the turn')
    publish(1)
    t.equal(frames, 1)
    peer.cut()
    clock.runTurn()
    t.equal(hub.stats().connections, 0)
  },

  async endedRetentionMs(t) {
    const clock = new SimulatedClock()
    const hub = createHub({ clock, limits: { endedRetentionMs: 1_000 } })
    for (const id of ['a', 'b', 'c']) {
      hub.publish(`sessions/${id}`, [{ type: 'a' }])
      hub.endSession(id)
    }
    await hub.removeSession('b')
    clock.advance(999)
    t.equal(hub.stats().sessions, 2)
    clock.advance(1)
    const { sessions, memoryBytes } = hub.stats()
    t.same({ sessions, memoryBytes, timers: clock.timers }, { sessions: 0, memoryBytes: 0, timers: 0 })
  },

  async unkeptBytesMax(t) {
    const admitted = (unkeptBytesMax: number) => {
      const store = new FaultyStore(memoryStore())
      store.hold()
      const hub = createHub({ clock: new SimulatedClock(), store, limits: { unkeptBytesMax } })
      for (let count = 0; ; count += 1) {
        try {
          hub.publish(topic, [{ type: 'a', data: 1 }])
        } catch (error) {
          t.match(error, { code: 'unavailable', message: /does not keep up/ })
          return count
        }
      }
    }
    const each = weighEvent()
    t.equal(admitted(2 * each), 3, 'the one that exceeds it is the last')
    t.equal(admitted(2 * each - 1), 2)
  },

  async idleSessionsMax(t) {
    const hub = createHub({ store: memoryStore(), limits: { idleSessionsMax: 2 } })
    for (const [id, held] of [
      ['a', 1],
      ['b', 2],
      ['c', 2],
    ] as const) {
      hub.publish(`sessions/${id}`, [{ type: 'a' }])
      await hub.committed(id)
      t.equal(hub.stats().sessions, held)
    }
    t.equal(hub.find('a')?.id, 'a', 'it comes back when it is asked for')
    await hub.closeStore()
  },

  async restoredEventsMax(t) {
    const oldest = async (restoredEventsMax: number) => {
      const hub = createHub({ store: memoryStore(), limits: { restoredEventsMax, idleSessionsMax: 1 } })
      hub.publish(topic, [{ type: 'a' }, { type: 'a' }, { type: 'a' }])
      await hub.committed('s')
      hub.publish('sessions/other', [{ type: 'a' }])
      await hub.committed('other')
      const { first } = hub.history(topic)
      await hub.closeStore()
      return first
    }
    t.equal(await oldest(3), 1)
    t.equal(await oldest(2), 2)
  },

  // Time

  async handshakeMs(t) {
    const { quick, slow } = await slowHead
    t.match(quick, 'HTTP/1.1 200')
    t.equal(slow, '', 'cut without an answer')
  },

  async bodyRateMin(t) {
    const { quick, slow } = await slowBody
    t.match(quick, 'HTTP/1.1 200')
    t.equal(slow, '', 'cut without an answer')
  },

  async heartbeatMs(t) {
    const { client, clock, hub } = await still(t, { heartbeatMs: 1_000 })
    let pings = 0
    client.socket.on('ping', () => void (pings += 1))
    await ping(client, 1)
    clock.advance(999)
    await ping(client, 1)
    t.equal(pings, 0)
    clock.advance(1_000)
    await until('the ping has come', () => pings === 1)
    client.send({ type: 'ping' })
    await client.expect('pong')
    clock.advance(1_999)
    t.equal(hub.stats().connections, 1)
    clock.advance(1)
    t.match(await client.closed, { code: 4002, reason: 'nothing came for 2000 ms' })
  },

  async bodySilenceMs(t) {
    const { short, long } = await silentBodies
    t.equal(short, '', 'cut without an answer')
    t.match(long, /^HTTP\/1.1 200 [^]*"accepted":2/)
  },

  async stalledMs(t) {
    const clock = new SimulatedClock()
    const hub = await served(t, {
      hub: { clock, limits: { stalledMs: 1_000, backpressureBytesMax: 1_024 } },
      serve: { clock, keepaliveMs: 10_000 },
    })
    const reader = new RawClient(hub.server.port)
    t.teardown(() => reader.socket.destroy())
    reader.socket.pause()
    reader.send('GET /api/sessions/s/events HTTP/1.1\nhost: 127.0.0.1\n\n')
    await until('it is subscribed', () => hub.hub.stats().subscriptions === 1)
    while (hub.hub.stats().lagging === 0) {
      hub.hub.publish(topic, [{ type: 'a', data: 'x'.repeat(500_000) }])
      clock.runTurn()
    }
    clock.advance(999)
    t.equal(hub.hub.stats().connections, 1)
    clock.advance(1)
    t.equal(hub.hub.stats().connections, 0)
    t.equal(hub.hub.stats().closed.get('heartbeatMissed'), 1)
    reader.socket.resume()
    await until('the link is cut', () => reader.closed)
    t.equal(clock.timers, 0)
  },

  async shutdownMs(t) {
    const clock = new SimulatedClock()
    const store = new FaultyStore(memoryStore())
    const hub = await served(t, { hub: { store, limits: { shutdownMs: 1_000 } }, serve: { clock } })
    store.hold()
    const client = new RawClient(hub.server.port)
    client.send('PUT /api/sessions/s/state/a HTTP/1.1\nhost: 127.0.0.1\ncontent-length: 1\n\n1')
    await until('the request waits for the store', () => hub.hub.stats().state.values > 0)
    let closed = false
    const closing = hub.server.close().then(() => void (closed = true))
    await clock.pass(999)
    t.equal(closed, false)
    clock.advance(1)
    await closing
    store.release()
    await hub.hub.closeStore()
  },

  async spreadMs(t) {
    const left = async (spreadMs: number) => {
      const clock = new SimulatedClock()
      const hub = await served(t, { hub: { limits: { spreadMs } }, serve: { clock } })
      for (let opened = 0; opened < 60; opened += 1) await openStream(t, `${hub.url}/api/stream`)
      const closing = hub.server.close()
      const { connections } = hub.hub.stats()
      await clock.pass(50)
      await closing
      return connections
    }
    t.equal(await left(50), 0, 'all are told at once')
    t.equal(await left(51), 30, 'half of them are told later')
  },

  async retryMs(t) {
    for (const retryMs of [7, 8]) {
      const { url } = await limited(t, { retryMs })
      t.match(await (await openStream(t, `${url}/api/stream`)).next(), { retry: String(retryMs) })
    }
  },

  async heartbeatEventMs(t) {
    const clock = new SimulatedClock()
    const limits = { heartbeatEventMs: 1_000, keepaliveMs: 60_000 }
    const { url } = await served(t, { hub: { limits }, serve: { clock } })
    const stream = await openStream(t, `${url}/stream/actions`)
    await stream.until(({ comment }) => comment?.startsWith('hub.live') === true)
    clock.advance(999)
    clock.advance(1)
    t.match(await stream.next(), { id: '1', event: 'heartbeat' })
    clock.advance(999)
    clock.advance(1)
    t.match(await stream.next(), { id: '2', event: 'heartbeat' }, 'one in each interval')
  },

  async keepaliveMs(t) {
    const clock = new SimulatedClock()
    const { url } = await served(t, { hub: { limits: { keepaliveMs: 1_000 } }, serve: { clock } })
    const stream = await openStream(t, `${url}/api/sessions/s/events`)
    await stream.until(({ event }) => event === 'hub.live')
    clock.advance(999)
    clock.advance(1)
    t.match(await stream.next(), { comment: 'keep-alive' })
    clock.advance(999)
    clock.advance(1)
    t.match(await stream.next(), { comment: 'keep-alive' }, 'one in each silence')
  },
}

const topic = 'sessions/s'
const ndjson = 'application/x-ndjson'

/** Begun at once, for they take ten seconds of real time: what uWebSockets.js decides has no other clock. */
const slowHead = trickle('GET /healthz HTTP/1.1\nhost: 127.0.0.1\nconnection: close\nx: ', 'y', '\n\n')
const slowBody = trickle(
  `POST /api/sessions/s/events HTTP/1.1\nhost: 127.0.0.1\nconnection: close\ncontent-type: application/json\ncontent-length: 20\n\n`,
  ' ',
  '{"type":"a"}',
)
const silentBodies = silence()

t.test('every limit of the table has a test', async (t) => {
  t.strictSame(Object.keys(tests).sort(), Object.keys(limitTable).sort())
})

t.test('all links with one token have one rate, from whatever address', async (t) => {
  const hub = await served(t, {
    hub: { limits: { requestBurstMax: 4 } },
    serve: { clock: new SimulatedClock(), trustedProxies: ['127.0.0.1'], auth: { secrets: [secret] } },
  })
  const token = await mint({ subscribe: ['**'] })
  const from = (address: string) =>
    dial(t, hub.url, ['runcast.v1.json', `bearer.${token}`], { 'x-forwarded-for': address })
  const [one, other] = [await from('10.0.0.1'), await from('10.0.0.2')]
  await ping(one, 2)
  await ping(other, 2)
  other.send({ type: 'ping' })
  t.match(await other.closed, { code: 4004, reason: /requests and frames/ })
})

for (const [name, test] of Object.entries(tests)) {
  t.test(`${name} holds at n, and does what the table says at n + 1`, { timeout: 60_000 }, test)
}

/** 16 bytes. */
const oneEvent = '{"type":"abcde"}'
const lines = { 'content-type': 'application/x-ndjson' }

function post(
  { url }: Served,
  session: string,
  body: string,
  headers: Record<string, string> = {},
): Promise<Response> {
  return fetch(`${url}/api/sessions/${session}/events`, { method: 'POST', body, headers })
}

function limited(t: Test, limits: Partial<Limits>): Promise<Served> {
  return served(t, { hub: { limits } })
}

/** A client of a hub whose clock stands still. */
async function still(
  t: Test,
  limits: Partial<Limits>,
): Promise<{ client: Dialogue; clock: SimulatedClock; hub: Hub }> {
  const clock = new SimulatedClock()
  const { hub, url } = await served(t, { hub: { limits }, serve: { clock } })
  return { client: await dial(t, url), clock, hub }
}

async function ping(client: Dialogue, times: number): Promise<void> {
  for (let sent = 0; sent < times; sent += 1) {
    client.send({ type: 'ping' })
    await client.expect('pong')
  }
}

async function statusOf(
  { url }: Served,
  method: string,
  path: string,
  body?: string,
  type = 'application/json',
): Promise<number> {
  const abort = new AbortController()
  const response = await fetch(url + path, {
    method,
    signal: abort.signal,
    ...(body !== undefined && { body, headers: { 'content-type': type } }),
  })
  // A stream would go on.
  if (response.headers.get('content-type') === 'text/event-stream') abort.abort()
  else await response.arrayBuffer()
  return response.status
}

/** @returns what comes until the hub closes the link */
async function rawAnswer(t: Test, { server }: Served, request: string): Promise<string> {
  const client = new RawClient(server.port)
  t.teardown(() => client.socket.destroy())
  client.send(request)
  await until('it is answered', () => client.text.includes('\r\n\r\n'))
  return client.text
}

/** @returns a JSON text of so many bytes */
function text(bytes: number): string {
  return JSON.stringify('x'.repeat(bytes - 2))
}

function refused(t: Test, code: RequestCode, task: () => unknown): void {
  try {
    task()
    t.fail(`expected to be refused with ${code}`)
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error
    t.equal(error.code, code, error.message)
  }
}

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

/** @returns what one of the events weighs that these tests publish */
function weighEvent(): number {
  const hub = createHub()
  hub.publish(topic, [{ type: 'a', data: 1 }])
  return hub.stats().memoryBytes
}

/** Publishes so many events more. @returns the oldest offset of the history */
function oldestOf(hub: Hub, count: number): number {
  for (let published = 0; published < count; published += 1) hub.publish(topic, [{ type: 'a', data: 1 }])
  return hub.history(topic).first
}

/** A stream to a peer that reads nothing. */
function stalledStream(options: Partial<typeof transportOptions>): {
  stream: UwsStream
  isCut: () => boolean
} {
  let cut = false
  const res = {
    cork: (task: () => void) => task(),
    onWritable: () => {},
    writeStatus: () => {},
    writeHeader: () => {},
    write: () => false,
    close: () => void (cut = true),
  }
  const events = { drained: () => {}, closed: () => {} }
  const all = { ...transportOptions, ...options }
  const streams = new OpenStreams(new SimulatedClock())
  const stream = new UwsStream(res as unknown as HttpResponse, events, all, streams)
  stream.open({ status: 200 })
  return { stream, isCut: () => cut }
}

interface Trickled {
  readonly quick: string
  readonly slow: string
}

/** Sends a request at once, and one that comes byte by byte for as long as the link is open. */
async function trickle(begin: string, byte: string, end: string): Promise<Trickled> {
  const server = await serve(createHub(), { port: 0 })
  const { port } = server
  const quick = new RawClient(port)
  quick.send(begin + byte.repeat(8) + end)
  const slow = new RawClient(port)
  slow.send(begin)
  const timer = setInterval(() => slow.socket.write(byte), 700)
  await until('both are done', () => slow.closed && quick.text.includes('\r\n\r\n'), 30_000)
  clearInterval(timer)
  quick.socket.destroy()
  await server.close()
  return { quick: quick.text, slow: slow.text }
}

/** Sends a line and then nothing, to a hub that waits for a second and to one that waits longer; the end to that. */
async function silence(): Promise<{ readonly short: string; readonly long: string }> {
  const quiet = async (limits: Partial<Limits>) => {
    const server = await serve(createHub({ limits }), { port: 0 })
    const client = new RawClient(server.port)
    client.send(
      `POST /api/sessions/s/events HTTP/1.1\nhost: 127.0.0.1\nconnection: close\ncontent-type: ${ndjson}\ncontent-length: 28\n\n{"type":"a"}\n`,
    )
    return { server, client }
  }
  const [short, long] = await Promise.all([quiet({ bodySilenceMs: 1_000 }), quiet({})])
  await until('the short one is cut', () => short.client.closed, 30_000)
  long.client.send('{"type":"b"}\n')
  await until('the long one is answered', () => long.client.text.endsWith('}'))
  for (const { server, client } of [short, long]) {
    client.socket.destroy()
    await server.close()
  }
  return { short: short.client.text, long: long.client.text }
}
