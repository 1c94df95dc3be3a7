import type { Exchange, Request, Service, Socket, Stream, Upgrade } from '../../src/transport/transport.js'

/**
 * A service that closes each link as its path says.
 *
 * @param later calls what closes it
 * @param told is called when the service is told that a link has gone
 */
export function closingService(
  later: (close: () => void) => void,
  told: () => void = () => {},
): Pick<Service, 'request' | 'upgrade'> {
  const events = { drained() {}, closed: told }
  const nothing = { message() {}, tooLarge() {}, pulse() {} }

  function open(exchange: Exchange): Stream {
    const stream = exchange.stream({ status: 200 }, events)
    stream.write(Buffer.from('bye'))
    return stream
  }
  function request({ path }: Request, exchange: Exchange): void {
    switch (path) {
      case '/end': {
        const stream = open(exchange)
        return later(() => stream.end())
      }
      case '/cut': {
        const stream = open(exchange)
        return later(() => stream.cut())
      }
      default:
        exchange.onGone(told)
        later(() => exchange.answer({ status: 200 }))
    }
  }

  function accept(close: (socket: Socket) => void): Upgrade {
    return {
      kind: 'accepted',
      open(socket) {
        later(() => close(socket))
        return { ...nothing, ...events }
      },
    }
  }
  function upgrade({ path }: Request): Upgrade {
    switch (path) {
      case '/close':
        return accept((socket) => socket.close(4000, 'bye'))
      case '/cut':
        return accept((socket) => socket.cut())
      case '/frame':
        return {
          kind: 'accepted',
          open: (socket) => ({ ...nothing, ...events, pulse: () => socket.close(4000, 'bye') }),
        }
      default:
        return {
          kind: 'refused',
          answer: new Promise((resolve) => later(() => resolve({ status: 403 }))),
        }
    }
  }
  return { request, upgrade }
}
