import { existsSync, readFileSync } from 'node:fs'
import fc from 'fast-check'
import t from 'tap'
import { createCatalog } from '../../src/catalog/catalog.js'
import { Entry } from '../../src/history/entry.js'
import { EvictedOffsets } from '../../src/history/evicted-offsets.js'
import { History } from '../../src/history/history.js'
import { lossAfter, readAfter } from '../../src/history/read.js'
import { createHub } from '../../src/hub/hub.js'
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

const offsetsOf = (entries: readonly Entry[]) => entries.map(({ offset }) => offset)

t.test('a lane is an array that is pushed, shifted and searched', async () => {
  fc.assert(
    fc.property(fc.array(fc.option(fc.integer({ min: 1, max: 5 })), { maxLength: 200 }), (steps) => {
      const lane = new Lane<{ offset: number }>()
      const naive: { offset: number }[] = []
      let offset = 0
      for (const step of steps) {
        if (step === null) {
          if (lane.shift() !== naive.shift()) return false
          continue
        }
        offset += step
        const item = { offset }
        lane.push(item)
        naive.push(item)
        const wanted = naive.findIndex((other) => other.offset > offset - 3)
        if (lane.indexAfter(offset - 3) !== (wanted < 0 ? naive.length : wanted)) return false
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

t.test('a topic knows how many events have left it after an offset, or that it does not know', (t) => {
  const distance = fc.oneof(fc.integer({ min: 1, max: 3 }), fc.constantFrom(65_534, 65_535, 65_536, 2 ** 33))
  fc.assert(
    fc.property(fc.array(distance, { maxLength: 40 }), fc.nat(), (distances, mark) => {
      const evicted = new EvictedOffsets()
      const naive: number[] = [0]
      for (const step of distances) {
        naive.push((naive.at(-1) as number) + step)
        evicted.add(naive.at(-1) as Offset)
      }
      const offset = (naive[mark % naive.length] as number) + (mark % 2)
      const counted = evicted.after(offset as Offset)
      const isNear = distances.every((step) => step < 65_535)
      if (counted === undefined) return !isNear
      return counted === naive.filter((one) => one > offset).length
    }),
  )
  const many = new EvictedOffsets()
  for (let offset = 2; offset <= 100_000; offset += 2) many.add(offset as Offset)
  t.equal(many.total, 50_000)
  const first = 100_000 - 2 * 16_384
  t.equal(many.after(first as Offset), 16_384)
  t.equal(many.after((first - 1) as Offset), undefined, 'what is further back is not known')
  t.equal(many.after(100_000 as Offset), 0)
  t.end()
})

t.test('chatter evicts chatter, never a critical event, by count and by bytes', async (t) => {
  const history = new History({ laneEventsMax: 10, historyBytesMax: 1_000, pinnedMax: 10 })
  history.append(entry(1, 'execution_started', 'x'.repeat(400)))
  for (let offset = 2; offset < 100; offset++) history.append(entry(offset, 'made.up', 'y'.repeat(100)))
  t.equal(history.critical.length, 1)
  t.ok(history.bytes <= 1_000 + 256, 'beside them the mark of one type')
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

t.test('what is shrunk to nothing has lost whatever anybody may have wanted', async (t) => {
  const history = new History({ laneEventsMax: 3, historyBytesMax: 1e6, pinnedMax: 10 })
  for (let offset = 1; offset < 100; offset++) history.append(entry(offset, `made.up.${offset}`))
  const loss = () =>
    lossAfter([history], 1 as Offset, new Filter({ mode: 'full', types: ['tool_*'] })).droppable
  t.equal(loss(), 0)
  const marks = history.bytes
  history.shrinkTo(0)
  t.equal(history.bytes, 0)
  t.ok(marks > 90 * 128, 'the name of each evicted type counted')
  t.equal(loss(), 99, 'all of them share one mark then')
  history.append(entry(100, 'made.up.100'))
  history.release()
})

t.test('what opens a text stays, however many deltas follow it', async (t) => {
  const history = new History({ laneEventsMax: 10, historyBytesMax: 1e6, pinnedMax: 10 })
  const openers = [
    'data-text-start',
    'data-tool-input-start',
    'content_block_start',
    'response.output_item.added',
    'response.content_part.added',
    'ai-sdk.start',
    'ai-sdk.text-start',
    'ai-sdk.tool-input-start',
    'TEXT_MESSAGE_START',
    'TOOL_CALL_START',
  ]
  for (const [index, type] of openers.entries()) history.append(entry(index + 1, type))
  for (let n = 0; n < 100; n++)
    history.append(entry(openers.length + n + 1, 'data-text-delta', { delta: 'x' }))
  const { entries } = readAfter([history], 0 as Offset, everything, { until: 200 as Offset, eventsMax: 100 })
  t.same(
    entries.slice(0, openers.length).map(({ event: { type } }) => type),
    openers,
  )
})

const traces = new URL('../../../shared/traces/', import.meta.url)
const withoutTraces = existsSync(traces) ? false : 'no recorded streams on this machine'

t.test('a late joiner of a recorded stream gets few events', { skip: withoutTraces }, async (t) => {
  for (const [name, events, most] of [
    ['anthropic-code-execution-20250825.2', 984, 40],
    ['openai-code-interpreter-tool.1', 393, 40],
  ] as const) {
    const hub = createHub()
    const lines = readFileSync(new URL(`${name}.ndjson`, traces), 'utf8')
      .trim()
      .split('\n')
    t.equal(lines.length, events)
    for (const line of lines) {
      const { type, ...rest } = JSON.parse(line)
      hub.session('s').publish({ type, data: rest })
    }
    hub.endSession('s')
    const got: HubEvent[] = []
    for await (const event of hub.subscribe('sessions/s')) got.push(event)
    t.ok(got.length <= most, `${name}: ${got.length} events for ${events}`)
    const textOf = (data: unknown): string => {
      const { delta } = (data ?? {}) as { delta?: string | { text?: string; partial_json?: string } }
      return typeof delta === 'string' ? delta : (delta?.text ?? delta?.partial_json ?? '')
    }
    const sent = lines.map((line) => textOf(JSON.parse(line))).join('')
    t.equal(got.map(({ data }) => textOf(data)).join(''), sent, 'and all of the text')
  }
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
