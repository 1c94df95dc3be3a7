import { spawnSync } from 'node:child_process'
import net from 'node:net'
import { Packr } from 'msgpackr'
import t, { type Test } from 'tap'
import { benchTopic, formatMark, padFor, parseMark, payloadBytesMin } from '../../bench/harness/event.js'
import { monotonicMicros } from '../../bench/harness/monotonic.js'
import { generateTokens } from '../../bench/harness/tokens.js'
import { firstPlan, nextPlan, patchOf } from '../../bench/server/content.js'
import { packedFrame, textFrame } from '../../bench/server/stamped.js'
import { type DialectChoice, dialectOf } from '../../bench/swarm/dialect.js'
import { KnownFrames } from '../../bench/swarm/link.js'
import { mqttPublish } from '../../bench/swarm/mqtt.js'
import { type Report, Swarm } from '../../bench/swarm/swarm.js'
import { countFaults, noFaults, Tally } from '../../bench/swarm/tally.js'
import { readFrameHead } from '../../bench/swarm/websocket.js'
import type { JsonValue } from '../../src/lib/json.js'
import { compare } from '../../src/state/compare.js'
import { typescript } from '../kit/typescript.js'

const connections = 20
const turns = 30
const events = 3
const faulty = 7

const live = new Packr({ useRecords: false }).pack({ type: 'live', sub: 1, offset: 0 })
const webSocket: DialectChoice = { kind: 'runcast-ws', topics: [benchTopic] }
const sse: DialectChoice = { kind: 'runcast-sse', path: '/api/sessions/bench/events' }

/** What one connection is sent: the frames of all turns, or something wrong. */
type Spoil = (frames: Buffer[]) => Buffer[]

const spoils = {
  nothing: (frames: Buffer[]) => frames,
  loss: (frames: Buffer[]) => frames.toSpliced(10, 1),
  'loss of the last': (frames: Buffer[]) => frames.slice(0, -1),
  'loss of the first': (frames: Buffer[]) => frames.slice(1),
  duplicate: (frames: Buffer[]) => frames.toSpliced(10, 0, frames[9] as Buffer),
  reordering: (frames: Buffer[]) => frames.toSpliced(10, 2, frames[11] as Buffer, frames[10] as Buffer),
} satisfies { [name: string]: Spoil }

/** Sends every connection the same frames, but for one of them, which it sends spoiled ones. */
async function fakeServer(t: Test, choice: DialectChoice, spoil: Spoil, pieces = 1) {
  const sockets: net.Socket[] = []
  const server = net.createServer((socket) => {
    sockets.push(socket)
    socket.on('error', () => {})
    socket.once('data', () => {
      if (choice.kind === 'runcast-sse') {
        socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n')
        socket.write(chunk(Buffer.from('event: hub.live\ndata: {}\n\n')))
        return
      }
      socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n')
      socket.once('data', (subscribe) => {
        t.equal(
          readFrameHead(subscribe, 0, subscribe.length)?.opcode,
          2,
          'the client subscribes with a binary frame',
        )
        socket.write(message(live))
      })
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const stamped = choice.kind === 'runcast-sse' ? textFrame(events, 200) : packedFrame(events, 200)
  const wrap = choice.kind === 'runcast-sse' ? chunk : message
  return {
    port: (server.address() as net.AddressInfo).port,
    async publish(): Promise<void> {
      const frames: Buffer[] = []
      for (let turn = 0; turn < turns; turn += 1) {
        frames.push(wrap(Buffer.from(stamped.stamp(1 + turn * events, monotonicMicros()))))
      }
      for (const [index, socket] of sockets.entries()) {
        const bytes = Buffer.concat(index === faulty ? spoil(frames) : frames)
        // In several pieces the borders of reads fall anywhere: in heads, in sizes, in events.
        for (let piece = 0; piece < pieces; piece += 1) {
          const size = Math.ceil(bytes.length / pieces)
          socket.write(bytes.subarray(piece * size, (piece + 1) * size))
          if (pieces > 1) await new Promise(setImmediate)
        }
      }
    },
  }
}

function message(payload: Buffer): Buffer {
  const head = payload.length < 126 ? Buffer.from([0x82, payload.length]) : Buffer.from([0x82, 126, 0, 0])
  if (payload.length >= 126) head.writeUInt16BE(payload.length, 2)
  return Buffer.concat([head, payload])
}

/** A chunk as uWebSockets writes it: the line end comes before the size. */
function chunk(payload: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`\r\n${payload.length.toString(16)}\r\n`), payload])
}

async function observe(
  t: Test,
  choice: DialectChoice,
  spoil: Spoil,
  { decodeAll = false, pieces = 1 } = {},
): Promise<Report> {
  const server = await fakeServer(t, choice, spoil, pieces)
  const swarm = new Swarm()
  t.teardown(() => swarm.close())
  await swarm.connect({ port: server.port, count: connections, dialect: choice, decodeAll })
  swarm.expect({ after: 0, events: turns * events, progressEvery: 10, quietMs: 200 })
  const settled = swarm.settled()
  await server.publish()
  return settled
}

for (const choice of [webSocket, sse]) {
  for (const decodeAll of [false, true]) {
    t.test(`over ${choice.kind}, ${decodeAll ? 'reading' : 'comparing'} every frame`, async (t) => {
      const all = turns * events

      t.test('counts exactly what a good server sends', async (t) => {
        const report = await observe(t, choice, spoils.nothing, { decodeAll })
        t.same(report.faults, noFaults())
        t.equal(report.deliveries, all * connections)
        t.equal(report.connections, connections)
        const frame = choice.kind === 'runcast-sse' ? textFrame(events, 200) : packedFrame(events, 200)
        t.equal(report.bytes, frame.stamp(1, 1).length * turns * connections)
        t.ok(report.latencyMicros.p50 > 0 && report.latencyMicros.max >= report.latencyMicros.p50)
      })

      t.test('counts the same when reads end anywhere', async (t) => {
        const report = await observe(t, choice, spoils.nothing, { decodeAll, pieces: 37 })
        t.same(report.faults, noFaults())
        t.equal(report.deliveries, all * connections)
      })

      for (const spoil of ['loss', 'loss of the first', 'loss of the last'] as const) {
        t.test(`finds a ${spoil} turn`, async (t) => {
          const report = await observe(t, choice, spoils[spoil], { decodeAll })
          t.equal(report.faults.lost, events)
          t.equal(report.faults.duplicates, 0)
          t.equal(report.faults.reordered, 0)
          t.equal(report.deliveries, all * connections - events)
        })
      }

      t.test('finds a duplicate', async (t) => {
        const report = await observe(t, choice, spoils.duplicate, { decodeAll })
        t.equal(report.faults.duplicates, events)
        t.equal(report.faults.lost, 0)
        t.equal(report.deliveries, all * connections + events)
      })

      t.test('finds a reordering', async (t) => {
        const report = await observe(t, choice, spoils.reordering, { decodeAll })
        t.equal(report.faults.reordered, events)
        t.equal(report.faults.lost, 0)
        t.equal(report.faults.duplicates, 0)
        t.equal(report.deliveries, all * connections)
      })
    })
  }
}

t.test('finds a frame whose bytes differ from what the others got', async (t) => {
  const report = await observe(t, webSocket, (frames) => {
    const broken = Buffer.from(frames[10] as Buffer)
    broken.write('@X', broken.indexOf('@'))
    return frames.toSpliced(10, 1, broken)
  })
  t.ok(countFaults(report.faults) > 0)
})

t.test('is live when the word comes in one piece with the events', async (t) => {
  const replay = Buffer.from(textFrame(events, 200).stamp(1, monotonicMicros()))
  const server = net.createServer((socket) => {
    socket.on('error', () => {})
    t.teardown(() => socket.destroy())
    socket.once('data', () => {
      socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n')
      socket.write(chunk(Buffer.concat([replay, Buffer.from('event: hub.live\ndata: {}\n\n')])))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const swarm = new Swarm()
  t.teardown(() => swarm.close())
  swarm.expect({ after: 0, events, progressEvery: 1, quietMs: 5_000 })
  const { port } = server.address() as net.AddressInfo
  await swarm.connect({ port, count: connections, dialect: sse })
  t.equal((await swarm.settled()).deliveries, events * connections)
})

t.test('fails to connect when the server refuses', async (t) => {
  const server = net.createServer((socket) => {
    socket.on('error', () => {})
    socket.once('data', () => socket.end('HTTP/1.1 503 Service Unavailable\r\n\r\n'))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const swarm = new Swarm()
  t.teardown(() => swarm.close())
  const { port } = server.address() as net.AddressInfo
  await t.rejects(swarm.connect({ port, count: 3, dialect: webSocket }), /0 of 3 connections are live.*503/)
})

t.test('a tally', async (t) => {
  const reading = (offset: number, number: number, after?: number) => ({
    events: [{ number, stamp: 0, offset }],
    ...(after !== undefined && { after, last: offset }),
  })

  t.test('counts a batch that does not begin where the last one ended', async (t) => {
    const faults = noFaults()
    const tally = new Tally(faults)
    t.ok(tally.take(reading(5, 1, 4)))
    t.notOk(tally.take(reading(8, 2, 7)))
    t.equal(faults.misplaced, 1)
  })

  t.test('counts an offset that does not rise', async (t) => {
    const faults = noFaults()
    const tally = new Tally(faults)
    t.ok(tally.take(reading(5, 1)))
    t.notOk(tally.take(reading(5, 2)))
    t.equal(faults.misplaced, 1)
  })

  t.test('takes the rest of a text, which the hub held back, and nothing else twice', async (t) => {
    const faults = noFaults()
    const tally = new Tally(faults)
    const text = (offset: number, number: number) => ({
      events: [{ number, stamp: 0, offset, isText: true }],
    })
    t.ok(tally.take(text(5, 1)))
    t.ok(tally.take(text(6, 1)))
    t.ok(tally.take(text(7, 2)))
    t.notOk(tally.take(text(8, 1)), 'not that of an earlier text')
    t.notOk(tally.take(reading(9, 2)), 'nor what is no text')
    t.equal(faults.duplicates, 2)
  })

  t.test('takes every so manieth event as due behind a filter', async (t) => {
    const faults = noFaults()
    const tally = new Tally(faults, 10)
    t.ok(tally.take(reading(5, 3)))
    t.ok(tally.take(reading(6, 13)))
    t.notOk(tally.take(reading(7, 33)))
    t.equal(faults.lost, 1)
  })
})

t.test('a tally behind a filter', async (t) => {
  const reading = (...numbers: number[]) => ({ events: numbers.map((number) => ({ number, stamp: 0 })) })

  t.test('owes what leaves its rest, and finds what is missing', async (t) => {
    const faults = noFaults()
    const tally = new Tally(faults, 10, 3)
    tally.startAfter(0)
    t.equal(tally.owed(0, 4), 4)
    t.ok(tally.take(reading(3, 13, 23)))
    t.equal(tally.owed(0, 4), 1)
    t.notOk(tally.take(reading(43)))
    t.equal(faults.lost, 1)
    t.equal(tally.owed(0, 4), 0)
  })

  t.test('goes on from round to round', async (t) => {
    const tally = new Tally(noFaults(), 10, 3)
    tally.startAfter(0)
    tally.take(reading(3, 13))
    tally.startAfter(20)
    t.equal(tally.owed(20, 2), 2)
    t.ok(tally.take(reading(23, 33)))
    t.equal(tally.owed(20, 2), 0)
  })
})

t.test('the dialects of other servers', async (t) => {
  const mark = formatMark(7, 99)
  const due = { number: 7, stamp: 99 }
  const data = JSON.stringify({ mark, pad: 'x'.repeat(200) })

  t.test('read an event of MQTT', async (t) => {
    const { read } = dialectOf({ kind: 'mqtt', channels: ['bench'] })
    t.same(read(mqttPublish('bench', data)).events, [due])
    t.equal(read(Buffer.from([0x90, 3, 0, 1, 0])).live, true)
    t.same(read(Buffer.from([0x20, 2, 0, 0])), { events: [] })
  })

  t.test('read several operations of NATS, and answer its pings', async (t) => {
    const { read } = dialectOf({ kind: 'nats', channels: ['bench'] })
    const payload = Buffer.byteLength(data)
    const delivered = `MSG bench 1 ${payload}\r\n${data}\r\n`
    t.same(read(Buffer.from(`INFO {}\r\n${delivered}PING\r\n${delivered}`)).events, [due, due])
    t.ok(read(Buffer.from(`${delivered}PING\r\n`)).reply)
    t.equal(read(Buffer.from('PONG\r\n')).live, true)
    t.throws(() => read(Buffer.from(delivered.slice(0, -1))), 'one that is cut')
    t.throws(() => read(Buffer.from("-ERR 'Invalid Subject'\r\n")), /Invalid Subject/)
  })

  t.test('read an event of Socket.IO, and answer its pings', async (t) => {
    const { read } = dialectOf({ kind: 'socket.io', channels: ['bench'] })
    t.same(read(Buffer.from(`42["bench",${data}]`)).events, [due])
    t.equal(read(Buffer.from('40{"sid":"x"}')).live, true)
    t.ok(read(Buffer.from('2')).reply)
  })

  t.test('read events of an event stream', async (t) => {
    const { read } = dialectOf({ kind: 'event-stream', path: '/' })
    t.same(read(Buffer.from(`id:1\nevent:bench\ndata:${data}\n\n`)).events, [due])
    t.equal(read(Buffer.from(': hi\n\n')).live, true)
    const durable = dialectOf({ kind: 'durable-stream', path: '/' })
    t.same(durable.read(Buffer.from(`event: data\ndata: [${data},${data}]\n\n`)).events, [due, due])
    t.equal(durable.read(Buffer.from('event: control\ndata: {"upToDate":true}\n\n')).live, true)
  })

  t.test('find text that is not whole', async (t) => {
    const packr = new Packr({ useRecords: false })
    const { read } = dialectOf({ kind: 'runcast-text', topic: benchTopic, length: 5 })
    const frame = (content: string) => packr.pack({ type: 'events', events: [{ data: { content } }] })
    t.same(read(frame('hello')).events, [{ number: 1, stamp: 0 }])
    t.throws(() => read(frame('hell')), /4 characters of 5/)
  })
})

t.test('a state changes as the patch for it says', async (t) => {
  const plan = firstPlan(50_000)
  t.ok(Math.abs(JSON.stringify(plan).length - 50_000) < 10_000)
  let value = plan
  for (const number of [1, 2, 500]) {
    const patch = patchOf(value, number, 9) as { path: string; value: string }[]
    const next = nextPlan(value, number, 9)
    const { patch: found } = compare(value as unknown as JsonValue, next as unknown as JsonValue)
    t.same(found, patch, 'the hub finds the same')
    value = next
  }
})

t.test('generated texts are always the same, and about as long as recorded ones', async (t) => {
  const texts = generateTokens(2_000)
  t.same(texts, generateTokens(2_000))
  const mean = texts.join('').length / texts.length
  t.ok(mean > 5 && mean < 8, `${mean} characters`)
})

t.test('the command', async (t) => {
  const bench = (...args: string[]) =>
    spawnSync(process.execPath, [...typescript, 'bench/main.ts', ...args], { encoding: 'utf8' })

  t.test('names the cells there are when none is called so', async (t) => {
    const { status, stderr } = bench('fanout', 'join', '--quick', '--only', 'ws-1-1-1')
    t.equal(status, 1)
    t.match(stderr, /no cell is called ws-1-1-1/)
    t.match(stderr, /fanout: ws-10-1-200, .*\n {2}join: ws, sse/)
  })

  t.test('names the scenarios and the peers there are', async (t) => {
    t.match(bench('fan-out').stderr, /no scenario is called fan-out; there are: fanout, sessions, /)
    t.match(bench('--peers', 'pusher').stderr, /expected all or names of ws, socket.io, .*, got pusher/)
    t.match(bench('--only', '(').stderr, /expected a regular expression/)
  })
})

t.test('an event', async (t) => {
  t.test('has data of the size that was asked for', async (t) => {
    for (const bytes of [50, 200, 2_000]) {
      t.equal(JSON.stringify({ mark: formatMark(1, 1), pad: padFor(bytes) }).length, bytes)
    }
    t.throws(() => padFor(payloadBytesMin - 1))
  })

  t.test('bears its number and the time of its publishing', async (t) => {
    t.same(parseMark(formatMark(42, 123_456_789.9)), { number: 42, stamp: 123_456_789 })
    t.throws(() => parseMark('42'))
    t.throws(() => parseMark(formatMark(42, 1).replace('@0', '@X')))
  })

  t.test('is the same in a ready-made frame as when it is encoded', async (t) => {
    const packr = new Packr({ useRecords: false })
    const frame = packr.unpack(packedFrame(2, 200).stamp(7, 99))
    t.match(frame, { type: 'events', after: 1_000_006, last: 1_000_008 })
    t.match(frame.events, [
      { offset: 1_000_007, data: { mark: formatMark(7, 99), pad: padFor(200) } },
      { offset: 1_000_008, data: { mark: formatMark(8, 99), pad: padFor(200) } },
    ])
    const blocks = textFrame(2, 200).stamp(7, 99).toString().split('\n\n')
    t.equal(blocks.length, 3)
    t.match(
      blocks[1],
      /^id: benchEpoch00:1000008\nevent: bench\ndata: \{.*"offset":1000008,.*"mark":"0000000008@/,
    )
  })
})

t.test('keeps the newest frames, and counts one that came again as new', async (t) => {
  const known = new KnownFrames(3_000)
  const frame = {
    bytes: Buffer.alloc(1_000),
    events: 1,
    last: 1,
    stamp: 0,
    before: undefined,
    position: undefined,
    live: false,
  }
  const held = () => [1, 2, 3, 4, 5, 6, 7].filter((follows) => known.get(follows) !== undefined)
  for (const follows of [1, 2, 3]) known.add(follows, frame)
  t.strictSame(held(), [1, 2, 3])
  known.add(1, frame)
  known.add(4, frame)
  t.strictSame(held(), [1, 3, 4])
  for (const follows of [5, 6, 3, 7]) known.add(follows, frame)
  t.strictSame(held(), [3, 6, 7])
})
