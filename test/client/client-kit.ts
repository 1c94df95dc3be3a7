import assert from 'node:assert/strict'
import type { Test } from 'tap'
import { type ConnectOptions, connect, type Status } from '../../src/client.js'
import type { JsonValue } from '../../src/lib/json.js'
import type { Offset } from '../../src/protocol/cursor.js'
import type { Events, HubEvent, Subscribed } from '../../src/protocol/frames.js'
import { SimulatedClock } from '../kit/clock.js'
import { FakeNetwork } from '../kit/fake-socket.js'
import { SeededRandom } from '../kit/random.js'

export const at = (offset: number) => offset as Offset

export function event(offset: number, type = 'note', data: JsonValue = offset): HubEvent {
  return { offset: at(offset), type, time: 0, data }
}

export function update(offset: number, data: JsonValue): HubEvent {
  return event(offset, 'state.update', data)
}

export function batch(after: number, last: number, events: readonly HubEvent[], feed = 1): Events {
  return { type: 'events', feed, after: at(after), last: at(last), events }
}

export function replay(events: readonly HubEvent[], feed = 1): Events {
  return { type: 'events', feed, replay: true, events }
}

export function subscribed(sub: number, offset: number, more: Partial<Subscribed> = {}): Subscribed {
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
export function setUp(t: Test, options: ConnectOptions = {}) {
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
export function follow(
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
