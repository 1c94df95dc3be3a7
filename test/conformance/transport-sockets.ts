import type { Test } from 'tap'
import { WebSocket } from 'ws'
import type {
  Answer,
  Request,
  Socket,
  SocketEvents,
  TransportOptions,
  Upgrade,
} from '../../src/transport/transport.js'
import { RawClient } from '../kit/raw-http.js'
import { opcodes, RawWebSocket } from '../kit/raw-websocket.js'
import { settled, until } from '../kit/wait.js'
import { kib, type MakeTransport, mib, numbered, serve, transportOptions } from './transport-kit.js'

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

export function sockets(t: Test, make: MakeTransport): void {
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
      await until('both ends see it', () => closed.length === 1 && told.codes.length > 0)
      t.same(closed, [{ code, reason: heard }])
      t.same(told.codes, [code])
    }
  })

  t.test('once it is closed at a frame, nothing more of what was read is told of', async (t) => {
    for (const [close, code, heard] of [
      [(socket: Socket) => socket.close(4000, 'enough'), 4000, [opcodes.pong, opcodes.pong, opcodes.close]],
      [(socket: Socket) => socket.cut(), 1006, []],
    ] as const) {
      const told: Told = { messages: [], codes: [], tooLarge: 0, drained: 0, pulses: 0 }
      const upgrade = (): Upgrade => ({
        kind: 'accepted',
        open: (socket) => ({
          ...noteEvents(told),
          pulse() {
            told.pulses += 1
            if (told.pulses < 3) return
            close(socket)
            t.same(told.codes, [], 'not within the call')
          },
        }),
      })
      const { port } = await serve(t, make, { upgrade })
      const client = await RawWebSocket.open(port)
      const pings = Array.from({ length: 1_000 }, () => ({ opcode: opcodes.ping }))
      client.send(...pings, { opcode: opcodes.text, payload: 'late' })
      await until('the service is told', () => told.codes.length > 0)
      t.match(told, { pulses: 3, messages: [], codes: [code] })
      await until(
        'the client hears it',
        () => client.closed || client.frames.at(-1)?.opcode === opcodes.close,
      )
      client.socket.destroy()
      for (const opcode of heard) t.ok(client.frames.some((frame) => frame.opcode === opcode))
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
    await until('both ends see it', () => codes.length === 1 && told.codes.length > 0)
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
    await until('both ends see it', () => codes.length === 1 && told.codes.length > 0)
    t.same(codes, [4503])
    t.same(told.codes, [4503])
  })
}
