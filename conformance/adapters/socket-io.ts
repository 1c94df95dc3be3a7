import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Server } from 'socket.io'
import { io } from 'socket.io-client'
import type { Adapter, Reading, ReadOptions, Received, Started } from '../adapter.js'

interface Place {
  readonly pid: string
  readonly offset: string
}

/** What the client keeps for the recovery of its connection; it has no public name for it. */
interface Recovering {
  _pid?: string
  _lastOffset?: string
  readonly recovered: boolean
}

function read({ channel, port, after }: ReadOptions): Reading {
  const received: Received[] = []
  const socket = io(`http://127.0.0.1:${port}`, {
    transports: ['websocket'],
    reconnection: false,
    forceNew: true,
    auth: { channel },
  })
  const state = socket as unknown as Recovering
  const place = after as Place | undefined
  if (place !== undefined) {
    state._pid = place.pid
    state._lastOffset = place.offset
  }
  socket.on('connect', () => {
    if (place !== undefined && !state.recovered) received.push({ kind: 'gap' })
  })
  socket.on('message', (text: string) => received.push({ kind: 'message', text }))
  const closed = new Promise<void>((resolve) => {
    socket.on('disconnect', () => resolve())
    socket.on('connect_error', () => resolve())
    closing = resolve
  })
  return {
    received,
    get position() {
      const { _pid: pid, _lastOffset: offset } = state
      return pid === undefined || offset === undefined ? undefined : { pid, offset }
    },
    closed,
    close() {
      // As a connection that is lost: a reader that says goodbye has nothing to recover.
      socket.io.engine.close()
      closing()
    },
  }
}

let closing: () => void = () => undefined

/** Socket.IO with recovery of the state of connections. */
export const socketIo: Adapter = {
  name: 'Socket.IO',
  promises: 'Its documentation: recovery “will not always be successful”; the client learns whether it was.',
  canEvict: false,
  canFilter: false,
  resumes: true,
  replays: false,
  async start(): Promise<Started> {
    const http = createServer()
    const server = new Server(http, { connectionStateRecovery: {} })
    server.on(
      'connection',
      (socket) => void socket.join((socket.handshake.auth as { channel: string }).channel),
    )
    await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
    return {
      port: (http.address() as AddressInfo).port,
      async publish(channel, text) {
        server.to(channel).emit('message', text)
      },
      read,
      close: () => server.close(),
    }
  },
}
