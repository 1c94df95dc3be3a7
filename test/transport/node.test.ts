import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect as connectHttp2 } from 'node:http2'
import { request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { nodeTransport } from '../../src/transport/node.js'
import type { Service, Stream, TransportOptions } from '../../src/transport/transport.js'
import { transportConformance } from '../conformance/transport.js'
import { kib, serve } from '../conformance/transport-kit.js'
import { SimulatedClock } from '../kit/clock.js'
import { RawClient } from '../kit/raw-http.js'
import { until } from '../kit/wait.js'

const make = (service: Service, options: TransportOptions) => nodeTransport(service, options)

t.test('node:http and ws as a transport', async (t) => {
  transportConformance(t, make)
})

const ok: Partial<Service> = { request: (_, exchange) => exchange.answer({ status: 200, body: 'ok' }) }

/** A service that answers with how a request came, and its body. */
const telling: Partial<Service> = {
  request({ method, path, query }, exchange) {
    const tell = async () => {
      let body = ''
      for await (const chunk of exchange.body()) body += Buffer.from(chunk).toString()
      exchange.answer({ status: 200, body: `${method} ${path} ${query} ${body}.` })
    }
    void tell()
  },
}

t.test('what Node’s own HTTP decides', async (t) => {
  t.test('a head may come in any two pieces', async (t) => {
    const { port } = await serve(t, make, ok)
    const head = 'GET /a?b HTTP/1.1\r\nHost: x\r\n\r\n'
    for (let cut = 1; cut < head.length; cut += 1) {
      const client = new RawClient(port)
      client.socket.setNoDelay()
      client.socket.write(head.slice(0, cut))
      await new Promise(setImmediate)
      client.socket.write(head.slice(cut))
      await until(`the one cut at ${cut} is answered`, () => client.text.endsWith('ok'))
      client.socket.destroy()
    }
  })

  t.test('HTTP/1.0 is served: an answer with a length, a stream until the link ends', async (t) => {
    const { port } = await serve(t, make, {
      request({ path }, exchange) {
        if (path === '/') return exchange.answer({ status: 200, body: 'ok' })
        const stream = exchange.stream({ status: 200 }, { drained() {}, closed() {} })
        stream.write(Buffer.from('one'))
        stream.write(Buffer.from('two'))
        stream.end()
      },
    })
    for (const [path, end] of [
      ['/', /\r\ncontent-length: 2\r\n[^]*\r\n\r\nok$/i],
      ['/stream', /\r\n\r\nonetwo$/],
    ] as const) {
      const client = new RawClient(port)
      client.send(`GET ${path} HTTP/1.0\n\n`)
      await until('it is answered, and the link closed', () => client.closed)
      t.match(client.text, end)
      t.notMatch(client.text, /transfer-encoding/i)
    }
  })

  t.test('an upgrade to something else than WebSocket is passed over, and the body read', async (t) => {
    const { port } = await serve(t, make, telling)
    const client = new RawClient(port)
    t.teardown(() => client.socket.destroy())
    // As Java's client asks first.
    client.send(
      'POST /x?y HTTP/1.1\nHost: x\nConnection: Upgrade, HTTP2-Settings\nUpgrade: h2c\nHTTP2-Settings: AAEA\nContent-Length: 9\n\nhalf',
    )
    client.send('whole')
    await until('it is answered', () => client.text.endsWith('POST /x y halfwhole.'))
    client.send('GET /next HTTP/1.1\nHost: x\n\n')
    await until('the link serves the next', () => client.text.endsWith('GET /next  .'))
  })

  t.test('the absolute form of a target is that of its path', async (t) => {
    const { port } = await serve(t, make, telling)
    const client = new RawClient(port)
    t.teardown(() => client.socket.destroy())
    client.send('GET http://x/a?b HTTP/1.1\nHost: x\n\n')
    await until('it is answered', () => client.text.endsWith('GET /a b .'))
  })

  t.test('a second request before the first is answered cuts the link', async (t) => {
    let requests = 0
    const { port } = await serve(t, make, { request: () => void (requests += 1) })
    const client = new RawClient(port)
    client.send('GET / HTTP/1.1\nHost: x\n\nGET / HTTP/1.1\nHost: x\n\n')
    await until('it is closed', () => client.closed)
    t.equal(requests, 1)
  })

  t.test('a body that comes too slowly cuts the link, unless it may or its reader holds it up', async (t) => {
    const clock = new SimulatedClock()
    const read: string[] = []
    const { port } = await serve(t, (...given) => nodeTransport(...given, clock), {
      request({ path }, exchange) {
        const readAll = async () => {
          for await (const _ of exchange.body(path === '/patient' ? 60_000 : 0)) read.push(path)
          if (exchange.gone) read.push(`${path} gone`)
        }
        if (path === '/held') read.push(path)
        else void readAll()
      },
    })
    for (const path of ['/slow', '/patient', '/held']) {
      const client = new RawClient(port)
      t.teardown(() => client.socket.destroy())
      client.send(`POST ${path} HTTP/1.1\nHost: x\nContent-Length: 100\n\nhalf`)
      await until('some of it has come', () => read.includes(path))
    }
    for (let n = 0; n < 3; n += 1) clock.advance(4_000)
    await until('the slow one is cut', () => read.includes('/slow gone'))
    for (let n = 0; n < 14; n += 1) clock.advance(4_000)
    await until('the silent one is cut after its minute', () => read.includes('/patient gone'))
    t.same(read, ['/slow', '/patient', '/held', '/slow gone', '/patient gone'])
  })

  t.test('a stream of which nothing leaves is cut after two minutes', async (t) => {
    const clock = new SimulatedClock()
    let stream: Stream | undefined
    let closed = 0
    const { port } = await serve(t, (...given) => nodeTransport(...given, clock), {
      request(_, exchange) {
        stream = exchange.stream({ status: 200 }, { drained() {}, closed: () => void (closed += 1) })
        while (stream.write(Buffer.alloc(32 * kib)));
      },
    })
    const client = new RawClient(port)
    t.teardown(() => client.socket.destroy())
    client.socket.pause()
    client.send('GET / HTTP/1.1\nHost: x\n\n')
    await until('the stream is full', () => (stream?.waiting ?? 0) > 256 * kib)
    for (let ms = 0; ms < 124_000; ms += 4_000) clock.advance(4_000)
    await until('it is cut', () => closed === 1)
  })
})

t.test('over TLS', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'runcast-tls-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const tls = { certFile: join(folder, 'cert.pem'), keyFile: join(folder, 'key.pem') }
  const subject = ['-subj', '/CN=localhost', '-days', '1', '-keyout', tls.keyFile, '-out', tls.certFile]
  try {
    const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1']
    execFileSync('openssl', ['req', '-x509', '-nodes', ...curve, ...subject], { stdio: 'ignore' })
  } catch {
    t.pass('TLS', { skip: 'no openssl here to make a certificate with' })
    return
  }

  const secure = (t: Test, service: Partial<Service>) => serve(t, make, service, { tls })

  function connect(t: Test, port: number) {
    const session = connectHttp2(`https://127.0.0.1:${port}`, { rejectUnauthorized: false })
    t.teardown(() => session.destroy())
    return session
  }

  t.test('HTTP/2: twenty streams on one link, each with its own end', async (t) => {
    const open = new Map<string, Stream>()
    const closed: string[] = []
    const { port } = await secure(t, {
      request({ path, headers, encrypted = false }, exchange) {
        const host = `${encrypted ? 'https' : 'http'}://${headers.get('host')}`
        const stream = exchange.stream(
          {
            status: 200,
            headers: { 'content-type': 'text/event-stream', 'x-host': host },
          },
          { drained() {}, closed: () => void closed.push(path) },
        )
        stream.write(Buffer.from(`at ${path}`))
        open.set(path, stream)
      },
    })
    const session = connect(t, port)
    const heard = new Map<string, string>()
    const ended: string[] = []
    const asked = Array.from({ length: 20 }, (_, n) => {
      const path = `/${n}`
      const stream = session.request({ ':path': path })
      stream.on('response', (head) => heard.set(path, `${head[':status']} ${String(head['x-host'])} `))
      stream.on('data', (chunk) => heard.set(path, `${heard.get(path)}${chunk}`))
      stream.on('error', () => {})
      stream.on('end', () => ended.push(path))
      return stream
    })
    const live = `200 https://127.0.0.1:${port} at /`
    await until(
      'all are live',
      () => [...heard.values()].filter((text) => text.startsWith(live)).length === 20,
    )
    open.get('/3')?.write(Buffer.from('!'))
    open.get('/4')?.end()
    open.get('/5')?.cut()
    asked[6]?.close()
    await until('the service knows which have gone', () => closed.length === 3)
    t.same(closed.toSorted(), ['/4', '/5', '/6'])
    await until('and the client', () => ended.includes('/4') && heard.get('/3') === `${live}3!`)
    t.equal(asked[5]?.rstCode, 2, 'a cut is an error to the client')
  })

  t.test('HTTP/2: bodies, answers, HEAD, and a client that stops reading', async (t) => {
    const bytes = 4 * 1024 * kib
    let drained = 0
    const { port } = await secure(t, {
      request(request, exchange) {
        if (request.path !== '/large') return telling.request?.(request, exchange)
        const piece = Buffer.alloc(32 * kib)
        let written = 0
        const writeOn = () => {
          while (written < bytes) {
            written += piece.length
            if (!stream.write(piece)) return
          }
          stream.end()
        }
        const events = {
          drained() {
            drained += 1
            writeOn()
          },
          closed() {},
        }
        const stream: Stream = exchange.stream({ status: 200 }, events)
        writeOn()
      },
    })
    const session = connect(t, port)
    const ask = async (head: Record<string, string>, body = '') => {
      const stream = session.request(head, { endStream: body === '' && head[':method'] !== 'POST' })
      if (head[':method'] === 'POST') stream.end(body)
      let length: unknown
      stream.on('response', (heard) => (length = heard['content-length']))
      let text = ''
      for await (const chunk of stream.setEncoding('latin1')) text += chunk
      return { text, length }
    }
    const body = 'x'.repeat(100_000)
    t.equal((await ask({ ':path': '/a?b', ':method': 'POST' }, body)).text, `POST /a b ${body}.`)
    t.same(await ask({ ':path': '/a', ':method': 'HEAD' }), { text: '', length: '10' })
    t.equal((await ask({ ':path': '/large' })).text.length, bytes)
    t.ok(drained > 0, 'its window held the writer up')
  })

  t.test('HTTP/1.1 and WebSockets are served beside it', async (t) => {
    const { port } = await secure(t, {
      ...telling,
      upgrade: () => ({
        kind: 'accepted',
        protocol: 'p',
        open: (socket) => ({
          message: (bytes, binary) => void socket.write(Buffer.from(bytes), binary),
          tooLarge() {},
          drained() {},
          pulse() {},
          closed() {},
        }),
      }),
    })
    const body = await new Promise<string>((resolve, reject) => {
      const options = { host: '127.0.0.1', port, path: '/one', rejectUnauthorized: false, agent: false }
      request(options, (response) => void response.setEncoding('utf8').on('data', resolve))
        .on('error', reject)
        .end()
    })
    t.equal(body, 'GET /one  .')
    const socket = new WebSocket(`wss://127.0.0.1:${port}`, ['o', 'p'], { rejectUnauthorized: false })
    t.teardown(() => socket.terminate())
    const echoed = new Promise<string>((resolve) =>
      socket.on('message', (data: Buffer) => resolve(data.toString())),
    )
    await new Promise((resolve, reject) => socket.on('open', resolve).on('error', reject))
    t.equal(socket.protocol, 'p')
    socket.send('hello')
    t.equal(await echoed, 'hello')
  })
})
