import type { Chunk } from '../../src/codec/codec.js'
import type { Entry } from '../../src/history/entry.js'
import type { JsonValue } from '../../src/lib/json.js'
import type { Offset } from '../../src/protocol/cursor.js'
import type { HubEvent } from '../../src/protocol/frames.js'
import { benchTopic, benchType, formatMark, padFor } from '../harness/event.js'
import { firstPlan, nextPlan, type Plan } from '../server/content.js'

// What users run: `dist/`.
const dist = (path: string) => import(new URL(`../../dist/${path}`, import.meta.url).href)
const { History } = (await dist('history/history.js')) as typeof import('../../src/history/history.js')
const { Entry: EntryClass } = (await dist('history/entry.js')) as typeof import('../../src/history/entry.js')
const { readAfter } = (await dist('history/read.js')) as typeof import('../../src/history/read.js')
const { Filter } = (await dist('session/filter.js')) as typeof import('../../src/session/filter.js')
const { createHub } = (await dist('hub/hub.js')) as typeof import('../../src/hub/hub.js')
const { Codecs } = (await dist('codec/codecs.js')) as typeof import('../../src/codec/codecs.js')
const { compare } = (await dist('state/compare.js')) as typeof import('../../src/state/compare.js')
const { defaultTraits } = (await dist('catalog/traits.js')) as typeof import('../../src/catalog/traits.js')
const { defaultLimits } = (await dist('protocol/limits.js')) as typeof import('../../src/protocol/limits.js')

/** A part of the hub, exercised by itself. */
export interface Piece {
  readonly name: string
  /** What one call of `run` does so many times. */
  readonly times: number
  readonly unit: string
  /** Does it. @returns what depends on everything that was done, so that none of it can be left out */
  run(): number
  /** What `run` returned last, if it did all of its work. @throws Error when it did not */
  verify(returned: number): void
}

const { Masking } = (await dist('mask/masking.js')) as typeof import('../../src/mask/masking.js')

const pad = padFor(200)

function eventAt(offset: number, type = benchType): HubEvent {
  const data = { mark: formatMark(offset, offset), pad }
  return { offset: offset as Offset, type, time: 1_700_000_000_000, data }
}

function entryAt(offset: number, type = benchType): Entry {
  return new EntryClass(eventAt(offset, type), defaultTraits, 270)
}

/** @throws Error when a piece did not do its work: then its time means nothing */
function expectEqual(name: string, returned: number, expected: number): void {
  if (returned !== expected) throw new Error(`${name}: expected ${expected}, got ${returned}`)
}

/** Every piece, with its input ready. */
export function allPieces(): Piece[] {
  return [
    ringAppend(),
    ringRead(),
    filterAccepts(),
    ...flushes(),
    ...codecs(),
    ...comparisons(),
    ...maskings(),
  ]
}

function ringAppend(): Piece {
  const history = new History(defaultLimits)
  const times = 1_000
  const entries = Array.from({ length: times }, (_, index) => entryAt(index + 1))
  return {
    name: 'ring: append, evicting the oldest',
    times,
    unit: 'event',
    run() {
      for (const entry of entries) history.append(entry)
      const { length } = history.droppable
      // The mark of what was evicted of a type weighs a little too.
      return length * 1e6 + Math.floor(history.bytes / 1_000)
    },
    verify: (returned) => expectEqual('ring append', returned, times * 1e6 + 270),
  }
}

function ringRead(): Piece {
  const history = new History(defaultLimits)
  for (let offset = 1; offset <= 1_000; offset += 1) history.append(entryAt(offset))
  const filter = new Filter({ mode: 'full' })
  let after = 0
  return {
    name: 'ring: read 50 after a position',
    times: 50,
    unit: 'event',
    run() {
      after = (after + 7) % 900
      const page = readAfter([history], after as Offset, filter, { until: 1_000 as Offset, eventsMax: 50 })
      return page.entries.length * 1e6 + page.last - after
    },
    verify: (returned) => expectEqual('ring read', returned, 50 * 1e6 + 50),
  }
}

function filterAccepts(): Piece {
  const filter = new Filter({ mode: 'summary', types: ['tool_*', '!tool_call_started', 'goal_progress'] })
  const types = ['tool_call_started', 'tool_call_completed', 'goal_progress', 'llm_text_delta']
  const entries = Array.from({ length: 1_000 }, (_, index) => entryAt(index + 1, types[index % types.length]))
  return {
    name: 'filter: ask for an event',
    times: entries.length,
    unit: 'event',
    run() {
      let accepted = 0
      for (const entry of entries) if (filter.accepts(entry)) accepted += 1
      return accepted
    },
    verify: (returned) => expectEqual('filter', returned, entries.length / 2),
  }
}

/** Publish and flush to subscribers whose links only count. */
function flushes(): Piece[] {
  return [
    [1, 1],
    [1_000, 1],
    [1_000, 10],
    [1_000, 50],
  ].map(([subscribers = 0, events = 0]) => flush(subscribers, events))
}

function flush(subscribers: number, events: number): Piece {
  let due: (() => void)[] = []
  const clock = {
    now: () => 1_700_000_000_000,
    elapsed: () => 0,
    after: () => ({ cancel() {} }),
    defer: (task: () => void) => void due.push(task),
  }
  const turn = () => {
    while (due.length > 0) {
      const tasks = due
      due = []
      for (const task of tasks) task()
    }
  }
  const hub = createHub({ clock })
  let writes = 0
  let bytes = 0
  for (let count = 0; count < subscribers; count += 1) {
    const connection = hub.connect({
      codec: hub.codecs.msgpack,
      waiting: 0,
      write(chunk: Chunk) {
        writes += 1
        bytes += (chunk as Uint8Array).length
        return true
      },
      cork: (work) => work(),
      end() {},
      close() {},
    })
    connection.receive({ type: 'subscribe', sub: 1, topic: benchTopic })
  }
  turn()
  const news = Array.from({ length: events }, (_, index) => ({
    type: benchType,
    data: { mark: formatMark(index + 1, 0), pad },
  }))
  return {
    name: `flush: ${events} event${events === 1 ? '' : 's'} to ${subscribers} subscriber${subscribers === 1 ? '' : 's'}, no network`,
    times: subscribers * events,
    unit: 'delivery',
    run() {
      writes = 0
      bytes = 0
      hub.publish(benchTopic, news)
      turn()
      return bytes > subscribers * events * 200 ? writes : -1
    },
    verify: (returned) => expectEqual('flush', returned, subscribers),
  }
}

function codecs(): Piece[] {
  const all = new Codecs()
  const times = 100
  return [all.msgpack, all.json, all.sse('named', 'one')].map((codec) => {
    let first = 1
    return {
      name: `codec: ${codec.name}, 100 new events in one frame`,
      times,
      unit: 'event',
      run() {
        const events = Array.from({ length: times }, (_, index) => entryAt(first + index))
        const span = { after: (first - 1) as Offset, last: (first + times - 1) as Offset }
        first += times
        // Codecs of texts may share their count.
        const before = codec.encodings
        const chunk = codec.batch({
          feed: 1,
          topic: benchTopic,
          epoch: 'benchEpoch00',
          span,
          events,
        })
        return chunk.length > times * 200 ? codec.encodings - before : -1
      },
      verify: (returned: number) => expectEqual(`codec ${codec.name}`, returned, times),
    }
  })
}

function comparisons(): Piece[] {
  const plan = firstPlan(50_000)
  const values: Plan[] = [plan]
  for (let number = 1; number <= 100; number += 1)
    values.push(nextPlan(values.at(-1) as Plan, number, number))
  const copies = values.map((value) => JSON.parse(JSON.stringify(value)) as Plan)
  return (
    [
      ['compare: 50 KB, one step changed, shared otherwise', values],
      ['compare: 50 KB, one step changed, nothing shared', copies],
    ] as const
  ).map(([name, sequence]) => {
    let at = 0
    return {
      name,
      times: 1,
      unit: 'change',
      run() {
        at = (at % (sequence.length - 1)) + 1
        const [before, after] = [sequence[at - 1], sequence[at]] as unknown as [JsonValue, JsonValue]
        return compare(before, after).patch.length
      },
      verify: (returned: number) => expectEqual(name, returned, 2),
    }
  })
}

/** Texts without secrets, each of about 200 characters: prose has few long words, code some, and a log hardly anything else. */
const plainTexts = {
  prose:
    'Agents print credentials: in the output of a command, in a stack trace, in the answer of a model. The hub sees every ' +
    'event once, before it is kept, stored or sent, so it looks for them there.',
  code:
    'export function measureArray(items: readonly JsonValue[], depthMax: number): number {\n  let bytes = 2\n  for (let i = 0; ' +
    'i < items.length; i++) {\n    const size = measure(items[i] as JsonValue, depthMax)\n',
  log:
    'GET https://example.com/api/sessions/build-42/events?after=1234567890 200 12ms ' +
    '/usr/local/lib/node_modules/example/dist/hub/hub.js:123:45 6f1c9a52-1d7c-4e4c-8f57-0d9b5b7c2c11',
}

function maskings(): Piece[] {
  const masking = new Masking('shapes', [], { id: () => 'bench', fraction: () => 0 })
  const session = { epoch: '', masks: undefined, startMasks: () => {}, masksChanged: () => {} }
  const times = 256
  return Object.entries(plainTexts).map(([name, text]) => {
    // As `JSON.parse` makes them: each text in one piece of its own.
    const values = Array.from({ length: times }, () => JSON.parse(JSON.stringify({ text })) as JsonValue)
    return {
      name: `masking: look through 200 characters of ${name}`,
      times,
      unit: 'event',
      run() {
        let unchanged = 0
        for (const value of values) if (masking.value(value, session) === value) unchanged++
        return unchanged
      },
      verify: (returned: number) => expectEqual(`masking ${name}`, returned, times),
    }
  })
}
