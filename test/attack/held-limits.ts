import type { HttpResponse } from 'uWebSockets.js'
import type { Test } from 'tap'
import { createHub, type Hub } from '../../src/hub/hub.js'
import { systemClock } from '../../src/lib/clock.js'
import { type JsonValue, measure } from '../../src/lib/json.js'
import { systemRandom } from '../../src/lib/random.js'
import { MemoryLog } from '../../src/log/memory-log.js'
import { defaultLimits, type Limits } from '../../src/protocol/limits.js'
import { memoryStore } from '../../src/store/memory.js'
import { memoryLink } from '../../src/transport/memory.js'
import { OpenStreams } from '../../src/transport/open-streams.js'
import { UwsStream } from '../../src/transport/uws-stream.js'
import { transportOptions } from '../conformance/transport-kit.js'
import { SimulatedClock } from '../kit/clock.js'
import { FaultyStore } from '../kit/faulty-store.js'
import { served } from '../kit/served.js'
import { dataOf } from '../sessions/committing-kit.js'
import { type LimitTests, limited, refused, statusOf, topic, weighEvent } from './limits-kit.js'

/** Of what the hub holds. */
export const heldLimits = {
  async sessionsMax(t) {
    const hub = createHub({ limits: { sessionsMax: 2 } })
    const follow = (id: string) => hub.subscribe(`sessions/${id}`)
    const following = [follow('x'), follow('y')]
    refused(t, 'unavailable', () => follow('z'))
    hub.publish('sessions/a', [{ type: 'a' }])
    hub.setState('sessions/b', 'plan', 1)
    refused(t, 'unavailable', () => hub.publish('sessions/c', [{ type: 'a' }]))
    refused(t, 'unavailable', () => hub.setState('sessions/c', 'plan', 1))
    refused(t, 'unavailable', () => hub.createSession('c'))
    t.equal(hub.stats().sessions, 4)
    for (const { close } of following) close()
    t.equal(hub.stats().sessions, 2)
    await hub.removeSession('a')
    hub.publish('sessions/c', [{ type: 'a' }])
  },

  async workersMax(t) {
    const hub = createHub({ limits: { workersMax: 2 } })
    const follow = (id: string) => hub.subscribe(`sessions/s/workers/${id}`)
    const following = [follow('x'), follow('y')]
    refused(t, 'conflict', () => follow('z'))
    for (const id of ['a', 'b']) hub.publish(`sessions/s/workers/${id}`, [{ type: 'a' }])
    refused(t, 'conflict', () => hub.publish('sessions/s/workers/c', [{ type: 'a' }]))
    refused(t, 'conflict', () => hub.publish('sessions/s/workers/x', [{ type: 'a' }]))
    for (const { close } of following) close()
    follow('z').close()
  },

  async answerBytesMax(t) {
    const hub = createHub({ limits: { answerBytesMax: 30 } })
    const closed: string[] = []
    const connection = hub.connect({
      codec: hub.codecs.json,
      waiting: 0,
      write: () => false,
      cork: (writes) => writes(),
      end: () => undefined,
      close: (code) => closed.push(code),
    })
    const pong = { type: 'pong' } as const
    // They wait behind the welcome: 15 bytes each.
    for (let said = 0; said < 2; said++) connection.say(pong)
    t.same(closed, [])
    connection.say(pong)
    t.same(closed, ['lagging'])
  },

  async backpressureBytesMax(t) {
    const { stream } = stalledStream({ backpressureBytesMax: 100 })
    t.equal(stream.write(Buffer.alloc(100)), true)
    t.equal(stream.write(Buffer.alloc(1)), false)
  },

  async overrunBytesMax(t) {
    const { stream, isCut } = stalledStream({ backpressureBytesMax: 100, overrunBytesMax: 1_000 })
    stream.write(Buffer.alloc(1_100))
    t.equal(isCut(), false)
    stream.write(Buffer.alloc(1))
    t.equal(isCut(), true)

    // For a snapshot that can never be sent a cut would only bring the client back.
    const hub = createHub({ limits: { overrunBytesMax: 1_000 } })
    hub.setState('sessions/s', 'plan', 'x'.repeat(1_000))
    const closed: string[] = []
    const connection = hub.connect({
      codec: hub.codecs.json,
      waiting: 0,
      write: () => true,
      cork: (writes) => writes(),
      end: () => undefined,
      close: (code, reason) => closed.push(code, reason),
    })
    connection.receive({ type: 'subscribe', sub: 1, topic: 'sessions/s', slices: ['plan'] })
    t.match(closed, ['frameTooLarge', /ask for it in parts/])
  },

  async memoryBytesMax(t) {
    const fill = (memoryBytesMax: number) => {
      const hub = createHub({ limits: { memoryBytesMax } })
      for (const id of ['ended first', 'ended last'].map((name) => name.replace(' ', '-'))) {
        hub.publish(`sessions/${id}`, [{ type: 'a' }])
        hub.endSession(id)
      }
      hub.publish('sessions/idle', [{ type: 'a' }])
      hub.publish(topic, [{ type: 'a' }])
      const weight = hub.stats().memoryBytes
      hub.publish(topic, [{ type: 'a' }])
      return { weight, left: hub.sessions().map(({ id }) => id) }
    }
    const { weight, left } = fill(defaultLimits.memoryBytesMax)
    t.same(fill(weight).left, left)
    t.same(fill(weight - 1).left, left.slice(1), 'the one that ended first has left')
  },

  async laneEventsMax(t) {
    const hub = createHub({ limits: { laneEventsMax: 3 } })
    t.equal(oldestOf(hub, 3), 1)
    t.equal(oldestOf(hub, 1), 2)
  },

  async compareWorkMax(t) {
    const updated = async (before: JsonValue, after: JsonValue) => {
      // In time that passes on a busy machine, changes that wait come as one whole value.
      const clock = new SimulatedClock()
      const hub = createHub({ clock, limits: { compareWorkMax: 100 } })
      hub.setState(topic, 'x', before)
      const following = hub.subscribe(topic, { slices: ['x'], types: ['none'] })
      hub.setState(topic, 'x', after)
      const { changed } = hub.setState(topic, 'x', structuredClone(after))
      t.equal(changed, false, 'what is the same is seen to be')
      clock.advance(0)
      const { value } = await following.next()
      following.close()
      return Object.keys(value?.data as object)
    }
    const names = (count: number, prefix: string) =>
      Object.fromEntries(
        Array.from({ length: count }, (_, at) => [`${prefix}${at}`, 'a value of some length']),
      )
    const rest = names(1_000, 'rest')
    const renamed = (count: number) =>
      updated({ ...rest, ...names(count, 'a') }, { ...rest, ...names(count, 'b') })
    t.ok((await renamed(50)).includes('patch'), '50 removed and 50 added')
    t.ok((await renamed(51)).includes('value'))
    const list = (count: number) => Array.from({ length: count }, (_, at) => `item ${at} of a list`)
    const moved = (count: number) => updated(['first', ...list(count), 'x'], [...list(count), 'y', 'first'])
    t.ok((await moved(370)).includes('patch'), 'items of both lists, eight of which are one')
    t.ok((await moved(410)).includes('value'))
  },

  async historyBytesMax(t) {
    const each = weighEvent()
    t.equal(oldestOf(createHub({ limits: { historyBytesMax: 3 * each } }), 3), 1)
    t.equal(oldestOf(createHub({ limits: { historyBytesMax: 3 * each - 1 } }), 3), 2)
  },

  async pinnedMax(t) {
    const replayed = async (keys: string[]) => {
      const hub = createHub({
        limits: { pinnedMax: 2, laneEventsMax: 1 },
        catalog: { pin: { replay: 'latest' } },
      })
      for (const key of keys) hub.publish(topic, [{ type: 'pin', key }])
      hub.publish(topic, [{ type: 'a' }])
      hub.endSession('s')
      const found: unknown[] = []
      for await (const { type, key } of hub.subscribe(topic)) if (type === 'pin') found.push(key)
      return found
    }
    t.strictSame(await replayed(['x', 'y']), ['x', 'y'])
    t.strictSame(await replayed(['x', 'y', 'z']), ['y', 'z'])
  },

  async publishIdsMax(t) {
    const hub = createHub({ limits: { publishIdsMax: 2 } })
    const publish = (id: string) => hub.publish(topic, [{ type: 'a', id }]).duplicates
    t.strictSame(['a', 'b', 'a', 'b'].map(publish), [0, 0, 1, 1])
    t.strictSame(['c', 'b'].map(publish), [0, 1])
    t.throws(() => publish('a'), { code: 'conflict' })
  },

  async pendingEventsMax(t) {
    const clock = new SimulatedClock()
    const hub = createHub({ clock, limits: { pendingEventsMax: 3 } })
    let frames = 0
    const { link, peer } = memoryLink(hub.codecs.object, {
      clock,
      backpressureMax: 1_000,
      receive: (chunk) => void (frames += Number('type' in chunk && chunk.type === 'events')),
      drained: () => {},
      closed: () => connection.closed(),
    })
    const connection = hub.connect(link)
    connection.receive({ type: 'subscribe', sub: 1, topic })
    const publish = (count: number) =>
      hub.publish(
        topic,
        Array.from({ length: count }, () => ({ type: 'a' })),
      )
    publish(2)
    t.equal(frames, 0, 'they wait for the end of the turn')
    publish(1)
    t.equal(frames, 1)
    peer.cut()
    clock.runTurn()
    t.equal(hub.stats().connections, 0)
  },

  async endedRetentionMs(t) {
    const clock = new SimulatedClock()
    const jumped = createHub({ clock, limits: { endedRetentionMs: 1_000 } })
    jumped.publish('sessions/a', [{ type: 'a' }])
    jumped.endSession('a')
    clock.jump(60 * 86_400_000)
    clock.advance(999)
    t.equal(jumped.stats().sessions, 1, 'a clock that is set takes no session along')
    clock.advance(1)
    t.equal(jumped.stats().sessions, 0)
    const hub = createHub({ clock, limits: { endedRetentionMs: 1_000 } })
    for (const id of ['a', 'b', 'c']) {
      hub.publish(`sessions/${id}`, [{ type: 'a' }])
      hub.endSession(id)
    }
    await hub.removeSession('b')
    clock.advance(999)
    t.equal(hub.stats().sessions, 2)
    clock.advance(1)
    const { sessions, memoryBytes } = hub.stats()
    t.same({ sessions, memoryBytes, timers: clock.timers }, { sessions: 0, memoryBytes: 0, timers: 0 })
  },

  async uncommittedBytesMax(t) {
    const admitted = (uncommittedBytesMax: number) => {
      const store = new FaultyStore(memoryStore())
      store.hold()
      const hub = createHub({ clock: new SimulatedClock(), store, limits: { uncommittedBytesMax } })
      for (let count = 0; ; count += 1) {
        try {
          hub.publish(topic, [{ type: 'a', data: 1 }])
        } catch (error) {
          t.match(error, { code: 'unavailable', message: /does not keep up/ })
          return count
        }
      }
    }
    const each = weighEvent()
    t.equal(admitted(2 * each), 3, 'the one that exceeds it is the last')
    t.equal(admitted(2 * each - 1), 2)
  },

  async logTailBytes(t) {
    const imageOf = async (logTailBytes: number) => {
      const log = new MemoryLog(systemClock, systemRandom)
      const hub = createHub({ log: log.link(), limits: { logTailBytes } })
      for (let i = 0; i < 20; i++) await hub.submit(topic, [{ type: 'a', data: 'x'.repeat(100) }])
      await hub.closeStore()
      return log.image().sessions.get('s')?.checkpoint
    }
    t.equal(await imageOf(10_000), undefined)
    t.ok(await imageOf(1_000))
  },

  async idleSessionsMax(t) {
    const hub = createHub({ store: memoryStore(), limits: { idleSessionsMax: 2 } })
    for (const [id, held] of [
      ['a', 1],
      ['b', 2],
      ['c', 2],
    ] as const) {
      hub.publish(`sessions/${id}`, [{ type: 'a' }])
      await hub.committed(id)
      t.equal(hub.stats().sessions, held)
    }
    t.equal(hub.find('a')?.id, 'a', 'it comes back when it is asked for')
    await hub.closeStore()
  },

  async historyLooksMax(t) {
    const hub = createHub({ limits: { historyLooksMax: 3 } })
    for (let published = 0; published < 4; published += 1) hub.publish(topic, [{ type: 'a' }])
    hub.publish(topic, [{ type: 'b' }])
    const { epoch } = hub.find('s') ?? {}
    t.match(await hub.readHistory(topic, { types: ['b'] }), { events: [], next: `${epoch}:3` })
    t.match(await hub.readHistory(topic, { types: ['b'], after: `${epoch}:3` }), { events: [{ offset: 5 }] })
    t.match(hub.history(topic, { types: ['b'] }), { events: [], next: `${epoch}:3` })
  },

  async searchLengthMax(t) {
    const hub = createHub({ limits: { searchLengthMax: 3 } })
    hub.publish(topic, [{ type: 'abcd' }])
    t.equal(hub.history(topic, { q: 'abc' }).events.length, 1)
    refused(t, 'badFrame', () => hub.history(topic, { q: 'abcd' }))
  },

  async searchWorkMax(t) {
    const hub = createHub({ limits: { searchWorkMax: 320 } })
    for (const data of ['12345678z', '123456789z']) hub.publish(topic, [{ type: 'a', data }])
    const { events } = hub.history(topic, { q: 'z' })
    t.strictSame(
      dataOf(events),
      ['12345678z'],
      'of one event ten characters are searched, its type among them',
    )
    for (let published = 0; published < 40; published += 1)
      hub.publish(topic, [{ type: 'a', data: 'x'.repeat(9) }])
    const page = hub.history(topic, { q: 'y' })
    t.ok(page.next, 'the work of one request is done before the end')
  },

  async restoredEventsMax(t) {
    const oldest = async (restoredEventsMax: number) => {
      const hub = createHub({ store: memoryStore(), limits: { restoredEventsMax, idleSessionsMax: 1 } })
      hub.publish(topic, [{ type: 'a' }, { type: 'a' }, { type: 'a' }])
      await hub.committed('s')
      hub.publish('sessions/other', [{ type: 'a' }])
      await hub.committed('other')
      const { first } = hub.history(topic)
      await hub.closeStore()
      return first
    }
    t.equal(await oldest(3), 1)
    t.equal(await oldest(2), 2)
  },

  async commandBytesMax(t) {
    const data = { text: 'x'.repeat(40) }
    const bytes = measure(data, 2)
    for (const [commandBytesMax, status] of [
      [bytes, 200],
      [bytes - 1, 413],
    ] as const) {
      const hub = await limited(t, { commandBytesMax })
      hub.hub.publish(topic, [{ type: 'a' }])
      const body = JSON.stringify({ type: 'command.input', data })
      t.equal(await statusOf(hub, 'POST', '/api/sessions/s/events', body), status)
    }
  },

  async commandsMax(t) {
    const hub = await limited(t, { commandsMax: 2 })
    hub.hub.publish(topic, [{ type: 'a' }])
    const send = () =>
      statusOf(hub, 'POST', '/api/sessions/s/events', JSON.stringify({ type: 'command.pause' }))
    t.strictSame([await send(), await send(), await send()], [200, 200, 409])
    const [offset] = Object.keys(hub.hub.state(topic, ['$commands']).slices['$commands'] as object)
    hub.hub.publish(topic, [{ type: 'command.done', data: { offset: Number(offset), state: 'applied' } }])
    t.equal(await send(), 200)
  },

  async commandTtlMs(t) {
    const { clock, hub } = await commanded(t, { commandTtlMs: 1_000 })
    clock.advance(999)
    t.equal(hub.history(topic).events.at(-1)?.type, 'command.pause')
    clock.advance(1)
    t.match(hub.history(topic).events.at(-1), { type: 'command.done', data: { state: 'expired' } })
  },

  async commandTtlMsMax(t) {
    const hub = createHub({ limits: { commandTtlMsMax: 1_000 } })
    hub.publish(topic, [{ type: 'a' }])
    hub.publish(topic, [{ type: 'command.pause', data: { ttlMs: 1_000 } }])
    refused(t, 'badFrame', () => hub.publish(topic, [{ type: 'command.pause', data: { ttlMs: 1_001 } }]))
  },

  async stalledCallMs(t) {
    const clock = new SimulatedClock()
    const hub = createHub({ clock, limits: { stalledCallMs: 1_000 } })
    hub.publish(topic, [{ type: 'tool_call_started', data: { tool_use_id: '1', tool_name: 'sleep' } }])
    clock.advance(999)
    t.equal(hub.history(topic).events.length, 1)
    clock.advance(1)
    t.match(hub.history(topic).events.at(-1), {
      type: 'worker.stalled',
      data: { why: 'call', tool: 'sleep' },
    })
  },

  async stalledSilenceMs(t) {
    const clock = new SimulatedClock()
    const hub = createHub({ clock, limits: { stalledSilenceMs: 1_000 } })
    hub.publish(topic, [{ type: 'a' }])
    hub.lease(topic, 3_600_000)
    clock.advance(999)
    t.equal(hub.history(topic).events.length, 1)
    clock.advance(1)
    t.match(hub.history(topic).events.at(-1), { type: 'worker.stalled', data: { why: 'silence' } })
  },

  async stalledRepeats(t) {
    const clock = new SimulatedClock()
    const hub = createHub({ clock, limits: { stalledRepeats: 3 } })
    const call = (id: number) => ({
      type: 'tool_call_started',
      data: { tool_use_id: String(id), tool_name: 'ls', tool_input: { path: '/' } },
    })
    hub.publish(topic, [call(1), call(2)])
    clock.advance(1)
    t.equal(hub.history(topic).events.length, 2)
    hub.publish(topic, [call(3)])
    clock.advance(1)
    t.match(hub.history(topic).events.at(-1), { type: 'worker.stalled', data: { why: 'repeat', tool: 'ls' } })
  },
} satisfies LimitTests

/** Publishes so many events more. @returns the oldest offset of the history */
function oldestOf(hub: Hub, count: number): number {
  for (let published = 0; published < count; published += 1) hub.publish(topic, [{ type: 'a', data: 1 }])
  return hub.history(topic).first
}

/** A stream to a peer that reads nothing. */
function stalledStream(options: Partial<typeof transportOptions>): {
  stream: UwsStream
  isCut: () => boolean
} {
  const clock = new SimulatedClock()
  let cut = false
  const res = {
    cork: (task: () => void) => task(),
    onWritable: () => {},
    writeStatus: () => {},
    writeHeader: () => {},
    write: () => false,
    close: () => void (cut = true),
  }
  const events = { drained: () => {}, closed: () => {} }
  const all = { ...transportOptions, ...options }
  const streams = new OpenStreams(clock)
  const stream = new UwsStream(res as unknown as HttpResponse, events, all, streams)
  stream.open({ status: 200 })
  function isCut(): boolean {
    clock.advance(1)
    return cut
  }
  return { stream, isCut }
}

/** A hub in which a command is under way. */
async function commanded(t: Test, limits: Partial<Limits>) {
  const clock = new SimulatedClock()
  const { hub } = await served(t, { hub: { clock, limits } })
  hub.publish(topic, [{ type: 'a' }])
  hub.publish(topic, [{ type: 'command.pause' }])
  return { clock, hub }
}
