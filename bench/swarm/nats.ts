import { parseMark } from '../harness/event.js'
import type { Dialect } from './dialect.js'
import type { Received } from './tally.js'
import { clientFrame, opcodes, upgradeRequest } from './websocket.js'

// The few operations of the NATS client protocol that the bench needs; docs.nats.io, "NATS client protocol".
export const natsConnect = 'CONNECT {"verbose":false,"pedantic":false}\r\n'

export function natsPublish(subject: string, payload: string): string {
  return `PUB ${subject} ${Buffer.byteLength(payload)}\r\n${payload}\r\n`
}

/** A message has what the server had to say at that moment: whole operations, one or more. */
export function nats(channels: readonly string[]): Dialect {
  const subscribe = channels.map((channel, index) => `SUB ${channel} ${index + 1}\r\n`).join('')
  return {
    framing: 'websocket',
    request: upgradeRequest('/'),
    // It answers the ping when everything before it is done.
    opening: [frame(`${natsConnect}${subscribe}PING\r\n`)],
    read(payload) {
      const events: Received[] = []
      let live = false
      let reply: Buffer | undefined
      for (let at = 0; at < payload.length; ) {
        const end = payload.indexOf('\r\n', at)
        if (end === -1) throw new Error('an operation is cut')
        const line = payload.toString('latin1', at, end)
        at = end + 2
        if (line.startsWith('MSG ')) {
          const size = Number(line.slice(line.lastIndexOf(' ') + 1))
          const { mark } = JSON.parse(payload.toString('utf8', at, at + size)) as { mark: string }
          events.push(parseMark(mark))
          if (at + size + 2 > payload.length) throw new Error('an operation is cut')
          at += size + 2
        } else if (line === 'PONG') live = true
        else if (line === 'PING') reply = frame('PONG\r\n')
        else if (line.startsWith('-ERR')) throw new Error(line)
      }
      return { events, ...(live && { live }), ...(reply && { reply }) }
    },
  }
}

function frame(text: string): Buffer {
  return clientFrame(opcodes.binary, Buffer.from(text))
}
