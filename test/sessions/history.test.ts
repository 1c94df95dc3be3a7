import t, { type Test } from 'tap'
import type { LocalOptions } from '../../src/delivery/local.js'
import type { Hub } from '../../src/hub/hub.js'
import type { HubEvent, NewEvent } from '../../src/protocol/frames.js'
import { defaultLimits } from '../../src/protocol/limits.js'
import { Search } from '../../src/session/search.js'
import type { HistoryQuery } from '../../src/sessions/stored/history-page.js'
import { openLmdb } from '../../src/store/lmdb.js'
import { memoryStore } from '../../src/store/memory.js'
import { setUp } from '../hub/hub-kit.js'
import { SeededRandom } from '../kit/random.js'
import { aDirectory, aHub, dataOf, notes, publishAll, range } from './committing-kit.js'

/** Follows `next` to the end. @returns all events, and how many pages there were */
async function readAll(hub: Hub, topic: string, query: HistoryQuery) {
  const events: HubEvent[] = []
  let pages = 0
  for (let at: HistoryQuery | undefined = query; at !== undefined; ) {
    const { events: found, next, first, last } = await hub.readHistory(topic, at)
    pages++
    events.push(...found)
    const offsets = found.map(({ offset }) => offset)
    if (found.length > 0) t.strictSame([first, last], [Math.min(...offsets), Math.max(...offsets)])
    if (pages > 100_000) throw new Error('it does not come to an end')
    at = next === undefined ? undefined : { ...at, [at.order === 'desc' ? 'before' : 'after']: next }
  }
  return { events, pages }
}

/** Where the events of a hub are: in memory alone, all in the store, or the newest of them in memory, too. */
const places = {
  memory: (t: Test) => aHub(t, {}),
  'memory and store': (t: Test) =>
    aHub(t, {
      store: openLmdb({ directory: aDirectory(t) }),
      limits: { laneEventsMax: 40, historyLooksMax: 300, pageBytesMax: 2_000 },
    }),
  'a store in memory': (t: Test) =>
    aHub(t, { store: memoryStore(), limits: { laneEventsMax: 10, historyLooksMax: 150 } }),
}

for (const [place, open] of Object.entries(places)) {
  t.test(`both orders, between any two cursors, have what is meant (${place})`, async (t) => {
    const seed = Number(process.env.RUNCAST_FUZZ_SEED ?? Math.floor(Math.random() * 1e9))
    t.comment(`seed ${seed}`)
    const random = new SeededRandom(seed)
    const hub = open(t)
    const all: HubEvent[] = []
    for (let at = 0; at < 900; ) {
      const worker = random.pick(['', 'lint', 'test'])
      const events = range(1, random.integer(1, 30)).map((): NewEvent => {
        at++
        return random.pick([
          { type: 'note', data: { text: `line ${at} of Übung`, at } },
          { type: 'process.output', data: { stream: 'stdout', text: `line ${at}\n`, n: [at] } },
          { type: 'tool_call_completed', data: { is_error: at % 2 === 0, at } },
          { type: 'execution_failed', data: { error: 'timeout after 30 s' } },
          { type: 'error', data: null },
        ])
      })
      const topic = worker === '' ? 'sessions/s' : `sessions/s/workers/${worker}`
      const { first } = hub.publish(topic, events)
      for (const [index, event] of events.entries()) {
        const offset = (first + index) as HubEvent['offset']
        all.push({ ...event, data: event.data ?? null, offset, time: 0, ...(worker && { worker }) })
      }
      await hub.committed('s')
    }
    const failed = (event: HubEvent) =>
      event.type === 'error' ||
      event.type === 'execution_failed' ||
      (event.data as { is_error?: boolean } | null)?.is_error === true
    const choices: readonly [HistoryQuery, (event: HubEvent) => boolean][] = [
      [{}, () => true],
      [{ types: ['note'] }, ({ type }) => type === 'note'],
      [{ workers: ['lint'] }, ({ worker }) => worker === 'lint'],
      [{ level: ['delta'] }, ({ type }) => type === 'process.output'],
      [{ errors: true }, failed],
      [{ q: 'ÜBUNG' }, ({ type }) => type === 'note'],
      [
        { q: '/^line \\d*7\\b/' },
        ({ data }) => /^line \d*7\b/.test((data as { text?: string } | null)?.text ?? ''),
      ],
      [
        { q: '/TIMEOUT AFTER \\d+/i', workers: ['test'] },
        ({ type, worker }) => type === 'execution_failed' && worker === 'test',
      ],
      [{ q: 'nowhere' }, () => false],
    ]
    const { epoch = '' } = hub.find('s') ?? {}
    for (const [query, meant] of choices) {
      for (const order of ['asc', 'desc'] as const) {
        const [after, before] = [random.integer(0, 500), random.integer(300, 1_000)]
        const bounded = random.chance(0.5)
        const cursors = bounded ? { after: `${epoch}:${after}`, before: `${epoch}:${before}` } : {}
        const due = all
          .filter((event) => meant(event) && (!bounded || (event.offset > after && event.offset < before)))
          .map(({ offset }) => offset)
        const limit = random.integer(1, 60)
        const { events } = await readAll(hub, 'sessions/s/**', { ...query, ...cursors, order, limit })
        const name = JSON.stringify({ ...query, ...cursors, order, limit })
        const got = events.map(({ offset }) => offset)
        t.strictSame(got, order === 'asc' ? due : due.toReversed(), name)
      }
    }
  })
}

t.test('one request looks at a bounded number of events, and says where to go on', async (t) => {
  const hub = aHub(t, { store: openLmdb({ directory: aDirectory(t) }), limits: { historyLooksMax: 1_000 } })
  await publishAll(hub, 's', notes(1, 5_000))
  const page = await hub.readHistory('sessions/s', { q: '4999' })
  t.strictSame(page.events, [])
  t.match(page.next, /:\d+$/)
  const { events, pages } = await readAll(hub, 'sessions/s', { q: '4999' })
  t.strictSame(dataOf(events), [4_999])
  t.ok(pages >= 4 && pages <= 6, `${pages} pages`)
  t.match(await hub.readHistory('sessions/s', { q: '4999', order: 'desc' }), { events: [{ data: 4_999 }] })
})

t.test('what a search takes is bounded, and turns are given back', async (t) => {
  const hub = aHub(t, { limits: { searchWorkMax: 4 * 1024 * 1024 } })
  const text = 'ab'.repeat(50_000)
  hub.publish(
    'sessions/s',
    range(1, 10).map(() => ({ type: 'note', data: text })),
  )
  let turns = 0
  let isOver = false
  const count = (): void => {
    turns++
    if (!isOver) setImmediate(count)
  }
  setImmediate(count)
  const { events, pages } = await readAll(hub, 'sessions/s', { q: '/[ab]{100}z$/' })
  isOver = true
  t.strictSame(events, [])
  t.ok(turns >= 1, `${turns} turns`)
  t.equal(pages, 1, 'of each event so much is searched as leaves room for the others')
  const small = aHub(t, { limits: { searchWorkMax: 100_000 } })
  small.publish(
    'sessions/s',
    range(1, 100).map(() => ({ type: 'note', data: text.slice(0, 4_000) })),
  )
  t.ok((await readAll(small, 'sessions/s', { q: 'z' })).pages > 2)
})

t.test('what is no search is refused, and says why', async (t) => {
  const refused = (q: string) => {
    try {
      new Search(q, defaultLimits)
      return undefined
    } catch (error) {
      return (error as Error).message
    }
  }
  t.match(refused('/(/'), /q: expected a regular expression of RE2/)
  t.match(refused('/(a)\\1/'), /q: expected a regular expression of RE2/)
  t.match(refused('/(?:a{100}){100}/'), /q: expected a regular expression of RE2/)
  t.match(refused('/a{500}/'), /at most 256 instructions/)
  t.match(refused('x'.repeat(257)), /1–256 characters/)
  t.match(refused(''), /1–256 characters/)
  t.equal(refused('//'), undefined, 'two slashes are a text')
  t.equal(refused('/usr/local'), undefined)
})

for (const lanes of [1_000, 20]) {
  t.test(`a join begins at the newest events, or at a time (${lanes} in memory)`, async (t) => {
    const store = openLmdb({ directory: aDirectory(t) })
    const hub = aHub(t, { store, limits: { laneEventsMax: lanes } })
    const events = range(1, 600).map((data): NewEvent => ({ type: data % 3 === 0 ? 'third' : 'note', data }))
    await publishAll(hub, 's', events.slice(0, 400))
    const since = await nextMillisecond()
    await publishAll(hub, 's', events.slice(400))
    hub.endSession('s')
    await hub.committed('s')
    /** The data of what comes, without the `complete` that ends it and counts like any other. */
    const read = async (options: LocalOptions) => {
      const came: HubEvent[] = []
      for await (const event of hub.subscribe('sessions/s', options)) came.push(event)
      t.equal(came.pop()?.type, 'complete')
      return dataOf(came)
    }
    const thirds = (first: number) => range(first, 600).filter((n) => n % 3 === 0)
    t.strictSame(await read({ last: 1 }), [])
    t.strictSame(await read({ last: 5 }), range(597, 600))
    t.strictSame(await read({ last: 301 }), range(301, 600))
    t.strictSame(await read({ since }), range(401, 600))
    t.strictSame(await read({ since, types: ['third'] }), thirds(401))
    t.strictSame(await read({ since, last: 101 }), range(501, 600))
    t.strictSame(await read({ since, last: 900 }), range(401, 600))
    t.strictSame(await read({ since: Date.now() + 60_000 }), [])
    t.strictSame(await read({ since: 1 }), range(1, 600))
    t.strictSame(await read({ types: ['third'], last: 61 }), thirds(1).slice(-60))
    const { epoch } = hub.find('s') ?? {}
    t.strictSame(await read({ last: 5, after: `${epoch}:590` }), range(591, 600), 'a cursor counts')
  })
}

t.test('a join at the newest events that was cut goes on where it was', async (t) => {
  const { hub, client, clock } = setUp({ store: memoryStore(), limits: { laneEventsMax: 20 } })
  hub.publish('sessions/s', notes(1, 600))
  clock.runTurn()
  await hub.committed('s')
  const { epoch } = hub.find('s') ?? {}
  const rest = async (after: string) => {
    const one = client(10_000)
    one.subscribe('sessions/s', { last: 100, after })
    while (!one.frames.some(({ type }) => type === 'live')) {
      clock.runTurn()
      await new Promise((resolve) => setImmediate(resolve))
    }
    return one.take().length
  }
  t.equal(await rest(`${epoch}:600~r0`), 100)
  t.equal(await rest(`${epoch}:600~r550`), 50)
})

async function nextMillisecond(): Promise<number> {
  const now = Date.now()
  while (Date.now() === now) await new Promise((resolve) => setImmediate(resolve))
  return Date.now()
}
