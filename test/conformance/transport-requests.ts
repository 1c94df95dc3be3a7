import { Agent } from 'node:http'
import type { Test } from 'tap'
import type { Exchange } from '../../src/transport/transport.js'
import { RawClient } from '../kit/raw-http.js'
import { deferred, settled, until } from '../kit/wait.js'
import {
  ask,
  kib,
  type MakeTransport,
  mib,
  numbered,
  reading,
  serve,
  transportOptions,
  useAfterwards,
} from './transport-kit.js'

/** Node's client writes and reads header text as Latin-1. */
function utf8(text: string): string {
  return Buffer.from(text).toString('latin1')
}

export function requests(t: Test, make: MakeTransport): void {
  t.test('a request stays readable, and its answer arrives, when it comes later', async (t) => {
    const { port } = await serve(t, make, {
      request(request, exchange) {
        setImmediate(() => {
          const { method, path, query, address } = request
          const headers = [...request.headers].filter(([name]) => name.startsWith('x-') || name === 'cookie')
          const body = JSON.stringify({ method, path, query, address, headers })
          exchange.answer({
            status: 201,
            headers: { 'Content-Type': 'application/json', 'X-Own': 'ä\u0007\r\nb: c' },
            body,
          })
        })
      },
    })
    const heard = await ask(port, {
      method: 'PUT',
      path: '/a%20b/c?x=1&y=%20',
      headers: { 'X-One': utf8('aÄ1'), 'X-Two': ['a', 'b'], Cookie: ['c=1', 'd=2'] },
    })
    t.equal(heard.status, 201)
    t.equal(heard.headers['content-type'], 'application/json')
    t.equal(heard.headers['content-length'], String(Buffer.byteLength(heard.body)))
    t.equal(heard.headers['x-own'], utf8('ä   b: c'), 'header text is UTF-8')
    t.equal(heard.headers['b'], undefined, 'no value begins another header')
    const seen = JSON.parse(heard.body)
    t.match(seen, { method: 'PUT', path: '/a%20b/c', query: 'x=1&y=%20', address: '127.0.0.1' })
    t.match(new Map(seen.headers).get('x-one'), 'aÄ1')
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

  t.test('a head that comes in pieces may be as large as is said, and a larger one gets 431', async (t) => {
    const { port } = await serve(t, make, {
      request: ({ headers }, exchange) =>
        exchange.answer({ status: 200, body: `${headers.get('x-large')?.length} bytes` }),
    })
    const { headBytesMax } = transportOptions
    for (const [bytes, heard] of [
      [headBytesMax - 8 * kib, new RegExp(`^HTTP/1.1 200 [^]*\\r\\n${headBytesMax - 8 * kib} bytes$`)],
      [2 * headBytesMax, /^HTTP\/1.1 431 /],
    ] as const) {
      const client = new RawClient(port)
      t.teardown(() => client.socket.destroy())
      client.send('GET / HTTP/1.1\nHost: x\nX-Large: ')
      for (let sent = 0; sent < bytes && !client.closed; sent += kib) {
        client.send('x'.repeat(kib))
        await new Promise(setImmediate)
      }
      client.send('\n\n')
      await until('it is answered', () => client.text.includes('\r\n\r\n'))
      t.match(client.text, heard)
    }
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

export function bodies(t: Test, make: MakeTransport): void {
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
