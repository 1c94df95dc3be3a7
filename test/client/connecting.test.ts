import t from 'tap'
import { baseUrl } from '../../src/client/surroundings.js'
import { ClosedError, connect } from '../../src/client.js'
import { settle } from '../kit/clock.js'
import { at, setUp, subscribed } from './client-kit.js'

t.test('dialling', async (t) => {
  t.test('goes to /api/ws below the base with the subprotocol of the codec and the token', async (t) => {
    const { network } = setUp(t, { token: 'a.b.c' })
    t.equal(network.socket.url, 'ws://hub.test/base/api/ws?receiveBytesMax=104857600')
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
      network.socket.cut(4501, 'The token has been revoked.')
      t.match(client.status, { kind: 'closed', code: 4501 })
    },
  )

  t.test('treats a token that no request can carry as one that is not good', async (t) => {
    for (const token of ['“a.b.c”', 'a.b.c\u200b', 'a b', 'a\nb', '', 'x'.repeat(200_000)]) {
      for (const given of [token, async () => token]) {
        const { network, clock, client } = setUp(t, { token: given })
        await settle()
        t.match(client.status, { kind: 'closed', code: 4501, reason: /^The token cannot be sent/ })
        t.equal(network.sockets.length, 0)
        t.notMatch(JSON.stringify(client.status), 'a.b.c')
        clock.advance(100_000)
      }
      const { network, client } = setUp(t, { token: 'good' })
      network.socket.welcome()
      client.authorize(token)
      t.same(network.socket.take(), [])
      t.match(client.status, { kind: 'closed', code: 4501 })
    }
    const asSubprotocol = setUp(t, { token: 'a/b=' })
    t.match(asSubprotocol.client.status, { kind: 'closed', code: 4501 })
    const asHeader = setUp(t, { token: 'a/b=', transport: 'auto' })
    t.equal(asHeader.client.status.kind, 'connecting', 'SSE can carry it')
  })

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
    // Node has one from version 22 on.
    t.intercept(globalThis, 'WebSocket', { value: undefined })
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

  t.test('measures silence as before when the wall clock is set', async (t) => {
    for (const jumpMs of [-3_600_000, 3_600_000]) {
      const { network, clock } = setUp(t)
      const { socket } = network
      socket.welcome(20_000)
      clock.advance(10_000)
      socket.say({ type: 'authorized' })
      clock.jump(jumpMs)
      clock.advance(19_999)
      t.same(socket.take(), [], `not asked early, set by ${jumpMs} ms`)
      clock.advance(1)
      t.same(socket.take(), [{ type: 'ping' }], `nor late, set by ${jumpMs} ms`)
    }
  })

  t.test('stays with a hub that says what cannot be read, and tells of it', async (t) => {
    const { network, client } = setUp(t)
    const errors: string[] = []
    const stop = client.onError(({ message }) => errors.push(message))
    network.socket.welcome()
    network.socket.sayBytes(new Uint8Array([0x92, 1]))
    network.socket.say({ type: 'events', feed: 1, events: null } as never)
    network.socket.say({ type: 'live', sub: 'x', offset: 1 } as never)
    network.socket.say({ type: 'of another time' } as never)
    stop()
    network.socket.say({ type: 'gap' } as never)
    t.match(errors, [/cannot be read: /, 'a frame that is none of the protocol', /none of the protocol/])
    t.equal(errors.length, 3, 'frames that are not known are no error')
    t.equal(client.status.kind, 'open')
    t.equal(network.sockets.length, 1)
  })

  t.test('says that links end before all that is followed has come, until it has', async (t) => {
    const { network, clock, client, statuses } = setUp(t, { backoff: { mostMs: 250 } })
    client.subscribe({ topic: 'sessions/s' }, { onEvent() {} })
    const other = client.subscribe({ topic: 'sessions/t' }, { onEvent() {} })
    const open = () => {
      network.socket.welcome()
      return network.socket.take().flatMap((frame) => (frame.type === 'subscribe' ? [frame.sub] : []))
    }
    const live = (sub = 0) =>
      network.socket.say(subscribed(sub, 5, { feed: sub }), { type: 'live', sub, offset: at(5) })
    const cut = (code?: number) => {
      statuses.length = 0
      network.socket.cut(code, 'gone')
      clock.advance(300)
    }
    live(open()[0])
    cut()
    t.match(statuses, [
      { kind: 'waiting', cutShort: undefined },
      { kind: 'connecting', cutShort: undefined },
    ])
    open()
    cut(4001)
    const cutShort = { links: 2, code: 4001, reason: 'gone' }
    t.match(statuses, [
      { kind: 'waiting', cutShort },
      { kind: 'connecting', cutShort },
    ])
    const [one, two] = open()
    t.match(client.status, { kind: 'open', cutShort })
    live(one)
    t.match(client.status, { kind: 'open', cutShort })
    statuses.length = 0
    live(two)
    t.match(statuses, [{ kind: 'open', transport: 'websocket', cutShort: undefined }])
    live(two)
    t.equal(statuses.length, 1)
    cut()
    t.match(
      statuses[0],
      { kind: 'waiting', cutShort: undefined },
      'one that had come to its end says nothing',
    )
    other.close()
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
