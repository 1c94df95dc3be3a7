import uWS from 'uWebSockets.js'
import { compete } from '../server/contestant.js'
import { type ChannelEvent, channelEvents } from './channels.js'
import { load } from './load.js'

interface Options {
  /** Makes what forwards broadcasts to other servers. */
  readonly adapter?: unknown
  /** The process of the engine behind that. */
  readonly engine?: number
}

interface SocketIo {
  readonly Server: new (
    options: object,
  ) => {
    attachApp(app: unknown): void
    on(
      event: 'connection',
      listen: (socket: {
        readonly handshake: { readonly auth: { readonly channels: readonly string[] } }
        join(rooms: readonly string[]): void
      }) => void,
    ): void
    to(room: string): { emit(name: string, data: object): void }
  }
}

const { Server } = (await load('socket.io')) as SocketIo
/** Takes part as Socket.IO over uWebSockets.js, which its documentation recommends for speed: a broadcast to a room is one publish. */
export function competeAsSocketIo({ adapter, engine }: Options = {}): void {
  let eventOf: (number: number, stamp: number) => ChannelEvent

  const app = uWS.App()
  const server = new Server({
    transports: ['websocket'],
    serveClient: false,
    ...(adapter !== undefined && { adapter }),
    maxBackpressure: 64 * 1024 * 1024,
  })
  server.attachApp(app)
  server.on('connection', (socket) => socket.join(socket.handshake.auth.channels))
  app.listen('127.0.0.1', 0, (listening) => {
    if (listening === false) throw new Error('could not listen')
    compete({
      port: uWS.us_socket_local_port(listening),
      ...(engine !== undefined && { engine }),
      prepare(round) {
        eventOf = channelEvents(round)
      },
      publish(first, events, stamp) {
        for (let index = 0; index < events; index += 1) {
          const { channel, data } = eventOf(first + index, stamp)
          server.to(channel).emit('bench', data)
        }
      },
    })
  })
}
