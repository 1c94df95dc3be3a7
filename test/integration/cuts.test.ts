import { EventSource } from 'eventsource'
import t from 'tap'
import { WebSocket } from 'ws'
import { closeCodes } from '../../src/protocol/codes.js'
import type { Events, HubEvent, HubFrame } from '../../src/protocol/frames.js'
import { overLog } from '../kit/over-log.js'
import { Proxy } from '../kit/proxy.js'
import { SeededRandom } from '../kit/random.js'
import { served } from '../kit/served.js'
import { deferred, until } from '../kit/wait.js'

const seed = Number(process.env['RUNCAST_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
const published = 10_000
const cuts = 100
// Each turn of events waits for the log.
if (overLog) t.setTimeout(300_000)

/** A little follower on somebody else's WebSocket: resumes from its position and nothing else. */
class Follower {
  readonly events: HubEvent[] = []
  cursor: string | undefined
  opened = 0
  gaps = 0
  #stopped = false
  #socket: WebSocket | undefined
  readonly #url: string

  constructor(url: string) {
    this.#url = url
    this.#connect()
  }

  cut(): void {
    this.#socket?.terminate()
  }

  stop(): void {
    this.#stopped = true
    this.cut()
  }

  #connect(): void {
    const socket = new WebSocket(this.#url, 'runcast.v1.json')
    this.#socket = socket
    let epoch = ''
    socket.on('open', () => {
      this.opened++
      const after = this.cursor === undefined ? {} : { after: this.cursor }
      socket.send(
        JSON.stringify({
          type: 'subscribe',
          sub: 1,
          topic: 'sessions/long',
          types: ['step', 'execution_*'],
          ...after,
        }),
      )
    })
    socket.on('message', (bytes: Buffer) => {
      const frame = JSON.parse(bytes.toString()) as HubFrame
      if (frame.type === 'subscribed') {
        epoch = frame.epoch
        if (frame.gap) this.gaps++
        this.cursor = `${epoch}:${frame.offset}`
      } else if (frame.type === 'gap') this.gaps++
      else if (frame.type === 'events' && !frame.replay) {
        this.events.push(...frame.events)
        this.cursor = `${epoch}:${frame.last}`
      }
    })
    socket.on('error', () => {})
    socket.on('close', () => {
      if (!this.#stopped) setImmediate(() => this.#connect())
    })
  }
}

t.test(
  `a client cut ${cuts} times has every matching event once, in order (RUNCAST_SEED=${seed})`,
  async (t) => {
    const { hub, url } = await served(t, { hub: { limits: { retryMs: 1 } } })
    const random = new SeededRandom(seed)
    const proxy = await Proxy.open(Number(new URL(url).port))
    t.teardown(() => proxy.close())
    const through = `http://127.0.0.1:${proxy.port}`
    const topic = 'sessions/long'
    const follower = new Follower(`${through.replace('http', 'ws')}/api/ws`)
    const source = new EventSource(`${through}/api/sessions/long/events?types=step,execution_*`)
    t.teardown(() => {
      follower.stop()
      source.close()
    })
    const heard: HubEvent[] = []
    let live = 0
    let gaps = 0
    for (const type of ['step', 'execution_started']) {
      source.addEventListener(type, ({ data }) => heard.push(JSON.parse(data) as HubEvent))
    }
    source.addEventListener('hub.live', () => live++)
    source.addEventListener('hub.gap', () => gaps++)
    await until('both follow', () => follower.cursor !== undefined && live > 0)

    // This EventSource takes an id from blocks with data alone: before its first event it could but join afresh.
    const due: number[] = [(await hub.submit(topic, [{ type: 'step' }])).last]
    await until('both have an event', () => follower.events.length > 0 && heard.length > 0)
    for (let n = 0; n < published; ) {
      const count = random.integer(1, 20)
      const under: ReturnType<typeof hub.submit>[] = []
      for (let i = 0; i < count && n < published; i++, n++) {
        const type = random.pick(['step', 'execution_started', 'tool_call_started', 'llm_text_delta'])
        const submitted = hub.submit(topic, [{ type, data: { n } }])
        if (type === 'step' || type === 'execution_started') under.push(submitted)
      }
      due.push(...(await Promise.all(under)).map(({ last }) => last))
      await new Promise(setImmediate)
      // A client that is away must not be away for longer than the history lasts.
      if (random.chance((cuts * 12) / published)) {
        const before = { opened: follower.opened, live }
        proxy.cut()
        await until('both are back', () => follower.opened > before.opened && live > before.live)
      }
    }
    const offsets = (events: readonly HubEvent[]) => events.map(({ offset }) => offset as number)
    const newest = due.at(-1) as number
    await until(
      'both have the newest event',
      () => follower.events.at(-1)?.offset === newest && heard.at(-1)?.offset === newest,
    )
    t.strictSame(offsets(follower.events), due, `the WebSocket, opened ${follower.opened} times`)
    t.strictSame(offsets(heard), due, `the EventSource, live ${live} times`)
    t.same([follower.gaps, gaps], [0, 0])
    t.ok(follower.opened > cuts / 2, `${follower.opened} connections`)
  },
)

t.test('a client that stops reading costs the others nothing, and gets what must not be lost', async (t) => {
  const { hub, url } = await served(t)
  const session = hub.session('busy')
  const closed = deferred<number>()
  const slow = new WebSocket(`${url.replace('http', 'ws')}/api/ws`, 'runcast.v1.json')
  const quick = new WebSocket(`${url.replace('http', 'ws')}/api/ws`, 'runcast.v1.json')
  t.teardown(() => {
    slow.terminate()
    quick.terminate()
  })
  const frames: HubFrame[] = []
  let quickly = 0
  slow.on('message', (bytes: Buffer) => frames.push(JSON.parse(bytes.toString()) as HubFrame))
  slow.on('close', (code) => closed.resolve(code))
  quick.on('message', (bytes: Buffer) => {
    const frame = JSON.parse(bytes.toString()) as HubFrame
    if (frame.type === 'events') quickly += frame.events.length
  })
  for (const socket of [slow, quick]) {
    await new Promise((resolve) => socket.once('open', resolve))
    socket.send(JSON.stringify({ type: 'subscribe', sub: 1, topic: 'sessions/busy' }))
  }
  await until('both follow', () => hub.stats().subscriptions === 2 && hub.stats().lagging === 0)
  slow.pause()

  // As long as the hub has not noticed, and then as much again: kernels take megabytes before they push back.
  const padding = 'x'.repeat(1_000)
  let events = 0
  let critical = 0
  const publishTurn = async () => {
    for (let i = 0; i < 50; i++, events++) {
      session.publish({ type: 'llm_text_delta', data: { content: `${padding}${events} ` } })
    }
    if (events % 1_000 === 0) {
      session.publish({ type: 'execution_started', data: critical++ })
      events++
    }
    await until('the quick one has all', () => quickly >= events)
  }
  while (hub.stats().lagging === 0) await publishTurn()
  const before = process.memoryUsage().rss
  for (let turn = 0; turn < 400; turn++) await publishTurn()
  const grown = (process.memoryUsage().rss - before) / 2 ** 20
  t.ok(quickly >= events, `the other one has all ${events}`)
  t.ok(grown < 200, `memory grew by ${grown.toFixed(0)} MiB while 20 MB passed by`)
  t.equal(hub.stats().lagging, 1)

  slow.resume()
  await until('the slow one has caught up', () => hub.stats().lagging === 0)
  await until('the end has come', () =>
    frames.some((frame) => frame.type === 'events' && frame.last === hub.find('busy')?.offset),
  )
  const got = frames
    .filter((frame): frame is Events => frame.type === 'events')
    .flatMap((frame) => frame.events)
  t.same(
    got.filter(({ type }) => type === 'execution_started').map(({ data }) => data),
    [...Array(critical).keys()],
  )
  t.ok(frames.some((frame) => frame.type === 'gap' && frame.reason === 'lagging' && (frame.dropped ?? 0) > 0))
  t.ok(
    got.some(
      ({ type, data }) => type === 'llm_text_delta' && JSON.stringify(data).length > 2 * padding.length,
    ),
    'text was joined',
  )
  t.strictSame(
    got.map(({ offset }) => offset as number),
    got.map(({ offset }) => offset as number).sort((a, b) => a - b),
  )
  t.equal(closeCodes.lagging, 4001)
})

t.test('a thousand subscribers and ten events a turn: each event is encoded once', async (t) => {
  const { hub, url } = await served(t)
  const sockets = Array.from(
    { length: 1_000 },
    () => new WebSocket(`${url.replace('http', 'ws')}/api/ws`, 'runcast.v1.msgpack'),
  )
  t.teardown(() => sockets.forEach((socket) => socket.terminate()))
  let frames = 0
  for (const socket of sockets) {
    socket.on('message', () => frames++)
    socket.on('open', () =>
      socket.send(hub.codecs.msgpack.control({ type: 'subscribe', sub: 1, topic: 'sessions/a' } as never)),
    )
  }
  await until(
    'all follow',
    () => hub.stats().subscriptions === 1_000 && hub.stats().lagging === 0 && frames >= 3_000,
  )
  frames = 0
  for (let turn = 0; turn < 20; turn++) {
    for (let i = 0; i < 10; i++) hub.session('a').publish({ type: 'step', data: { turn, i } })
    await until('all have the turn', () => frames === (turn + 1) * 1_000)
  }
  const metrics = await (await fetch(`${url}/metrics`)).text()
  t.match(metrics, /runcast_encodings_total\{codec="msgpack"\} 200\n/)
  t.match(metrics, /runcast_events_delivered_total 200000\n/)
  t.match(metrics, /runcast_feeds 1\n/)
})
