/**
 * The part of a client in the scenarios of `test/conformance/scenarios.json`; `scenario-player.py` is the same in Python.
 *
 * Publishes the numbers from `from` on until its input ends, and follows them from `after` on. Says a line of JSON for each
 * thing that happens: `{ sent }`, the number that the hub has acknowledged last; `{ got, cursor }`; `{ gap }`; `{ done }`; `{ over }`, why
 * it follows no more.
 */
import { WebSocket } from 'ws'
import { connect } from '../../src/client.js'

const [url = '', tokens = '', session = '', from = '0', after = '', way = ''] = process.argv.slice(2)
const say = (line: object) => process.stdout.write(`${JSON.stringify(line)}\n`)
const client = connect(url, {
  transport: way === 'sse' ? 'sse' : 'websocket',
  WebSocket,
  backoff: { firstMs: 20, mostMs: 500 },
  timeoutMs: 120_000,
  token: async () => (await fetch(tokens)).text(),
})
const topic = `sessions/${session}/**`
/**
 * By id. A killed hub may have delivered an event that it had not stored; published again, the event has another offset, and a
 * client compares its id (`docs/protocol.md`, guarantees). The same offset twice is never skipped here.
 */
const offsets = new Map<string, number>()
const begins = after === '' ? { replay: 'all' as const } : { after }
const subscription = client.subscribe(
  { topic, types: ['note'], ...begins },
  {
    onEvent(event) {
      const { id = '', offset } = event
      const before = offsets.get(id)
      offsets.set(id, offset)
      if (before !== undefined && before !== offset) return
      const epoch = subscription.position?.split(':')[0]
      say({ got: event.data, cursor: epoch === undefined ? '' : `${epoch}:${offset}` })
    },
    onGap: ({ reason }) => say({ gap: reason }),
    onEnd: ({ reason }) => say({ over: reason }),
  },
)

let over = false
process.stdin.on('data', () => (over = true)).on('end', () => process.exit())
let next = Number(from)
while (!over) {
  const count = 1 + (next % 5)
  const events = Array.from({ length: count }, (_, index) => ({
    type: 'note',
    id: `${session}-${next + index}`,
    data: next + index,
  }))
  await client.publish(`sessions/${session}/workers/w`, events)
  next += count
  say({ sent: next })
}
say({ done: next })
