import t from 'tap'
import { BodyMemory } from '../../src/transport/body-memory.js'
import { SimulatedClock } from '../kit/clock.js'
import { served } from '../kit/served.js'

const kib = 1024

t.test('what is given back is used again, and what is not needed is given up', async (t) => {
  const clock = new SimulatedClock()
  const memory = new BodyMemory(clock)
  const small = memory.copy(Buffer.alloc(kib, 'a'))
  t.equal(small.length, 1)
  t.equal(small[0]?.buffer.byteLength, kib, 'a small one has its own')
  const bytes = Buffer.from(Array.from({ length: 150 * kib }, (_, index) => index % 251))
  const pieces = memory.copy(bytes)
  t.strictSame(
    pieces.map(({ length }) => length),
    [64 * kib, 64 * kib, 22 * kib],
  )
  t.ok(Buffer.concat(pieces).equals(bytes))
  const buffers = () => new Set(pieces.map(({ buffer }) => buffer))
  const first = buffers()
  for (const piece of [...pieces, ...pieces, ...small]) memory.giveBack(piece)
  pieces.splice(0, pieces.length, ...memory.copy(bytes))
  t.same(buffers(), first, 'each once')
  t.equal(buffers().size, 3)
  t.ok(Buffer.concat(pieces).equals(bytes))
  const others = memory.copy(Buffer.alloc(40 * kib))
  t.notOk(first.has(others[0]?.buffer as ArrayBuffer), 'what is in use is not given to another')
  for (const piece of pieces) memory.giveBack(piece)
  // One of the three is needed now and then.
  const [used] = memory.copy(Buffer.alloc(40 * kib)) as [Uint8Array]
  memory.giveBack(used)
  clock.advance(10_000)
  clock.advance(10_000)
  const [again, ...more] = memory.copy(bytes)
  t.notOk(
    [again, ...more].some((piece) => first.has(piece?.buffer as ArrayBuffer)),
    'all were given up',
  )
})

t.test('bodies that arrive side by side do not get into each other', async (t) => {
  const { hub, url } = await served(t)
  const lineOf = (worker: number, line: number) =>
    JSON.stringify({ type: 'line', data: `${worker}-${line}-`.padEnd(300 + 61 * worker, String(worker)) })
  const lines = 1_000
  const send = async (worker: number) => {
    const body = Array.from({ length: lines }, (_, line) => lineOf(worker, line)).join('\n')
    const headers = { 'content-type': worker % 2 === 0 ? 'application/x-ndjson' : 'application/json' }
    const given = worker % 2 === 0 ? body : `[${body.replaceAll('\n', ',')}]`
    const path = `${url}/api/sessions/s${worker}/events`
    const response = await fetch(path, { method: 'POST', headers, body: given })
    t.match(await response.json(), { accepted: lines })
  }
  for (let round = 0; round < 2; round++)
    await Promise.all(Array.from({ length: 8 }, (_, worker) => send(worker)))
  for (let worker = 0; worker < 8; worker++) {
    const { events } = hub.history(`sessions/s${worker}`)
    const offsets = events.map(({ offset }) => (offset - 1) % lines)
    t.ok(
      events.every(
        ({ data }, index) =>
          JSON.stringify({ type: 'line', data }) === lineOf(worker, offsets[index] as number),
      ),
      `${events.length} of worker ${worker}`,
    )
  }
})
