import fc from 'fast-check'
import t from 'tap'
import { createCatalog } from '../../src/catalog/catalog.js'
import { conflate } from '../../src/history/conflate.js'
import { Entry } from '../../src/history/entry.js'
import { History } from '../../src/history/history.js'
import { lossAfter, readAfter } from '../../src/history/read.js'
import { Lane } from '../../src/lib/lane.js'
import type { Offset } from '../../src/protocol/cursor.js'
import type { HubEvent, Mode } from '../../src/protocol/frames.js'
import { Filter } from '../../src/session/filter.js'
import { wants } from '../simulation/model.js'

const catalog = createCatalog()
const types = ['llm_text_delta', 'execution_started', 'execution_paused', 'tool_call_started', 'made.up']
const everything = new Filter({ mode: 'full' })

function entry(offset: number, type: string, data: HubEvent['data'] = null, force = false): Entry {
  const event = { offset, type, time: 0, data } as HubEvent
  return new Entry(event, catalog.traitsOf(type), JSON.stringify(data).length, { force })
}

const offsetsOf = (entries: readonly Entry[]) => entries.map(({ place }) => place)

t.test('a lane is an array that is pushed, shifted and searched', async () => {
  fc.assert(
    fc.property(fc.array(fc.option(fc.integer({ min: 1, max: 5 })), { maxLength: 200 }), (steps) => {
      const lane = new Lane<{ place: number }>()
      const naive: { place: number }[] = []
      let place = 0
      for (const step of steps) {
        if (step === null) {
          if (lane.shift() !== naive.shift()) return false
          continue
        }
        place += step
        const item = { place }
        lane.push(item)
        naive.push(item)
        const wanted = naive.findIndex((other) => other.place > place - 3)
        if (lane.indexAfter(place - 3) !== (wanted < 0 ? naive.length : wanted)) return false
      }
      return lane.length === naive.length && naive.every((item, index) => lane.at(index) === item)
    }),
  )
})

t.test('history reads what two naive lanes hold, merged by offset, and knows what they lost', async () => {
  const published = fc.array(fc.constantFrom(...types), { maxLength: 120 })
  fc.assert(
    fc.property(published, fc.integer({ min: 1, max: 20 }), fc.nat(120), (list, laneEventsMax, after) => {
      const history = new History({ laneEventsMax, historyBytesMax: 1e6, pinnedMax: 10 })
      const lanes = { critical: [] as number[], droppable: [] as number[] }
      const lost = { critical: 0, droppable: 0 }
      for (const [index, type] of list.entries()) {
        const name = catalog.traitsOf(type).critical ? 'critical' : 'droppable'
        history.append(entry(index + 1, type))
        lanes[name].push(index + 1)
        if (lanes[name].length > laneEventsMax) lost[name] = lanes[name].shift() as number
      }
      const due = [...lanes.critical, ...lanes.droppable]
        .filter((offset) => offset > after)
        .sort((a, b) => a - b)
      const until = list.length as Offset
      const read: number[] = []
      for (let at = after as Offset; at < until; ) {
        const page = readAfter([history], at, everything, { until, eventsMax: 7 })
        read.push(...offsetsOf(page.entries))
        at = page.last
      }
      const loss = lossAfter([history], after as Offset, everything)
      const above = (offset: number) => (offset > after ? offset : 0)
      return (
        JSON.stringify(read) === JSON.stringify(due) &&
        loss.critical === above(lost.critical) &&
        loss.droppable === above(lost.droppable)
      )
    }),
  )
})

t.test('chatter evicts chatter, never a critical event, by count and by bytes', async (t) => {
  const history = new History({ laneEventsMax: 10, historyBytesMax: 1_000, pinnedMax: 10 })
  history.append(entry(1, 'execution_started', 'x'.repeat(400)))
  for (let offset = 2; offset < 100; offset++) history.append(entry(offset, 'made.up', 'y'.repeat(100)))
  t.equal(history.critical.length, 1)
  t.ok(history.bytes <= 1_000)
  t.equal(history.droppable.length, 5)
  t.equal(history.dropped, 98 - 5)
})

t.test('the newest event of a key stays, wherever its lane has gone', async (t) => {
  const history = new History({ laneEventsMax: 3, historyBytesMax: 1e6, pinnedMax: 10 })
  history.append(entry(1, 'execution.status', 'running'))
  for (let offset = 2; offset < 20; offset++) history.append(entry(offset, 'execution_started'))
  const page = readAfter([history], 0 as Offset, everything, { until: 19 as Offset, eventsMax: 100 })
  t.same(offsetsOf(page.entries), [1, 17, 18, 19])
  const status = new Filter({ mode: 'full', types: ['execution.status'] })
  t.equal(lossAfter([history], 0 as Offset, status).critical, 0, 'and nothing of it is missed')
})

t.test('a filter that never wanted what was evicted has lost nothing', async (t) => {
  const history = new History({ laneEventsMax: 3, historyBytesMax: 1e6, pinnedMax: 10 })
  history.append(entry(1, 'tool_call_started'))
  for (let offset = 2; offset < 20; offset++)
    history.append(entry(offset, 'llm_text_delta', { content: 'x' }))
  const loss = (expression: ConstructorParameters<typeof Filter>[0]) =>
    lossAfter([history], 1 as Offset, new Filter(expression)).droppable
  t.equal(loss({ mode: 'full' }), 16)
  t.equal(loss({ mode: 'full', types: ['tool_*'] }), 0)
  t.equal(loss({ mode: 'summary' }), 0)
})

t.test('conflated text equals the full text, at the last offset, and nothing else is joined', async () => {
  const step = fc.record({
    type: fc.constantFrom('llm_text_delta', 'llm_text_delta', 'tool_call_started'),
    content: fc.string(),
    message: fc.constantFrom(1, 2),
    force: fc.boolean(),
  })
  fc.assert(
    fc.property(fc.array(step), (steps) => {
      const entries = steps.map(({ type, content, message, force }, index) =>
        entry(index + 1, type, { content, message }, force),
      )
      const joined = conflate(entries)
      const text = (list: readonly Entry[]) =>
        list.map(({ event }) => (event.data as { content: string }).content).join('')
      for (const [index, one] of joined.entries()) {
        const next = joined[index + 1]
        if (next === undefined) break
        const alike =
          one.event.type === 'llm_text_delta' &&
          next.event.type === one.event.type &&
          one.force === next.force &&
          JSON.stringify({ ...(one.event.data as object), content: '' }) ===
            JSON.stringify({ ...(next.event.data as object), content: '' })
        if (alike || one.place >= next.place) return false
      }
      return text(joined) === text(entries) && joined.at(-1)?.place === entries.at(-1)?.place
    }),
  )
})

t.test('a compiled filter says what the interpreted one says', async () => {
  const name = fc.constantFrom(
    'llm_*',
    'execution_*',
    '!execution_p*',
    'made.up',
    '!made.up',
    'tool_call_started',
    '*',
    '!*',
  )
  const modes: Mode[] = ['full', 'summary', 'control', 'silent']
  fc.assert(
    fc.property(
      fc.option(fc.array(name, { maxLength: 5 }), { nil: undefined }),
      fc.constantFrom(...modes),
      fc.constantFrom(...types),
      fc.boolean(),
      (list, mode, type, force) => {
        const filter = new Filter({ mode, ...(list && { types: list }) })
        const made = entry(1, type, null, force)
        const told = {
          event: made.event,
          traits: made.traits,
          force,
          everywhere: false,
          retainedIn: new Set<string>(),
        }
        return filter.accepts(made) === wants({ topic: '', mode, ...(list && { types: list }) }, told)
      },
    ),
  )
})
