// The Durable Streams reference server with its store in memory, read over SSE. Events are appended to the
// store as its own route does: JSON items.
import { compete } from '../server/contestant.js'
import { type ChannelEvent, channelEvents } from './channels.js'
import { load } from './load.js'

interface DurableStreams {
  readonly DurableStreamTestServer: new (
    options: object,
  ) => {
    readonly store: {
      create(path: string, options: { contentType: string }): unknown
      append(path: string, data: Uint8Array, options: { contentType: string }): unknown
    }
    start(): Promise<string>
  }
}

const path = '/bench'
const contentType = 'application/json'
const { DurableStreamTestServer } = (await load('@durable-streams/server')) as DurableStreams
const server = new DurableStreamTestServer({
  port: 0,
  host: '127.0.0.1',
  compression: false,
  webhooks: false,
})
const url = await server.start()
server.store.create(path, { contentType })
let eventOf: (number: number, stamp: number) => ChannelEvent

compete({
  port: Number(new URL(url).port),
  prepare(round) {
    eventOf = channelEvents(round)
  },
  publish(first, events, stamp) {
    const items = Array.from({ length: events }, (_, index) => eventOf(first + index, stamp).data)
    // One append of an array: its items become messages of their own, delivered together.
    server.store.append(path, Buffer.from(JSON.stringify(items)), { contentType })
  },
})
