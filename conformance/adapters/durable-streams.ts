import { fileURLToPath } from 'node:url'
import type { Adapter, Reading, ReadOptions, Received, Started } from '../adapter.js'
import { readEvents } from '../event-stream.js'
import { freePort, Program } from '../program.js'

// What a process of its own runs: the package has no program.
const program = `
import { DurableStreamTestServer } from '@durable-streams/server'
const [port, dataDir] = process.argv.slice(1)
const server = new DurableStreamTestServer({ port: Number(port), host: '127.0.0.1', dataDir, compression: false })
await server.start()
console.log('ready')
`

function read({ channel, port, after }: ReadOptions): Reading {
  const offset = typeof after === 'string' ? after : '-1'
  const url = `http://127.0.0.1:${port}/v1/stream/${channel}?live=sse&offset=${encodeURIComponent(offset)}`
  // Messages count from the control event on that follows them: only that has the position after them.
  let waiting: Received[] = []
  return readEvents(url, {}, after, ({ event, data }, reading) => {
    if (data === undefined) return
    if (event === 'data') {
      waiting.push(...(JSON.parse(data) as string[]).map((text) => ({ kind: 'message', text }) as const))
      return
    }
    const { streamNextOffset, streamClosed } = JSON.parse(data) as {
      readonly streamNextOffset: string
      readonly streamClosed?: boolean
    }
    reading.position = streamNextOffset
    reading.received.push(...waiting)
    waiting = []
    if (streamClosed === true) reading.received.push({ kind: 'ended', failed: false })
  })
}

/** The reference server of Durable Streams, with its store in files. */
export const durableStreams: Adapter = {
  name: 'Durable Streams (reference)',
  promises: 'Every offset can be read again as long as the stream exists.',
  canEvict: false,
  canFilter: false,
  resumes: true,
  replays: true,
  async start({ directory }): Promise<Started> {
    const port = await freePort()
    const cwd = fileURLToPath(new URL('..', import.meta.url))
    const words = ['--input-type=module', '-e', program, `${port}`, directory]
    const begin = () => Program.start(process.execPath, words, { cwd, ready: /ready/ })
    let server = await begin()
    const url = `http://127.0.0.1:${port}/v1/stream`
    const headers = { 'content-type': 'application/json', connection: 'close' }
    const created = new Set<string>()
    const create = async (channel: string): Promise<void> => {
      if (created.has(channel)) return
      created.add(channel)
      await fetch(`${url}/${channel}`, { method: 'PUT', headers })
    }
    return {
      port,
      create,
      async publish(channel, text) {
        await create(channel)
        const answer = await fetch(`${url}/${channel}`, {
          method: 'POST',
          headers,
          body: JSON.stringify([text]),
        })
        if (!answer.ok) throw new Error(`POST ${url}/${channel}: ${answer.status}`)
      },
      read,
      async restart() {
        await server.end('SIGKILL')
        server = await begin()
        return 'killed'
      },
      close: () => server.end('SIGTERM'),
    }
  },
}
