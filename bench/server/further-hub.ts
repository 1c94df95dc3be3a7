// A hub over the log that its argument names, for clients only.
import { resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const root = process.env.RUNCAST_BENCH_DIST ?? fileURLToPath(new URL('../../dist/', import.meta.url))
const dist = (path: string) => import(pathToFileURL(resolve(root, path)).href)
const { createHub } = (await dist('hub/hub.js')) as typeof import('../../src/hub/hub.js')
const { serve } = (await dist('server/serve.js')) as typeof import('../../src/server/serve.js')
const { redisLog } = (await dist('redis/open.js')) as typeof import('../../src/redis/open.js')

const log = await redisLog({ url: process.argv[2] ?? '' })
const { port } = await serve(createHub({ log }), { port: 0 })
process.on('disconnect', () => process.exit())
process.send?.(port)
