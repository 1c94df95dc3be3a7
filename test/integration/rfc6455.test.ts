import t, { type Test } from 'tap'
import { chooseTransport, transportNames } from '../../src/transport/choice.js'
import type { Socket, Upgrade } from '../../src/transport/transport.js'
import { serve, transportOptions } from '../conformance/transport-kit.js'
import { closePayload, opcodes, type RawFrame, RawWebSocket } from '../kit/raw-websocket.js'
import { until } from '../kit/wait.js'

// RFC 6455 frame by frame, against a service that sends every message back.

const wanted = transportNames.find((name) => name === process.env.RUNCAST_TRANSPORT) ?? 'auto'
const { make, name: transport } = await chooseTransport(wanted, transportOptions)

const { continuation, text, binary, close, ping, pong } = opcodes

interface Echo {
  readonly client: RawWebSocket
  /** Codes the service was told. */
  readonly codes: number[]
}

async function open(t: Test): Promise<Echo> {
  const codes: number[] = []
  const accept = (socket: Socket) => ({
    message: (bytes: Uint8Array, isBinary: boolean) => void socket.write(bytes, isBinary),
    tooLarge: () => socket.close(4504, ''),
    drained() {},
    pulse() {},
    closed: (code: number) => void codes.push(code),
  })
  const upgrade = (): Upgrade => ({ kind: 'accepted', open: accept })
  const { port } = await serve(t, make, { upgrade }, { frameBytesMax: 256 * 1024 })
  const client = await RawWebSocket.open(port)
  t.teardown(() => client.socket.destroy())
  return { client, codes }
}

/** What came back, as short text. */
function heard(client: RawWebSocket): string[] {
  const names = Object.fromEntries(Object.entries(opcodes).map(([name, code]) => [code, name]))
  return client.frames.map(({ opcode, payload }) => `${names[opcode]} ${payload.toString('latin1')}`)
}

/** Each sequence of frames gets exactly these answers, and the connection lives. */
async function answers(t: Test, name: string, frames: RawFrame[], expected: string[]): Promise<void> {
  const { client, codes } = await open(t)
  client.send(...frames)
  client.send({ opcode: ping, payload: 'fence' })
  await until(`the fence of "${name}" has come`, () => client.closed || heard(client).includes('pong fence'))
  t.same(heard(client), [...expected, 'pong fence'], name)
  t.same(codes, [], `${name}: still open`)
}

/** Nothing has come back; or, where the transport answers what came before, that and the reason. */
function expectFailed(t: Test, { frames }: RawWebSocket, name: string): void {
  const reasons = frames.map(({ opcode, payload }) => (opcode === close ? payload.readUInt16BE() : opcode))
  if (transport === 'uws') t.same(reasons, [], name)
  else t.match(reasons.at(-1), /^10(02|07|09)$/, name)
}

/**
 * Each sequence of frames makes the server fail the connection (section 7.1.7): nothing that follows is
 * heeded, and the link is closed. Answers to what came in the same read before are lost with it.
 *
 * Exception: where the RFC says that an endpoint SHOULD send a close frame with 1002, 1007 or 1009 first,
 * uWebSockets.js closes the link without one. Section 7.1.7 permits it; a client sees 1006. `ws` sends it.
 */
async function fails(t: Test, name: string, frames: RawFrame[]): Promise<void> {
  const { client, codes } = await open(t)
  client.send(...frames)
  client.send({ opcode: text, payload: 'too late' })
  await until(`"${name}" has closed the link`, () => client.closed && codes.length > 0)
  expectFailed(t, client, name)
  t.same(codes, [1006], `${name}: the service is told`)
}

t.test('4.2.2 the handshake is answered with the right key', async (t) => {
  const { client } = await open(t)
  t.match(client.head, /^HTTP\/1\.1 101 /)
  t.match(client.head, /\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=(\r\n|$)/i)
  t.notMatch(client.head, /sec-websocket-(protocol|extensions)/i, 'nothing that was not offered')
})

t.test('5.1 frames from the server are not masked, and use no reserved bit', async (t) => {
  const { client } = await open(t)
  client.send({ opcode: text, payload: 'a' }, { opcode: ping, payload: 'b' })
  await until('both are answered', () => client.frames.length === 2)
  t.ok(client.frames.every(({ fin, masked, reserved }) => fin && !masked && reserved === 0))
})

t.test('5.2 a length may have 7, 16 and 64 bits', async (t) => {
  for (const length of [0, 1, 125, 126, 127, 128, 65_535, 65_536, 200_000]) {
    const payload = 'x'.repeat(length)
    await answers(t, `${length} bytes`, [{ opcode: binary, payload }], [`binary ${payload}`])
  }
  const payload = 'y'.repeat(300)
  const { client } = await open(t)
  await client.dribble({ opcode: text, payload })
  await until('a frame that came byte by byte is answered', () => client.frames.length === 1)
  t.same(heard(client), [`text ${payload}`])
})

// Section 5.2: "the minimal number of bytes MUST be used to encode the length".
// Exception: uWebSockets.js takes longer encodings too. Harmless: they mean the same.
t.test('5.2 a length in more bits than needed is taken all the same (exception)', async (t) => {
  await answers(t, '5 in 16 bits', [{ opcode: text, payload: 'hello', lengthBits: 16 }], ['text hello'])
  await answers(t, '5 in 64 bits', [{ opcode: text, payload: 'hello', lengthBits: 64 }], ['text hello'])
})

t.test('5.2 a length with the highest bit set fails the connection', async (t) => {
  const { client, codes } = await open(t)
  client.socket.write(Buffer.from([0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 1, 2, 3, 4, 5]))
  await until('the link is closed', () => client.closed && codes.length > 0)
  expectFailed(t, client, 'a length of 63 bits and more')
})

t.test('5.2 reserved bits fail the connection', async (t) => {
  for (const reserved of [1, 2, 4, 7]) {
    await fails(t, `RSV ${reserved} on text`, [{ opcode: text, payload: 'x', reserved }])
    await fails(t, `RSV ${reserved} on ping`, [{ opcode: ping, payload: 'x', reserved }])
  }
})

t.test('5.2 reserved opcodes fail the connection', async (t) => {
  for (const opcode of [3, 4, 5, 6, 7, 11, 12, 13, 14, 15]) {
    await fails(t, `opcode ${opcode}`, [{ opcode, payload: 'x' }])
  }
})

t.test('5.4 a message may come in fragments, with control frames in between', async (t) => {
  await answers(
    t,
    'three fragments',
    [
      { opcode: text, payload: 'a', fin: false },
      { opcode: continuation, payload: 'b', fin: false },
      { opcode: continuation, payload: 'c' },
    ],
    ['text abc'],
  )
  await answers(
    t,
    'with pings and a pong in between',
    [
      { opcode: binary, payload: 'a', fin: false },
      { opcode: ping, payload: '1' },
      { opcode: continuation, payload: 'b', fin: false },
      { opcode: pong, payload: 'unasked' },
      { opcode: ping, payload: '2' },
      { opcode: continuation, payload: 'c' },
    ],
    ['pong 1', 'pong 2', 'binary abc'],
  )
  await answers(
    t,
    'empty fragments',
    [
      { opcode: text, fin: false },
      { opcode: continuation, payload: 'x', fin: false },
      { opcode: continuation, fin: false },
      { opcode: continuation },
    ],
    ['text x'],
  )
  await answers(
    t,
    'nothing but empty ones',
    [{ opcode: text, fin: false }, { opcode: continuation }],
    ['text '],
  )
})

t.test('5.4 fragments out of order fail the connection', async (t) => {
  await fails(t, 'a continuation of nothing', [{ opcode: continuation, payload: 'x' }])
  await fails(t, 'an unfinished continuation of nothing', [
    { opcode: continuation, payload: 'x', fin: false },
  ])
  await fails(t, 'a new message within another', [
    { opcode: text, payload: 'a', fin: false },
    { opcode: text, payload: 'b' },
  ])
  await fails(t, 'a continuation after the end', [
    { opcode: text, payload: 'a', fin: false },
    { opcode: continuation, payload: 'b' },
    { opcode: continuation, payload: 'c' },
  ])
})

t.test('5.5 control frames are at most 125 bytes long, and are not fragmented', async (t) => {
  const most = 'x'.repeat(125)
  await answers(t, 'a ping of 125 bytes', [{ opcode: ping, payload: most }], [`pong ${most}`])
  for (const opcode of [ping, pong, close]) {
    await fails(t, `opcode ${opcode} of 126 bytes`, [{ opcode, payload: Buffer.alloc(126, 3) }])
    await fails(t, `opcode ${opcode} in fragments`, [
      { opcode, payload: closePayload(1000), fin: false },
      { opcode: continuation },
    ])
  }
})

t.test('5.5.2 a ping is answered with its payload, an unasked pong with nothing', async (t) => {
  await answers(t, 'an empty ping', [{ opcode: ping }], ['pong '])
  await answers(t, 'any bytes', [{ opcode: ping, payload: Buffer.from([0, 255, 10]) }], ['pong \0\xff\n'])
  await answers(t, 'a pong', [{ opcode: pong, payload: 'x' }], [])
})

t.test('5.6 text must be UTF-8 once it is whole', async (t) => {
  const good = Buffer.from('κόσμε 😀 \u{10ffff}')
  const fragments = [...good].map((byte, at) => ({
    opcode: at === 0 ? text : continuation,
    payload: Buffer.of(byte),
    fin: at === good.length - 1,
  }))
  await answers(t, 'characters split across fragments', fragments, [`text ${good.toString('latin1')}`])
  for (const [name, bytes] of [
    ['a lone continuation byte', [0x80]],
    ['a truncated character', [0xe2, 0x82]],
    ['an overlong form', [0xc0, 0xaf]],
    ['a surrogate', [0xed, 0xa0, 0x80]],
    ['beyond U+10FFFF', [0xf4, 0x90, 0x80, 0x80]],
    ['0xFF', [0x61, 0xff, 0x62]],
  ] as const) {
    await fails(t, name, [{ opcode: text, payload: Buffer.from(bytes) }])
    const [first, ...rest] = bytes
    await fails(t, `${name}, in fragments`, [
      { opcode: text, payload: Buffer.of(first), fin: false },
      { opcode: continuation, payload: Buffer.from(rest) },
    ])
    const asBinary = Buffer.from(bytes)
    const echoed = [`binary ${asBinary.toString('latin1')}`]
    await answers(t, `${name}, in binary, is fine`, [{ opcode: binary, payload: asBinary }], echoed)
  }
})

t.test('7.4 a close frame is answered with its code, and then the link is closed', async (t) => {
  for (const code of [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999]) {
    const { client, codes } = await open(t)
    client.send({ opcode: close, payload: closePayload(code, 'bye') }, { opcode: text, payload: 'too late' })
    await until(`${code} has closed the link`, () => client.closed && codes.length > 0)
    // Exception: uWebSockets.js takes 3000–3999, which are for libraries and frameworks, for invalid.
    const taken = transport !== 'uws' || code < 3000 || code >= 4000
    t.same(codes, [taken ? code : 1006], `${code}: the service is told`)
    t.equal(client.frames.length, 1)
    t.equal(client.frames[0]?.opcode, close)
    if (taken) t.equal(client.frames[0]?.payload.readUInt16BE(), code)
  }
  const { client, codes } = await open(t)
  client.send({ opcode: close })
  await until('a close frame without a code has closed the link', () => client.closed && codes.length > 0)
  t.same(codes, [1005])
  t.same(heard(client), ['close '])
})

// Section 7.4: these codes must not be in a frame. The connection is failed.
// Exception: uWebSockets.js answers with a close frame without a code, where 1002 would be expected.
t.test('7.4 a close frame that is not valid is answered, and the link closed', async (t) => {
  for (const [name, payload] of [
    ...[0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65_535].map(
      (code) => [`code ${code}`, closePayload(code)] as const,
    ),
    ['a reason that is not UTF-8', closePayload(1000, Buffer.from([0xff]))],
  ] as const) {
    const { client, codes } = await open(t)
    client.send({ opcode: close, payload }, { opcode: text, payload: 'too late' })
    await until(`${name} has closed the link`, () => client.closed && codes.length > 0)
    t.same(codes, [1006], `${name}: the service is told`)
    if (transport === 'uws') t.same(heard(client), ['close '], name)
    else expectFailed(t, client, name)
  }
})

// Section 5.1: "a server MUST close the connection upon receiving a frame that is not masked".
// Exception: uWebSockets.js does not look at the mask bit. It takes four bytes for the mask that are none, so that
// such a client is misread, and misreads only itself.
t.test('5.1 a frame that is not masked fails the connection, or is misread (exception)', async (t) => {
  const { client, codes } = await open(t)
  if (transport !== 'uws') return fails(t, 'a frame that is not masked', [{ opcode: binary, masked: false }])
  client.send({ opcode: binary, payload: 'abcd', masked: false })
  client.socket.write('wxyz')
  await until('it is answered', () => client.frames.length === 1)
  const misread = Buffer.from('wxyz').map((byte, at) => byte ^ (Buffer.from('abcd')[at] as number))
  t.same(heard(client), [`binary ${Buffer.from(misread).toString('latin1')}`])
  client.send({ opcode: ping, payload: 'fence' })
  await until('the connection lives', () => client.frames.length === 2)
  t.same(codes, [])
})
