import { get, type IncomingMessage } from 'node:http'
import type { Readable } from 'node:stream'
import { pack, unpack } from 'msgpackr'
import t from 'tap'
import type { Codec } from '../../src/codec/codec.js'
import type { Connection } from '../../src/delivery/connection.js'
import { createHub } from '../../src/hub/hub.js'
import { systemClock } from '../../src/lib/clock.js'
import { closeCodes } from '../../src/protocol/codes.js'
import type { HubEvent, HubFrame } from '../../src/protocol/frames.js'
import { type Ending, memoryLink } from '../../src/transport/memory.js'
import { type FarEnd, links, note, type OpenLink } from '../conformance/links.js'
import { SimulatedClock } from '../kit/clock.js'
import { opcodes, RawWebSocket } from '../kit/raw-websocket.js'
import { overTransports, served } from '../kit/served.js'
import { until } from '../kit/wait.js'

const subscribe = { type: 'subscribe', sub: 1, topic: 'sessions/s' } as const

/** What a far end has heard, in the words of the suite. */
class Ear {
  readonly heard: (number | 'gap' | { readonly code: number })[] = []
  live = false

  event({ type, data }: Pick<HubEvent, 'type' | 'data'>): void {
    if (type === note) this.heard.push((data as { readonly n: number }).n)
  }

  frame(frame: HubFrame): void {
    if (frame.type === 'events') for (const event of frame.events) this.event(event)
    else if (frame.type === 'gap') this.heard.push('gap')
    else if (frame.type === 'live') this.live = true
  }
}

const inMemory: OpenLink = async (t, options) => {
  const hub = createHub({ report: (error) => t.error(error, 'nothing is reported'), ...options })
  const ear = new Ear()
  const opened: { connection?: Connection } = {}
  const { link, peer } = memoryLink(hub.codecs.object, {
    clock: systemClock,
    backpressureMax: 100,
    receive: (chunk) => ear.frame(chunk as HubFrame),
    drained: () => opened.connection?.drained(),
    closed(ending) {
      if (ending.kind === 'closed') ear.heard.push({ code: closeCodes[ending.code] })
      opened.connection?.closed()
    },
  })
  opened.connection = hub.connect(link)
  t.teardown(() => peer.cut())
  opened.connection.receive(subscribe)
  await until('it is live', () => ear.live)
  return {
    hub,
    far: {
      heard: ear.heard,
      stall: () => peer.stall(),
      resume: () => peer.resume(),
      cut: () => peer.cut(),
    },
  }
}

/** What a far end does by what it reads. */
function byStream(ear: Ear, stream: Readable): FarEnd {
  return {
    heard: ear.heard,
    stall: () => void stream.pause(),
    resume: () => void stream.resume(),
    cut: () => void stream.destroy(),
  }
}

function byWebSocket(codec: 'json' | 'msgpack'): OpenLink {
  return async (t, options) => {
    const { hub, server } = await served(t, { hub: options })
    const ear = new Ear()
    const client = await RawWebSocket.open(
      server.port,
      '/api/ws',
      { 'Sec-WebSocket-Protocol': `runcast.v1.${codec}` },
      ({ opcode, payload }) => {
        if (opcode === opcodes.text) ear.frame(JSON.parse(payload.toString()) as HubFrame)
        else if (opcode === opcodes.binary) ear.frame(unpack(payload) as HubFrame)
        else if (opcode === opcodes.close) ear.heard.push({ code: payload.readUInt16BE() })
      },
    )
    t.teardown(() => client.socket.destroy())
    const payload = codec === 'json' ? JSON.stringify(subscribe) : pack(subscribe)
    client.send({ opcode: codec === 'json' ? opcodes.text : opcodes.binary, payload })
    await until('it is live', () => ear.live)
    return { hub, far: byStream(ear, client.socket) }
  }
}

const bySse: OpenLink = async (t, options) => {
  const { hub, url } = await served(t, { hub: options })
  const ear = new Ear()
  const request = get(`${url}/api/sessions/s/events`)
  // Cut, by either end.
  request.on('error', () => {})
  t.teardown(() => request.destroy())
  const response = await new Promise<IncomingMessage>((resolve) => request.on('response', resolve))
  let text = ''
  response.on('error', () => {})
  response.setEncoding('utf8').on('data', (piece: string) => {
    const blocks = (text + piece).split('\n\n')
    text = blocks.pop() ?? ''
    for (const block of blocks) {
      const [, event = ''] = /^event: (.*)$/m.exec(block) ?? []
      const [, data = ''] = /^data: (.*)$/m.exec(block) ?? []
      if (event === 'hub.live') ear.live = true
      else if (event === 'hub.gap') ear.heard.push('gap')
      else if (event === 'hub.close') ear.heard.push({ code: (JSON.parse(data) as { code: number }).code })
      else if (event === note) ear.event(JSON.parse(data) as HubEvent)
    }
  })
  await until('it is live', () => ear.live)
  return { hub, far: byStream(ear, response) }
}

// A hub within its tests meets pairs in memory alone: they must be links like those that its users have.
t.test('links', async (t) => {
  t.test('in memory', async (t) => links(t, inMemory))
  overTransports(t, (t) => {
    t.test('WebSocket, JSON', async (t) => links(t, byWebSocket('json')))
    t.test('WebSocket, MessagePack', async (t) => links(t, byWebSocket('msgpack')))
    t.test('SSE', async (t) => links(t, bySse))
  })
})

t.test('memoryLink', async (t) => {
  const codec: Codec = {
    name: 'none',
    encodings: 0,
    namesFeeds: false,
    control: () => undefined,
    batch: () => new Uint8Array(),
  }
  function open(backpressureMax: number) {
    const clock = new SimulatedClock()
    const received: string[] = []
    const told: (string | Ending)[] = []
    const { link, peer } = memoryLink(codec, {
      clock,
      backpressureMax,
      receive: (chunk) => received.push(chunk instanceof Uint8Array ? String(chunk) : chunk.type),
      drained: () => told.push('drained'),
      closed: (ending) => told.push(ending),
    })
    return { clock, received, told, link, peer }
  }

  t.test('gives chunks in order, holds them while the peer has stalled, and drains', async (t) => {
    const { received, told, link, peer } = open(3)
    t.equal(link.write(Buffer.from('a')), true)
    t.same(received, ['a'])
    peer.stall()
    t.equal(link.write(Buffer.from('bc')), true)
    t.equal(link.write({ type: 'authorized' }), true, 'a frame counts 1')
    t.equal(link.write(Buffer.from('d')), false)
    t.equal(peer.waiting, 4)
    t.same(received, ['a'])
    peer.resume()
    t.same(received, ['a', 'bc', 'authorized', 'd'])
    t.same(told, ['drained'])
    t.equal(peer.waiting, 0)
  })

  t.test('closes after what was written, and tells at the end of the turn', async (t) => {
    const { clock, received, told, link, peer } = open(10)
    peer.stall()
    link.write(Buffer.from('a'))
    link.close('lagging', 'too slow')
    t.equal(link.write(Buffer.from('late')), true)
    clock.runTurn()
    t.same(told, [])
    peer.resume()
    t.same(told, [], 'not within a call')
    clock.runTurn()
    t.same(told, [{ kind: 'closed', code: 'lagging', reason: 'too slow' }])
    t.same(received, ['a'])
    link.end()
    peer.cut()
    clock.runTurn()
    t.equal(told.length, 1)
  })

  t.test('a cut loses what waits', async (t) => {
    const { clock, received, told, link, peer } = open(10)
    peer.stall()
    link.write(Buffer.from('a'))
    peer.cut()
    peer.resume()
    link.write(Buffer.from('b'))
    clock.runTurn()
    t.same(told, [{ kind: 'cut' }])
    t.same(received, [])
  })
})
