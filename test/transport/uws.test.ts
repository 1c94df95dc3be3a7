import type { HttpResponse } from 'uWebSockets.js'
import { execFileSync } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { systemClock } from '../../src/lib/clock.js'
import { Backlog, sliceBytesMax } from '../../src/transport/backlog.js'
import { Body } from '../../src/transport/body.js'
import { Intake } from '../../src/transport/intake.js'
import { OpenStreams } from '../../src/transport/open-streams.js'
import type { Service, Stream, TransportOptions } from '../../src/transport/transport.js'
import { UwsStream } from '../../src/transport/uws-stream.js'
import { transportConformance } from '../conformance/transport.js'
import { serve } from '../conformance/transport-kit.js'
import { SimulatedClock } from '../kit/clock.js'
import { Proxy } from '../kit/proxy.js'
import { RawClient } from '../kit/raw-http.js'
import { onUws, uws } from '../kit/uws.js'
import { until } from '../kit/wait.js'

const make = (service: Service, options: TransportOptions) => uws(service, options)

t.test('uWebSockets.js as a transport', onUws, async (t) => {
  transportConformance(t, make)
})

t.test('what uWebSockets.js decides', onUws, async (t) => {
  const ok: Partial<Service> = { request: (_, exchange) => exchange.answer({ status: 200, body: 'ok' }) }

  t.test(
    'a client that stops reading under load is kept; left alone, uWebSockets.js would cut it',
    async (t) => {
      async function stalled(clock = systemClock): Promise<{ closed: () => boolean; client: RawClient }> {
        let closed = false
        let stream: Stream | undefined
        function writeOn(): void {
          while (stream?.write(Buffer.alloc(32 * 1024)));
        }
        const { port } = await serve(t, (service, options) => uws(service, options, clock), {
          request(_, exchange) {
            stream = exchange.stream(
              { status: 200 },
              { drained: writeOn, closed: () => void (closed = true) },
            )
          },
        })
        const client = new RawClient(port)
        t.teardown(() => client.socket.destroy())
        client.socket.pause()
        client.send('GET / HTTP/1.1\nHost: x\n\n')
        await until('the stream is open', () => stream !== undefined)
        writeOn()
        return { closed: () => closed, client }
      }
      // A clock that stands still never touches the stream.
      const [left, kept] = await Promise.all([stalled(new SimulatedClock()), stalled()])
      await until('the one that is left alone is cut', left.closed, 20_000)
      t.equal(kept.closed(), false)
      kept.client.socket.destroy()
      await until('the other one is closed by its client', kept.closed)
    },
  )

  t.test('HTTP/1.0 is answered with 505', async (t) => {
    const { port } = await serve(t, make, ok)
    const client = new RawClient(port)
    client.send('GET / HTTP/1.0\n\n')
    await until('it is closed', () => client.closed)
    t.match(client.text, /^HTTP\/1\.1 505 /)
  })

  t.test('a second request before the first is answered cuts the link', async (t) => {
    let requests = 0
    const { port } = await serve(t, make, { request: () => void (requests += 1) })
    const client = new RawClient(port)
    client.send('GET / HTTP/1.1\nHost: x\n\nGET / HTTP/1.1\nHost: x\n\n')
    await until('it is closed', () => client.closed)
    t.equal(requests, 1)
  })

  t.test('TLS is spoken where certificate and key are given', async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'runcast-tls-'))
    const tls = { certFile: join(folder, 'cert.pem'), keyFile: join(folder, 'key.pem') }
    const subject = ['-subj', '/CN=localhost', '-days', '1', '-keyout', tls.keyFile, '-out', tls.certFile]
    try {
      const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1']
      execFileSync('openssl', ['req', '-x509', '-nodes', ...curve, ...subject], { stdio: 'ignore' })
    } catch {
      t.pass('TLS', { skip: 'no openssl here to make a certificate with' })
      return
    }
    const seen: (true | undefined)[] = []
    const service: Partial<Service> = {
      request(request, exchange) {
        seen.push(request.encrypted)
        ok.request?.(request, exchange)
      },
    }
    const { port } = await serve(t, make, service, { tls })
    const body = await new Promise<string>((resolve, reject) => {
      const asked = request(
        { host: '127.0.0.1', port, rejectUnauthorized: false, agent: false },
        (response) => {
          response.setEncoding('utf8').on('data', resolve)
        },
      )
      asked.on('error', reject)
      asked.end()
    })
    t.equal(body, 'ok')
    t.strictSame(seen, [true])
  })
})

t.test('Backlog', async (t) => {
  t.test(
    'keeps the rest once the sink holds something, and gives it small slices until it does not',
    async (t) => {
      const given: number[] = []
      let room = 1
      const sink = {
        write(slice: Uint8Array) {
          given.push(slice.length)
          room -= 1
          return room >= 0
        },
      }
      const kib = 1024
      const backlog = new Backlog(sink, 256 * kib)
      backlog.push(new Uint8Array(200 * kib))
      t.same(given, [15 * kib, sliceBytesMax], 'the first has room beside it for the head of a response')
      t.equal(backlog.bytes, 185 * kib, 'the slice that did not leave, and what was not given yet')
      t.equal(backlog.idle, false)
      backlog.push(new Uint8Array(10))
      t.equal(backlog.bytes, 185 * kib + 10)
      given.length = 0
      backlog.writable()
      t.same(given, [8 * kib], 'a probe')
      given.length = 0
      room = 100
      backlog.writable()
      t.same(given.slice(0, 3), [8 * kib, sliceBytesMax, sliceBytesMax])
      t.equal(
        given.reduce((sum, bytes) => sum + bytes),
        177 * kib - sliceBytesMax + 10,
      )
      t.equal(backlog.bytes, 0)
      t.equal(backlog.idle, true)
    },
  )

  t.test('nudges with a few bytes, and goes on when nothing waits in the sink', async (t) => {
    const given: number[] = []
    let room = false
    const backlog = new Backlog({ write: (slice) => (given.push(slice.length), room) }, 4096)
    backlog.nudge()
    backlog.push(new Uint8Array(1024))
    backlog.push(new Uint8Array(100))
    backlog.nudge()
    t.same(given, [1024, 64])
    t.equal(backlog.bytes, 1124, 'nothing is gained by it')
    t.equal(backlog.idle, false)
    room = true
    backlog.nudge()
    t.same(given, [1024, 64, 36])
    t.equal(backlog.bytes, 0)
    t.equal(backlog.idle, true)
  })

  t.test('is idle when the sink was writable and there is nothing to give', async (t) => {
    const backlog = new Backlog({ write: () => false }, 1024)
    backlog.push(new Uint8Array(1))
    t.equal(backlog.idle, false)
    backlog.writable()
    t.equal(backlog.idle, true)
    t.equal(backlog.bytes, 1, 'though what the sink holds is not known')
  })
})

t.test('UwsStream', async (t) => {
  t.test(
    'counts what uWebSockets.js holds of a chunk, and gives it no more until it is writable',
    async (t) => {
      const given: number[] = []
      let room = true
      const res = {
        cork: (writes: () => void) => writes(),
        write: (slice: Uint8Array) => (given.push(slice.length), room),
      } as unknown as HttpResponse
      const events = { drained() {}, closed() {} }
      const options = { backpressureBytesMax: 65_536, overrunBytesMax: 65_536 } as TransportOptions
      const stream = new UwsStream(res, events, options, new OpenStreams(new SimulatedClock()))
      for (const bytes of [100, 200, 300]) t.equal(stream.write(new Uint8Array(bytes)), true)
      t.same(given.splice(0), [100, 200, 300])
      t.equal(stream.waiting, 0)
      room = false
      t.equal(stream.write(new Uint8Array(1000)), true)
      t.equal(stream.waiting, 1000)
      t.equal(stream.write(new Uint8Array(36)), true)
      t.equal(stream.write(new Uint8Array(64_500)), true)
      t.equal(stream.write(new Uint8Array(1)), false, 'beyond backpressureBytesMax')
      t.equal(stream.waiting, 65_537)
      t.same(given, [1000])
    },
  )
})

t.test('Body', async (t) => {
  t.test('pauses when a chunk waits, and resumes when the reader wants one', async (t) => {
    const flow: string[] = []
    const body = new Body({ pause: () => flow.push('pause'), resume: () => flow.push('resume') })
    const reader = body[Symbol.asyncIterator]()
    body.push(Buffer.from('a'), false)
    body.push(Buffer.from('b'), false)
    t.same(flow, ['pause'])
    await reader.next()
    t.same(flow, ['pause'], 'one still waits')
    await reader.next()
    const third = reader.next()
    t.same(flow, ['pause', 'resume'])
    body.push(Buffer.from('c'), true)
    t.same(await third, { value: Buffer.from('c'), done: false })
    t.same(await reader.next(), { value: undefined, done: true })
    t.same(flow, ['pause', 'resume'])
  })

  t.test('does not pause for a body that is whole', async (t) => {
    const body = new Body({ pause: () => t.fail('paused'), resume: () => t.fail('resumed') })
    body.push(Buffer.from('a'), true)
    const chunks: string[] = []
    for await (const chunk of body) chunks.push(String(chunk))
    t.same(chunks, ['a'])
  })
})

t.test('Intake', async (t) => {
  const chunk = Buffer.alloc(200_000)

  /** Bodies whose readers want all of it, and which of them are paused. */
  function bodies(count: number) {
    const ends: (() => void)[] = []
    const clock = new SimulatedClock()
    clock.defer = (task) => void ends.push(task)
    const intake = new Intake(clock)
    const paused = new Set<number>()
    const all = Array.from({ length: count }, (_, at) => {
      const body = new Body({ pause: () => paused.add(at), resume: () => paused.delete(at) }, intake)
      void (async () => {
        for await (const _ of body);
      })()
      return body
    })
    const settled = () => new Promise<void>((resolve) => setImmediate(resolve))
    return { ends, paused, all, settled }
  }

  t.test('lets large bodies go on by turns once a turn has brought enough', async (t) => {
    const { ends, paused, all, settled } = bodies(4)
    await settled()
    for (const body of all.slice(0, 3)) body.push(chunk, false)
    await settled()
    t.same([...paused], [0, 1, 2], 'a small one is never held')
    ends.shift()?.()
    await settled()
    t.same([...paused], [2], 'as many as bring about what a turn may')
    ends.shift()?.()
    t.same([...paused], [])
    t.equal(ends.length, 0, 'nothing is asked for where nothing waits')
  })

  t.test('holds what was silent as soon as others have brought enough', async (t) => {
    const { ends, paused, all, settled } = bodies(3)
    await settled()
    for (const body of all) body.push(chunk, false)
    for (let turn = 0; turn < 3; turn += 1) ends.shift()?.()
    await settled()
    t.equal(paused.size, 0)
    all[1]?.push(chunk, false)
    await settled()
    all[1]?.push(chunk, false)
    t.same(
      [...paused].toSorted((one, other) => one - other),
      [0, 1, 2],
      'they could all send at once',
    )
    ends.shift()?.()
    t.equal(paused.size, 0, 'what brought nothing takes no part of the turn')
  })

  t.test('forgets a body that has ended while it was held', async (t) => {
    const { ends, paused, all, settled } = bodies(2)
    await settled()
    for (const body of all) body.push(chunk, false)
    await settled()
    t.equal(paused.size, 2)
    all[0]?.discard()
    t.same([...paused], [1])
    ends.shift()?.()
    t.equal(paused.size, 0)
  })
})

t.test('Proxy', onUws, async (t) => {
  /** A stream of the server behind a proxy, and a client in front of it. */
  async function behind(t: Test, faults = {}) {
    let stream: Stream | undefined
    let closed = 0
    const { port } = await serve(t, make, {
      request(_, exchange) {
        stream = exchange.stream({ status: 200 }, { drained() {}, closed: () => void (closed += 1) })
        stream.write(Buffer.from('start'))
      },
    })
    const proxy = await Proxy.open(port, faults)
    t.teardown(() => proxy.close())
    const client = new RawClient(proxy.port)
    t.teardown(() => client.socket.destroy())
    client.send('GET / HTTP/1.1\nHost: x\n\n')
    await until('the stream is open', () => stream !== undefined)
    return { proxy, client, stream: stream as Stream, closed: () => closed }
  }

  t.test('forwards, later when told so', async (t) => {
    for (const delayMs of [0, 20]) {
      const { client, stream } = await behind(t, { delayMs })
      await until('the start has come', () => client.text.includes('start'))
      const piece = Buffer.alloc(100_000, 'x')
      stream.write(piece)
      stream.end()
      await until('all has come, in order', () => client.text.endsWith('x\r\n0\r\n\r\n'))
    }
  })

  t.test('cuts every link when told so', async (t) => {
    const { proxy, client, closed } = await behind(t)
    await until('the start has come', () => client.text.includes('start'))
    proxy.cut()
    await until('both ends see it', () => client.closed && closed() === 1)
    t.equal(proxy.links.length, 0)
    t.equal(proxy.accepted, 1)
  })

  t.test('cuts after so many bytes', async (t) => {
    const { client, stream, closed } = await behind(t, { cutAfterBytes: 1000 })
    stream.write(Buffer.alloc(5000))
    await until('both ends see it', () => client.closed && closed() === 1)
    t.equal(client.bytes, 1000)
  })

  t.test('stalls one direction, and goes on', async (t) => {
    const { proxy, client, stream } = await behind(t)
    await until('the start has come', () => client.text.includes('start'))
    const [link] = proxy.links
    link?.stall('down')
    const before = link?.bytes('down')
    while (stream.write(Buffer.alloc(32 * 1024)));
    t.equal(link?.bytes('down'), before, 'the server feels it')
    stream.end()
    link?.resume('down')
    await until('all has come', () => client.text.endsWith('\r\n0\r\n\r\n'))
  })

  t.test('half-open: the client goes, and the server is not told', async (t) => {
    const { proxy, client, stream, closed } = await behind(t)
    await until('the start has come', () => client.text.includes('start'))
    const [link] = proxy.links
    link?.halfOpen()
    client.socket.destroy()
    stream.write(Buffer.from('into the void'))
    await until('the client has gone', () => client.closed)
    // A request through the same proxy comes after whatever the server could have been told.
    const other = new RawClient(proxy.port)
    t.teardown(() => other.socket.destroy())
    other.send('GET / HTTP/1.1\nHost: x\n\n')
    await until('another client is served', () => other.text.includes('start'))
    t.equal(closed(), 0)
    link?.cut()
    await until('now it is told', () => closed() === 1)
  })
})
