// The limit for publishing: events are parsed and kept in a ring, and nothing else.

import uWS from 'uWebSockets.js'
import { unpackMultiple } from 'msgpackr'
import { benchType, formatMark, padFor } from '../harness/event.js'
import { compete } from './contestant.js'

const ring: object[] = []
const ringMax = 1_000
let at = 0
let pad = ''

function keep(event: object): void {
  ring[at] = event
  at = (at + 1) % ringMax
}

const app = uWS.App()
app.post('/*', (response, request) => {
  const type = request.getHeader('content-type')
  const chunks: Buffer[] = []
  let accepted = 0
  let rest = ''
  response.onAborted(() => {})
  response.onData((chunk, isLast) => {
    if (type === 'application/x-ndjson') {
      const lines = (rest + Buffer.from(chunk).toString('utf8')).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) keep(JSON.parse(line) as object)
      accepted += lines.length
    } else {
      chunks.push(Buffer.from(Buffer.from(chunk)))
      if (isLast) accepted += takeBody(type, Buffer.concat(chunks))
    }
    if (!isLast) return
    response.cork(() => {
      response.writeHeader('content-type', 'application/json').end(JSON.stringify({ accepted }))
    })
  })
})

function takeBody(type: string, body: Buffer): number {
  const values = type === 'application/msgpack' ? unpackMultiple(body) : [JSON.parse(body.toString('utf8'))]
  const events = (values ?? []).flat() as object[]
  for (const event of events) keep(event)
  return events.length
}

app.ws('/api/ws', {
  maxPayloadLength: 1024 * 1024,
  message(socket, message) {
    const [frame] = unpackMultiple(new Uint8Array(message)) as { ref: number; events: object[] }[]
    if (frame === undefined) return
    for (const event of frame.events) keep(event)
    socket.send(JSON.stringify({ type: 'published', ref: frame.ref }), false)
  },
})
app.listen('127.0.0.1', 0, (socket) => {
  if (socket === false) throw new Error('could not listen')
  compete({
    port: uWS.us_socket_local_port(socket),
    prepare({ bytes }) {
      pad = padFor(bytes)
    },
    publish(first, events, stamp) {
      for (let index = 0; index < events; index += 1) {
        keep({ type: benchType, data: { mark: formatMark(first + index, stamp), pad } })
      }
    },
  })
})
