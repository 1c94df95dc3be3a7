import { spawn } from 'node:child_process'
import { EventSource } from 'eventsource'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { connect, type JsonObject, type SocketClass } from '../../src/client.js'
import type { Hub } from '../../src/hub/hub.js'
import { EventStreamReader } from '../../src/lib/event-stream.js'
import type { HubFrame, Part } from '../../src/protocol/frames.js'
import { openStore } from '../../src/store/open.js'
import { ways } from '../conformance/client.js'
import { Proxy } from '../kit/proxy.js'
import { python, withoutPython } from '../kit/python.js'
import { SeededRandom } from '../kit/random.js'
import { dial, served } from '../kit/served.js'
import { until } from '../kit/wait.js'

const kb = 1_000
const Socket: SocketClass = WebSocket

/** Text that no two calls have alike. */
function text(length: number, mark: number): string {
  return `${mark} ${'abcdefgh'.repeat(Math.ceil(length / 8))}`.slice(0, length)
}

// A link that does not live as long as a join takes

/** 600 KB of history and 300 KB of state. */
function fill(hub: Hub): { readonly offsets: number[]; readonly state: JsonObject } {
  const offsets: number[] = []
  for (let n = 0; n < 1_000; n++)
    offsets.push(hub.publish('sessions/s', [{ type: 'step', data: text(550, n) }]).last)
  const state = { large: text(200 * kb, 1), list: [text(60 * kb, 2), { deep: '😀'.repeat(5_000) }], small: 1 }
  for (const [slice, value] of Object.entries(state)) hub.setState('sessions/s', slice, value)
  return { offsets, state }
}

/** A hub with a store, behind a proxy that cuts each link after 100 to 250 KB: at 50 KB/s that is every 2 to 5 s. */
async function behindCuts(t: Test) {
  const store = await openStore({ directory: t.testdir() })
  const { hub, url } = await served(t, { hub: { store, limits: { retryMs: 2 } } })
  const filled = fill(hub)
  await hub.committed('s')
  const random = new SeededRandom(1)
  const proxy = await Proxy.open(Number(new URL(url).port), {
    cutAfterBytes: () => random.integer(100 * kb, 250 * kb),
  })
  t.teardown(() => proxy.close())
  return { hub, proxy, through: `http://127.0.0.1:${proxy.port}`, ...filled }
}

const slices = ['large', 'list', 'small']

for (const [way, options] of Object.entries(ways)) {
  t.test(`a join ends over links that are cut, by the client over ${way}`, async (t) => {
    const { hub, proxy, through, offsets, state } = await behindCuts(t)
    const client = connect(through, { ...options, WebSocket: Socket, backoff: { firstMs: 2, mostMs: 4 } })
    t.teardown(() => client.close())
    const seen: number[] = []
    const following = client.subscribe(
      { topic: 'sessions/s', types: ['step'], slices, replay: 'all' },
      { onEvent: ({ offset }) => seen.push(offset) },
    )
    // What is published meanwhile belongs to the join as well.
    await until('it has been cut twice', () => proxy.accepted > 2)
    offsets.push(hub.publish('sessions/s', [{ type: 'step' }]).last)
    hub.setState('sessions/s', 'small', 2)
    await until('it is live', () => following.live)
    t.same(seen, offsets)
    t.same(following.state, { ...state, small: 2 })
    const carried = proxy.carried + (proxy.links[0]?.bytes('down') ?? 0)
    t.ok(carried < 2 * 1_000 * kb, `${carried} bytes over ${proxy.accepted} links`)
    // One who resumes after the join has all, and what was missed comes in frames that get through.
    proxy.cut()
    for (let n = 0; n < 1_000; n++)
      offsets.push(hub.publish('sessions/s', [{ type: 'step', data: text(550, n) }]).last)
    await until('all of it has come', () => seen.length === offsets.length)
    t.same(seen, offsets)
  })
}

t.test('a long text that is joined of its pieces comes over links that are cut', async (t) => {
  const { hub, through } = await behindCuts(t)
  const lines = Array.from({ length: 1_000 }, (_, n) => `${text(550, n)}\n`)
  for (const line of lines) {
    hub.publish('sessions/s/workers/w', [{ type: 'process.output', data: { stream: 'stdout', text: line } }])
  }
  await hub.committed('s')
  const client = connect(through, { WebSocket: Socket, backoff: { firstMs: 2, mostMs: 4 } })
  t.teardown(() => client.close())
  let seen = ''
  let events = 0
  const following = client.subscribe(
    { topic: 'sessions/s/workers/w' },
    {
      onEvent({ data }) {
        seen += (data as { text: string }).text
        events += 1
      },
    },
  )
  await until('it is live', () => following.live)
  t.equal(seen, lines.join(''))
  t.ok(events < 30, `${events} events`)
})

t.test('a join ends over links that are cut, by EventSource', async (t) => {
  const { proxy, through, offsets, state } = await behindCuts(t)
  const source = new EventSource(
    `${through}/api/sessions/s/events?types=step&slices=${slices.join(',')}&replay=all&parts=1`,
  )
  t.teardown(() => source.close())
  const seen: number[] = []
  const texts: Record<string, string> = {}
  const found: Record<string, unknown> = {}
  source.addEventListener('step', ({ data }) => seen.push(JSON.parse(data).offset))
  source.addEventListener('state.part', ({ data }) => {
    const { slice, index, text, last } = JSON.parse(data) as Part
    texts[slice] = index === 0 ? text : texts[slice] + text
    if (last) found[slice] = JSON.parse(texts[slice] ?? '')
  })
  let live = false
  source.addEventListener('hub.live', () => (live = true))
  await until('it is live', () => live)
  t.same(seen, offsets)
  t.same(found, state)
  const carried = proxy.carried + (proxy.links[0]?.bytes('down') ?? 0)
  t.ok(carried < 2 * 1_000 * kb, `${carried} bytes over ${proxy.accepted} links`)
})

t.test('joins of several topics of one session over one response end over links that are cut', async (t) => {
  const { hub, proxy, through, offsets, state } = await behindCuts(t)
  const workers: number[] = []
  for (let n = 0; n < 600; n++)
    workers.push(hub.publish('sessions/s/workers/w', [{ type: 'step', data: text(550, n) }]).last)
  await hub.committed('s')
  const seen: Record<string, Set<number>> = { 'sessions/s': new Set(), 'sessions/s/workers/w': new Set() }
  const texts: Record<string, string> = {}
  const live = new Set<string>()
  // As a browser does it; the package `eventsource` passes over blocks without data, and with them over these ids.
  let lastId = ''
  for (const deadline = performance.now() + 20_000; live.size < 2 && performance.now() < deadline; ) {
    const reader = new EventStreamReader(({ event, data }) => {
      const { topic, offset, slice, index, text } = JSON.parse(data) as Part & {
        topic: string
        offset: number
      }
      if (event === 'step') seen[topic]?.add(offset)
      else if (event === 'state.part') texts[slice] = index === 0 ? text : texts[slice] + text
      else if (event === 'hub.live') live.add(topic)
    })
    const query = `topic=sessions/s&topic=sessions/s/workers/w&types=step&slices=${slices.join(',')}&replay=all&parts=1`
    const headers = { ...(lastId !== '' && { 'last-event-id': lastId }) }
    try {
      const response = await fetch(`${through}/api/stream?${query}`, { headers })
      for await (const piece of response.body ?? []) {
        reader.push(piece as Uint8Array)
        lastId = reader.lastId ?? lastId
        if (live.size === 2) break
      }
    } catch (error) {
      t.match(String(error), /TypeError/, 'it was cut')
    }
  }
  t.same([...(seen['sessions/s'] ?? [])], offsets)
  t.same([...(seen['sessions/s/workers/w'] ?? [])], workers)
  t.same(JSON.parse(texts['large'] ?? ''), state['large'])
  const carried = proxy.carried + (proxy.links[0]?.bytes('down') ?? 0)
  t.ok(carried < 2 * 1_330 * kb, `${carried} bytes over ${proxy.accepted} links`)
})

t.test('a join that was cut goes on in another lifetime of the hub only where it can', async (t) => {
  const { hub, url } = await served(t)
  hub.publish('sessions/s', [{ type: 'step' }, { type: 'step' }])
  hub.setState('sessions/s', 'plan', [1, 2, 3])
  await hub.settled()
  const { epoch, offset } = hub.state('sessions/s', ['plan'])
  // The part after four characters of the slice, and the events after the first.
  const cut = `${epoch}:${offset}~s4.plan`
  const subscribe = async (after: string) => {
    const dialogue = await dial(t, url, ['runcast.v1.json'], {}, '?receiveBytesMax=65536')
    dialogue.send({ type: 'subscribe', sub: 1, topic: 'sessions/s', slices: ['plan'], replay: 'all', after })
    return { subscribed: await dialogue.expect('subscribed'), next: await dialogue.next() }
  }
  t.match(await subscribe(cut), {
    subscribed: { resumed: true, offset, parts: 1 },
    next: { type: 'part', slice: 'plan', index: 1, text: ',3]', last: true },
  })
  t.match(await subscribe(`${epoch}:${offset}~r1`), {
    subscribed: { resumed: true, offset, slices: undefined, parts: undefined },
    next: { type: 'events', replay: true, events: [{ offset: 2 }] },
  })
  t.match(await subscribe('other:3~s4.plan'), { subscribed: { gap: { reason: 'epoch' }, parts: 1 } })
  t.match(await subscribe(`${epoch}:${offset + 6}~r1`), { subscribed: { gap: { reason: 'epoch' } } })
  hub.setState('sessions/s', 'plan', [4])
  await hub.settled()
  t.match(
    await subscribe(cut),
    { subscribed: { resumed: true, parts: 0 }, next: { type: 'events', replay: true } },
    'what has changed since comes as an update',
  )
})

// Many snapshots on one link

function fillStates(hub: Hub, topics: number, bytes: number): void {
  for (let n = 0; n < topics; n++) {
    for (let left = bytes, slice = 0; left > 0; left -= 900 * kb, slice++) {
      hub.setState(`sessions/s${n}`, `plan${slice}`, text(Math.min(left, 900 * kb), n))
    }
  }
}

t.test('two topics with 5 MB of state come to one curl', async (t) => {
  const { hub, url } = await served(t)
  fillStates(hub, 2, 5_000 * kb)
  const curl = spawn('curl', ['-sN', `${url}/api/stream?topic=sessions/s0&topic=sessions/s1&slices=plan*`])
  t.teardown(() => curl.kill())
  let lives = 0
  let bytes = 0
  for await (const piece of curl.stdout) {
    bytes += (piece as Buffer).length
    lives += String(piece).split('event: hub.live').length - 1
    if (lives === 2) break
  }
  t.ok(bytes > 10_000 * kb, `${bytes}`)
})

t.test(
  'a hundred snapshots come to one EventSource, and to one client, whatever frames may be sent',
  async (t) => {
    const { hub, url } = await served(t, { hub: { limits: { frameBytesMax: 65_536 } } })
    const topics = Array.from({ length: 100 }, (_, n) => `sessions/s${n}`)
    fillStates(hub, 100, 100 * kb)
    const source = new EventSource(
      `${url}/api/stream?slices=plan*&${topics.map((topic) => `topic=${topic}`).join('&')}`,
    )
    t.teardown(() => source.close())
    const lives = new Set<string>()
    source.addEventListener('hub.live', ({ data }) => lives.add(JSON.parse(data).topic))
    await until('all are live', () => lives.size === 100)

    const dialogue = await dial(t, url)
    for (const [n, topic] of topics.entries()) {
      dialogue.send({ type: 'subscribe', sub: n, topic, slices: ['plan*'] })
    }
    let live = 0
    const told = new Set<unknown>()
    while (live < 100) {
      const frame = (await dialogue.next()) as unknown as HubFrame | undefined
      if (frame === undefined) throw new Error('the link was closed')
      if (frame.type === 'subscribed') told.add(frame.slices?.['plan0'])
      if (frame.type === 'live') live++
    }
    t.equal(told.size, 100)
    t.equal(hub.stats().closed.size, 0)
  },
)

t.test('a reader that stands still makes the hub hold no more than a snapshot', async (t) => {
  const { hub, url } = await served(t)
  fillStates(hub, 200, 200 * kb)
  const { socket } = await dial(t, url)
  socket.pause()
  for (let n = 0; n < 200; n++) {
    socket.send(JSON.stringify({ type: 'subscribe', sub: n, topic: `sessions/s${n}`, slices: ['plan*'] }))
  }
  await until('it has asked', () => hub.stats().subscriptions === 200)
  const [connection] = hub.connections
  await until('the link is full', () => connection?.full === true)
  t.ok((connection?.link.waiting ?? 0) < (256 + 250) * 1_024, `${connection?.link.waiting} bytes`)
  // An update and an end of one that waits find it as it is.
  socket.send(JSON.stringify({ type: 'update', sub: 198, slices: ['plan0'], mode: 'summary' }))
  socket.send(JSON.stringify({ type: 'unsubscribe', sub: 199 }))
  await until('it has gone', () => hub.stats().subscriptions === 199)
  const live = new Set<number>()
  socket.on('message', (data: Buffer) => {
    const frame = JSON.parse(data.toString()) as HubFrame
    if (frame.type === 'live') live.add(frame.sub)
  })
  socket.resume()
  await until('all are live', () => live.size === 199)
})

// Frames that clients take

t.test('no frame is larger than what the client takes', async (t) => {
  const { hub, url } = await served(t)
  fillStates(hub, 1, 6_000 * kb)
  await hub.settled()
  const state = hub.state('sessions/s0', ['plan*'])
  hub.setState('sessions/s0', 'plan0', '😀'.repeat(40_000))
  for (const protocol of ['runcast.v1.json', 'runcast.v1.msgpack']) {
    const socket = new WebSocket(`${url.replace('http', 'ws')}/api/ws?receiveBytesMax=65536`, protocol, {
      maxPayload: 65_536,
    })
    t.teardown(() => socket.terminate())
    const codec = protocol === 'runcast.v1.json' ? hub.codecs.json : hub.codecs.msgpack
    const frames: HubFrame[] = []
    socket.on('message', (data: Buffer) => frames.push(codec.decode(data) as unknown as HubFrame))
    let closed: number | undefined
    socket.on('close', (code) => (closed = code))
    socket.on('error', (error) => t.comment(String(error)))
    await new Promise((resolve) => socket.once('open', resolve))
    const isText = protocol === 'runcast.v1.json'
    const send = (frame: object) =>
      socket.send(isText ? JSON.stringify(frame) : codec.control(frame as never))
    send({ type: 'subscribe', sub: 1, topic: 'sessions/s0', slices: ['plan*'] })
    await until('it is live', () => frames.some(({ type }) => type === 'live'))
    const subscribed = frames.find((frame) => frame.type === 'subscribed')
    const parts = frames.filter((frame) => frame.type === 'part')
    t.equal(parts.length, subscribed?.parts)
    t.notOk(subscribed?.slices)
    const slices: Record<string, unknown> = {}
    for (const name of new Set(parts.map(({ slice }) => slice))) {
      const own = parts.filter(({ slice }) => slice === name)
      t.same(
        own.map(({ index }) => index),
        [...own.keys()],
      )
      t.same(own.map(({ last }) => last === true).indexOf(true), own.length - 1)
      slices[name] = JSON.parse(own.map(({ text }) => text).join(''))
    }
    t.same(slices, hub.state('sessions/s0', ['plan*']).slices)
    t.not(slices, state.slices)

    frames.length = 0
    hub.publish(
      'sessions/s0',
      Array.from({ length: 20 }, (_, n) => ({ type: 'step', data: text(9 * kb, n) })),
    )
    await until(
      'all have come',
      () => frames.flatMap((f) => (f.type === 'events' ? f.events : [])).length === 20,
    )
    const batches = frames.filter((frame) => frame.type === 'events')
    t.ok(batches.length > 2)
    t.ok(
      batches.every(({ after }, n) => n === 0 || after === batches[n - 1]?.last),
      'each goes on where one ended',
    )
    t.equal(batches.at(-1)?.last, hub.find('s0')?.offset)

    hub.publish('sessions/s0', [{ type: 'step', data: text(70 * kb, 1) }])
    await until('it is closed', () => closed !== undefined)
    t.equal(closed, 4504)
  }
  t.equal(hub.stats().closed.get('frameTooLarge'), 2)
  const small = new WebSocket(`${url.replace('http', 'ws')}/api/ws?receiveBytesMax=65535`)
  const status = await new Promise((resolve) => {
    small.on('unexpected-response', (_, { statusCode }) => resolve(statusCode))
  })
  small.on('error', () => undefined)
  small.terminate()
  t.equal(status, 400)
})

for (const [module, bytesMax, script] of [
  [
    'websockets',
    1_048_576,
    `
import asyncio, json, sys, websockets
async def main():
    async with websockets.connect(sys.argv[1]) as ws:
        await ws.send(json.dumps({"type": "subscribe", "sub": 1, "topic": "sessions/s0", "slices": ["plan*"]}))
        text = ""
        async for message in ws:
            frame = json.loads(message)
            if frame["type"] == "part": text += frame["text"]
            if frame["type"] == "live": break
    print(len(text))
asyncio.run(main())`,
  ],
  [
    'aiohttp',
    4_194_304,
    `
import aiohttp, asyncio, json, sys
async def main():
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(sys.argv[1]) as ws:
            await ws.send_json({"type": "subscribe", "sub": 1, "topic": "sessions/s0", "slices": ["plan*"]})
            text = ""
            async for message in ws:
                frame = json.loads(message.data)
                if frame["type"] == "part": text += frame["text"]
                if frame["type"] == "live": break
    print(len(text))
asyncio.run(main())`,
  ],
] as const) {
  t.test(
    `a state of 6 MB comes to ${module} as it is`,
    { skip: withoutPython(module) ?? false },
    async (t) => {
      const { hub, url } = await served(t)
      fillStates(hub, 1, 6_000 * kb)
      const address = `${url.replace('http', 'ws')}/api/ws?receiveBytesMax=${bytesMax}`
      const child = spawn(python, ['-c', script, address])
      let [out, err] = ['', '']
      child.stdout.on('data', (piece) => (out += piece))
      child.stderr.on('data', (piece) => (err += piece))
      await new Promise((resolve) => child.on('close', resolve))
      t.equal(err, '')
      t.ok(Number(out) > 6_000 * kb, out)
    },
  )
}
