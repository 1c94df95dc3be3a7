import { gzipSync } from 'node:zlib'
import { pack } from 'msgpackr'
import { Proxy } from '../kit/proxy.js'
import { SeededRandom } from '../kit/random.js'
import { RawClient } from '../kit/raw-http.js'
import { opcodes, rawFrame } from '../kit/raw-websocket.js'
import { until as waitUntil } from '../kit/wait.js'

/** A hub under attack, on a machine that is busy with it, may take its time. */
export function until(what: string, holds: () => boolean): Promise<void> {
  return waitUntil(what, holds, 60_000)
}

/** Who is attacked. */
export interface Target {
  readonly url: string
  readonly port: number
  /** A topic that others publish to and follow. */
  readonly topic: string
}

/** One round of an attack: what it opened is closed at its end. */
export type Attack = (target: Target, random: SeededRandom) => Promise<void>

const handshake = (protocol: string, more = '') =>
  `GET /api/ws HTTP/1.1\nhost: 127.0.0.1\nupgrade: websocket\nconnection: upgrade\nsec-websocket-version: 13\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\nsec-websocket-protocol: ${protocol}\n${more}\n`

export async function openRaw({ port }: Target, protocol = 'runcast.v1.json', more = ''): Promise<RawClient> {
  const client = new RawClient(port)
  client.send(handshake(protocol, more))
  await until('the handshake is answered', () => client.closed || client.text.includes('\r\n\r\n'))
  expectAdmitted(client)
  return client
}

function sendText(client: RawClient, ...texts: readonly (string | Uint8Array)[]): void {
  client.socket.write(Buffer.concat(texts.map((payload) => rawFrame({ opcode: opcodes.text, payload }))))
}

function post(path: string, body: string | Uint8Array, type = 'application/json'): Buffer {
  const bytes = Buffer.from(body as Uint8Array)
  const head = `POST ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: ${type}\r\ncontent-length: ${bytes.length}\r\n\r\n`
  return Buffer.concat([Buffer.from(head), bytes])
}

/** Runs with so many clients, and sees that none of them is left. */
export async function withClients(
  { port }: Target,
  count: number,
  run: (clients: readonly RawClient[]) => Promise<void> | void,
): Promise<void> {
  const clients = Array.from({ length: count }, () => new RawClient(port))
  try {
    await run(clients)
  } finally {
    for (const { socket } of clients) socket.destroy()
    await until('all clients have gone', () => clients.every(({ closed }) => closed))
  }
}

/** Sends to one client after the other, and waits until each has been answered or cut. */
async function answered(clients: readonly RawClient[], send: (client: RawClient) => void): Promise<void> {
  for (const client of clients) send(client)
  await until('all are answered or cut', () => clients.every(({ bytes, closed }) => bytes > 0 || closed))
  for (const client of clients) expectAdmitted(client)
}

/** An attack that is turned away at the door, for the name by which it calls the hub, tries nothing. */
function expectAdmitted({ text }: RawClient): void {
  if (text.startsWith('HTTP/1.1 403 ')) throw new Error(`the attack was not let in: ${text}`)
}

function nestedText(levels: number): string {
  return '['.repeat(levels) + ']'.repeat(levels)
}

export const attacks: Readonly<Record<string, Attack>> = {
  'heads that come byte by byte': (target) =>
    withClients(target, 200, async (clients) => {
      for (let round = 0; round < 5; round += 1) {
        for (const { socket } of clients) socket.write(round === 0 ? 'GET / HTTP/1.1\r\nx' : 'y')
        await fetch(`${target.url}/healthz`)
      }
    }),

  'bodies that do not end': (target) =>
    withClients(target, 100, async (clients) => {
      for (const { socket } of clients) {
        socket.write(
          'PUT /api/sessions/x/state/a HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 900000\r\n\r\n"',
        )
        socket.write(Buffer.alloc(20_000, 'x'))
      }
      await fetch(`${target.url}/healthz`)
    }),

  'links of which each end believes the other is there': async (target) => {
    const proxy = await Proxy.open(target.port)
    const clients = Array.from({ length: 50 }, () => new RawClient(proxy.port))
    await answered(clients, (client) => client.send(handshake('runcast.v1.json')))
    for (const client of clients) {
      sendText(client, JSON.stringify({ type: 'subscribe', sub: 1, topic: target.topic }))
    }
    for (const link of proxy.links) link.halfOpen()
    for (const { socket } of clients) socket.destroy()
    await fetch(`${target.url}/healthz`)
    await proxy.close()
  },

  'heads with hundreds of headers, or a huge one': (target) =>
    withClients(target, 40, (clients) =>
      answered(clients.slice(0, 20), (client) => {
        const huge = client === clients[0] ? 'y'.repeat(60_000) : 'y'.repeat(20_000)
        client.send(`GET /healthz HTTP/1.1\nhost: 127.0.0.1\nx: ${huge}\n\n`)
        const many = Array.from({ length: 500 }, (_, index) => `x-${index}: 1\n`).join('')
        clients[20]?.send(`GET /healthz HTTP/1.1\nhost: 127.0.0.1\n${many}\n`)
      }),
    ),

  'ten thousand subscriptions on one connection': async (target) => {
    const client = await openRaw(target)
    const subscribe = (sub: number, topic: string, types?: string[]) =>
      JSON.stringify({ type: 'subscribe', sub, topic, ...(types && { types }) })
    for (let sub = 0; sub < 10_000 && !client.closed; sub += 500) {
      const frames = Array.from({ length: 500 }, (_, index) =>
        index % 2 === 0
          ? subscribe(sub + index, `sessions/many-${sub + index}`)
          : subscribe(sub + index, target.topic, [`t${sub + index}`, 'note']),
      )
      sendText(client, ...frames, JSON.stringify({ type: 'ping', ref: `fence-${sub}` }))
      await until('they are answered', () => client.closed || client.text.includes(`fence-${sub}`))
    }
    client.socket.destroy()
  },

  'a thousand connections opened and cut at once': async (target) => {
    for (let round = 0; round < 4; round += 1) {
      await withClients(target, 250, (clients) =>
        answered(clients, (client) => client.send(handshake('runcast.v1.msgpack'))),
      )
    }
  },

  'patches that are made to be slow': async (target, random) => {
    const path = `/api/sessions/patched-${random.integer(1, 5)}/state/big`
    // As large as a hub for strangers takes.
    const large = JSON.stringify(Object.fromEntries(Array.from({ length: 4_000 }, (_, n) => [`k${n}`, n])))
    await fetch(target.url + path, { method: 'PUT', body: large })
    const operations = [
      Array.from({ length: 9_000 }, () => ({ op: 'copy', from: '/k0', path: '/k1' })),
      Array.from({ length: 9_000 }, () => ({ op: 'move', from: '/k0', path: '/k0' })),
      Array.from({ length: 9_000 }, () => ({ op: 'test', path: '/k3999', value: 3_999 })),
      Array.from({ length: 12 }, () => ({ op: 'copy', from: '', path: '/k1' })),
      [{ op: 'replace', path: '/k0', value: JSON.parse(nestedText(500)) as unknown }],
    ]
    for (const body of operations) {
      await fetch(target.url + path, {
        method: 'PATCH',
        body: JSON.stringify(body),
        headers: { 'content-type': 'application/json-patch+json' },
      })
    }
  },

  'filters that look like slow patterns': async (target) => {
    const client = await openRaw(target)
    const filter = (n: number) => [
      ...Array.from({ length: 62 }, (_, index) => `${'a'.repeat(64 + index)}${n % 7}*`),
      '!x*',
      'note',
    ]
    const bad = ['(a+)+$', 'a**', '*a', '!(a|a)*', '.*.*.*x']
    const frames = Array.from({ length: 200 }, (_, sub) =>
      JSON.stringify({
        type: sub % 2 === 0 ? 'subscribe' : 'update',
        sub: sub - (sub % 2),
        topic: sub % 2 === 0 ? target.topic : undefined,
        types: sub % 3 === 0 ? filter(sub) : [bad[sub % bad.length]],
      }),
    )
    sendText(client, ...frames, '{"type":"ping","ref":"fence"}')
    await until('they are answered', () => client.closed || client.text.includes('fence'))
    client.socket.destroy()
  },

  'JSON that is deep, huge, or named like a prototype': (target) =>
    withClients(target, 6, (clients) => {
      const bodies = [
        `{"type":"a","data":${nestedText(200_000)}}`,
        `{"type":"a","data":${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}}`,
        `{"type":"a","data":1e999}`,
        `{"type":"a","data":${'9'.repeat(100_000)}}`,
        '{"type":"a","data":{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}}',
        `{"__proto__":{"type":"a"},"type":"a"}`,
      ]
      return answered(clients, (client) => {
        const body = bodies[clients.indexOf(client)] ?? ''
        client.socket.write(post('/api/sessions/json/events', body))
      })
    }),

  'bytes that are neither UTF-8 nor plain MessagePack': async (target) => {
    const cyclic = Buffer.from('d6690000000192d67000000001d67000000001', 'hex')
    const bodies = [
      cyclic,
      Buffer.concat([
        Buffer.from([0x82, 0xa4]),
        Buffer.from('type'),
        Buffer.from([0xa1, 0x61, 0xa4]),
        Buffer.from('data'),
        cyclic,
      ]),
      Buffer.from([0xdd, 0xff, 0xff, 0xff, 0xff]),
      Buffer.alloc(500_000, 0x91),
      Buffer.alloc(500_000, 0xdf),
    ]
    await withClients(target, 2 * bodies.length, (clients) =>
      answered(clients, (client) => {
        const at = clients.indexOf(client)
        const type = at < bodies.length ? 'application/msgpack' : 'application/json'
        client.socket.write(post('/api/sessions/bytes/events', bodies[at % bodies.length] as Buffer, type))
      }),
    )
    for (const payload of bodies) {
      const client = await openRaw(target, 'runcast.v1.msgpack')
      client.socket.write(rawFrame({ opcode: opcodes.binary, payload }))
      await until('it is closed', () => client.closed)
    }
    const text = await openRaw(target)
    sendText(text, Buffer.from([0xff, 0xfe, 0xc0, 0x80]))
    await until('it is closed', () => text.closed)
  },

  'bodies and frames that unpack to a thousand times their size': async (target) => {
    const bomb = gzipSync(Buffer.alloc(50_000_000, ' '))
    for (const coding of ['gzip', 'deflate', 'br']) {
      const response = await fetch(`${target.url}/api/sessions/bomb/events`, {
        method: 'POST',
        body: bomb,
        headers: { 'content-type': 'application/json', 'content-encoding': coding },
      })
      if (response.status !== 415 && response.status !== 429) throw new Error(`answered ${response.status}`)
    }
    const client = await openRaw(target, 'runcast.v1.json', 'sec-websocket-extensions: permessage-deflate\n')
    if (client.text.toLowerCase().includes('permessage-deflate')) throw new Error('compression was agreed on')
    client.socket.write(rawFrame({ opcode: opcodes.text, payload: bomb.subarray(0, 10_000), reserved: 4 }))
    await until('it is cut', () => client.closed)
  },

  'a proxy that cuts anywhere': async (target, random) => {
    const proxy = await Proxy.open(target.port)
    const clients: RawClient[] = []
    for (let count = 0; count < 40; count += 1) {
      proxy.faults = { cutAfterBytes: random.integer(1, 3_000) }
      const client = new RawClient(proxy.port)
      clients.push(client)
      if (random.chance(0.5))
        client.send(`GET /api/${target.topic}/events?replay=all HTTP/1.1\nhost: 127.0.0.1\n\n`)
      else {
        client.send(handshake('runcast.v1.json'))
        const frame = JSON.stringify({ type: 'subscribe', sub: 1, topic: target.topic, replay: 'all' })
        const bytes = rawFrame({ opcode: opcodes.text, payload: frame })
        client.socket.write(bytes.subarray(0, random.integer(1, bytes.length)))
      }
    }
    await until('each has heard something', () => clients.every(({ bytes, closed }) => bytes > 0 || closed))
    await proxy.close()
    await until('all are cut', () => clients.every(({ closed }) => closed))
  },

  'everything too large': async (target) => {
    const client = await openRaw(target)
    client.socket.write(rawFrame({ opcode: opcodes.text, payload: Buffer.alloc(1_100_000, ' ') }))
    await until('it is closed', () => client.closed)
    await withClients(target, 5, (clients) => {
      const [body, line, url, filter, events] = clients as [
        RawClient,
        RawClient,
        RawClient,
        RawClient,
        RawClient,
      ]
      return answered(clients, (one) => {
        if (one === body) one.socket.write(post('/api/sessions/large/events', Buffer.alloc(1_100_000, ' ')))
        if (one === line)
          one.socket.write(
            post('/api/sessions/large/events', Buffer.alloc(1_100_000, 'x'), 'application/x-ndjson'),
          )
        if (one === url) one.send(`GET /healthz?${'x'.repeat(50_000)} HTTP/1.1\nhost: 127.0.0.1\n\n`)
        if (one === filter) {
          one.send(
            `GET /api/${target.topic}/events?types=${'a,'.repeat(1_500)} HTTP/1.1\nhost: 127.0.0.1\n\n`,
          )
        }
        if (one === events)
          one.socket.write(
            post(
              '/api/sessions/large/events',
              JSON.stringify(Array.from({ length: 20_000 }, () => ({ type: 'a' }))),
            ),
          )
      })
    })
  },

  'frames and requests as fast as they can be sent': async (target) => {
    const client = await openRaw(target)
    const frames = Buffer.concat(
      Array.from({ length: 1_000 }, (_, ref) =>
        rawFrame({ opcode: opcodes.text, payload: JSON.stringify({ type: 'ping', ref }) }),
      ),
    )
    for (let round = 0; round < 25 && !client.closed; round += 1) {
      const before = client.bytes
      client.socket.write(frames)
      await until('something comes', () => client.closed || client.bytes > before)
    }
    client.socket.destroy()
    await withClients(target, 20, async (clients) => {
      for (let round = 0; round < 10; round += 1) {
        const heard = clients.map(({ bytes }) => bytes)
        for (const one of clients)
          if (!one.closed) one.send('GET /api/sessions/none HTTP/1.1\nhost: 127.0.0.1\n\n')
        await until('all are answered', () =>
          clients.every(({ bytes, closed }, at) => closed || bytes > (heard[at] ?? 0)),
        )
      }
    })
  },

  'readers that do not read': async (target) => {
    const clients = Array.from({ length: 10 }, () => new RawClient(target.port))
    for (const client of clients) {
      client.socket.pause()
      client.send(`GET /api/${target.topic}/events?replay=all HTTP/1.1\nhost: 127.0.0.1\n\n`)
    }
    const line = `${JSON.stringify({ type: 'bulk', data: 'x'.repeat(10_000) })}\n`
    for (let round = 0; round < 5; round += 1) {
      await fetch(`${target.url}/api/${target.topic}/events`, {
        method: 'POST',
        body: line.repeat(20),
        headers: { 'content-type': 'application/x-ndjson' },
      })
    }
    for (const { socket } of clients) socket.destroy()
  },

  'MessagePack publishes with what JSON cannot say': async (target) => {
    const client = await openRaw(target, 'runcast.v1.msgpack')
    const values = [
      new Date(0),
      new Map([[1, 2]]),
      Buffer.from('x'),
      Number.NaN,
      Number.POSITIVE_INFINITY,
      /(a+)+$/,
      new Set([1]),
    ]
    for (const data of values) {
      const frame = { type: 'publish', topic: 'sessions/packed', events: [{ type: 'a', data }] }
      client.socket.write(rawFrame({ opcode: opcodes.binary, payload: pack(frame) }))
    }
    await until('it is closed', () => client.closed)
  },
}
