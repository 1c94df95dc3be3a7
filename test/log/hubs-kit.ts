import type { Test } from 'tap'
import { createHub, type Hub } from '../../src/hub/hub.js'
import type { HubOptions } from '../../src/hub/hub-options.js'
import { MemoryLog } from '../../src/log/memory-log.js'
import type { HubFrame, StateUpdate } from '../../src/protocol/frames.js'
import { memoryLink } from '../../src/transport/memory.js'
import { SimulatedClock } from '../kit/clock.js'
import { FaultyLink, noFaults } from '../kit/faulty-log.js'
import { SeededRandom } from '../kit/random.js'

/** Hubs over one log, under a simulated clock. */
export function setUp(t: Test, count = 2, options: HubOptions = {}) {
  const clock = new SimulatedClock()
  const random = new SeededRandom(7)
  const log = new MemoryLog(clock, random.fork())
  const links = Array.from(
    { length: count },
    () => new FaultyLink(log.link(), { clock, random: random.fork(), faults: noFaults, rules: {} }),
  )
  const hubs = links.map((link) => createHub({ ...options, clock, random: random.fork(), log: link }))
  // A dead link never answers.
  const living = () => hubs.filter((_, index) => links[index]?.isDead === false)
  t.teardown(() => done(Promise.all(living().map((hub) => hub.closeStore()))))
  /** Lets a promise settle under the simulated clock. */
  async function done<T>(promise: Promise<T>): Promise<T> {
    let settled = false
    const mark = (): void => void (settled = true)
    promise.then(mark, mark)
    for (let i = 0; !settled && i < 1_000; i++) await clock.pass(1)
    return promise
  }
  async function follow(hub: Hub, topic: string, after?: string, slices: readonly string[] = ['*']) {
    const frames: HubFrame[] = []
    const endings: string[] = []
    const { link } = memoryLink(hub.codecs.object, {
      clock,
      backpressureMax: 1e9,
      receive: (chunk) => void frames.push(chunk as unknown as HubFrame),
      drained: () => {},
      closed: (ending) => void endings.push(ending.kind === 'closed' ? ending.code : ending.kind),
    })
    const connection = hub.connect(link)
    const subscribe = () =>
      connection.receive({ type: 'subscribe', sub: 1, topic, slices, ...(after && { after }) })
    await done(Promise.resolve(hub.open(topic, after)).then(subscribe))
    return { frames, connection, endings }
  }
  const events = (frames: readonly HubFrame[]) =>
    frames.flatMap((frame) =>
      frame.type === 'events' ? frame.events.map(({ offset, type }) => `${offset} ${type}`) : [],
    )
  return { clock, log, links, hubs: hubs as [Hub, Hub, ...Hub[]], done, follow, events }
}

/** The newest value of a slice that a follower has, which is told whole. */
export function slice(frames: readonly HubFrame[], name: string): unknown {
  let found: unknown
  for (const frame of frames) {
    if ('slices' in frame && frame.slices !== undefined && name in frame.slices) found = frame.slices[name]
    if (frame.type !== 'events') continue
    for (const { type, data } of frame.events) {
      const update = data as unknown as StateUpdate
      if (type === 'state.update' && update.slice === name && 'value' in update) found = update.value
    }
  }
  return found
}
