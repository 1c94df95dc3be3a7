import { readFileSync } from 'node:fs'
import { uwsTransport } from '../../src/transport/uws.js'
import { transportOptions } from '../conformance/transport-kit.js'
import { closingService } from './closing-service.js'

// A server in a process of its own that closes its links in a `setImmediate`, and tells what memory it has.

const transport = uwsTransport(closingService(setImmediate), transportOptions)
const { port } = await transport.listen({ host: '127.0.0.1', port: 0 })

/** What the process has taken from the system and is not JavaScript's. Bytes. */
function nativeBytes(): number {
  gc?.()
  gc?.()
  const anonymous = Number(/^RssAnon:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1])
  const { heapTotal, external } = process.memoryUsage()
  return anonymous * 1024 - heapTotal - external
}

process.on('message', () => process.send?.({ nativeBytes: nativeBytes() }))
process.on('disconnect', () => process.exit())
process.send?.({ port })
