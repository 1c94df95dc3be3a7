import assert from 'node:assert/strict'
import fc from 'fast-check'
import { Unpackr } from 'msgpackr'
import t, { type Test } from 'tap'
import { pack } from '../../src/client/pack.js'
import { Queue } from '../../src/client/queue.js'
import { baseUrl } from '../../src/client/surroundings.js'
import {
  type BuiltInCatalog,
  ClosedError,
  type ConnectOptions,
  connect,
  type EventOf,
  type GapNotice,
  RequestError,
  type Status,
} from '../../src/client.js'
import type { JsonValue } from '../../src/lib/json.js'
import type { Offset } from '../../src/protocol/cursor.js'
import type { Events, HubEvent, Subscribed } from '../../src/protocol/frames.js'
import { SimulatedClock, settle } from '../kit/clock.js'
import { FakeNetwork } from '../kit/fake-socket.js'
import { SeededRandom } from '../kit/random.js'

const at = (offset: number) => offset as Offset

function event(offset: number, type = 'note', data: JsonValue = offset): HubEvent {
  return { offset: at(offset), type, time: 0, data }
}

function update(offset: number, data: JsonValue): HubEvent {
  return event(offset, 'state.update', data)
}

function batch(after: number, last: number, events: readonly HubEvent[], feed = 1): Events {
  return { type: 'events', feed, after: at(after), last: at(last), events }
}

function replay(events: readonly HubEvent[], feed = 1): Events {
  return { type: 'events', feed, replay: true, events }
}

function subscribed(sub: number, offset: number, more: Partial<Subscribed> = {}): Subscribed {
  return {
    type: 'subscribed',
    sub,
    feed: 1,
    topic: 'sessions/s',
    epoch: 'e',
    offset: at(offset),
    resumed: false,
    ...more,
  }
}

/** A client of which everything is simulated; closed at the end, when nothing may be left. */
function setUp(t: Test, options: ConnectOptions = {}) {
  const clock = new SimulatedClock()
  const network = new FakeNetwork()
  const statuses: Status[] = []
  const client = connect('http://hub.test/base', {
    WebSocket: network.WebSocket,
    transport: 'websocket',
    clock,
    random: new SeededRandom(1),
    ...options,
  })
  client.onStatus((status) => statuses.push(status))
  t.teardown(() => {
    client.close()
    assert.equal(clock.timers, 0, 'expected no timer to be left')
  })
  return { clock, network, client, statuses }
}

/** As `setUp`, and welcomed, with one subscription whose events and gaps are noted. */
function follow(
  t: Test,
  options: ConnectOptions = {},
  more: { slices?: readonly string[]; after?: string } = {},
) {
  const all = setUp(t, options)
  all.network.socket.welcome()
  const seen: unknown[] = []
  const subscription = all.client.subscribe(
    { topic: 'sessions/s', ...more },
    {
      onEvent: ({ offset, replay }) => seen.push(replay ? `replayed ${offset}` : offset),
      onGap: ({ reason, after, offset }) => seen.push(`gap ${reason} ${after}-${offset}`),
      onLive: () => seen.push('live'),
      onState: (state) => seen.push(state),
      onEnd: ({ code }) => seen.push(`end ${code}`),
    },
  )
  return { ...all, seen, subscription, sub: all.network.socket.takeSubscribe().sub }
}

t.test('dialling', async (t) => {
  t.test('goes to /api/ws below the base with the subprotocol of the codec and the token', async (t) => {
    const { network } = setUp(t, { token: 'a.b.c' })
    t.equal(network.socket.url, 'ws://hub.test/base/api/ws')
    t.same(network.socket.protocols, ['runcast.v1.msgpack', 'bearer.a.b.c'])
    t.equal(network.socket.binaryType, 'arraybuffer')
    const json = setUp(t, { codec: 'json' })
    t.same(json.network.socket.protocols, ['runcast.v1.json'])
  })

  t.test('asks for a token before each attempt', async (t) => {
    let asked = 0
    const { network, clock } = setUp(t, { token: async () => `t${++asked}` })
    await settle()
    t.same(network.socket.protocols[1], 'bearer.t1')
    network.socket.cut()
    await clock.pass(1_000)
    t.same(network.socket.protocols[1], 'bearer.t2')
  })

  t.test(
    'comes back with another token when the one that was good has expired, and not otherwise',
    async (t) => {
      let asked = 0
      const { network, clock, client } = setUp(t, { token: () => `t${++asked}` })
      network.socket.welcome()
      network.socket.cut(4501, 'The token has expired.')
      t.match(client.status, { kind: 'waiting', code: 4501 })
      await clock.pass(1_000)
      t.same(network.socket.protocols[1], 'bearer.t2')
      network.socket.cut(4501, 'The token has expired.')
      t.match(client.status, { kind: 'closed', code: 4501 })
    },
  )

  t.test('tries again when no token could be made', async (t) => {
    let fails = true
    const { network, clock, client } = setUp(t, {
      token: () => (fails ? Promise.reject(new Error('the issuer is down')) : 'now'),
    })
    await settle()
    t.match(client.status, { kind: 'waiting', reason: /the issuer is down/ })
    t.equal(network.sockets.length, 0)
    fails = false
    await clock.pass(1_000)
    t.equal(network.sockets.length, 1)
  })

  t.test('takes http, https, ws and wss, with or without a slash, and nothing else', async (t) => {
    t.equal(baseUrl('https://h/x?y#z'), 'https://h/x/')
    t.equal(baseUrl('wss://h'), 'https://h/')
    t.equal(baseUrl('ws://h:1/'), 'http://h:1/')
    t.throws(() => baseUrl('ftp://h'), TypeError)
    t.throws(() => baseUrl('nothing'), TypeError)
  })

  t.test('says at once that there is no WebSocket', async (t) => {
    t.throws(() => connect('http://h', { transport: 'websocket' }), /package ws/)
  })
})

t.test('reconnecting', async (t) => {
  t.test(
    'waits longer and longer, with jitter, to the most, and soon again after a link that lived',
    async (t) => {
      const { network, clock, statuses } = setUp(t, { backoff: { firstMs: 100, mostMs: 1_000 } })
      for (let attempt = 0; attempt < 8; attempt += 1) {
        network.socket.cut()
        clock.advance(1_000)
      }
      const waits = statuses.flatMap((status) => (status.kind === 'waiting' ? [status.retryMs] : []))
      t.equal(waits.length, 8)
      for (const [attempt, wait] of waits.entries()) {
        const most = Math.min(1_000, 100 * 2 ** (attempt + 1))
        t.ok(wait >= most / 2 && wait <= most, `${wait} is between ${most / 2} and ${most}`)
      }
      t.equal(new Set(waits.slice(4)).size, 4, 'no two waits are alike')
      network.socket.welcome()
      clock.advance(3_000)
      network.socket.cut()
      const last = statuses.at(-1)
      t.ok(last?.kind === 'waiting' && last.retryMs <= 100, 'begins anew')
    },
  )

  t.test('comes back after a code below 4500 and stops after one from 4500 on', async (t) => {
    const { network, clock, client, statuses } = setUp(t)
    const ends: unknown[] = []
    client.subscribe({ topic: 'sessions/s' }, { onEvent() {}, onEnd: (ending) => ends.push(ending) })
    network.socket.welcome()
    network.socket.cut(4321, 'a code of the future')
    t.match(client.status, { kind: 'waiting', code: 4321, reason: 'a code of the future' })
    clock.advance(1_000)
    t.equal(network.sockets.length, 2)
    network.socket.welcome()
    const published = client.publish('sessions/s', { type: 'note' })
    network.socket.cut(4987, 'never again')
    t.same(client.status, { kind: 'closed', code: 4987, reason: 'never again' })
    t.same(ends, [{ code: 'refused', reason: 'never again' }])
    await t.rejects(published, ClosedError)
    clock.advance(1_000_000)
    t.equal(network.sockets.length, 2)
    t.equal(statuses.at(-1)?.kind, 'closed')
    await t.rejects(client.publish('sessions/s', { type: 'note' }), ClosedError)
    client.subscribe({ topic: 'sessions/s' }, { onEnd: ({ code }) => ends.push(code) })
    t.equal(ends.at(-1), 'closed')
  })

  t.test('waits as long as a hub that goes away asks for, but no longer than it ever waits', async (t) => {
    const { network, clock, client } = setUp(t, { backoff: { firstMs: 100, mostMs: 4_000 } })
    for (const [asked, wait] of [
      [1_234, 1_234],
      [1_000_000, 4_000],
    ] as const) {
      network.socket.welcome()
      clock.advance(3_000)
      network.socket.say({ type: 'closing', code: 4000, retryMs: asked })
      network.socket.cut(4000, 'the hub is shutting down')
      t.match(client.status, { kind: 'waiting', code: 4000, retryMs: wait })
      clock.advance(wait)
    }
    network.socket.welcome()
    clock.advance(3_000)
    network.socket.cut(4000)
    t.ok(client.status.kind === 'waiting' && client.status.retryMs <= 100, 'and asks for it once')
  })

  t.test('gives up on a hub that opens but says no welcome', async (t) => {
    const { network, clock, client } = setUp(t)
    clock.advance(10_000)
    t.match(client.status, { kind: 'waiting', code: 1006 })
    t.ok(network.socket.closedWith)
  })

  t.test('asks a silent hub whether it lives, and leaves it when it does not answer', async (t) => {
    const { network, clock, client } = setUp(t)
    const { socket } = network
    socket.welcome(20_000)
    clock.advance(1_000)
    socket.say({ type: 'authorized' })
    clock.advance(19_999)
    t.same(socket.take(), [], 'is content with any frame')
    clock.advance(1)
    t.same(socket.take(), [{ type: 'ping' }])
    socket.say({ type: 'pong' })
    clock.advance(20_000)
    t.equal(client.status.kind, 'open')
    t.same(socket.take(), [{ type: 'ping' }])
    clock.advance(10_000)
    t.match(client.status, { kind: 'waiting', code: 4002 })
    t.equal(socket.closedWith?.code, 4002)
    socket.say({ type: 'pong' })
    t.equal(client.status.kind, 'waiting', 'is deaf to the link it left')
  })

  t.test('leaves a hub that says what cannot be read, and comes back', async (t) => {
    const { network, clock, client } = setUp(t)
    network.socket.welcome()
    network.socket.sayBytes(new Uint8Array([0xc1]))
    t.match(client.status, { kind: 'waiting', reason: /cannot be read/ })
    clock.advance(1_000)
    t.equal(network.sockets.length, 2)
  })

  t.test('rests while offline or long hidden if asked, and comes back at once', async (t) => {
    const page = {
      hidden: false,
      offline: false,
      changed: () => {},
      watch: (changed: () => void) => ((page.changed = changed), () => {}),
    }
    const { network, clock, client } = setUp(t, { page, pause: { offline: true, hiddenMs: 60_000 } })
    network.socket.welcome()
    page.offline = true
    page.changed()
    t.same(client.status, { kind: 'paused', why: 'offline' })
    clock.advance(1_000_000)
    t.equal(network.sockets.length, 1)
    page.offline = false
    page.changed()
    t.equal(network.sockets.length, 2)
    network.socket.welcome(600_000)
    page.hidden = true
    page.changed()
    clock.advance(59_999)
    t.equal(client.status.kind, 'open')
    clock.advance(1)
    t.same(client.status, { kind: 'paused', why: 'hidden' })
    page.hidden = false
    page.changed()
    t.equal(client.status.kind, 'connecting')
  })

  t.test('does not wait for the end of the wait once the network is back', async (t) => {
    const page = {
      hidden: false,
      offline: false,
      changed: () => {},
      watch: (changed: () => void) => ((page.changed = changed), () => {}),
    }
    const { network } = setUp(t, { page })
    network.socket.cut()
    page.changed()
    t.equal(network.sockets.length, 2)
  })

  t.test('can be closed by a listener of the status at any change', async (t) => {
    for (const kind of ['connecting', 'open', 'waiting'] as const) {
      const { network, clock, client } = setUp(t)
      client.onStatus((status) => {
        if (status.kind === kind) client.close()
      })
      network.socket.welcome()
      network.socket.cut()
      clock.advance(100_000)
      t.equal(client.status.kind, 'closed', kind)
      t.ok(network.sockets.length <= 2)
    }
  })
})

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

  t.test('shows nothing of a replay that was cut, and the whole of the next one', async (t) => {
    const { network, clock, seen, sub } = follow(t)
    network.socket.say(subscribed(sub, 5), replay([event(2, 'text', 'Hel')]))
    network.socket.cut()
    clock.advance(1_000)
    network.socket.welcome()
    const again = network.socket.takeSubscribe()
    t.equal(again.after, undefined)
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

t.test('pack', async (t) => {
  t.test('makes MessagePack that msgpackr reads as the same value', async () => {
    const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: 'number' })
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 5 }), (value) => {
        // msgpackr renames this one name, to keep careless readers from harm.
        fc.pre(!JSON.stringify(value).includes('__proto__'))
        const read = unpackr.unpack(pack(value)) as JsonValue
        return JSON.stringify(read) === JSON.stringify(value)
      }),
    )
  })

  t.test('knows every length and number', async (t) => {
    const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: 'number' })
    const values: JsonValue[] = [
      0,
      -1,
      -32,
      -33,
      127,
      128,
      255,
      65_536,
      2 ** 32 - 1,
      2 ** 32,
      -(2 ** 40),
      1.5,
      Date.UTC(2025, 0),
      -0,
    ]
    for (const length of [0, 15, 16, 31, 32, 255, 256, 65_535, 65_536]) {
      values.push(
        'ü'.repeat(length >> 1) + 'x'.repeat(length & 1),
        Array.from({ length }, (_, index) => index),
      )
      values.push(Object.fromEntries(Array.from({ length }, (_, index) => [`k${index}`, index])))
    }
    t.strictSame(
      values.map((value) => unpackr.unpack(pack(value)) as JsonValue),
      values,
    )
    t.same(unpackr.unpack(pack({ a: undefined, b: 1 })), { b: 1 })
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
    const show = (event: EventOf<BuiltInCatalog, 'process.output' | 'process.exited'>): string =>
      event.type === 'process.output' ? event.data.text : String(event.data.code)
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
