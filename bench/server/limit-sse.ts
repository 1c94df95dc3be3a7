// The limit for SSE: a corked write of ready bytes to each response, and nothing else.
import uWS, { type HttpResponse } from 'uWebSockets.js'
import { compete } from './contestant.js'
import { type StampedFrame, textFrame } from './stamped.js'

const responses = new Set<HttpResponse>()
let frame: StampedFrame
/** Frames for those who join later: ready as well. */
const history: Buffer[] = []
let keeps = false

const app = uWS.App()
app.get('/*', (response) => {
  response.onAborted(() => {
    responses.delete(response)
  })
  response.cork(() => {
    response.writeHeader('Content-Type', 'text/event-stream')
    for (const kept of history) response.write(kept)
    response.write('event: hub.live\ndata: {}\n\n')
  })
  responses.add(response)
})
app.listen('127.0.0.1', 0, (socket) => {
  if (socket === false) throw new Error('could not listen')
  let bytes: Buffer
  let target: HttpResponse
  const write = () => {
    target.write(bytes)
  }
  compete({
    port: uWS.us_socket_local_port(socket),
    prepare(round) {
      frame = textFrame(round.events, round.bytes)
      keeps = round.type !== undefined
    },
    publish(first, _events, stamp) {
      bytes = frame.stamp(first, stamp)
      if (keeps) history.push(Buffer.from(bytes))
      for (target of responses) target.cork(write)
    },
  })
})
