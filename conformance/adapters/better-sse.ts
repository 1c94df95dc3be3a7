import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type Channel, createChannel, createSession } from 'better-sse'
import type { Adapter, Reading, ReadOptions, Started } from '../adapter.js'
import { readEvents } from '../event-stream.js'

function read({ channel, port, after }: ReadOptions): Reading {
  return readEvents(`http://127.0.0.1:${port}/${channel}`, {}, after, ({ id, data }, reading) => {
    if (id !== undefined) reading.position = id
    if (data !== undefined) reading.received.push({ kind: 'message', text: JSON.parse(data) as string })
  })
}

/** Channels of better-sse. It tells a server the last id that a reader has, and leaves the rest to it. */
export const betterSse: Adapter = {
  name: 'better-sse',
  promises: 'Sends to those that are connected.',
  canEvict: false,
  canFilter: false,
  resumes: false,
  replays: false,
  async start(): Promise<Started> {
    const channels = new Map<string, Channel>()
    const channelOf = (name: string): Channel => {
      const channel = channels.get(name) ?? createChannel()
      channels.set(name, channel)
      return channel
    }
    const server = createServer((request, response) => {
      void createSession(request, response).then((session) =>
        channelOf((request.url ?? '').slice(1)).register(session),
      )
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return {
      port: (server.address() as AddressInfo).port,
      async publish(channel, text) {
        channelOf(channel).broadcast(text)
      },
      read,
      async close() {
        const closed = new Promise((resolve) => server.close(resolve))
        server.closeAllConnections()
        await closed
      },
    }
  },
}
