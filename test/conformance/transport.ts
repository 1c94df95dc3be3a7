import { createServer } from 'node:net'
import type { Test } from 'tap'
import type { Exchange, Service } from '../../src/transport/transport.js'
import { RawClient } from '../kit/raw-http.js'
import { until } from '../kit/wait.js'
import { ask, type MakeTransport, refuseSockets, serve, transportOptions } from './transport-kit.js'
import { bodies, requests } from './transport-requests.js'
import { sockets } from './transport-sockets.js'
import { streams } from './transport-streams.js'

/** What every transport must do, over real sockets on the loopback interface. */
export function transportConformance(t: Test, make: MakeTransport): void {
  requests(t, make)
  bodies(t, make)
  streams(t, make)
  sockets(t, make)
  listening(t, make)
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

  t.test('stopAccepting takes no new link and serves those that are open; close cuts them', async (t) => {
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
    await listening.close()
    t.equal(gone, 1, 'the service has been told')
    await until('it is cut', () => client.closed)
  })
}
