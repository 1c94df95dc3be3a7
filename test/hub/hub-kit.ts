import type { Chunk } from '../../src/codec/codec.js'
import type { Connection } from '../../src/delivery/connection.js'
import { createHub, type Hub } from '../../src/hub/hub.js'
import type { HubOptions } from '../../src/hub/hub-options.js'
import type { Events, HubFrame, Subscribe } from '../../src/protocol/frames.js'
import { type MemoryPeer, memoryLink } from '../../src/transport/memory.js'
import { SimulatedClock } from '../kit/clock.js'
import { SeededRandom } from '../kit/random.js'

export interface Client {
  readonly frames: HubFrame[]
  readonly connection: Connection
  readonly peer: MemoryPeer
  readonly endings: string[]
  subscribe(topic: string, rest?: Partial<Subscribe>): void
  /** The offsets and types that came in `events` since the last call. */
  take(): string[]
}

export function setUp(options: HubOptions = {}) {
  const clock = new SimulatedClock()
  const hub = createHub({ clock, random: new SeededRandom(1), ...options })
  return { clock, hub, client: (room = 10) => connect(hub, clock, room) }
}

function connect(hub: Hub, clock: SimulatedClock, backpressureMax: number): Client {
  const frames: HubFrame[] = []
  const endings: string[] = []
  let subs = 0
  const opened: { connection?: Connection } = {}
  const { link, peer } = memoryLink(hub.codecs.object, {
    clock,
    backpressureMax,
    receive: (chunk: Chunk) => {
      if (chunk instanceof Uint8Array) throw new Error('expected a frame')
      frames.push(chunk)
    },
    drained: () => opened.connection?.drained(),
    closed: (ending) => {
      endings.push(ending.kind === 'closed' ? ending.code : ending.kind)
      opened.connection?.closed()
    },
  })
  const connection = hub.connect(link)
  opened.connection = connection
  return {
    frames,
    connection,
    peer,
    endings,
    subscribe: (topic, rest) => connection.receive({ type: 'subscribe', sub: subs++, topic, ...rest }),
    take: () =>
      frames
        .splice(0)
        .filter((frame): frame is Events => frame.type === 'events')
        .flatMap(({ events }) => events.map(({ offset, type }) => `${offset} ${type}`)),
  }
}
