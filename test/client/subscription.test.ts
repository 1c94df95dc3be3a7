import assert from 'node:assert/strict'
import t from 'tap'
import { Queue } from '../../src/client/queue.js'
import type { GapNotice } from '../../src/client.js'
import { at, batch, event, follow, replay, setUp, subscribed, update } from './client-kit.js'

t.test('a subscription', async (t) => {
  t.test('says what it wants once the hub has said welcome', async (t) => {
    const { network, client } = setUp(t)
    client.subscribe(
      {
        topic: 'sessions/s',
        types: ['a*', '!ab'],
        mode: 'summary',
        slices: ['*'],
        after: 'e:7',
        replay: 'all',
      },
      { onEvent() {} },
    )
    t.same(network.socket.take(), [])
    network.socket.welcome()
    t.same(network.socket.take(), [
      {
        type: 'subscribe',
        sub: 1,
        topic: 'sessions/s',
        types: ['a*', '!ab'],
        mode: 'summary',
        slices: ['*'],
        after: 'e:7',
        replay: 'all',
      },
    ])
  })

  t.test('refuses what is no cursor', async (t) => {
    const { client } = setUp(t)
    t.throws(() => client.subscribe({ topic: 'sessions/s', after: 'nonsense' }), { code: 'badFrame' })
  })

  t.test('shows the replay, then what follows, and moves its position', async (t) => {
    const { network, seen, subscription, sub } = follow(t)
    network.socket.say(subscribed(sub, 5), replay([event(2), event(4)]))
    t.equal(subscription.position, undefined)
    network.socket.say({ type: 'live', sub, offset: at(5) })
    t.equal(subscription.position, 'e:5')
    network.socket.say(batch(5, 9, [event(6), event(8)]))
    t.equal(subscription.position, 'e:9')
    t.same(seen, ['replayed 2', 'replayed 4', 'live', 6, 8])
  })

  t.test('goes on with a join that was cut, over as many links as it takes', async (t) => {
    const { network, clock, seen, subscription, sub } = follow(
      t,
      { backoff: { mostMs: 250 } },
      { slices: ['*'] },
    )
    const part = (sub: number, slice: string, index: number, text: string, last?: true) =>
      ({ type: 'part', sub, slice, index, text, ...(last && { last }) }) as const
    const next = (after: string) => {
      network.socket.cut()
      clock.advance(1_000)
      network.socket.welcome()
      const again = network.socket.takeSubscribe()
      t.equal(again.after, after)
      return again.sub
    }
    network.socket.say(
      subscribed(sub, 5, { parts: 4 }),
      part(sub, 'a', 0, '1', true),
      part(sub, 'b', 0, '"x'),
    )
    const second = next('e:5~s2.b')
    network.socket.say(subscribed(second, 5, { parts: 2, resumed: true }), part(second, 'b', 1, 'y"', true))
    const third = next('e:5~s4.b')
    t.same([seen, subscription.state], [[], {}], 'nothing of it is shown yet')
    network.socket.say(
      subscribed(third, 5, { parts: 1, resumed: true }),
      part(third, 'c', 0, 'null', true),
      replay([event(1), event(2)]),
    )
    t.same(subscription.state, { a: 1, b: 'xy', c: null })
    const fourth = next('e:5~r2')
    network.socket.say(subscribed(fourth, 5, { resumed: true }), replay([event(4)]))
    network.socket.say(batch(5, 6, [event(6)]), { type: 'live', sub: fourth, offset: at(6) })
    t.same(seen, [{ a: 1, b: 'xy', c: null }, 'replayed 1', 'replayed 2', 'replayed 4', 6, 'live'])
    next('e:6')
  })

  t.test('goes on with the snapshot of a gap that was cut, and tells the gap once', async (t) => {
    const { network, clock, seen, sub } = follow(t, {}, { slices: ['*'], after: 'old:3' })
    const gap = { reason: 'epoch', after: at(0), offset: at(0) } as const
    const piece = { type: 'part', slice: 'a' } as const
    network.socket.say(subscribed(sub, 0, { parts: 2, gap }), { ...piece, sub, index: 0, text: '[1' })
    network.socket.cut()
    clock.advance(1_000)
    network.socket.welcome()
    const again = network.socket.takeSubscribe()
    t.equal(again.after, 'e:0~g2.a')
    network.socket.say(
      subscribed(again.sub, 0, { parts: 1, resumed: true }),
      { ...piece, sub: again.sub, index: 1, text: ']', last: true },
      batch(0, 1, [event(1)]),
    )
    t.same(seen, [{ a: [1] }, 'gap epoch 0-0', 1])
  })

  t.test(
    'takes a snapshot in parts that a gap brings, and holds updates back until it is whole',
    async (t) => {
      const { network, seen, sub } = follow(t, {}, { slices: ['n'] })
      network.socket.say(subscribed(sub, 1, { slices: { n: 1 } }), { type: 'live', sub, offset: at(1) })
      seen.length = 0
      network.socket.say(
        { type: 'gap', sub, reason: 'lagging', after: at(1), offset: at(4), parts: 1 },
        { type: 'part', sub, slice: 'n', index: 0, text: '5', last: true },
        batch(1, 6, [update(6, { slice: 'n', base: 5, value: 6 })]),
      )
      t.same(seen, ['gap lagging 1-4', { n: 5 }, { n: 6 }])
    },
  )

  t.test('shows nothing of a replay that was cut, and the whole of the next one', async (t) => {
    const { network, clock, seen, sub } = follow(t)
    network.socket.say(subscribed(sub, 5), replay([event(2, 'text', 'Hel')]))
    network.socket.cut()
    clock.advance(1_000)
    network.socket.welcome()
    const again = network.socket.takeSubscribe()
    t.equal(again.after, 'e:5~r2', 'which the hub cannot go on with')
    network.socket.say(subscribed(again.sub, 6), replay([event(6, 'text', 'Hello')]), {
      type: 'live',
      sub: again.sub,
      offset: at(6),
    })
    t.same(seen, ['replayed 6', 'live'])
  })

  t.test('resumes after a cut, and shows nothing twice', async (t) => {
    const { network, clock, seen, subscription, sub } = follow(t)
    network.socket.say(
      subscribed(sub, 1),
      { type: 'live', sub, offset: at(1) },
      batch(1, 3, [event(2), event(3)]),
    )
    network.socket.cut()
    clock.advance(1_000)
    network.socket.welcome()
    const again = network.socket.takeSubscribe()
    t.equal(again.after, 'e:3')
    network.socket.say(
      subscribed(again.sub, 3, { resumed: true, feed: 9 }),
      batch(2, 4, [event(3), event(4)], 9),
      batch(4, 5, [event(5)], 9),
      batch(4, 5, [event(5)], 9),
      { type: 'live', sub: again.sub, offset: at(5) },
    )
    t.same(seen, ['live', 2, 3, 4, 5, 'live'])
    t.equal(subscription.position, 'e:5')
  })

  t.test('tells a gap and goes on, in another epoch too', async (t) => {
    const { network, clock, seen, subscription, sub } = follow(t)
    network.socket.say(subscribed(sub, 1), { type: 'live', sub, offset: at(1) })
    network.socket.say(
      { type: 'gap', sub, reason: 'lagging', after: at(1), offset: at(50) },
      batch(1, 20, [event(20)]),
      batch(50, 51, [event(51)]),
    )
    network.socket.cut()
    clock.advance(1_000)
    network.socket.welcome()
    const again = network.socket.takeSubscribe()
    const gap: GapNotice = { reason: 'epoch', after: at(51), offset: at(3) }
    network.socket.say(
      subscribed(again.sub, 3, { epoch: 'f', gap }),
      { type: 'live', sub: again.sub, offset: at(3) },
      batch(3, 4, [event(4)]),
    )
    t.same(seen, ['live', 'gap lagging 1-50', 20, 51, 'gap epoch 51-3', 'live', 4])
    t.equal(subscription.position, 'f:4')
  })

  t.test(
    'never diverges in silence: a frame beyond its position makes it subscribe again from there',
    async (t) => {
      const { network, seen, sub } = follow(t)
      network.socket.say(
        subscribed(sub, 1),
        { type: 'live', sub, offset: at(1) },
        batch(1, 2, [event(2)]),
        batch(3, 4, [event(4)]),
      )
      const [left, again] = network.socket.take()
      t.same(left, { type: 'unsubscribe', sub })
      t.match(again, { type: 'subscribe', after: 'e:2' })
      network.socket.say(batch(4, 5, [event(5)]), { type: 'unsubscribed', sub, code: 'asked', reason: '' })
      const next = again?.type === 'subscribe' ? again.sub : 0
      network.socket.say(subscribed(next, 2, { resumed: true }), batch(2, 5, [event(3), event(4), event(5)]))
      t.same(seen, ['live', 2, 3, 4, 5])
    },
  )

  t.test('is not confused by another one to the same feed that catches up', async (t) => {
    const { network, client, seen, sub } = follow(t)
    const other: number[] = []
    network.socket.say(subscribed(sub, 1), { type: 'live', sub, offset: at(1) }, batch(1, 10, [event(10)]))
    client.subscribe({ topic: 'sessions/s', after: 'e:0' }, { onEvent: ({ offset }) => other.push(offset) })
    const second = network.socket.takeSubscribe().sub
    network.socket.say(
      subscribed(second, 0, { resumed: true }),
      // Catching up beyond where the first one is: what is new there comes to it by itself.
      batch(0, 12, [event(10), event(12)]),
      batch(10, 12, [event(12)]),
      batch(12, 13, [event(13)]),
    )
    t.same(seen, ['live', 10, 12, 13])
    t.same(other, [10, 12, 13])
  })

  t.test('keeps its position when its filter changes, on this link and the next', async (t) => {
    const { network, clock, subscription, seen, sub } = follow(t)
    network.socket.say(subscribed(sub, 1), { type: 'live', sub, offset: at(1) })
    subscription.update({ types: ['x'], mode: 'control' })
    t.same(network.socket.take(), [{ type: 'update', sub, types: ['x'], mode: 'control' }])
    network.socket.say(
      batch(1, 2, [event(2)]),
      subscribed(sub, 2, { feed: 2, resumed: true }),
      batch(2, 3, [event(3)], 1),
      batch(2, 4, [event(4)], 2),
    )
    t.same(seen, ['live', 2, 4])
    subscription.update({ types: null })
    network.socket.cut()
    clock.advance(1_000)
    network.socket.welcome()
    const again = network.socket.takeSubscribe()
    t.match(again, { mode: 'control', after: 'e:4' })
    t.equal(again.types, undefined)
  })

  t.test('asks apart for what another subscription of the connection follows already', async (t) => {
    const { network, client, seen, subscription, sub } = follow(t)
    network.socket.say(subscribed(sub, 1), { type: 'live', sub, offset: at(1) })
    const conflict = (refused: number) =>
      network.socket.say({ type: 'error', sub: refused, code: 'conflict', message: 'the same filter' })
    const again = (was: number) => {
      const [left, asked, ...others] = network.socket.take()
      t.same(left, { type: 'unsubscribe', sub: was })
      assert(asked?.type === 'subscribe' && others.length === 0)
      return asked
    }
    for (const [types, sent] of [
      [undefined, [/^!\.[\w-]{8}$/]],
      [
        ['a', '!b'],
        ['a', '!b', /^!\.[\w-]{8}$/],
      ],
      [[], [/^\.[\w-]{8}$/]],
    ] as const) {
      client.subscribe({ topic: 'sessions/s', ...(types && { types }) }, { onEvent() {} })
      const { sub: same } = network.socket.takeSubscribe()
      conflict(same)
      t.match(again(same).types, sent)
    }
    // What a changed filter collides with: it goes on from where it is, and stays apart.
    subscription.update({ types: ['a'] })
    t.equal(network.socket.take().length, 1)
    conflict(sub)
    const { types, after, sub: next } = again(sub)
    t.match(types, ['a', /^!\./])
    t.equal(after, 'e:1')
    network.socket.say(subscribed(next, 1, { resumed: true, feed: 5 }))
    subscription.update({ types: null })
    t.match(network.socket.take(), [{ type: 'update', sub: next, types: [types?.[1]] }])
    conflict(next)
    t.same(seen, ['live', 'end refused'], 'and no third time')
  })

  t.test('ends when the hub ends or refuses it, and is not resumed', async (t) => {
    const { network, clock, client, seen, sub } = follow(t)
    network.socket.say(subscribed(sub, 1), {
      type: 'unsubscribed',
      sub,
      code: 'removed',
      reason: 'the session is gone',
    })
    t.same(seen, ['end removed'])
    const ends: unknown[] = []
    client.subscribe({ topic: 'nowhere' }, { onEvent() {}, onEnd: (ending) => ends.push(ending) })
    const { sub: refused } = network.socket.takeSubscribe()
    network.socket.say({ type: 'error', sub: refused, code: 'badFrame', message: 'no such topic' })
    t.same(ends, [{ code: 'refused', reason: 'no such topic' }])
    network.socket.cut()
    clock.advance(1_000)
    network.socket.welcome()
    t.same(network.socket.take(), [])
  })

  t.test('passes over what cannot be read, on this link and the next', async (t) => {
    const { network, clock, seen, subscription, sub } = follow(t, { backoff: { mostMs: 250 } })
    const unreadable = () => network.socket.sayBytes(new Uint8Array([0xc1]))
    network.socket.say(subscribed(sub, 5), { type: 'live', sub, offset: at(5) }, batch(5, 6, [event(6)]))
    unreadable()
    network.socket.say(batch(6, 7, [event(7)]))
    t.same(seen.splice(0), ['live', 6, 7], 'where nothing is missing, it was something else')
    unreadable()
    network.socket.say(batch(9, 10, [event(10)]), batch(10, 11, [event(11)]))
    t.same(seen.splice(0), ['gap unreadable 7-9', 10, 11])
    t.same(network.socket.take(), [], 'it does not ask for it again')
    network.socket.say(batch(13, 14, [event(14)]))
    t.match(network.socket.take(), [{ type: 'unsubscribe' }, { type: 'subscribe', after: 'e:11' }], 'a hole')

    const next = () => {
      network.socket.cut()
      clock.advance(300)
      network.socket.welcome()
      return network.socket.takeSubscribe()
    }
    const again = next()
    t.equal(again.after, 'e:11')
    network.socket.say(subscribed(again.sub, 11, { resumed: true }))
    unreadable()
    network.socket.say({ type: 'live', sub: again.sub, offset: at(15) })
    t.same(seen.splice(0), ['gap unreadable 11-15', 'live'])
    t.equal(subscription.position, 'e:15')
    t.equal(next().after, 'e:15', 'it is never resumed in front of it again')
  })

  t.test(
    'tells of what cannot be read in the middle of a join, and ends where that is the answer',
    async (t) => {
      const { network, seen, sub, client } = follow(t)
      const unreadable = () => network.socket.sayBytes(new Uint8Array([0xc1]))
      network.socket.say(subscribed(sub, 5), replay([event(2)]))
      unreadable()
      network.socket.say({ type: 'live', sub, offset: at(5) }, batch(5, 6, [event(6)]))
      t.same(seen, ['replayed 2', 'gap unreadable 0-5', 'live', 6])

      // What a cut join goes on from is behind it: the gap is told all the same.
      const cut = follow(t, { backoff: { mostMs: 250 } })
      cut.network.socket.say(subscribed(cut.sub, 5))
      cut.network.socket.sayBytes(new Uint8Array([0xc1]))
      cut.network.socket.say(replay([event(3)]))
      cut.network.socket.cut()
      cut.clock.advance(300)
      cut.network.socket.welcome()
      const rest = cut.network.socket.takeSubscribe()
      t.equal(rest.after, 'e:5~r3')
      const live = { type: 'live', sub: rest.sub, offset: at(5) } as const
      cut.network.socket.say(subscribed(rest.sub, 5, { resumed: true }), live)
      t.same(cut.seen, ['replayed 3', 'gap unreadable 0-5', 'live'])
      const ends: unknown[] = []
      client.subscribe({ topic: 'sessions/t' }, { onEvent() {}, onEnd: (end) => ends.push(end) })
      const other = network.socket.takeSubscribe().sub
      unreadable()
      network.socket.say({ type: 'live', sub: other, offset: at(5) })
      t.match(ends, [{ code: 'refused', reason: /cannot be read/ }])
      t.same(network.socket.take(), [{ type: 'unsubscribe', sub: other }])
    },
  )

  t.test('asks for the state anew where a part of it cannot be read, but not again and again', async (t) => {
    const { network, seen, subscription, sub } = follow(t, {}, { slices: ['*'] })
    const part = (sub: number, index: number, text: string, last?: true) =>
      ({ type: 'part', sub, slice: 'plan', index, text, ...(last && { last }) }) as const
    network.socket.say(subscribed(sub, 5, { parts: 3 }), part(sub, 0, '[1'))
    network.socket.sayBytes(new Uint8Array([0xc1]))
    network.socket.say(part(sub, 2, ',3]', true), { type: 'live', sub, offset: at(5) })
    const { sub: asked } = network.socket.takeSubscribe()
    t.same(subscription.state, {})
    network.socket.say(subscribed(asked, 5, { parts: 2, feed: 2 }), part(asked, 0, '[1'))
    network.socket.sayBytes(new Uint8Array([0xc1]))
    network.socket.say({ type: 'live', sub: asked, offset: at(5) })
    t.same(network.socket.take(), [{ type: 'unsubscribe', sub: asked }])
    network.socket.say(batch(5, 6, [event(6)]))
    t.same(seen, ['gap unreadable 0-5', 'live', 6])
  })

  t.test(
    'takes a snapshot for news on resume: a slice may be gone of which nothing else tells',
    async (t) => {
      const { network, clock, subscription, sub } = follow(t, { backoff: { mostMs: 250 } }, { slices: ['*'] })
      network.socket.say(subscribed(sub, 5, { slices: { plan: 1, gone: 1 } }), {
        type: 'live',
        sub,
        offset: at(5),
      })
      for (const how of ['whole', 'parts'] as const) {
        network.socket.cut()
        clock.advance(300)
        network.socket.welcome()
        const again = network.socket.takeSubscribe().sub
        if (how === 'whole') {
          network.socket.say(subscribed(again, 5, { resumed: true, slices: { plan: 2 } }))
          const asked = network.socket.takeSubscribe().sub
          network.socket.say(subscribed(asked, 9, { feed: 2, slices: { plan: 2 } }))
          t.same(network.socket.take(), [{ type: 'unsubscribe', sub: asked }])
          t.same(subscription.state, { plan: 2 })
        } else {
          const part = { type: 'part', sub: again, slice: 'plan', index: 0, text: '3', last: true } as const
          network.socket.say(subscribed(again, 5, { resumed: true, parts: 1 }), part)
          t.same(subscription.state, { plan: 3 })
        }
        network.socket.say({ type: 'live', sub: again, offset: at(5) })
        t.same(network.socket.take(), [])
      }
    },
  )

  t.test('is silent once it is closed, even in the middle of a frame', async (t) => {
    const { network, client } = setUp(t)
    network.socket.welcome()
    const seen: number[] = []
    const subscription = client.subscribe(
      { topic: 'sessions/s' },
      {
        onEvent: ({ offset }) => {
          seen.push(offset)
          subscription.close()
        },
        onEnd: () => t.fail('expected no end that was asked for'),
      },
    )
    const { sub } = network.socket.takeSubscribe()
    network.socket.say(subscribed(sub, 0), batch(0, 2, [event(1), event(2)]), batch(2, 3, [event(3)]))
    t.same(network.socket.take(), [{ type: 'unsubscribe', sub }])
    network.socket.say({ type: 'unsubscribed', sub, code: 'asked', reason: '' })
    t.same(seen, [1])
  })
})

t.test('a for await loop', async (t) => {
  t.test('gets what comes, and unsubscribes when it is left', async (t) => {
    const { network, client } = setUp(t)
    network.socket.welcome()
    const subscription = client.subscribe({ topic: 'sessions/s' })
    const { sub } = network.socket.takeSubscribe()
    network.socket.say(subscribed(sub, 0), batch(0, 2, [event(1), event(2)]))
    const seen: number[] = []
    for await (const { offset } of subscription) {
      seen.push(offset)
      if (offset === 2) network.socket.say(batch(2, 3, [event(3)]))
      if (offset === 3) break
    }
    t.same(seen, [1, 2, 3])
    t.same(network.socket.take(), [{ type: 'unsubscribe', sub }])
  })

  t.test('that is slow makes the subscription rest, and it continues from its position', async (t) => {
    const { network, client } = setUp(t)
    network.socket.welcome()
    const subscription = client.subscribe({ topic: 'sessions/s', queueEventsMax: 4 })
    const { sub } = network.socket.takeSubscribe()
    network.socket.say(
      subscribed(sub, 0),
      { type: 'live', sub, offset: at(0) },
      batch(
        0,
        5,
        [1, 2, 3, 4, 5].map((offset) => event(offset)),
      ),
    )
    t.same(network.socket.take(), [{ type: 'unsubscribe', sub }])
    t.equal(subscription.live, false)
    network.socket.say(batch(5, 6, [event(6)]))
    const events = subscription[Symbol.asyncIterator]()
    for (const offset of [1, 2]) t.equal((await events.next()).value?.offset, offset)
    t.same(network.socket.take(), [])
    t.equal((await events.next()).value?.offset, 3)
    const again = network.socket.takeSubscribe()
    t.equal(again.after, 'e:5')
    network.socket.say(subscribed(again.sub, 5, { resumed: true }), batch(5, 6, [event(6)]))
    for (const offset of [4, 5, 6]) t.equal((await events.next()).value?.offset, offset)
  })

  t.test('ends with the client and fails when the hub ends the subscription', async (t) => {
    const { network, client } = setUp(t)
    network.socket.welcome()
    const removed = client.subscribe({ topic: 'sessions/s' })
    const { sub } = network.socket.takeSubscribe()
    network.socket.say(subscribed(sub, 0), { type: 'unsubscribed', sub, code: 'removed', reason: 'gone' })
    await t.rejects(removed[Symbol.asyncIterator]().next(), /removed: gone/)
    const other = client.subscribe({ topic: 'sessions/s' })
    client.close()
    t.same(await other[Symbol.asyncIterator]().next(), { done: true, value: undefined })
  })

  t.test('is not for a subscription with an onEvent listener', async (t) => {
    const { client } = setUp(t)
    const subscription = client.subscribe({ topic: 'sessions/s' }, { onEvent() {} })
    t.throws(() => subscription[Symbol.asyncIterator](), TypeError)
  })

  t.test('reads a queue in order whatever its length', async (t) => {
    const queue = new Queue<number>()
    for (let item = 0; item < 3_500; item += 1) queue.put(item)
    queue.end()
    const read: (number | undefined)[] = []
    for (let item = 0; item < 3_500; item += 1) read.push((await queue.next()).value)
    t.same(read, [...read.keys()])
    t.equal(queue.length, 0)
    t.equal((await queue.next()).done, true)
  })
})
