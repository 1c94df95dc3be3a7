import fc from 'fast-check'
import t from 'tap'
import { defaultTraits, type Traits } from '../../src/catalog/traits.js'
import { Entry } from '../../src/history/entry.js'
import { History, noTotals } from '../../src/history/history.js'
import { lossAfter, readAfter, readBefore, replayable } from '../../src/history/read.js'
import { Weight } from '../../src/lib/weight.js'
import type { Offset } from '../../src/protocol/cursor.js'
import type { HubEvent } from '../../src/protocol/frames.js'
import { Filter } from '../../src/session/filter.js'

const everything = new Filter({ mode: 'full' })

const traits: Readonly<Record<string, Traits>> = {
  chatter: defaultTraits,
  vital: { ...defaultTraits, critical: true },
  status: { ...defaultTraits, critical: true, replay: 'latest' },
  gauge: { ...defaultTraits, replay: 'latest' },
  'command.stop': { ...defaultTraits, critical: true, command: 'request' },
}

interface Made {
  readonly type: string
  readonly key?: string
  readonly bytes: number
}

function entry(offset: number, { type, key, bytes }: Made): Entry {
  const event = { offset, type, time: 0, data: null, ...(key !== undefined && { key }) } as HubEvent
  return new Entry(event, traits[type] as Traits, bytes)
}

const offsetsOf = (entries: Iterable<{ readonly offset: number }>) => [...entries].map(({ offset }) => offset)

const sum = (entries: readonly Entry[]) => entries.reduce((bytes, entry) => bytes + entry.bytes, 0)

const isPinning = (type: string) => traits[type]?.replay === 'latest' || traits[type]?.command === 'request'

type Step =
  | { readonly kind: 'append'; readonly made: Made }
  | { readonly kind: 'shrink'; readonly bytes: number }
  | { readonly kind: 'unpin'; readonly offset: number }

const made = fc.record({
  type: fc.constantFrom(...Object.keys(traits)),
  key: fc.constantFrom('a', 'b', 'c'),
  bytes: fc.integer({ min: 1, max: 60 }),
})
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    { weight: 12, arbitrary: made.map((made): Step => ({ kind: 'append', made })) },
    { weight: 1, arbitrary: fc.nat(200).map((bytes): Step => ({ kind: 'shrink', bytes })) },
    {
      weight: 1,
      arbitrary: fc.integer({ min: 1, max: 60 }).map((offset): Step => ({ kind: 'unpin', offset })),
    },
  ),
  { maxLength: 80 },
)

t.test('what a history holds, weighs and has lost is what is published less what had to go', async () => {
  const limits = fc.record({
    laneEventsMax: fc.integer({ min: 1, max: 8 }),
    historyBytesMax: fc.integer({ min: 60, max: 300 }),
    pinnedMax: fc.integer({ min: 1, max: 4 }),
  })
  const bounds = fc.record({ after: fc.nat(80), eventsMax: fc.integer({ min: 1, max: 9 }) })
  fc.assert(fc.property(steps, limits, bounds, tryHistory))
})

function tryHistory(
  list: readonly Step[],
  limits: ConstructorParameters<typeof History>[0],
  { after, eventsMax }: { readonly after: number; readonly eventsMax: number },
): void {
  const totals = noTotals()
  const together = new Weight()
  const history = new History(limits, totals, together)
  const all: Entry[] = []
  // The newest of their key when they went: what comes later of the key does not take their mark back.
  let gaps: Entry[] = []
  // Those whose marks became one, for lack of room.
  let joined: Entry[] = []
  for (const step of list) {
    const [known, before] = [[...all], retainedOf(history)]
    if (step.kind === 'append') {
      const { type, bytes } = step.made
      all.push(entry(all.length + 1, isPinning(type) ? step.made : { type, bytes }))
      history.append(all.at(-1) as Entry)
      checkBounds(history, all.at(-1) as Entry, limits)
    } else if (step.kind === 'shrink') {
      history.shrinkTo(step.bytes)
      if (history.bytes > step.bytes) throw new Error(`${history.bytes} bytes are more than ${step.bytes}`)
    } else {
      history.unpin(step.offset as Offset)
      if (offsetsOf(history.pinned()).includes(step.offset)) throw new Error('unpinned and still pinned')
    }
    const now = retainedOf(history)
    gaps.push(...before.filter((one) => !now.includes(one) && !hasNewer(one, known)))
    if (step.kind !== 'shrink' || now.length > 0 || history.bytes > 0) continue
    joined = [...joined, ...gaps]
    gaps = []
  }

  const [retained, lanes] = [retainedOf(history), lanesOf(history)]
  const marked = new Set(gaps.map(({ event }) => event.type))
  const ofMarks = history.bytes - sum(retained)
  if (ofMarks < 0 || ofMarks > [...marked].reduce((bytes, type) => bytes + weightOfMark(type), 0))
    throw new Error(`${ofMarks} bytes of marks`)
  equal([totals.bytes, together.bytes], [history.bytes, history.bytes], 'the bytes of all')
  equal([totals.events, history.length], [lanes.length, lanes.length], 'the events')
  const gone = all.filter((one) => !lanes.includes(one))
  const critical = gone.filter(({ traits }) => traits.critical).length
  equal([totals.evictedCritical, totals.evictedDroppable], [critical, gone.length - critical], 'evicted')
  equal(history.dropped, gone.length - critical, 'dropped')
  equal(history.evictedTo, Math.max(0, ...offsetsOf(gone)), 'the newest that was evicted')

  const until = all.length as Offset
  const above = offsetsOf(retained).filter((one) => one > after)
  equal(pagesUp(history, after, { until, eventsMax }), above, 'up')
  const below = offsetsOf(retained).filter((one) => one < after && one > 3)
  equal(pagesDown(history, after, { after: 3, eventsMax }), below.toReversed(), 'down')

  for (const type of Object.keys(traits)) {
    const newestOf = (entries: readonly Entry[]) =>
      Math.max(0, ...offsetsOf(entries.filter(({ event }) => event.type === type)))
    const missed = newestOf(all.filter((one) => !retained.includes(one) && !hasNewer(one, all)))
    const only = new Filter({ mode: 'full', types: [type] })
    const lane = traits[type]?.critical ? 'critical' : 'droppable'
    const lost = lossAfter([history], 0 as Offset, only)[lane]
    const inLane = joined.filter(({ traits }) => traits.critical === (lane === 'critical'))
    const most = Math.max(newestOf(gaps), ...offsetsOf(inLane))
    if (lost < missed || lost > most) throw new Error(`${missed} of ${type} is missed, not ${lost}`)
    const later = lossAfter([history], after as Offset, only)[lane]
    equal(later, lost > after ? lost : 0, `what is lost of ${type} after ${after}`)
  }
}

/** What remembering that a type has lost something counts for. */
function weightOfMark(type: string): number {
  return type.length + 128
}

/** A newer event of the same key says what this one did. */
function hasNewer({ offset, traits, event: { type, key } }: Entry, all: readonly Entry[]): boolean {
  if (traits.replay !== 'latest') return false
  return all.some(({ event }) => event.offset > offset && event.type === type && event.key === key)
}

function lanesOf({ critical, droppable }: History): Entry[] {
  return [critical, droppable].flatMap((lane) => Array.from({ length: lane.length }, (_, at) => lane.at(at)))
}

function retainedOf(history: History): Entry[] {
  return [...new Set([...lanesOf(history), ...history.pinned()])].toSorted((a, b) => a.offset - b.offset)
}

function checkBounds(
  history: History,
  newest: Entry,
  { laneEventsMax, historyBytesMax, pinnedMax }: ConstructorParameters<typeof History>[0],
): void {
  const { critical, droppable } = history
  const lanes = lanesOf(history)
  if (Math.max(critical.length, droppable.length) > laneEventsMax) throw new Error('too many in a lane')
  // A droppable event never evicts a critical one: it may be the one too many.
  const room = newest.traits.critical ? historyBytesMax : historyBytesMax + newest.bytes
  if (sum(lanes) > room) throw new Error(`${sum(lanes)} bytes in the lanes`)
  const pinned = [...history.pinned()]
  if (pinned.length > pinnedMax) throw new Error('too many pinned')
  if (sum(pinned.filter((one) => !lanes.includes(one))) > historyBytesMax) throw new Error('too much pinned')
  if (isPinning(newest.event.type) && pinned.at(-1) !== newest) throw new Error('the newest is not pinned')
}

function pagesUp(
  history: History,
  after: number,
  { until, eventsMax }: { until: Offset; eventsMax: number },
): number[] {
  const read: number[] = []
  for (let at = after as Offset; at < until; ) {
    const page = readAfter([history], at, everything, { until, eventsMax })
    if (page.lookedAt > page.entries.length) throw new Error('looked at more than it read')
    read.push(...offsetsOf(page.entries))
    at = page.last
  }
  return read
}

function pagesDown(
  history: History,
  before: number,
  { after, eventsMax }: { after: number; eventsMax: number },
): number[] {
  const read: number[] = []
  for (let at = before as Offset; at > after + 1; ) {
    const page = readBefore([history], at, everything, { after: after as Offset, eventsMax })
    if (page.lookedAt > page.entries.length) throw new Error('looked at more than it read')
    read.push(...offsetsOf(page.entries))
    at = page.last
  }
  return read
}

function equal(found: unknown, wanted: unknown, what: string): void {
  const [one, other] = [JSON.stringify(found), JSON.stringify(wanted)]
  if (one !== other) throw new Error(`${what}: expected ${other}, got ${one}`)
}

const roomy = { laneEventsMax: 100, historyBytesMax: 1e6, pinnedMax: 100 }
const chatter = (offset: number) => entry(offset, { type: 'chatter', bytes: 1 })

t.test('a page looks at no more than it may, in either direction, and says how far it came', async (t) => {
  const history = new History(roomy)
  for (let offset = 1; offset <= 10; offset++) history.append(chatter(offset))
  const none = new Filter({ mode: 'full', types: ['other'] })
  const bounds = { eventsMax: 100, lookedAtMax: 4 }
  const up = readAfter([history], 2 as Offset, none, { ...bounds, until: 10 as Offset })
  t.same([up.entries.length, up.last, up.lookedAt], [0, 6, 4])
  const down = readBefore([history], 9 as Offset, none, { ...bounds, after: 1 as Offset })
  t.same([down.entries.length, down.last, down.lookedAt], [0, 5, 4])
  const end = readBefore([history], 4 as Offset, everything, { ...bounds, after: 1 as Offset })
  t.same([offsetsOf(end.entries), end.last], [[3, 2], 2], 'and nothing before it')
})

t.test('an event that is in two histories is read once, and costs no look of the bound', async (t) => {
  const [own, workers] = [new History(roomy), new History(roomy)]
  for (const offset of [1, 2, 3]) {
    const rolledUp = chatter(offset)
    own.append(rolledUp)
    workers.append(rolledUp)
  }
  const bounds = { eventsMax: 2, lookedAtMax: 3 }
  const up = readAfter([own, workers], 0 as Offset, everything, { ...bounds, until: 3 as Offset })
  t.same([offsetsOf(up.entries), up.last], [[1, 2], 2])
  const down = readBefore([own, workers], 4 as Offset, everything, { ...bounds, after: 0 as Offset })
  t.same([offsetsOf(down.entries), down.last], [[3, 2], 2])
})

t.test('a join replays a command under way to agents only, and the newest of a key to all', async (t) => {
  const [one, other] = [new History(roomy), new History(roomy)]
  one.append(entry(1, { type: 'command.stop', bytes: 1 }))
  one.append(entry(2, { type: 'gauge', key: 'a', bytes: 1 }))
  other.append(entry(3, { type: 'gauge', key: 'a', bytes: 1 }))
  one.append(entry(4, { type: 'gauge', key: 'a', bytes: 1 }))
  one.append(chatter(5))
  const agent = new Filter({ mode: 'full', types: ['command.*', 'gauge'] })
  const given = (histories: readonly History[], filter: Filter, all = false) =>
    offsetsOf(
      readAfter(histories, 0 as Offset, replayable(histories, filter, all), {
        until: 5 as Offset,
        eventsMax: 100,
      }).entries,
    )
  t.same(given([one], everything), [4])
  t.same(given([one], agent), [1, 4])
  t.same(given([one, other], agent), [1, 3, 4], 'of each topic')
  t.same(given([one, other], everything, true), [1, 2, 3, 4, 5], 'or all that is retained')
  const quiet = new Filter({ mode: 'full', notReplayed: ['gauge'] })
  t.same(given([one], quiet), [], 'but for what the filter does not want replayed')
  one.unpin(1 as Offset)
  t.same(given([one], agent), [4], 'nor a command that has its final state')
  t.same(lossAfter([one, other], 0 as Offset, everything), { critical: 0, droppable: 0 })
})

t.test('a topic that leaves memory takes its weight along, and counts no more', async (t) => {
  const totals = noTotals()
  const together = new Weight()
  const [gone, stays] = [new History(roomy, totals, together), new History(roomy, totals, together)]
  for (const offset of [1, 2]) gone.append(chatter(offset))
  stays.append(entry(3, { type: 'vital', bytes: 7 }))
  gone.release()
  t.same([totals.events, totals.bytes, together.bytes], [1, 7, 7])
  gone.append(chatter(4))
  t.same([totals.events, totals.bytes, together.bytes], [1, 7, 7], 'whatever becomes of it')
})

t.test('a pinned event that is restored counts, and goes when pinned events are too many', async (t) => {
  const totals = noTotals()
  const history = new History({ ...roomy, historyBytesMax: 100, pinnedMax: 3 }, totals)
  for (const [offset, key] of ['a', 'b', 'c', 'd'].entries())
    history.restore(entry(offset + 1, { type: 'gauge', key, bytes: 40 }))
  t.same(offsetsOf(history.pinned()), [3, 4], 'as many as fit')
  const bytes = 80 + weightOfMark('gauge')
  t.same([history.bytes, totals.bytes, totals.events], [bytes, bytes, 0])
  t.equal(lossAfter([history], 0 as Offset, everything).droppable, 2)
})

t.test('of more types than are told apart, the rest share what they have lost', async (t) => {
  const history = new History({ ...roomy, laneEventsMax: 1 })
  const named = (offset: number, critical: boolean): Entry => {
    const event = { offset, type: `t${offset}`, time: 0, data: null } as HubEvent
    return new Entry(event, { ...defaultTraits, critical }, 1)
  }
  // 256 types are told apart.
  for (let offset = 1; offset <= 257; offset++) history.append(named(offset, false))
  const only = (type: string) => new Filter({ mode: 'full', types: [type] })
  t.equal(lossAfter([history], 0 as Offset, only('t1')).droppable, 1)
  t.equal(lossAfter([history], 0 as Offset, only('t256')).droppable, 256)
  t.equal(lossAfter([history], 0 as Offset, only('other')).droppable, 0)
  for (const [offset, critical] of [
    [258, false],
    [259, true],
    [260, true],
  ] as const)
    history.append(named(offset, critical))
  t.same(lossAfter([history], 0 as Offset, only('other')), { critical: 259, droppable: 257 })
  t.same(lossAfter([history], 257 as Offset, only('other')), { critical: 259, droppable: 0 })
})

t.test('a forced event that was evicted is missed by a mode that would leave out its type', async (t) => {
  const history = new History({ ...roomy, laneEventsMax: 1 })
  const delta = { ...defaultTraits, level: 'delta' as const }
  for (const [offset, force] of [
    [1, true],
    [2, false],
    [3, false],
  ] as const) {
    const event = { offset, type: 'delta', time: 0, data: null } as HubEvent
    history.append(new Entry(event, delta, 1, { force }))
  }
  t.equal(lossAfter([history], 0 as Offset, new Filter({ mode: 'summary' })).droppable, 1)
  t.equal(lossAfter([history], 0 as Offset, everything).droppable, 2)
})

t.test(
  'the newest of a key is missed once there were too many keys and its lane has no room for it',
  async (t) => {
    const history = new History({ ...roomy, laneEventsMax: 2, pinnedMax: 1 })
    history.append(entry(1, { type: 'gauge', key: 'a', bytes: 1 }))
    history.append(entry(2, { type: 'gauge', key: 'b', bytes: 1 }))
    t.equal(lossAfter([history], 0 as Offset, everything).droppable, 0, 'as long as it is in its lane')
    history.append(chatter(3))
    t.same(offsetsOf(retainedOf(history)), [2, 3])
    t.equal(lossAfter([history], 0 as Offset, everything).droppable, 1)
  },
)
