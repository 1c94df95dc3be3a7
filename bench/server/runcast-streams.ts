// Runcast as a server of Durable Streams, with its store in memory.
import { resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { JsonValue } from '../../src/lib/json.js'
import { benchSession } from '../harness/event.js'
import type { Round } from '../harness/messages.js'
import { dataFor } from './content.js'
import { compete } from './contestant.js'

const root = process.env.RUNCAST_BENCH_DIST ?? fileURLToPath(new URL('../../dist/', import.meta.url))
const dist = (path: string) => import(pathToFileURL(resolve(root, path)).href)
const { createHub } = (await dist('hub/hub.js')) as typeof import('../../src/hub/hub.js')
const { serve } = (await dist('server/serve.js')) as typeof import('../../src/server/serve.js')

const contentType = 'application/json'
// Clients must not be cut within a run.
const hub = createHub({ limits: { durableSseMs: 3_600_000 } })
const server = await serve(hub, { port: 0 })
await hub.streams.submit(benchSession, { kind: 'create', contentType, closes: false })
let dataOf: (number: number, stamp: number) => JsonValue

compete({
  port: server.port,
  prepare(round: Round) {
    dataOf = dataFor(round) as typeof dataOf
  },
  publish(first, events, stamp) {
    const messages = Array.from({ length: events }, (_, index) => ({
      type: 'stream.json',
      data: dataOf(first + index, stamp),
      force: true,
    }))
    // One append of an array, as for the reference server.
    void hub.streams.submit(benchSession, { kind: 'append', contentType, closes: false }, messages)
  },
})
