// The least that a hub in JavaScript can do: one send of ready bytes to each WebSocket, in a loop.
import uWS, { type WebSocket } from 'uWebSockets.js'
import { Packr } from 'msgpackr'
import { compete } from './contestant.js'
import { packedFrame, type StampedFrame } from './stamped.js'

const live = new Packr({ useRecords: false }).pack({ type: 'live', sub: 1, offset: 0 })
const sockets: WebSocket<unknown>[] = []
let frame: StampedFrame

const app = uWS.App()
app.ws('/api/ws', {
  idleTimeout: 0,
  sendPingsAutomatically: false,
  maxBackpressure: 64 * 1024 * 1024,
  message(socket) {
    sockets.push(socket)
    socket.send(live, true)
  },
})
app.listen('127.0.0.1', 0, (socket) => {
  if (socket === false) throw new Error('could not listen')
  compete({
    port: uWS.us_socket_local_port(socket),
    prepare({ events, bytes }) {
      frame = packedFrame(events, bytes)
    },
    publish(first, _events, stamp) {
      const bytes = frame.stamp(first, stamp)
      for (const socket of sockets) socket.send(bytes, true, false)
    },
  })
})
