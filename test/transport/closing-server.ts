import { readFileSync } from 'node:fs'
import type { Exchange, Request, Socket, Upgrade } from '../../src/transport/transport.js'
import { uwsTransport } from '../../src/transport/uws.js'
import { transportOptions } from '../conformance/transport-kit.js'

// A server in a process of its own that closes each link as its path says, in a `setImmediate`.

const drained = (): void => {}
const closed = (): void => {}

const requests: Readonly<Record<string, (exchange: Exchange) => void>> = {
  '/answer': (exchange) => exchange.answer({ status: 200, body: 'bye' }),
  '/end'(exchange) {
    const stream = exchange.stream({ status: 200 }, { drained, closed })
    stream.write(Buffer.from('bye'))
    stream.end()
  },
  '/cut'(exchange) {
    const stream = exchange.stream({ status: 200 }, { drained, closed })
    stream.write(Buffer.from('bye'))
    stream.cut()
  },
}
const sockets: Readonly<Record<string, (socket: Socket) => void>> = {
  '/close': (socket) => socket.close(4000, 'bye'),
  '/cut': (socket) => socket.cut(),
}

function upgrade({ path }: Request): Upgrade {
  const end = sockets[path]
  if (end === undefined) {
    return { kind: 'refused', answer: new Promise((resolve) => setImmediate(resolve, { status: 403 })) }
  }
  return {
    kind: 'accepted',
    open(socket) {
      setImmediate(end, socket)
      return { message() {}, tooLarge() {}, drained, pulse() {}, closed }
    },
  }
}

const transport = uwsTransport(
  { request: ({ path }, exchange) => void setImmediate(requests[path] ?? closed, exchange), upgrade },
  transportOptions,
)
const { port } = await transport.listen({ host: '127.0.0.1', port: 0 })

/** What the process has taken from the system and is not JavaScript's. Bytes. */
function nativeBytes(): number {
  gc?.()
  gc?.()
  const anonymous = Number(/^RssAnon:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1])
  const { heapTotal, external } = process.memoryUsage()
  return anonymous * 1024 - heapTotal - external
}

process.on('message', () => process.send?.({ nativeBytes: nativeBytes() }))
process.on('disconnect', () => process.exit())
process.send?.({ port })
