// Hono's streamSSE on Node: each event written to each stream, as its documentation shows.
import { compete } from '../server/contestant.js'
import { type ChannelEvent, channelEvents } from './channels.js'
import { load } from './load.js'

interface Stream {
  writeSSE(message: { data: string; event: string; id?: string }): Promise<void>
  onAbort(listener: () => void): void
}
interface Hono {
  readonly Hono: new () => {
    get(path: string, answer: (context: unknown) => unknown): void
    readonly fetch: unknown
  }
}
interface Streaming {
  streamSSE(context: unknown, write: (stream: Stream) => Promise<void>): unknown
}
interface NodeServer {
  serve(
    options: { fetch: unknown; port: number; hostname: string },
    listening: (address: { port: number }) => void,
  ): void
}

const { Hono } = (await load('hono')) as Hono
const { streamSSE } = (await load('hono/streaming')) as Streaming
const { serve } = (await load('@hono/node-server')) as NodeServer
const streams = new Set<Stream>()
let eventOf: (number: number, stamp: number) => ChannelEvent

const app = new Hono()
app.get('/events', (context) =>
  streamSSE(context, async (stream) => {
    streams.add(stream)
    await stream.writeSSE({ data: '', event: 'live' })
    await new Promise<void>((resolve) => stream.onAbort(resolve))
    streams.delete(stream)
  }),
)
serve({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' }, ({ port }) => {
  compete({
    port,
    prepare(round) {
      eventOf = channelEvents(round)
    },
    publish(first, events, stamp) {
      for (let index = 0; index < events; index += 1) {
        const id = String(first + index)
        const data = JSON.stringify(eventOf(first + index, stamp).data)
        for (const stream of streams) void stream.writeSSE({ data, event: 'bench', id })
      }
    },
  })
})
