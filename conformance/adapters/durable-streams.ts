import { DurableStreamTestServer } from '@durable-streams/server'
import { EventStream } from '../event-stream.js'
import type { Adapter, Reading, ReadOptions, Received, Started } from '../suite.js'

const contentType = 'application/json'

function read({ channel, port, after }: ReadOptions): Reading {
  const received: Received[] = []
  let position = after
  const offset = typeof after === 'string' ? after : '-1'
  const url = `http://127.0.0.1:${port}/v1/stream/${channel}?live=sse&offset=${encodeURIComponent(offset)}`
  // Messages count from the control event on that follows them: only that has the position after them.
  let waiting: Received[] = []
  const stream = new EventStream(url, {}, ({ event, data }) => {
    if (data === undefined) return
    if (event === 'data') {
      waiting.push(...(JSON.parse(data) as string[]).map((text) => ({ kind: 'message', text }) as const))
      return
    }
    const { streamNextOffset, streamClosed } = JSON.parse(data) as {
      readonly streamNextOffset: string
      readonly streamClosed?: boolean
    }
    position = streamNextOffset
    received.push(...waiting)
    waiting = []
    if (streamClosed === true) received.push({ kind: 'ended', failed: false })
  })
  return {
    received,
    get position() {
      return position
    },
    closed: stream.closed,
    pause: () => stream.pause(),
    resume: () => stream.resume(),
    close: () => stream.close(),
  }
}

/** The reference server of Durable Streams, with its store in files. */
export const durableStreams: Adapter = {
  name: 'Durable Streams (reference)',
  promises: 'Every offset can be read again as long as the stream exists.',
  canEvict: false,
  canFilter: false,
  replays: true,
  async start({ directory }): Promise<Started> {
    const make = (port: number) =>
      new DurableStreamTestServer({ port, host: '127.0.0.1', dataDir: directory, compression: false })
    let server = make(0)
    let url = await server.start()
    const created = new Set<string>()
    const create = async (channel: string): Promise<void> => {
      if (created.has(channel)) return
      created.add(channel)
      await fetch(`${url}/v1/stream/${channel}`, { method: 'PUT', headers: { 'content-type': contentType } })
    }
    return {
      get port() {
        return Number(new URL(url).port)
      },
      create,
      async publish(channel, text) {
        const stream = `${url}/v1/stream/${channel}`
        const headers = { 'content-type': contentType }
        await create(channel)
        const append = () => fetch(stream, { method: 'POST', headers, body: JSON.stringify([text]) })
        // A kept-alive connection is gone after a restart.
        const answer = await append().catch(append)
        if (!answer.ok) throw new Error(`POST ${stream}: ${answer.status}`)
      },
      read,
      async restart() {
        await server.stop()
        server = make(Number(new URL(url).port))
        url = await server.start()
      },
      close: () => server.stop(),
    }
  },
}
