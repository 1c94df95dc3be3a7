// The limit for WebSocket: uWebSockets' own publish of bytes that are ready.

import uWS from 'uWebSockets.js'
import { Packr } from 'msgpackr'
import { benchTopic } from '../harness/event.js'
import { compete } from './contestant.js'
import { packedFrame, type StampedFrame } from './stamped.js'

const live = new Packr({ useRecords: false }).pack({ type: 'live', sub: 1, offset: 0 })
let frame: StampedFrame
/** Frames for those who join later: ready as well. */
const history: Buffer[] = []
let keeps = false

const app = uWS.App()
app.ws('/api/ws', {
  idleTimeout: 0,
  sendPingsAutomatically: false,
  maxBackpressure: 64 * 1024 * 1024,
  // Whatever the client says, it wants the one topic there is.
  message(socket) {
    socket.subscribe(benchTopic)
    socket.cork(() => {
      for (const kept of history) socket.send(kept, true)
      socket.send(live, true)
    })
  },
})
app.listen('127.0.0.1', 0, (socket) => {
  if (socket === false) throw new Error('could not listen')
  compete({
    port: uWS.us_socket_local_port(socket),
    prepare({ events, bytes, type }) {
      frame = packedFrame(events, bytes)
      keeps = type !== undefined
    },
    publish(first, _events, stamp) {
      const bytes = frame.stamp(first, stamp)
      if (keeps) history.push(Buffer.from(bytes))
      app.publish(benchTopic, bytes, true)
    },
  })
})
