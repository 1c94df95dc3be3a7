import t from 'tap'
import { type BuiltInCatalog, connect, type EventOf, RequestError } from '../../src/client.js'
import { SimulatedClock } from '../kit/clock.js'
import { FakeNetwork } from '../kit/fake-socket.js'
import { SeededRandom } from '../kit/random.js'
import { at, batch, event, follow, setUp, subscribed, update } from './client-kit.js'

t.test('the state', async (t) => {
  t.test('comes by snapshot, follows patches and values, and shares what did not change', async (t) => {
    const { network, subscription, sub } = follow(t, {}, { slices: ['*'] })
    network.socket.say(
      subscribed(sub, 4, {
        slices: { plan: { steps: [{ a: 1 }, { b: 2 }], title: 'x' }, other: { deep: true } },
      }),
    )
    const before = subscription.state as { plan: { steps: object[] }; other: object }
    network.socket.say(
      batch(4, 8, [
        update(5, { slice: 'plan', base: 3, patch: [{ op: 'replace', path: '/steps/1/b', value: 3 }] }),
        update(6, { slice: 'plan', base: 5, patch: [{ op: 'add', path: '/steps/-', value: 'new' }] }),
        update(7, { slice: 'more', base: 0, value: 1 }),
        update(8, { slice: 'more', base: 7, removed: true }),
      ]),
    )
    const after = subscription.state as typeof before
    t.same(after, { plan: { steps: [{ a: 1 }, { b: 3 }, 'new'], title: 'x' }, other: { deep: true } })
    t.same(
      before,
      { plan: { steps: [{ a: 1 }, { b: 2 }], title: 'x' }, other: { deep: true } },
      'stays as it was',
    )
    t.equal(after.other, before.other)
    t.equal(after.plan.steps[0], before.plan.steps[0])
    t.equal(subscription.position, 'e:8')
  })

  t.test('asks for a snapshot once when an update does not fit, and mends itself', async (t) => {
    const { network, seen, subscription, sub } = follow(t, {}, { slices: ['n'] })
    network.socket.say(
      subscribed(sub, 1, { slices: { n: [1] } }),
      { type: 'live', sub, offset: at(1) },
      batch(1, 4, [
        update(2, { slice: 'n', base: 1, patch: [{ op: 'add', path: '/-', value: 2 }] }),
        update(4, { slice: 'n', base: 3, patch: [{ op: 'add', path: '/-', value: 4 }] }),
      ]),
      batch(4, 5, [update(5, { slice: 'n', base: 4, patch: [{ op: 'add', path: '/-', value: 5 }] })]),
    )
    const ask = network.socket.takeSubscribe()
    t.match(ask, { topic: 'sessions/s', types: [/^\.[\w-]{8}$/], slices: ['n'], replay: false })
    network.socket.say(subscribed(ask.sub, 6, { feed: 7, slices: { n: [1, 2, 3, 4, 5, 6] } }))
    t.same(network.socket.take(), [{ type: 'unsubscribe', sub: ask.sub }])
    network.socket.say(
      batch(5, 7, [
        update(6, { slice: 'n', base: 5, patch: [{ op: 'add', path: '/-', value: 6 }] }),
        update(7, { slice: 'n', base: 6, patch: [{ op: 'add', path: '/-', value: 7 }] }),
      ]),
    )
    t.same(subscription.state, { n: [1, 2, 3, 4, 5, 6, 7] })
    t.same(seen, [{ n: [1] }, 'live', { n: [1, 2] }, { n: [1, 2, 3, 4, 5, 6] }, { n: [1, 2, 3, 4, 5, 6, 7] }])
  })

  t.test(
    'is asked for when a subscription begins from a cursor, and when other slices are wanted',
    async (t) => {
      const { network, subscription, sub } = follow(t, {}, { slices: ['n'], after: 'e:1' })
      network.socket.say(subscribed(sub, 1, { resumed: true }))
      const ask = network.socket.takeSubscribe()
      network.socket.say(subscribed(ask.sub, 1, { slices: { n: 1 } }))
      t.same(subscription.state, { n: 1 })
      network.socket.take()
      subscription.update({ slices: ['m'] })
      const [changed, other] = network.socket.take()
      t.same(changed, { type: 'update', sub, slices: ['m'] })
      t.match(other, { type: 'subscribe', slices: ['m'] })
      if (other?.type === 'subscribe') network.socket.say(subscribed(other.sub, 1, { slices: { m: 2 } }))
      t.same(subscription.state, { m: 2 })
      subscription.update({ slices: null })
      t.same(subscription.state, {})
    },
  )
})

t.test('requests', async (t) => {
  t.test('publishes with ids, and again after a cut with the same ones', async (t) => {
    const { network, clock, client } = setUp(t)
    const answer = client.publish('sessions/s', [
      { type: 'a', data: 1 },
      { type: 'b', id: 'mine' },
    ])
    t.same(network.socket.take(), [])
    network.socket.welcome()
    const [first] = network.socket.take()
    t.match(first, {
      type: 'publish',
      topic: 'sessions/s',
      events: [
        { type: 'a', data: 1, id: /^.{21}$/ },
        { type: 'b', id: 'mine' },
      ],
    })
    network.socket.cut()
    clock.advance(1_000)
    network.socket.welcome()
    const [again] = network.socket.take()
    t.same(again, first)
    const ref = again?.type === 'publish' ? again.ref : undefined
    network.socket.say({ type: 'published', ref: ref ?? 0, first: at(1), last: at(2), duplicates: 2 })
    t.same(await answer, { first: 1, last: 2, duplicates: 2 })
    network.socket.cut()
    clock.advance(1_000)
    network.socket.welcome()
    t.same(network.socket.take(), [], 'what was answered is not sent again')
  })

  t.test('tells what the hub refuses', async (t) => {
    const { network, client } = setUp(t)
    network.socket.welcome()
    const answer = client.mergeState('sessions/s', 'plan', { a: null })
    const [frame] = network.socket.take()
    t.match(frame, { type: 'merge', topic: 'sessions/s', slice: 'plan', merge: { a: null } })
    network.socket.say({ type: 'error', ref: 1, code: 'forbidden', message: 'not yours' })
    await t.rejects(answer, new RequestError('forbidden', 'not yours'))
  })

  t.test('sends a value again after a cut, but not a patch that may have been applied', async (t) => {
    const { network, clock, client } = setUp(t)
    network.socket.welcome()
    const set = client.setState('sessions/s', 'plan', { a: 1 }, { type: 'planned' })
    const patch = client.patchState('sessions/s', 'plan', [{ op: 'remove', path: '/a' }])
    const [frame] = network.socket.take()
    network.socket.cut()
    await t.rejects(patch, { code: 'unavailable' })
    const unsent = client.patchState('sessions/s', 'plan', [{ op: 'add', path: '/b', value: 1 }])
    clock.advance(1_000)
    network.socket.welcome()
    t.match(network.socket.take(), [frame, { type: 'patch', patch: [{ op: 'add' }] }])
    network.socket.say(
      { type: 'updated', ref: 1, offset: at(3), changed: true },
      { type: 'updated', ref: 3, offset: at(3), changed: false },
    )
    t.same(await set, { offset: 3, changed: true })
    t.same(await unsent, { offset: 3, changed: false })
  })

  t.test(
    'gives a request up when its time has passed or its signal says so, and never sends it',
    async (t) => {
      const { network, clock, client } = setUp(t, { timeoutMs: 5_000 })
      const started = clock.timers
      const controller = new AbortController()
      const given = {
        default: client.publish('sessions/s', { type: 'a' }),
        own: client.setState('sessions/s', 'n', 1, undefined, { timeoutMs: 1_000 }),
        signal: client.mergeState('sessions/s', 'n', {}, undefined, { signal: controller.signal }),
        endless: client.publish('sessions/s', { type: 'b' }, { timeoutMs: Number.POSITIVE_INFINITY }),
      }
      clock.advance(999)
      const own = t.rejects(given.own, { code: 'unavailable', message: /within 1000 ms: it was not sent/ })
      clock.advance(1)
      await own
      const aborted = t.rejects(given.signal, { message: 'enough' })
      controller.abort(new Error('enough'))
      await aborted
      const late = t.rejects(given.default, { code: 'unavailable', message: /within 5000 ms/ })
      clock.advance(4_000)
      await late
      t.equal(clock.timers, started)
      network.sockets.at(-1)?.welcome()
      const [frame, ...others] = network.socket.take()
      t.match([frame, others.length], [{ type: 'publish', events: [{ type: 'b' }] }, 0])
      const ref = frame?.type === 'publish' ? (frame.ref ?? 0) : 0
      network.socket.say({ type: 'published', ref, first: at(1), last: at(1), duplicates: 0 })
      t.same(await given.endless, { first: 1, last: 1, duplicates: 0 })

      const sent = client.publish('sessions/s', { type: 'c' }, { timeoutMs: 1_000 })
      const [second] = network.socket.take()
      const unknown = t.rejects(sent, { code: 'unavailable', message: /it may have been done/ })
      clock.advance(1_000)
      await unknown
      if (second?.type !== 'publish') throw new Error('expected it to have been sent')
      network.socket.say({
        type: 'published',
        ref: second.ref ?? 0,
        first: at(2),
        last: at(2),
        duplicates: 0,
      })
      await t.rejects(client.publish('sessions/s', { type: 'd' }, { signal: controller.signal }), /enough/)
      t.same(network.socket.take(), [])
    },
  )

  t.test('takes no more than ten thousand that wait', async (t) => {
    const { client, clock } = setUp(t)
    const waiting = Array.from({ length: 10_000 }, () => client.publish('sessions/s', { type: 'a' }))
    await t.rejects(client.publish('sessions/s', { type: 'a' }), {
      code: 'unavailable',
      message: '10000 requests are already waiting',
    })
    const all = Promise.allSettled(waiting)
    clock.advance(60_000)
    t.ok((await all).every(({ status }) => status === 'rejected'))
  })

  t.test('replaces the token on this link and the next', async (t) => {
    const { network, clock, client } = setUp(t, { token: 'old' })
    network.socket.welcome()
    client.authorize('new')
    t.same(network.socket.take(), [{ type: 'authorize', token: 'new' }])
    network.socket.cut()
    clock.advance(1_000)
    t.equal(network.socket.protocols[1], 'bearer.new')
  })
})

t.test('types', async (t) => {
  t.test('know `data` by `type`, and what a filter lets through', async (t) => {
    const { network, clock, random } = {
      network: new FakeNetwork(),
      clock: new SimulatedClock(),
      random: new SeededRandom(1),
    }
    const client = connect<BuiltInCatalog & { mine: { readonly n: number } }>('http://h', {
      WebSocket: network.WebSocket,
      clock,
      random,
    })
    t.teardown(() => client.close())
    // The end of a session passes every filter.
    const show = (
      event: EventOf<BuiltInCatalog, 'process.output' | 'process.exited' | 'complete'>,
    ): string =>
      event.type === 'process.output'
        ? event.data.text
        : event.type === 'complete'
          ? 'over'
          : String(event.data.code)
    const seen: string[] = []
    client.subscribe(
      { topic: 'sessions/s', types: ['process.o*', 'process.exited'] },
      { onEvent: (event) => seen.push(show(event)) },
    )
    client.subscribe(
      { topic: 'sessions/s', types: ['!mine'] },
      {
        onEvent: (event) => {
          if (event.type === 'toolcall') seen.push(event.data.tool)
          // @ts-expect-error a toolresult has no such field
          else if (event.type === 'toolresult') seen.push(event.data.tools)
        },
      },
    )
    network.socket.welcome()
    const [first] = network.socket.take()
    const sub = first?.type === 'subscribe' ? first.sub : 0
    network.socket.say(
      subscribed(sub, 0),
      batch(0, 1, [event(1, 'process.output', { stream: 'stdout', text: 'hi' })]),
    )
    t.same(seen, ['hi'])
    // @ts-expect-error `n` is a number
    const wrong = () => client.publish('sessions/s', { type: 'mine', data: { n: 'x' } })
    t.type(wrong, 'function')
  })
})
