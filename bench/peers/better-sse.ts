// better-sse: the turn's events in one shared buffer, which is the cheapest way that it documents to send the
// same to many.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { compete } from '../server/contestant.js'
import { type ChannelEvent, channelEvents } from './channels.js'
import { load } from './load.js'

interface EventBuffer {
  push(data: unknown, name?: string, id?: string): EventBuffer
}
interface Session {
  push(data: unknown, name?: string): void
  batch(buffer: EventBuffer): Promise<void>
}
interface BetterSse {
  createSession(request: IncomingMessage, response: ServerResponse): Promise<Session>
  createEventBuffer(): EventBuffer
  createChannel(): { register(session: Session): void; readonly activeSessions: readonly Session[] }
}

const { createChannel, createEventBuffer, createSession } = (await load('better-sse')) as BetterSse
const channel = createChannel()
let eventOf: (number: number, stamp: number) => ChannelEvent

const server = createServer((request, response) => {
  void createSession(request, response).then((session) => {
    channel.register(session)
    session.push('', 'live')
  })
})
server.listen(0, '127.0.0.1', () => {
  compete({
    port: (server.address() as { port: number }).port,
    prepare(round) {
      eventOf = channelEvents(round)
    },
    publish(first, events, stamp) {
      const buffer = createEventBuffer()
      for (let index = 0; index < events; index += 1) {
        buffer.push(eventOf(first + index, stamp).data, 'bench', String(first + index))
      }
      for (const session of channel.activeSessions) void session.batch(buffer)
    },
  })
})
