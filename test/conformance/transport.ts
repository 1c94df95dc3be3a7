import { Agent, request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import { createServer } from 'node:net'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import type {
  Answer,
  Exchange,
  Listening,
  Request,
  Service,
  Socket,
  SocketEvents,
  Stream,
  Transport,
  TransportOptions,
  Upgrade,
} from '../../src/transport/transport.js'
import { dechunk, RawClient } from '../kit/raw-http.js'
import { deferred, settled, until } from '../kit/wait.js'

const kib = 1024
const mib = 1024 * kib

export const transportOptions: TransportOptions = {
  frameBytesMax: 64 * kib,
  backpressureBytesMax: 256 * kib,
  overrunBytesMax: 16 * kib * kib,
  linksMax: 1_000,
}

type MakeTransport = (service: Service, options: TransportOptions) => Transport

/** What every transport must do, over real sockets on the loopback interface. */
export function transportConformance(t: Test, make: MakeTransport): void {
  requests(t, make)
  bodies(t, make)
  streams(t, make)
  sockets(t, make)
  listening(t, make)
}

const refuseSockets = (): Upgrade => ({ kind: 'refused', answer: { status: 404 } })
const noRequests = (_: Request, exchange: Exchange): void => exchange.answer({ status: 404 })

type Reading = (request: Request, exchange: Exchange) => Promise<void>

/** A service that awaits; what it throws is not swallowed. */
function reading(request: Reading): Service['request'] {
  return (head, exchange) => void request(head, exchange)
}

/** Listens until the test ends. */
export async function serve(
  t: Test,
  make: MakeTransport,
  service: Partial<Service>,
  options: Partial<TransportOptions> = {},
): Promise<Listening> {
  const transport = make(
    { request: noRequests, upgrade: refuseSockets, ...service },
    { ...transportOptions, ...options },
  )
  const listening = await transport.listen({ host: '127.0.0.1', port: 0 })
  t.teardown(() => listening.close())
  return listening
}

interface Heard {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

function ask(
  port: number,
  { method = 'GET', path = '/', headers = {}, body = '', agent = new Agent() }: Partial<Question> = {},
): Promise<Heard> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({ host: '127.0.0.1', port, method, path, headers, agent }, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('error', reject)
      response.on('end', () => {
        const { statusCode: status = 0, headers } = response
        resolve({ status, headers, body: Buffer.concat(chunks).toString() })
      })
    })
    request.on('error', reject)
    request.end(body)
  })
}

interface Question {
  readonly method: string
  readonly path: string
  readonly headers: Record<string, string | string[]>
  readonly body: string | Uint8Array
  readonly agent: Agent
}

function requests(t: Test, make: MakeTransport): void {
  t.test('a request stays readable, and its answer arrives, when it comes later', async (t) => {
    const { port } = await serve(t, make, {
      request(request, exchange) {
        setImmediate(() => {
          const { method, path, query, address } = request
          const headers = [...request.headers].filter(([name]) => name.startsWith('x-') || name === 'cookie')
          const body = JSON.stringify({ method, path, query, address, headers })
          exchange.answer({
            status: 201,
            headers: { 'Content-Type': 'application/json', 'X-Own': 'a\r\nb: c' },
            body,
          })
        })
      },
    })
    const heard = await ask(port, {
      method: 'PUT',
      path: '/a%20b/c?x=1&y=%20',
      headers: { 'X-One': 'Ä1', 'X-Two': ['a', 'b'], Cookie: ['c=1', 'd=2'] },
    })
    t.equal(heard.status, 201)
    t.equal(heard.headers['content-type'], 'application/json')
    t.equal(heard.headers['content-length'], String(heard.body.length))
    t.equal(heard.headers['b'], undefined, 'no value begins another header')
    const seen = JSON.parse(heard.body)
    t.match(seen, { method: 'PUT', path: '/a%20b/c', query: 'x=1&y=%20', address: '127.0.0.1' })
    t.match(new Map(seen.headers).get('x-two'), 'a, b')
    t.match(new Map(seen.headers).get('cookie'), 'c=1; d=2')
  })

  t.test('a request without a query has an empty one', async (t) => {
    const { port } = await serve(t, make, {
      request: ({ path, query }, exchange) => exchange.answer({ status: 200, body: `${path}|${query}` }),
    })
    t.equal((await ask(port, { path: '/x' })).body, '/x|')
    t.equal((await ask(port, { path: '/x?' })).body, '/x|')
    t.equal((await ask(port, { path: '/x??' })).body, '/x|?')
  })

  t.test('HEAD has the length of the body and no body, and the link lives on', async (t) => {
    const { port } = await serve(t, make, {
      request: (_, exchange) => exchange.answer({ status: 200, body: 'häuser' }),
    })
    const client = new RawClient(port)
    t.teardown(() => client.socket.destroy())
    client.send('HEAD /a HTTP/1.1\nHost: x\n\n')
    await until('the head has come', () => client.text.includes('\r\n\r\n'))
    t.match(client.text, /content-length: 7\r\n/i)
    client.send('GET /b HTTP/1.1\nHost: x\n\n')
    await until('the next answer has come', () => client.text.endsWith('häuser'))
    t.equal(client.text.split('häuser').length, 2, 'one body in all')
  })

  t.test('204 has neither a body nor a length', async (t) => {
    const { port } = await serve(t, make, { request: (_, exchange) => exchange.answer({ status: 204 }) })
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    t.teardown(() => agent.destroy())
    for (let n = 0; n < 2; n += 1) {
      const heard = await ask(port, { agent })
      t.equal(heard.status, 204)
      t.equal(heard.headers['content-length'], undefined)
    }
  })

  t.test('an answer of bytes arrives as it is, a large one too', async (t) => {
    const body = Buffer.alloc(3 * mib, 'ab')
    const { port } = await serve(t, make, {
      request: (_, exchange) => exchange.answer({ status: 200, body }),
    })
    t.ok(Buffer.from((await ask(port)).body).equals(body))
  })

  t.test('a client that goes before the answer is told of, and the answer does nothing', async (t) => {
    const exchanges: Exchange[] = []
    let told = 0
    const { port } = await serve(t, make, {
      request(_, exchange) {
        exchanges.push(exchange)
        exchange.onGone(() => {
          told += 1
        })
      },
    })
    const client = new RawClient(port)
    client.send('GET / HTTP/1.1\nHost: x\n\n')
    await until('the request has come', () => exchanges.length === 1)
    const [exchange] = exchanges as [Exchange]
    t.equal(exchange.gone, false)
    client.socket.destroy()
    await until('the service has been told', () => told === 1)
    t.equal(exchange.gone, true)
    exchange.onGone(() => {
      told += 1
    })
    t.equal(told, 2, 'at once when it has gone already')
    for await (const _ of exchange.body()) t.fail('there is no body')
    let closed = 0
    const stream = exchange.stream(
      { status: 200 },
      { drained: () => t.fail('drained'), closed: () => void (closed += 1) },
    )
    useAfterwards(t, stream)
    await until('the stream is closed', () => closed === 1)
  })

  t.test('a client that has its answer is not told of as gone', async (t) => {
    let gone = 0
    let requests = 0
    const { port } = await serve(t, make, {
      request(_, exchange) {
        requests += 1
        exchange.onGone(() => void (gone += 1))
        exchange.answer({ status: 200, body: 'ok' })
      },
    })
    const client = new RawClient(port)
    client.send('GET / HTTP/1.1\nHost: x\n\n')
    await until('it is answered', () => client.text.endsWith('ok'))
    client.socket.destroy()
    await until('it is closed', () => client.closed)
    await ask(port)
    t.same({ gone, requests }, { gone: 0, requests: 2 })
  })
}

function bodies(t: Test, make: MakeTransport): void {
  t.test('a body arrives whole and in order', async (t) => {
    const body = numbered(3 * mib)
    const { port } = await serve(t, make, { request: (_, exchange) => void echo(exchange) })
    for (const bytes of [0, 1, 100, 70_000, body.length]) {
      const sent = body.subarray(0, bytes)
      const heard = await ask(port, { method: 'POST', body: sent })
      t.ok(Buffer.from(heard.body, 'latin1').equals(sent), `${bytes} bytes with a length`)
      const chunked = await ask(port, {
        method: 'POST',
        body: sent,
        headers: { 'Transfer-Encoding': 'chunked' },
      })
      t.ok(Buffer.from(chunked.body, 'latin1').equals(sent), `${bytes} bytes in chunks`)
    }
  })

  t.test('the sender of a body is held up while the reader is busy', async (t) => {
    const bytes = 32 * mib
    const busy = deferred()
    let read = 0
    let largest = 0
    const { port } = await serve(t, make, {
      request: reading(async (_, exchange) => {
        for await (const chunk of exchange.body()) {
          if (read === 0) {
            read += chunk.length
            await busy.promise
            continue
          }
          read += chunk.length
          largest = Math.max(largest, chunk.length)
        }
        exchange.answer({ status: 200, body: String(read) })
      }),
    })
    const client = new RawClient(port)
    t.teardown(() => client.socket.destroy())
    client.send(`POST / HTTP/1.1\nHost: x\nContent-Length: ${bytes}\n\n`)
    // In pieces, because Node counts a piece as sent when all of it is.
    for (let sent = 0; sent < bytes; sent += 64 * kib) client.socket.write(Buffer.alloc(64 * kib))
    const waiting = await settled('what the client could not send', () => client.socket.writableLength)
    t.ok(waiting > bytes / 2, 'most of it has not even left the client', { waiting })
    t.ok(read <= mib, 'the reader got one chunk', { read })
    busy.resolve()
    await until('all is read', () => client.text.endsWith(String(bytes)))
    t.ok(largest <= mib, 'no chunk is larger than one read', { largest })
  })

  t.test('the body of a client that goes ends quietly', async (t) => {
    let ended = false
    let read = 0
    let exchange: Exchange | undefined
    const { port } = await serve(t, make, {
      request: reading(async (_, now) => {
        exchange = now
        for await (const chunk of now.body()) read += chunk.length
        ended = true
        now.answer({ status: 200 })
      }),
    })
    const client = new RawClient(port)
    client.send('POST / HTTP/1.1\nHost: x\nContent-Length: 100\n\nhalf')
    await until('half has come', () => read === 4)
    client.socket.destroy()
    await until('the body has ended', () => ended)
    t.equal(exchange?.gone, true)
  })

  t.test('a reader may stop early: the answer comes, and the link lives on', async (t) => {
    const { port } = await serve(t, make, {
      request: reading(async (request, exchange) => {
        for await (const _ of exchange.body()) break
        exchange.answer({ status: request.method === 'POST' ? 413 : 200 })
      }),
    })
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    t.teardown(() => agent.destroy())
    t.equal((await ask(port, { method: 'POST', body: Buffer.alloc(8 * mib), agent })).status, 413)
    t.equal((await ask(port, { agent })).status, 200)
    t.equal(Object.values(agent.freeSockets).flat().length, 1, 'one socket was enough')
  })

  t.test('a body that nobody reads does not keep the answer', async (t) => {
    const { port } = await serve(t, make, { request: (_, exchange) => exchange.answer({ status: 404 }) })
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    t.teardown(() => agent.destroy())
    for (let n = 0; n < 3; n += 1) {
      t.equal((await ask(port, { method: 'POST', body: Buffer.alloc(mib), agent })).status, 404)
    }
  })

  t.test('a client that waits for 100 Continue is told to go on', async (t) => {
    const { port } = await serve(t, make, { request: (_, exchange) => void echo(exchange) })
    const client = new RawClient(port)
    t.teardown(() => client.socket.destroy())
    client.send('POST / HTTP/1.1\nHost: x\nContent-Length: 5\nExpect: 100-continue\n\n')
    await until('it may go on', () => client.text.startsWith('HTTP/1.1 100 Continue\r\n\r\n'))
    client.send('hello')
    await until('it is answered', () => client.text.endsWith('hello'))
  })
}

async function echo(exchange: Exchange): Promise<void> {
  const chunks: Uint8Array[] = []
  for await (const chunk of exchange.body()) chunks.push(chunk)
  exchange.answer({ status: 200, body: Buffer.from(Buffer.concat(chunks).toString('latin1'), 'utf8') })
}

/** Bytes that tell their place, so that a lost, repeated or misplaced one shows. */
function numbered(bytes: number): Buffer {
  const numbers = new Uint32Array(Math.ceil(bytes / 4))
  // Seven bits to a byte, so that the text of it has one character a byte.
  for (let n = 0; n < numbers.length; n += 1) {
    numbers[n] = (n & 0x7f) | ((n & 0x3f80) << 1) | ((n & 0x1fc000) << 2) | ((n & 0xfe00000) << 3)
  }
  return Buffer.from(numbers.buffer, 0, bytes)
}

interface OpenedStream {
  readonly stream: Stream
  readonly client: RawClient
  readonly told: { drained: number; closed: number }
}

/** A stream with a raw client at its other end. */
async function openStream(
  t: Test,
  make: MakeTransport,
  options: Partial<TransportOptions> = {},
  drained: (stream: Stream) => void = () => {},
): Promise<OpenedStream> {
  const told = { drained: 0, closed: 0 }
  const opened: Stream[] = []
  const { port } = await serve(
    t,
    make,
    {
      request(_, exchange) {
        const stream: Stream = exchange.stream(
          { status: 200, headers: { 'Content-Type': 'text/event-stream' } },
          {
            drained() {
              told.drained += 1
              drained(stream)
            },
            closed: () => void (told.closed += 1),
          },
        )
        opened.push(stream)
      },
    },
    options,
  )
  const client = new RawClient(port)
  t.teardown(() => client.socket.destroy())
  client.send('GET /events HTTP/1.1\nHost: x\n\n')
  await until('the stream is open', () => opened.length === 1)
  return { stream: opened[0] as Stream, client, told }
}

function useAfterwards(t: Test, stream: Stream): void {
  t.equal(stream.write(Buffer.from('late')), true)
  let ran = 0
  stream.cork(() => {
    ran += 1
    stream.write(Buffer.from('late'))
  })
  t.equal(ran, 1)
  stream.end()
  stream.cut()
}

function streams(t: Test, make: MakeTransport): void {
  t.test('a stream carries what is written, within corks, within corks in corks, and without', async (t) => {
    const { stream, client, told } = await openStream(t, make)
    t.equal(stream.write(Buffer.from('1')), true)
    stream.cork(() => {
      stream.write(Buffer.from('2'))
      stream.cork(() => stream.write(Buffer.from('3')))
      stream.write(Buffer.from('4'))
    })
    stream.write(new Uint8Array())
    stream.write(Buffer.from('--56--').subarray(2, 4))
    await until('it has come', () => dechunk(client.data).body.toString() === '123456')
    t.match(client.text, /^HTTP\/1\.1 200 OK\r\n(.+\r\n)*content-type: text\/event-stream\r\n/i)
    stream.end()
    await until('it has ended', () => dechunk(client.data).complete)
    await until('the service is told', () => told.closed === 1)
    useAfterwards(t, stream)
    t.same(told, { drained: 0, closed: 1 })
    client.send('GET /again HTTP/1.1\nHost: x\n\n')
    await until('the link serves the next request', () => client.text.split('HTTP/1.1 200').length === 2)
  })

  t.test('a client that stops reading and goes on gets every byte in order', async (t) => {
    const all = numbered(24 * mib)
    const pieceBytes = 32 * kib
    let written = 0
    const falses: number[] = []
    function writeOn(stream: Stream): void {
      while (written < all.length) {
        const piece = all.subarray(written, written + pieceBytes)
        written += piece.length
        if (!stream.write(piece)) {
          falses.push(written)
          return
        }
      }
      stream.end()
    }
    const { stream, client, told } = await openStream(t, make, {}, writeOn)
    client.socket.pause()
    writeOn(stream)
    await settled('what was written', () => written)
    t.ok(falses.length >= 1, 'write has answered false')
    t.ok(written < all.length, 'the writer waits', { written })
    // Now and then the client reads a little; each time the writer may go on for a while.
    for (let n = 0; n < 3; n += 1) {
      const before = client.bytes
      client.socket.resume()
      await until('the client has read some', () => client.bytes > before + mib)
      client.socket.pause()
      await settled('what was written', () => written)
      t.ok(written - client.bytes < 16 * mib, 'what waits is bounded', { written, read: client.bytes })
    }
    client.socket.resume()
    await until('the stream has ended', () => client.text.endsWith('\r\n0\r\n\r\n'))
    t.ok(dechunk(client.data).body.equals(all))
    t.equal(told.drained, falses.length, 'drained once after each false')
    t.equal(told.closed, 1)
  })

  t.test('drained comes when nothing more is written, too', async (t) => {
    const { stream, client, told } = await openStream(t, make)
    client.socket.pause()
    let bytes = 0
    const piece = Buffer.alloc(32 * kib, 'x')
    do bytes += piece.length
    while (stream.write(piece))
    t.equal(stream.write(piece), false, 'and it says so again')
    bytes += piece.length
    await settled('nothing', () => told.drained)
    t.equal(told.drained, 0)
    client.socket.resume()
    await until('it is drained', () => told.drained === 1)
    await until('all has come', () => dechunk(client.data).body.length === bytes)
    t.equal(stream.write(Buffer.from('end')), true)
    await until('the rest has come', () => dechunk(client.data).body.subarray(bytes).toString() === 'end')
    t.equal(told.drained, 1)
  })

  t.test('a tiny high water works like a large one', async (t) => {
    const { stream, client, told } = await openStream(t, make, { backpressureBytesMax: 1 })
    client.socket.pause()
    let bytes = 0
    const piece = Buffer.alloc(10 * kib, 'x')
    do bytes += piece.length
    while (stream.write(piece))
    client.socket.resume()
    await until('it is drained', () => told.drained === 1)
    t.equal(stream.write(piece), true)
    await until('all has come', () => dechunk(client.data).body.length === bytes + piece.length)
  })

  t.test('a write of several MiB is taken whole, and ended in good order', async (t) => {
    const all = numbered(9 * mib)
    const { stream, client, told } = await openStream(t, make)
    client.socket.pause()
    stream.cork(() => {
      stream.write(all.subarray(0, 10))
      t.equal(stream.write(all.subarray(10)), false)
    })
    stream.end()
    t.equal(told.closed, 0, 'not before it has left')
    useAfterwards(t, {
      ...stream,
      write: (chunk) => stream.write(chunk),
      cork: (w) => stream.cork(w),
      end: () => stream.end(),
      cut() {},
    })
    client.socket.resume()
    await until('the stream has ended', () => client.text.endsWith('\r\n0\r\n\r\n'))
    t.ok(dechunk(client.data).body.equals(all))
    t.same(told, { drained: 0, closed: 1 })
  })

  t.test('a client that cuts the stream is told of once', async (t) => {
    const { stream, client, told } = await openStream(t, make)
    stream.write(Buffer.from('x'))
    await until('it has come', () => client.bytes > 0)
    client.socket.resetAndDestroy()
    await until('the service is told', () => told.closed === 1)
    useAfterwards(t, stream)
    await settled('it', () => told.closed)
    t.same(told, { drained: 0, closed: 1 })
  })

  t.test('a client that cuts the stream while much waits is told of once', async (t) => {
    const { stream, client, told } = await openStream(t, make)
    client.socket.pause()
    while (stream.write(Buffer.alloc(32 * kib)));
    client.socket.destroy()
    await until('the service is told', () => told.closed === 1)
    useAfterwards(t, stream)
    t.same(told, { drained: 0, closed: 1 })
  })

  t.test('cut ends the link without the end of the stream', async (t) => {
    const { stream, client, told } = await openStream(t, make)
    stream.write(Buffer.from('x'))
    await until('it has come', () => client.bytes > 0)
    stream.cork(() => stream.cut())
    t.equal(told.closed, 0, 'not within the call')
    await until('the client sees it', () => client.closed)
    t.equal(dechunk(client.data).complete, false)
    useAfterwards(t, stream)
    t.same(told, { drained: 0, closed: 1 })
  })

  t.test('a writer that does not heed false loses the link, not the memory', async (t) => {
    const { stream, client, told } = await openStream(t, make)
    client.socket.pause()
    const piece = Buffer.alloc(mib)
    let writes = 0
    for (; writes < 64 && told.closed === 0; writes += 1) {
      stream.write(piece)
      await Promise.resolve()
    }
    t.ok(writes < 64, 'it was cut', { writes })
    t.same(told, { drained: 0, closed: 1 })
  })

  t.test('HEAD of a stream is its head', async (t) => {
    let closed = 0
    const { port } = await serve(t, make, {
      request(_, exchange) {
        const head = { status: 200, headers: { 'Content-Type': 'text/event-stream' } }
        const stream = exchange.stream(head, { drained() {}, closed: () => void (closed += 1) })
        stream.write(Buffer.from('x'))
      },
    })
    const heard = await ask(port, { method: 'HEAD' })
    t.equal(heard.status, 200)
    t.equal(heard.headers['content-type'], 'text/event-stream')
    t.equal(closed, 1)
  })
}

interface OpenedSocket {
  readonly socket: Socket
  readonly client: WebSocket
  readonly told: Told
}

interface Told {
  readonly messages: { bytes: Buffer; binary: boolean }[]
  readonly codes: number[]
  tooLarge: number
  drained: number
  pulses: number
}

function noteEvents(told: Told, drained: () => void = () => {}): SocketEvents {
  return {
    message: (bytes, binary) => void told.messages.push({ bytes: Buffer.from(Buffer.from(bytes)), binary }),
    tooLarge: () => void (told.tooLarge += 1),
    drained() {
      told.drained += 1
      drained()
    },
    pulse: () => void (told.pulses += 1),
    closed: (code) => void told.codes.push(code),
  }
}

async function openSocket(
  t: Test,
  make: MakeTransport,
  options: Partial<TransportOptions> = {},
  drained: (socket: Socket) => void = () => {},
): Promise<OpenedSocket> {
  const told: Told = { messages: [], codes: [], tooLarge: 0, drained: 0, pulses: 0 }
  const opened: Socket[] = []
  const upgrade = (): Upgrade => ({
    kind: 'accepted',
    open(socket) {
      opened.push(socket)
      return noteEvents(told, () => drained(socket))
    },
  })
  const { port } = await serve(t, make, { upgrade }, options)
  const client = new WebSocket(`ws://127.0.0.1:${port}/ws`)
  t.teardown(() => client.terminate())
  client.on('error', () => {})
  await until('both ends are open', () => opened.length === 1 && client.readyState === WebSocket.OPEN)
  return { socket: opened[0] as Socket, client, told }
}

interface Refusal {
  readonly status: number
  readonly body: string
}

/** Dials a WebSocket; tells the subprotocol when it opens, or the answer that refused it. */
function dial(
  port: number,
  protocols: string[] = [],
  options: { protocolVersion?: 8 | 13 } = {},
): Promise<string | Refusal> {
  return new Promise((resolve, reject) => {
    const client = new WebSocket(`ws://127.0.0.1:${port}/ws?token=1`, protocols, options)
    client.on('open', () => {
      resolve(client.protocol)
      client.terminate()
    })
    client.on('unexpected-response', (_, response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() }),
      )
    })
    client.on('error', reject)
  })
}

function useSocketAfterwards(t: Test, socket: Socket): void {
  t.equal(socket.write(Buffer.from('late'), true), true)
  let ran = 0
  socket.cork(() => void (ran += 1))
  t.equal(ran, 1)
  socket.ping()
  socket.close(1000, '')
  socket.cut()
}

function sockets(t: Test, make: MakeTransport): void {
  const refused: Answer = { status: 400, headers: { 'Content-Type': 'text/plain' }, body: 'which protocol?' }
  t.test('a WebSocket opens with the chosen protocol, or is refused', async (t) => {
    const requests: Request[] = []
    const { port } = await serve(t, make, {
      upgrade(request) {
        requests.push(request)
        const offered = request.headers.get('sec-websocket-protocol')?.split(/, */) ?? []
        if (offered.includes('none')) return { kind: 'refused', answer: refused }
        const protocol = offered.at(-1)
        const told: Told = { messages: [], codes: [], tooLarge: 0, drained: 0, pulses: 0 }
        return { kind: 'accepted', ...(protocol && { protocol }), open: () => noteEvents(told) }
      },
    })
    t.equal(await dial(port), '')
    t.equal(await dial(port, ['a']), 'a')
    t.equal(await dial(port, ['a', 'b.c']), 'b.c')
    t.same(await dial(port, ['none']), { status: 400, body: 'which protocol?' })
    t.match(requests[0], { method: 'GET', path: '/ws', query: 'token=1', address: '127.0.0.1' })
  })

  t.test(
    'whoever is refused a WebSocket, at once or later, gets the whole answer and is then let go',
    async (t) => {
      const answers: ((answer: Answer) => void)[] = []
      const { port } = await serve(t, make, {
        upgrade({ path }) {
          const later = new Promise<Answer>((resolve) => void answers.push(resolve))
          return { kind: 'refused', answer: path === '/now' ? refused : later }
        },
      })
      const ask = (path: string): RawClient => {
        const client = new RawClient(port)
        client.send(
          `GET ${path} HTTP/1.1\nhost: x\nupgrade: websocket\nconnection: upgrade\nsec-websocket-version: 13\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\n\n`,
        )
        return client
      }
      const clients = [ask('/now')]
      await until('it is answered', () => answers.length === 1)
      for (const path of ['/gone', '/later']) clients.push(ask(path))
      await until('both have asked', () => answers.length === 3)
      const [now, gone, later] = clients as [RawClient, RawClient, RawClient]
      gone.socket.destroy()
      await until('one has gone, and one was answered', () => gone.closed && now.closed)
      t.equal(later.text, '')
      for (const answer of answers) answer(refused)
      await until('the other one is answered', () => later.closed)
      for (const { text } of [now, later])
        t.match(text, /^HTTP\/1.1 400 [^]*connection: close[^]*which protocol\?$/i)
      t.equal(gone.text, '')
    },
  )

  t.test('a version other than 13 is refused with the one we speak', async (t) => {
    const { port } = await serve(t, make, { upgrade: () => t.fail('not asked') as never })
    t.match(await dial(port, [], { protocolVersion: 8 }), { status: 426 })
  })

  t.test('messages of both kinds arrive as they are, both ways', async (t) => {
    const { socket, client, told } = await openSocket(t, make)
    const heard: { bytes: Buffer; binary: boolean }[] = []
    client.on('message', (data, binary) => heard.push({ bytes: data as Buffer, binary }))
    const sent = [
      { bytes: Buffer.from('häuser'), binary: false },
      { bytes: Buffer.from([0, 255, 128]), binary: true },
      { bytes: Buffer.alloc(0), binary: true },
      { bytes: Buffer.alloc(0), binary: false },
      { bytes: numbered(transportOptions.frameBytesMax), binary: true },
      { bytes: Buffer.from('corked'), binary: false },
    ]
    for (const { bytes, binary } of sent) client.send(bytes, { binary })
    for (const { bytes, binary } of sent.slice(0, -1)) t.equal(socket.write(bytes, binary), true)
    socket.cork(() => socket.cork(() => socket.write((sent.at(-1) as { bytes: Buffer }).bytes, false)))
    await until('all have come', () => told.messages.length === sent.length && heard.length === sent.length)
    t.strictSame(told.messages, sent)
    t.strictSame(heard, sent)
  })

  t.test('a message over the limit is told of without its content, and the link lives', async (t) => {
    const { client, told } = await openSocket(t, make)
    client.send(Buffer.alloc(transportOptions.frameBytesMax))
    client.send(Buffer.alloc(transportOptions.frameBytesMax + 1))
    client.send('after')
    await until('all have come', () => told.messages.length === 2)
    t.equal(told.tooLarge, 1)
    t.equal(told.messages[1]?.bytes.toString(), 'after')
  })

  t.test('a message far over the limit cuts the link', async (t) => {
    const { client, told } = await openSocket(t, make)
    client.send(Buffer.alloc(2 * transportOptions.frameBytesMax + 1))
    await until('it is closed', () => told.codes.length === 1)
    t.same(told, { messages: [], codes: [1006], tooLarge: 0, drained: 0, pulses: 0 })
  })

  t.test('a client that stops reading and goes on gets every message in order', async (t) => {
    const all = numbered(24 * mib)
    const pieceBytes = 32 * kib
    let written = 0
    const falses: number[] = []
    function writeOn(socket: Socket): void {
      while (written < all.length) {
        const piece = all.subarray(written, written + pieceBytes)
        written += piece.length
        if (!socket.write(piece, true)) {
          falses.push(written)
          return
        }
      }
      socket.close(4000, 'that is all')
    }
    const { socket, client, told } = await openSocket(t, make, {}, writeOn)
    const heard: Buffer[] = []
    let closed = 0
    client.on('message', (data) => heard.push(data as Buffer))
    client.on('close', (code) => {
      closed = code
    })
    client.pause()
    writeOn(socket)
    await settled('what was written', () => written)
    t.ok(falses.length >= 1 && written < all.length, 'the writer waits', { written })
    client.resume()
    await until('all has come', () => closed !== 0)
    t.equal(closed, 4000)
    t.ok(Buffer.concat(heard).equals(all))
    t.equal(told.drained, falses.length, 'drained once after each false')
  })

  t.test('a client that asks and never reads is cut', async (t) => {
    const { client, told } = await openSocket(t, make)
    client.pause()
    const payload = Buffer.alloc(125)
    // 60 MB: much more than what may wait and what the kernel takes.
    for (let round = 0; round < 450 && told.codes.length === 0; round += 1) {
      for (let n = 0; n < 1000; n += 1) client.ping(payload)
      await until('they have left', () => client.bufferedAmount === 0 || told.codes.length > 0)
    }
    await until('it is cut', () => told.codes.length > 0)
    t.same(told.codes, [1006])
  })

  t.test('pings and pongs are pulses, and pings are answered', async (t) => {
    const { socket, client, told } = await openSocket(t, make)
    let pings = 0
    const pongs: string[] = []
    client.on('ping', () => void (pings += 1))
    client.on('pong', (data) => pongs.push(data.toString()))
    client.ping('abc')
    await until('it is answered', () => pongs.length === 1)
    t.same(pongs, ['abc'])
    t.equal(told.pulses, 1)
    socket.ping()
    await until('the pong has come', () => told.pulses === 2)
    t.equal(pings, 1)
  })

  t.test('a close from here carries code and reason, and is told of once, not within the call', async (t) => {
    for (const [code, reason, heard] of [
      [4001, 'lagging', 'lagging'],
      [1000, '', ''],
      [4500, 'ä'.repeat(100), 'ä'.repeat(61)],
      [4500, `a${'😀'.repeat(100)}`, `a${'😀'.repeat(30)}`],
    ] as const) {
      const { socket, client, told } = await openSocket(t, make)
      const closed: { code: number; reason: string }[] = []
      client.on('close', (code, reason) => closed.push({ code, reason: reason.toString() }))
      socket.write(Buffer.from('last words'), false)
      socket.close(code, reason)
      t.same(told.codes, [], 'not within the call')
      useSocketAfterwards(t, socket)
      await until('the client sees it', () => closed.length === 1)
      t.same(closed, [{ code, reason: heard }])
      t.same(told.codes, [code])
    }
  })

  t.test('a close from there is told of with its code', async (t) => {
    for (const [close, code] of [
      [(client: WebSocket) => client.close(4000, 'bye'), 4000],
      [(client: WebSocket) => client.close(), 1005],
      [(client: WebSocket) => client.terminate(), 1006],
    ] as const) {
      const { socket, client, told } = await openSocket(t, make)
      close(client)
      await until('the service is told', () => told.codes.length > 0)
      t.same(told.codes, [code])
      useSocketAfterwards(t, socket)
    }
  })

  t.test('cut ends the link without a close frame', async (t) => {
    const { socket, client, told } = await openSocket(t, make)
    const codes: number[] = []
    client.on('close', (code) => codes.push(code))
    socket.cork(() => socket.cut())
    await until('the client sees it', () => codes.length === 1)
    t.same(codes, [1006])
    t.same(told.codes, [1006])
    useSocketAfterwards(t, socket)
  })

  t.test('a socket may be closed while it opens', async (t) => {
    const told: Told = { messages: [], codes: [], tooLarge: 0, drained: 0, pulses: 0 }
    const { port } = await serve(t, make, {
      upgrade: () => ({
        kind: 'accepted',
        open(socket) {
          socket.close(4503, 'no')
          return noteEvents(told)
        },
      }),
    })
    const client = new WebSocket(`ws://127.0.0.1:${port}/`)
    const codes: number[] = []
    client.on('close', (code) => codes.push(code))
    await until('the client sees it', () => codes.length === 1)
    t.same(codes, [4503])
    t.same(told.codes, [4503])
  })
}

function listening(t: Test, make: MakeTransport): void {
  const service: Service = {
    request: (_, exchange) => exchange.answer({ status: 200, body: 'here' }),
    upgrade: refuseSockets,
  }

  t.test('a taken port is refused', async (t) => {
    const { port } = await serve(t, make, service)
    const second = make(service, transportOptions)
    await t.rejects(second.listen({ host: '127.0.0.1', port }), { code: 'EADDRINUSE' })
    const other = createServer()
    t.teardown(() => other.close())
    const taken = await new Promise<number>((resolve) => {
      other.listen(0, '127.0.0.1', () => resolve((other.address() as { port: number }).port))
    })
    await t.rejects(second.listen({ host: '127.0.0.1', port: taken }), { code: 'EADDRINUSE' })
  })

  t.test('a host that is not ours is refused, with what is wrong', async (t) => {
    const transport = make(service, transportOptions)
    await t.rejects(transport.listen({ host: '192.0.2.1', port: 0 }), { code: 'EADDRNOTAVAIL' })
  })

  t.test('stopAccepting takes nothing new and leaves what is open; close cuts it', async (t) => {
    let exchange: Exchange | undefined
    let gone = 0
    const listening = await serve(t, make, {
      request(_, now) {
        exchange = now
        now.onGone(() => void (gone += 1))
      },
    })
    const client = new RawClient(listening.port)
    client.send('GET / HTTP/1.1\nHost: x\n\n')
    await until('the request has come', () => exchange !== undefined)
    listening.stopAccepting()
    listening.stopAccepting()
    await t.rejects(ask(listening.port), { code: 'ECONNREFUSED' })
    exchange?.answer({ status: 200, body: 'still' })
    await until('it is answered', () => client.text.endsWith('still'))
    exchange = undefined
    client.send('GET / HTTP/1.1\nHost: x\n\n')
    await until('the next request has come', () => exchange !== undefined)
    listening.close()
    await until('it is cut', () => client.closed && gone === 1)
  })
}
