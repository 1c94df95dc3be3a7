import { spawnSync } from 'node:child_process'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import type { ReadableStream as WebStream } from 'node:stream/web'
import { Redis } from 'ioredis'
import { createResumableStreamContext } from 'resumable-stream/generic'
import type { Adapter, Reading, ReadOptions, Started } from '../adapter.js'
import { readEvents } from '../event-stream.js'
import { freePort, Program } from '../program.js'

const blockOf = (text: string): string => `data: ${text}\n\n`

/** A position is the number of characters of the stream that have come in whole blocks. */
function read({ channel, port, after }: ReadOptions): Reading {
  const skip = typeof after === 'number' ? after : 0
  const url = `http://127.0.0.1:${port}/${channel}?skip=${skip}`
  return readEvents(url, {}, skip, ({ data = '' }, reading) => {
    reading.position = Number(reading.position) + blockOf(data).length
    reading.received.push({ kind: 'message', text: JSON.parse(data) as string })
  })
}

/** `resumable-stream` in an HTTP server, over Redis. The process that makes a stream keeps it in memory until it has ended. */
export const resumableStream: Adapter = {
  name: 'resumable-stream',
  promises: 'A reader continues a stream after the characters that it has, while the stream is being made.',
  canEvict: false,
  canFilter: false,
  resumes: true,
  replays: true,
  missing: () =>
    spawnSync('redis-server', ['--version']).error === undefined
      ? undefined
      : 'redis-server is not installed',
  async start({ directory }): Promise<Started> {
    const redisPort = await freePort()
    const words = ['--port', `${redisPort}`, '--bind', '127.0.0.1', '--dir', directory, '--save', '']
    const program = await Program.start('redis-server', words, { ready: /Ready to accept connections/ })
    const publisher = new Redis(redisPort)
    const subscriber = new Redis(redisPort)
    const context = createResumableStreamContext({ waitUntil: null, publisher, subscriber })
    const makers = new Map<string, ReadableStreamDefaultController<string>>()
    const create = async (channel: string): Promise<void> => {
      if (makers.has(channel)) return
      const start = (maker: ReadableStreamDefaultController<string>) => void makers.set(channel, maker)
      await context.createNewResumableStream(channel, () => new ReadableStream({ start }))
    }
    const server = createServer((request, response) => {
      const { pathname, searchParams } = new URL(request.url ?? '', 'http://localhost')
      response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders()
      const skip = Number(searchParams.get('skip'))
      void context.resumeExistingStream(pathname.slice(1), skip).then(
        (stream) => {
          if (stream) Readable.fromWeb(stream as WebStream).pipe(response)
          else response.end()
        },
        () => response.destroy(),
      )
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return {
      port: (server.address() as AddressInfo).port,
      create,
      async publish(channel, text) {
        await create(channel)
        makers.get(channel)?.enqueue(blockOf(JSON.stringify(text)))
      },
      read,
      async close() {
        const closed = new Promise((resolve) => server.close(resolve))
        server.closeAllConnections()
        await closed
        publisher.disconnect()
        subscriber.disconnect()
        await program.end('SIGTERM')
      },
    }
  },
}
