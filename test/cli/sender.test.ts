import t, { type Test } from 'tap'
import { HubHttp } from '../../src/cli/hub-http.js'
import { awayText, Sender, type SenderBounds, type SenderNews } from '../../src/cli/sending/sender.js'
import type { Outgoing } from '../../src/cli/sending/unacknowledged.js'
import { systemClock } from '../../src/lib/clock.js'
import { until } from '../kit/wait.js'
import { type FakeHub, fakeHub, startFakeHub } from './fake-hub.js'

function sender(t: Test, hub: FakeHub, bounds: Partial<SenderBounds> = {}) {
  const news: SenderNews[] = []
  const http = new HubHttp(new URL(hub.url))
  const sender = new Sender({
    hub: http,
    session: 's',
    clock: systemClock,
    tell: (one) => news.push(one),
    bounds: { retryMsMax: 20, ...bounds },
  })
  // Pending retries do not keep the process alive.
  const alive = setInterval(() => {}, 1000)
  t.teardown(() => {
    clearInterval(alive)
    sender.stop()
    http.close()
  })
  return { sender, news }
}

function event(n: number): Outgoing {
  return { json: `{"type":"n","id":"${n}","data":${n}}`, line: n }
}

t.test('sender', (t) => {
  t.test('keeps the order of each worker whatever gets lost, and repeats nothing', async (t) => {
    const hub = await fakeHub(t)
    hub.fault = (n) => ([undefined, 'cutBefore', 'cutAfter', 'unavailable'] as const)[n % 4]
    const { sender: sending } = sender(t, hub, { batchEventsMax: 7 })
    for (let n = 0; n < 100; n++) sending.push(n % 2 === 0 ? 'even' : 'odd', event(n))
    await sending.drained()
    const all = Array.from({ length: 100 }, (_, n) => n)
    const of = (worker: string) =>
      hub.events.filter((event) => event.worker === worker).map((event) => event.data)
    t.same(
      of('even'),
      all.filter((n) => n % 2 === 0),
    )
    t.same(
      of('odd'),
      all.filter((n) => n % 2 === 1),
    )
    t.equal(sending.acknowledged.events, 100)
    t.equal(sending.acknowledged.duplicates, hub.duplicates)
    t.ok(hub.duplicates > 0, 'some answers were lost')
  })

  t.test('lets workers take turns', async (t) => {
    const hub = await fakeHub(t)
    const { sender: sending } = sender(t, hub, { batchEventsMax: 2 })
    for (let n = 0; n < 6; n++) sending.push('talkative', event(n))
    sending.push('terse', event(6))
    await sending.drained()
    t.same(
      hub.events.map((event) => event.data),
      [0, 1, 6, 2, 3, 4, 5],
    )
  })

  t.test('sends what comes in one turn in one request, and an oversize event alone', async (t) => {
    const hub = await fakeHub(t)
    const { sender: sending } = sender(t, hub, { batchCharactersMax: 100 })
    for (let n = 0; n < 3; n++) sending.push(undefined, event(n))
    await sending.drained()
    t.same(hub.batches, [3])
    sending.push(undefined, { json: JSON.stringify({ type: 'long', data: 'x'.repeat(200) }), line: 1 })
    sending.push(undefined, event(3))
    await sending.drained()
    t.same(hub.batches, [3, 1, 1])
  })

  t.test('says when it is full and when there is room', async (t) => {
    const hub = await fakeHub(t)
    let release = (): void => {}
    hub.hold = new Promise((resolve) => {
      release = resolve
    })
    const { sender: sending, news } = sender(t, hub, { eventsMax: 10, batchEventsMax: 4 })
    for (let n = 0; n < 9; n++) sending.push(undefined, event(n))
    t.same(news, [])
    sending.push(undefined, event(9))
    t.same(news, [{ kind: 'full', away: false }])
    const room = sending.room()
    release()
    await room
    t.equal(sending.waiting, 2)
    t.same(news.at(-1), { kind: 'room' })
    await sending.drained()
    t.equal(hub.events.length, 10)
  })

  t.test(
    'goes on with a new hub at the same address from what the old one did not acknowledge',
    async (t) => {
      const old = await startFakeHub()
      const { sender: sending, news } = sender(t, old)
      sending.push('w', event(1))
      await sending.drained()
      await old.close()
      sending.push('w', event(2))
      sending.push('w', event(3))
      const hub = await fakeHub(t, old.port)
      await sending.drained()
      t.same(
        hub.events.map((event) => event.data),
        [2, 3],
      )
      t.same(news.map(({ kind }) => kind).filter((kind) => kind === 'back').length <= 1, true)
      t.equal(sending.acknowledged.duplicates, 0)
    },
  )

  t.test('tells a hub that takes nothing for now from one that is not there', async (t) => {
    const busy = await startFakeHub()
    busy.fault = (n) => (n < 4 ? 'unavailable' : undefined)
    const { sender: sending, news } = sender(t, busy)
    sending.push('w', event(1))
    await sending.drained()
    await busy.close()
    sending.push('w', event(2))
    await until('it is missed', () => news.length === 3)
    t.match(news, [
      { kind: 'away', answered: true, reason: 'starting', waiting: 1 },
      { kind: 'back' },
      { kind: 'away', answered: false },
    ])
    t.match(
      news.flatMap((one) => (one.kind === 'away' ? awayText('x', one, 'waiting') : [])),
      [
        'the hub at x takes nothing for now (starting); waiting until it does',
        /^the hub at x has gone away \(/,
      ],
    )
  })

  t.test('stops at a refusal, and says which event it was', async (t) => {
    const hub = await fakeHub(t)
    const { sender: sending, news } = sender(t, hub)
    for (let n = 10; n < 13; n++) sending.push('w', event(n))
    sending.push('w', { json: '{"type":"refused"}', line: 13 })
    sending.push('w', event(14))
    await sending.drained()
    t.same(news, [{ kind: 'refused', status: 400, detail: 'a bad event', line: 13 }])
    t.equal(sending.refused, true)
    t.equal(sending.acknowledged.events, 3)
    await sending.end({ code: 0 })
    t.equal(hub.ended.size, 0)
  })
  t.end()
})
