// A whole hub over a store on disk, until it is killed.
import { writeSync } from 'node:fs'
import { createHub, openStore, serve } from '../../src/index.js'

const [directory = ''] = process.argv.slice(2)
const hub = createHub({ store: await openStore({ directory }) })
const { url } = await serve(hub, { port: 0 })
writeSync(1, `${url}\n`)
