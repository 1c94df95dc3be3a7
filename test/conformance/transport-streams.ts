import type { Test } from 'tap'
import type { Stream, TransportOptions } from '../../src/transport/transport.js'
import { reset } from '../kit/proxy.js'
import { dechunk, RawClient } from '../kit/raw-http.js'
import { settled, until } from '../kit/wait.js'
import { ask, kib, type MakeTransport, mib, numbered, serve, useAfterwards } from './transport-kit.js'

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

export function streams(t: Test, make: MakeTransport): void {
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
    // What takes the bytes may do so a little later, until the client's side is full as well.
    let drained = -1
    while (drained !== told.drained) {
      drained = told.drained
      do bytes += piece.length
      while (stream.write(piece))
      await settled('what is told', () => told.drained)
    }
    do bytes += piece.length
    while (stream.write(piece))
    t.equal(stream.write(piece), false, 'and it says so again')
    bytes += piece.length
    await settled('nothing', () => told.drained)
    t.equal(told.drained, drained)
    client.socket.resume()
    await until('it is drained', () => told.drained === drained + 1)
    await until('all has come', () => dechunk(client.data).body.length === bytes)
    t.equal(stream.write(Buffer.from('end')), true)
    await until('the rest has come', () => dechunk(client.data).body.subarray(bytes).toString() === 'end')
    t.equal(told.drained, drained + 1)
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
    reset(client.socket)
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
    // What lies between may have taken all that waited before the client went.
    const { drained } = told
    useAfterwards(t, stream)
    t.same(told, { drained, closed: 1 }, 'and of nothing after that')
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
    let most = 0
    for (let writes = 0; writes < 64; writes += 1) {
      stream.write(piece)
      most = Math.max(most, stream.waiting)
    }
    t.ok(most <= 17 * mib, 'what waits is bounded', { most })
    await until('it is cut', () => told.closed === 1)
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
