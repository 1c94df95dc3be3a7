import assert from 'node:assert/strict'
import t from 'tap'
import { createHub, type Hub } from '../../../src/hub/hub.js'
import { systemClock } from '../../../src/lib/clock.js'
import { served } from '../../kit/served.js'

const text = 'x'.repeat(16_000)

/** @returns how many pieces of work had a turn of their own: each lets what is live leave first */
async function piecesOf(hub: Hub, request: () => Promise<Response>): Promise<number> {
  let pieces = 0
  const flush = hub.flush.bind(hub)
  hub.flush = () => {
    pieces++
    flush()
  }
  const response = await request()
  await response.arrayBuffer()
  hub.flush = flush
  assert.ok(response.ok, String(response.status))
  return pieces
}

const post = (url: string, body: unknown) =>
  fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })

t.test('an export is written in pieces of 64 KiB, each in a turn of its own', async (t) => {
  const { hub, url } = await served(t)
  for (let index = 0; index < 60; index++) hub.publish('sessions/s', [{ type: 'note', data: { text } }])
  const pieces = await piecesOf(hub, () => fetch(`${url}/api/sessions/s/export`))
  t.ok(pieces >= 11, `${pieces} pieces of 960 KB`)
})

t.test(
  'a large body is read, looked through and parsed, checked and published in turns of their own',
  async (t) => {
    const { hub, url } = await served(t)
    const events = Array.from({ length: 40 }, () => ({ type: 'note', data: { text } }))
    const large = await piecesOf(hub, () => post(`${url}/api/sessions/s/events`, events))
    t.ok(large >= 4, `${large} pieces`)
    t.equal(await piecesOf(hub, () => post(`${url}/api/sessions/s/events`, events.slice(0, 1))), 0)
  },
)

t.test('many spans are read in turns, and checked before the turn that publishes them', async (t) => {
  const { hub, url } = await served(t)
  const bodyOf = (count: number, trace: string) => ({
    resourceSpans: [
      {
        scopeSpans: [
          {
            spans: Array.from({ length: count }, (_, index) => ({
              traceId: trace.repeat(32),
              spanId: String(index).padStart(16, '1'),
              name: 'call',
              startTimeUnixNano: '1764500000000000000',
              endTimeUnixNano: '1764500000001000000',
              attributes: [{ key: 'gen_ai.operation.name', value: { stringValue: 'chat' } }],
            })),
          },
        ],
      },
    ],
  })
  // Four turns for the body, one for each further 256 spans, and one that publishes them.
  t.equal(await piecesOf(hub, () => post(`${url}/v1/traces`, bodyOf(1_100, 'a'))), 4 + 4 + 1)
  t.equal(await piecesOf(hub, () => post(`${url}/v1/traces`, bodyOf(550, 'b'))), 4 + 2 + 1)
})

t.test('a redaction looks through each slice in a turn of its own', async (t) => {
  let turns = 0
  const clock = {
    ...systemClock,
    defer: (task: () => void) => {
      turns++
      systemClock.defer(task)
    },
  }
  const hub = createHub({ clock })
  for (let index = 0; index < 40; index++)
    hub.setState('sessions/s', `slice-${index}`, { text: 'the password' })
  turns = 0
  await hub.redact('s', { values: [{ value: 'the password' }] })
  t.ok(turns >= 40, `${turns} turns`)
  t.match(hub.state('sessions/s').slices['slice-7'], { text: /^\[secret/ })
})
