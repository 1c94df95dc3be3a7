import { execFile } from 'node:child_process'
import { createConnection } from 'node:net'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'
import { pack } from 'msgpackr'
import t from 'tap'
import { exact } from '../../kit/over-log.js'
import { openStream, served } from '../../kit/served.js'
import { ask, isProblem, ndjson, post } from './requests.js'

t.test('publishes one event, a list, lines and MessagePack', async (t) => {
  const { hub, url } = await served(t)
  const events = `${url}/api/sessions/s/events`
  t.match(await post(events, '{"type":"a"}'), {
    status: 200,
    body: { first: 1, last: 1, accepted: 1, duplicates: 0 },
  })
  t.match(await post(events, '[{"type":"b","id":"x"},{"type":"c","data":{"n":1}}]'), {
    body: { first: exact(2), last: exact(3), accepted: 2 },
  })
  t.match(await post(events, '{"type":"b","id":"x"}'), {
    body: { first: exact(2), last: exact(2), accepted: 0, duplicates: 1 },
  })
  t.match(await post(events, '{"type":"d"}\n\r\n{"type":"e","id":"x"}\r\n{"type":"f"}', ndjson), {
    body: { first: exact(4), last: exact(5), accepted: 2, duplicates: 1 },
  })
  t.match(await post(events, pack({ type: 'g', data: [1, null] }), 'application/msgpack'), {
    body: { first: exact(6) },
  })
  const two = Buffer.concat([pack({ type: 'h' }), pack({ type: 'i' })])
  t.match(await post(events, two, 'application/x-msgpack; x=y'), {
    body: { first: exact(7), last: exact(8), accepted: 2 },
  })
  t.match(await post(`${url}/api/sessions/s/workers/w/events`, '{"type":"j"}'), { body: { first: exact(9) } })
  t.same(
    hub.history('sessions/s').events.map(({ type }) => type),
    ['a', 'b', 'c', 'd', 'f', 'g', 'h', 'i'],
  )
  t.same(
    hub.history('sessions/s/workers/w').events.map(({ type, worker }) => [type, worker]),
    [['j', 'w']],
  )
})

t.test('takes what curl sends without being told a content type', async (t) => {
  const { url } = await served(t)
  const curl = await promisify(execFile)('curl', ['-s', '-d', '{"type":"a"}', `${url}/api/sessions/s/events`])
  t.match(JSON.parse(curl.stdout), { first: 1, accepted: 1 })
})

t.test('answers bad events with the place, and publishes none of them', async (t) => {
  const { hub, url } = await served(t, { hub: { limits: { frameBytesMax: 2_000, depthMax: 8 } } })
  const events = `${url}/api/sessions/s/events`
  const deep = `{"type":"a","data":${'['.repeat(9)}${']'.repeat(9)}}`
  const cases: readonly [
    body: string | Uint8Array,
    status: number,
    detail: string | RegExp,
    pointer?: string | undefined,
    type?: string,
  ][] = [
    ['', 400, 'body: '],
    ['not json', 400, 'body: '],
    [
      '{"type":"a"}\n{"type":"b"}',
      400,
      'send many events as an array, or line by line as application/x-ndjson',
    ],
    ['7', 400, 'event: expected an event { type,'],
    ['null', 400, 'event: expected an event'],
    ['{"data":1}', 400, 'event.type: expected a type', '/type'],
    ['{"type":"a","dta":1}', 400, 'event.dta: expected no field but type, data', '/dta'],
    ['[{"type":"a"},{"type":"b c"}]', 400, 'events[1].type: expected a type', '/1/type'],
    [`[{"type":"a"},${deep}]`, 400, 'nested too deeply', '/1/data/0/0/0/0/0/0/0/0'],
    [Buffer.from([0x22, 0xff, 0x22]), 400, 'body: expected UTF-8'],
    [`{"type":"a","data":"${'x'.repeat(2_000)}"}`, 413, 'body: expected at most 2000 bytes'],
    [Buffer.from([0x92, 0x01]), 400, 'body: expected MessagePack', undefined, 'application/msgpack'],
    [pack({ type: 'a', data: new Date() }), 400, 'extension types are not', undefined, 'application/msgpack'],
    [Buffer.alloc(1_900, 0x91), 400, 'body: expected MessagePack', undefined, 'application/msgpack'],
    ['type: a', 415, 'content-type: expected one of application/json,', undefined, 'text/yaml'],
  ]
  for (const [body, status, detail, pointer, type] of cases) {
    const reply = await post(events, body, type)
    isProblem(t, reply, { status, detail })
    t.equal(reply.body.pointer, pointer, String(detail))
  }
  t.equal(hub.find('s'), undefined)
  t.equal(hub.stats().published, 0)
})

t.test(
  'refuses a body in a content coding: one that unpacks to a thousand times its size is no danger',
  async (t) => {
    const { hub, url } = await served(t)
    const bomb = gzipSync(Buffer.alloc(10_000_000, ' '))
    for (const coding of ['gzip', 'br', 'deflate', 'zstd', 'identity, gzip']) {
      const reply = await ask(`${url}/api/sessions/s/events`, {
        method: 'POST',
        body: bomb,
        headers: { 'content-type': 'application/json', 'content-encoding': coding },
      })
      isProblem(t, reply, { status: 415, detail: 'content-encoding: expected none; send the body as it is' })
      t.equal(reply.headers.get('accept-encoding'), 'identity')
    }
    const plain = { 'content-type': 'application/json', 'content-encoding': 'Identity' }
    const reply = await ask(`${url}/api/sessions/s/events`, {
      method: 'POST',
      body: '{"type":"a"}',
      headers: plain,
    })
    t.equal(reply.status, 200)
    t.equal(hub.stats().published, 1)
  },
)

t.test('refuses a body that is too long before it has come', async (t) => {
  const { url } = await served(t, { hub: { limits: { frameBytesMax: 1_000 } } })
  const body = new ReadableStream<Uint8Array>({
    pull: (controller) => controller.enqueue(Buffer.alloc(600, ' ')),
  })
  const endless = { method: 'POST', body, duplex: 'half', headers: { 'content-type': 'application/json' } }
  isProblem(t, await ask(`${url}/api/sessions/s/events`, endless as RequestInit), {
    status: 413,
    detail: 'body: expected at most 1000 bytes',
  })
})

t.test('keeps what precedes a bad line, counts it, and names the line', async (t) => {
  const { hub, url } = await served(t, { hub: { limits: { lineBytesMax: 100, depthMax: 4 } } })
  const good = '{"type":"a"}\n'
  const cases: readonly [line: string | Uint8Array, status: number, detail: string, pointer?: string][] = [
    ['{"type":"a"', 400, 'line 4: event: '],
    ['{"type":"a b"}', 400, 'line 4: event.type: expected a type', '/type'],
    ['{"type":"a","data":[[[[[]]]]]}', 400, 'line 4: data/0/0/0/0: nested too deeply', '/data/0/0/0/0'],
    [`{"type":"${'a'.repeat(100)}"}`, 413, 'line 4: expected at most 100 bytes'],
    [Buffer.from([0xff]), 400, 'line 4: expected UTF-8'],
  ]
  let published = 0
  for (const [line, status, detail, pointer] of cases) {
    const body = Buffer.concat([Buffer.from(`${good}\n${good}`), Buffer.from(line), Buffer.from(`\n${good}`)])
    const reply = await post(`${url}/api/sessions/s/events`, body, ndjson)
    isProblem(t, reply, { status, detail })
    t.match(reply.body, {
      line: 4,
      accepted: 2,
      duplicates: 0,
      first: exact(published + 1),
      last: exact(published + 2),
    })
    t.equal(reply.body.pointer, pointer)
    published += 2
  }
  t.equal(hub.stats().published, published)
  t.match(await post(`${url}/api/sessions/t/events`, '{"type"\n', ndjson), {
    body: { line: 1, accepted: 0, first: 0 },
  })
  t.equal(hub.find('t'), undefined)
})

t.test('publishes lines while the body still comes', async (t) => {
  const { url } = await served(t)
  const stream = await openStream(t, `${url}/api/sessions/s/events`)
  let send: (text: string | undefined) => void = () => {}
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      send = (text) => (text === undefined ? controller.close() : controller.enqueue(Buffer.from(text)))
    },
  })
  const request = { method: 'POST', body, duplex: 'half', headers: { 'content-type': ndjson } }
  const reply = ask(`${url}/api/sessions/s/events`, request as RequestInit)
  const isEvent = (type: string) => (block: { event?: string }) => block.event === type
  send('{"type":"a"}\n{"ty')
  await stream.until(isEvent('a'))
  send('pe":"b"}\n{"type":"c"}')
  await stream.until(isEvent('b'))
  send(undefined)
  await stream.until(isEvent('c'))
  t.match(await reply, { status: 200, body: { first: 1, last: exact(3), accepted: 3, duplicates: 0 } })
})

t.test('leaves out a line that the sender did not finish before it went', async (t) => {
  const { hub, url } = await served(t)
  const stream = await openStream(t, `${url}/api/sessions/s/events`)
  const socket = createConnection(Number(new URL(url).port), '127.0.0.1')
  const lines = '{"type":"a"}\n{"type":"b"}'
  socket.write(
    `POST /api/sessions/s/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: ${ndjson}\r\nContent-Length: 1000\r\n\r\n${lines}`,
  )
  await stream.until(({ event }) => event === 'a')
  socket.destroy()
  await post(`${url}/api/sessions/s/events`, '{"type":"c"}')
  await stream.until(({ event }) => event === 'c')
  t.equal(hub.stats().published, 2)
})

t.test('takes an event stream whose blocks are events, or name their types', async (t) => {
  const { hub, url } = await served(t)
  const body =
    ': hello\nid: 1\nevent: note\ndata: {"text":\ndata: "a"}\n\nretry: 5\ndata: {"type":"b","data":2}\n\n'
  t.match(await post(`${url}/api/sessions/s/events`, body, 'text/event-stream'), {
    status: 200,
    body: { accepted: 2 },
  })
  t.match(hub.history('sessions/s').events, [
    { type: 'note', data: { text: 'a' } },
    { type: 'b', data: 2 },
  ])
  const cut = await post(`${url}/api/sessions/s/events`, 'data: {"type":', 'text/event-stream')
  t.match(cut, { status: 400, body: { line: 1, detail: /data: expected JSON/ } })
})

t.test('publishes tens of thousands of lines of one body in order', async (t) => {
  const { hub, url } = await served(t, {
    hub: { limits: { laneEventsMax: 100_000, historyBytesMax: 2 ** 27 } },
  })
  const lines = Array.from(
    { length: 50_000 },
    (_, n) => `{"type":"llm_text_delta","data":{"content":"é${n}"}}\n`,
  )
  t.match(await post(`${url}/api/sessions/s/events`, lines.join(''), ndjson), {
    status: 200,
    body: { first: 1, last: exact(50_000), accepted: 50_000 },
  })
  t.match(hub.history('sessions/s', { order: 'desc', limit: 1 }).events, [
    { offset: exact(50_000), data: { content: 'é49999' } },
  ])
})
