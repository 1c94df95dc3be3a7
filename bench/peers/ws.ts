// The `ws` library: one frame encoded, and sent to every client in a loop, as its documentation shows.
import { Packr } from 'msgpackr'
import { WebSocketServer } from 'ws'
import { compete } from '../server/contestant.js'
import { packedFrame, type StampedFrame } from '../server/stamped.js'

const live = new Packr({ useRecords: false }).pack({ type: 'live', sub: 1, offset: 0 })
let frame: StampedFrame

const server = new WebSocketServer({
  host: '127.0.0.1',
  port: 0,
  perMessageDeflate: false,
  handleProtocols: (offered) => [...offered][0] ?? false,
})
server.on('connection', (client) => {
  client.on('message', () => client.send(live))
})
server.on('listening', () => {
  compete({
    port: (server.address() as { port: number }).port,
    prepare({ events, bytes }) {
      frame = packedFrame(events, bytes)
    },
    publish(first, _events, stamp) {
      // A copy, for `ws` may hold what it could not send at once.
      const bytes = Buffer.from(frame.stamp(first, stamp))
      for (const client of server.clients) client.send(bytes)
    },
  })
})
