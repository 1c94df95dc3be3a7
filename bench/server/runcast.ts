// Runcast itself, from `dist/`: what users run. Under tsx the same source would be slower.
import { benchTopic, benchType, formatMark, padFor } from '../harness/event.js'
import { compete } from './contestant.js'

const dist = (path: string) => import(new URL(`../../dist/${path}`, import.meta.url).href)
const { createHub } = (await dist('hub/hub.js')) as typeof import('../../src/hub/hub.js')
const { serve } = (await dist('server/serve.js')) as typeof import('../../src/server/serve.js')

const hub = createHub()
const server = await serve(hub, { port: 0 })
let pad = ''
let type = benchType

compete({
  port: server.port,
  prepare(round) {
    pad = padFor(round.bytes)
    type = round.type ?? benchType
  },
  publish(first, events, stamp) {
    for (let index = 0; index < events; index += 1) {
      hub.publish(benchTopic, [{ type, data: { mark: formatMark(first + index, stamp), pad } }])
    }
  },
})
