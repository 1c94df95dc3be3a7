import t from 'tap'
import type { Link, LinkFrame } from '../../src/client/link.js'
import { Relay } from '../../src/client/relay.js'
import type { Offset } from '../../src/protocol/cursor.js'
import type { ClientFrame, HubFrame, Welcome } from '../../src/protocol/frames.js'

const limits = { frameBytesMax: 1, subscriptionsMax: 1, filterTypesMax: 1 }
const welcome: Welcome = { type: 'welcome', connection: 'c', version: 1, heartbeatMs: 25_000, limits }

interface Sees {
  readonly frames: LinkFrame[]
  frame(frame: LinkFrame): void
}

function setUp() {
  let sent: ClientFrame[] = []
  const link: Link = {
    transport: 'websocket',
    send: (frames) => void sent.push(...frames),
    close: () => undefined,
  }
  const relay = new Relay(link)
  const member = (): Sees => {
    const frames: LinkFrame[] = []
    const made: Sees = { frames, frame: (frame) => void frames.push(frame) }
    relay.add(made)
    return made
  }
  const take = (): ClientFrame[] => {
    const taken = sent
    sent = []
    return taken
  }
  return { relay, member, take }
}

function subscribed(sub: number, feed: number): HubFrame {
  return {
    type: 'subscribed',
    sub,
    feed,
    topic: 'sessions/s',
    epoch: 'e',
    offset: 0 as Offset,
    resumed: false,
  }
}

function events(feed: number): HubFrame {
  return { type: 'events', feed, after: 0 as Offset, last: 1 as Offset, events: [] }
}

t.test('members that number alike have their own subscriptions and feeds', async (t) => {
  const { relay, member, take } = setUp()
  const [one, other] = [member(), member()]
  for (const each of [one, other]) relay.send(each, [{ type: 'subscribe', sub: 1, topic: 'sessions/s' }])
  t.match(take(), [
    { type: 'subscribe', sub: 1 },
    { type: 'subscribe', sub: 2 },
  ])
  for (const frame of [subscribed(1, 7), subscribed(2, 8), events(8)]) relay.frame(frame)
  t.match(one.frames, [{ type: 'subscribed', sub: 1, feed: 7 }])
  t.match(other.frames, [
    { type: 'subscribed', sub: 1, feed: 8 },
    { type: 'events', feed: 8 },
  ])
  relay.send(other, [{ type: 'update', sub: 1, mode: 'summary' }])
  t.match(take(), [{ type: 'update', sub: 2 }], 'a change goes to its own one')
  relay.frame(subscribed(2, 9))
  relay.frame(events(8))
  t.equal(other.frames.length, 3, 'the feed before is nobody’s any more')
  relay.send(one, [{ type: 'unsubscribe', sub: 5 }])
  t.match(take(), [{ type: 'unsubscribe', sub: 0 }], 'what it never had is nobody’s')
})

t.test('an answer goes to who asked, under the mark that it gave', async (t) => {
  const { relay, member, take } = setUp()
  const [one, other] = [member(), member()]
  const set = { type: 'set', topic: 'sessions/s', slice: 'plan', value: 1 } as const
  relay.send(one, [{ ...set, ref: 'mine' }])
  relay.send(other, [set, { type: 'ping' }])
  const [first, second, third] = take().map((frame) => (frame as { readonly ref: number }).ref)
  t.equal(new Set([first, second, third]).size, 3)
  relay.frame({ type: 'error', ref: first as number, code: 'conflict', message: 'no' })
  relay.frame({ type: 'updated', ref: second as number, offset: 3 as Offset, changed: true })
  relay.frame({ type: 'pong', ref: third as number })
  relay.frame({ type: 'pong', ref: third as number })
  t.same(one.frames, [{ type: 'error', code: 'conflict', message: 'no', ref: 'mine' }])
  t.same(other.frames, [{ type: 'updated', offset: 3, changed: true }, { type: 'pong' }])
})

t.test('a refused subscription is forgotten, and one that only failed to change is not', async (t) => {
  const { relay, member, take } = setUp()
  const one = member()
  relay.send(one, [
    { type: 'subscribe', sub: 1, topic: 'sessions/s' },
    { type: 'subscribe', sub: 2, topic: 'sessions/t' },
  ])
  relay.frame(subscribed(1, 7))
  for (const sub of [1, 2]) relay.frame({ type: 'error', sub, code: 'forbidden', message: 'no' })
  t.match(one.frames.slice(1), [
    { type: 'error', sub: 1 },
    { type: 'error', sub: 2 },
  ])
  relay.frame(events(7))
  t.match(one.frames.at(-1), { type: 'events' })
  take()
  relay.remove(one)
  t.same(take(), [{ type: 'unsubscribe', sub: 1 }], 'the hub has only one left')
})

t.test('a member that goes leaves nothing behind, and nothing comes for it', async (t) => {
  const { relay, member, take } = setUp()
  const [one, other] = [member(), member()]
  relay.send(one, [
    { type: 'subscribe', sub: 1, topic: 'sessions/s' },
    { type: 'publish', topic: 'sessions/s', events: [{ type: 'a' }], ref: 1 },
  ])
  const ref = (take()[1] as { readonly ref: number }).ref
  relay.frame(subscribed(1, 7))
  relay.remove(one)
  relay.remove(one)
  t.same(take(), [{ type: 'unsubscribe', sub: 1 }])
  relay.frame(events(7))
  relay.frame({ type: 'published', ref, first: 1 as Offset, last: 1 as Offset, duplicates: 0 })
  relay.send(one, [{ type: 'ping' }])
  t.equal(one.frames.length, 1)
  t.same([other.frames, take()], [[], []])
})

t.test('all hear the welcome, also who comes later, and the first one whose token it is', async (t) => {
  const { relay, member } = setUp()
  const one = member()
  relay.frame(welcome)
  const other = member()
  relay.frame({ type: 'authorized', expiresInMs: 5 })
  relay.frame({ type: 'closing', code: 4000, retryMs: 1 })
  relay.frame({ type: 'unread', reason: 'whoever it was for' })
  t.match(
    one.frames.map(({ type }) => type),
    ['welcome', 'authorized', 'closing', 'unread'],
  )
  t.match(
    other.frames.map(({ type }) => type),
    ['welcome', 'closing', 'unread'],
  )
})
