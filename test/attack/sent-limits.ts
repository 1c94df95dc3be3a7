import { Packr } from 'msgpackr'
import type { Test } from 'tap'
import { createHub } from '../../src/hub/hub.js'
import type { JsonValue } from '../../src/lib/json.js'
import { checkFrame } from '../../src/protocol/check.js'
import { defaultLimits } from '../../src/protocol/limits.js'
import { memoryStore } from '../../src/store/memory.js'
import { SimulatedClock } from '../kit/clock.js'
import { FaultyStore } from '../kit/faulty-store.js'
import { RawClient } from '../kit/raw-http.js'
import { dial, type Served, served } from '../kit/served.js'
import { until } from '../kit/wait.js'
import { type LimitTests, limited, ndjson, refused, statusOf, topic } from './limits-kit.js'

/** A body of lines that stops within its first, after so many bytes. */
function unfinished(t: Test, { server }: Served, bytes: number): RawClient {
  const client = new RawClient(server.port)
  t.teardown(() => client.socket.destroy())
  client.send(
    `POST /api/sessions/s/events HTTP/1.1\nhost: 127.0.0.1\ncontent-type: ${ndjson}\ncontent-length: 100000\n\n`,
  )
  client.socket.write('x'.repeat(bytes))
  return client
}

/** Of what is sent. */
export const sentLimits = {
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

  async bodiesSilenceMs(t) {
    const clock = new SimulatedClock()
    const limits = { bodiesBytesMax: 1_000, bodiesSilenceMs: 2_000 }
    const hub = await served(t, { hub: { limits }, serve: { clock } })
    const silent = unfinished(t, hub, 600)
    await until('its first 600 bytes have come', () => clock.timers > 0)
    clock.advance(1_999)
    t.equal(silent.text, '')
    clock.advance(1)
    await until('it is answered', () => silent.text.includes('\r\n\r\n'))
    t.match(silent.text, /^HTTP\/1.1 503 [\s\S]*no data for 2000 ms/)
    unfinished(t, hub, 400)
    clock.advance(60_000)
    t.equal(clock.timers, 0, 'while there is room, silence is free')
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

  async namesMax(t) {
    const wide = (names: number) =>
      Object.fromEntries(Array.from({ length: names }, (_, name) => [`n${name}`, name]))
    const hub = createHub({ limits: { namesMax: 1_000 } })
    hub.publish('sessions/s', [{ type: 'a', data: wide(1_000) }])
    refused(t, 'badFrame', () => hub.publish('sessions/s', [{ type: 'a', data: [wide(1_001)] }]))
    hub.setState('sessions/s', 'a', wide(1_000))
    refused(t, 'badFrame', () => hub.setState('sessions/s', 'a', wide(1_001)))
    refused(t, 'badFrame', () => hub.setState('sessions/s', 'b', { deeper: wide(1_001) }))
    refused(t, 'badFrame', () => hub.mergeState('sessions/s', 'a', { another: 1 }))
    refused(t, 'badFrame', () =>
      hub.patchState('sessions/s', 'a', [{ op: 'add', path: '/another', value: 1 }]),
    )
    refused(t, 'badFrame', () => hub.endSession('s', wide(1_001)))
    t.strictSame(hub.state('sessions/s').slices['a'], wide(1_000))

    const over = await limited(t, { namesMax: 1_000 })
    const put = (value: JsonValue) => statusOf(over, 'PUT', '/api/sessions/s/state/a', JSON.stringify(value))
    t.equal(await put(wide(999)), 200)
    t.equal(await put(wide(1_001)), 400)
    const rows = Array.from({ length: 3_000 }, (_, row) => ({ id: row, name: 'a', status: 'ok' }))
    t.equal(await put(rows), 200, 'rows with the same names are none the worse')
    const mixed = Array.from({ length: 1_001 }, (_, row) => ({ [`n${row}`]: row }))
    t.equal(await put(mixed), 400)
    const tooMany = /more than 1000 different names \(namesMax = 1000\)/
    const client = await dial(t, over.url)
    client.send({ type: 'set', ref: 'r', topic, slice: 'a', value: wide(1_001) })
    t.match(await client.closed, { code: 4500, reason: tooMany })
    const packed = new Packr({ useRecords: false }).pack({ type: 'a', data: wide(1_001) })
    const headers = { 'content-type': 'application/msgpack' }
    const url = `${over.url}/api/sessions/s/events`
    const answer = await fetch(url, { method: 'POST', body: packed, headers })
    t.match([answer.status, await answer.text()], [400, tooMany])
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
    const hub = createHub({ limits: { patchWorkMax: 100 } })
    const items = (count: number) => Array.from({ length: count }, (_, n) => n)
    hub.setState(topic, 'a', items(100))
    hub.setState(topic, 'b', items(101))
    hub.patchState(topic, 'a', [{ op: 'add', path: '/0', value: 1 }])
    refused(t, 'badFrame', () => hub.patchState(topic, 'b', [{ op: 'add', path: '/0', value: 1 }]))
  },

  async patchCopiedBytesMax(t) {
    const hub = createHub({ limits: { patchCopiedBytesMax: 102 } })
    hub.setState(topic, 'a', { from: 'x'.repeat(100), to: 0 })
    hub.setState(topic, 'b', { from: 'x'.repeat(101), to: 0 })
    // Quotes and all: 102 and 103 bytes are copied.
    const copy = { op: 'copy', from: '/from', path: '/to' } as const
    hub.patchState(topic, 'a', [copy])
    refused(t, 'badFrame', () => hub.patchState(topic, 'a', [copy, copy]))
    refused(t, 'badFrame', () => hub.patchState(topic, 'b', [copy]))
    hub.patchState(topic, 'b', [{ op: 'move', from: '/from', path: '/to' }])
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
} satisfies LimitTests

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
