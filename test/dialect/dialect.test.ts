import { execFile } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { createCatalog } from '../../src/catalog/catalog.js'
import type { Dialect } from '../../src/codec/dialect.js'
import type { DialectRuns, RunQuery } from '../../src/codec/runs.js'
import { after, noThread, prelude, type Thread } from '../../src/dialect/ag-ui-thread.js'
import { builtInDialects } from '../../src/dialect/built-in.js'
import { createHub } from '../../src/hub/hub.js'
import type { JsonObject, JsonValue } from '../../src/lib/json.js'
import { ProtocolError } from '../../src/protocol/codes.js'
import { type Epoch, formatCursor, type Offset } from '../../src/protocol/cursor.js'
import { foreignId, ownId } from '../../src/protocol/foreign-id.js'
import type { HubEvent, NewEvent, Slices } from '../../src/protocol/frames.js'
import { defaultLimits } from '../../src/protocol/limits.js'
import { IdleTimers } from '../../src/server/links/idle-timers.js'
import { RunLink } from '../../src/server/links/run-link.js'
import { RunTelling } from '../../src/server/links/run-telling.js'
import { memoryLink } from '../../src/transport/memory.js'
import { SimulatedClock } from '../kit/clock.js'
import { SeededRandom } from '../kit/random.js'
import { typescript } from '../kit/typescript.js'

const run = promisify(execFile)
const none = 0 as Offset

/** What a dialect makes of what, in no language's own terms: `test/dialect/golden/<dialect>.json`. */
interface Golden {
  readonly session: string
  readonly blocks?: readonly { readonly event: HubEvent; readonly text: string }[]
  readonly snapshot?: { readonly slices: Slices; readonly time: number; readonly text: string }
  readonly heartbeat?: { readonly time: number; readonly text: string }
  readonly published?: readonly {
    readonly object: JsonValue
    readonly event?: NewEvent
    readonly worker?: string
    readonly end?: true
  }[]
  readonly records?: readonly { readonly event: HubEvent; readonly record?: JsonObject }[]
  /** What runs are told as. */
  readonly told?: readonly {
    readonly of: string
    readonly variant?: string
    readonly events: readonly HubEvent[]
    readonly text: string
  }[]
}

const golden = (name: string) =>
  JSON.parse(readFileSync(new URL(`golden/${name}.json`, import.meta.url), 'utf8')) as Golden
/** @returns what the clients are told of a run, from its first event to its last */
function tellRun(
  { runs }: Dialect,
  events: readonly HubEvent[],
  { session, variant = '' }: { readonly session: string; readonly variant?: string | undefined },
): string {
  const ended = () => ({ result: 'succeeded' }) as const
  const subject = {
    runs: runs as DialectRuns,
    variant,
    session,
    worker: undefined,
    catalog: createCatalog(),
    ended,
  }
  const telling = new RunTelling(subject)
  let point = telling.begin(0 as Offset, 'running')
  let text = ''
  for (const event of events) {
    const told = telling.tell(point, event)
    point = told.point
    text += told.blocks.map((block) => block.text).join('')
    if (told.turn === 'ends') break
  }
  return text
}

const named = (name: string) => builtInDialects.find((dialect) => dialect.name === name) as Dialect

for (const dialect of builtInDialects) {
  t.test(`${dialect.name} is what its golden file says`, async (t) => {
    const file = golden(dialect.name)
    const { session, blocks = [], snapshot, heartbeat, published = [], records = [], told = [] } = file
    for (const { event, text } of blocks) t.equal(dialect.stream?.block(event, session), text, event.type)
    if (snapshot !== undefined) {
      t.equal(dialect.stream?.snapshot?.(snapshot.slices, snapshot.time), snapshot.text)
    }
    if (heartbeat !== undefined) t.equal(dialect.stream?.heartbeat?.(heartbeat.time), heartbeat.text)
    for (const { object, event, worker, end } of published) {
      const expected = end
        ? { kind: 'end' }
        : { kind: 'event', event, ...(worker !== undefined && { worker }) }
      t.strictSame(dialect.publish?.(object), expected, JSON.stringify(object))
    }
    for (const { event, record } of records) t.strictSame(dialect.records?.record(event), record, event.type)
    for (const { of, variant, events, text } of told)
      t.equal(tellRun(dialect, events, { session, variant }), text, of)
    t.equal(told.length > 0, dialect.runs !== undefined)
    t.equal(blocks.length > 0, dialect.stream !== undefined, 'every part has a golden')
    t.equal(published.length > 0, dialect.publish !== undefined)
    t.equal(records.length > 0, dialect.records !== undefined)
  })
}

t.test('what is published in a dialect reads the same', async (t) => {
  for (const name of ['session-bus', 'stream-event', 'task-log']) {
    const { publish, stream } = named(name)
    for (const { object } of golden(name).published ?? []) {
      const found = publish?.(object)
      if (found?.kind !== 'event' || stream === undefined) continue
      const { event, worker } = found
      const made = { offset: 1, time: 0, data: null, ...event, ...(worker && { worker }) } as HubEvent
      const data = /^data: (.*)$/m.exec(stream.block(made, 's'))?.[1] ?? ''
      const { type: _, event: __, data: inner, ...rest } = object as Record<string, JsonValue>
      const shown = JSON.parse(data) as JsonObject
      if (name === 'task-log') t.match(shown, typeof inner === 'string' ? { tool: 'search' } : { ...rest })
      else t.match(shown, { ...(object as JsonObject), ...(name === 'session-bus' && { timestamp: String }) })
    }
  }
})

t.test('what cannot be read in a dialect is refused, with the place', async (t) => {
  const refused: [string, JsonValue, RegExp, string?][] = [
    ['session-bus', 1, /expected an object \{ type, stream_id/],
    ['session-bus', { data: {} }, /event\.type: expected a text/, '/type'],
    ['session-bus', { type: 'a', timestamp: 'soon' }, /event\.timestamp: expected ISO 8601/, '/timestamp'],
    ['session-bus', { type: 'a', node_id: 'n', data: 1 }, /event\.data: expected an object/, '/data'],
    ['stream-event', { type: 'text-delta' }, /begins with data-/, '/type'],
    ['stream-event', [], /expected an object/],
    ['task-log', { type: 'note' }, /expected one of assistant/, '/type'],
    ['task-log', { what: 1 }, /expected one of assistant/, '/type'],
    ['ai-sdk', 'text', /expected a part of a UI message stream/],
    ['ai-sdk', { id: 'a' }, /event\.type: expected a text/, '/type'],
    ['openai-responses', { type: 'message' }, /begins with response\., got "message"/, '/type'],
    ['ag-ui', { type: 'text-delta' }, /expected a type of AG-UI/, '/type'],
    ['langgraph', { type: 'values' }, /event\.event: expected a stream mode/, '/event'],
    ['langgraph', { event: 'Not A Mode' }, /event\.event: expected a stream mode/, '/event'],
  ]
  for (const [name, object, message, pointer] of refused) {
    try {
      named(name).publish?.(object)
      t.fail(`${name} took ${JSON.stringify(object)}`)
    } catch (error) {
      t.ok(error instanceof ProtocolError && error.code === 'badFrame')
      t.match(error, { message, place: pointer === undefined ? {} : { pointer } })
    }
  }
})

t.test('the examples of the guide run as written, and show their last words', async (t) => {
  const guide = readFileSync(new URL('../../docs/guide/dialects.md', import.meta.url), 'utf8')
  const examples = [...guide.matchAll(/```ts\n(import .+?)```/gs)].map(([, text = '']) => text)
  const index = new URL('../../src/index.ts', import.meta.url).href
  const said: string[] = []
  for (const [number, example] of examples.entries()) {
    t.ok(example.trim().split('\n').length < 40)
    const file = join(t.testdir(), `example-${number}.ts`)
    writeFileSync(file, example.replace("'runcast'", `'${index}'`).replace('port: 4600', 'port: 0'))
    const { stdout, stderr } = await run(process.execPath, [...typescript, file], { timeout: 20_000 })
    t.equal(stderr, '')
    said.push(stdout)
  }
  t.match(said, [
    /\ndata: "bye"\n\n/,
    /^1 [^]*data: \{"line":1,"text":"hello"\}\n\n[^]*data: \{"bye":"succeeded"\}\n\n/,
  ])
})

t.test('a thousand clients of a dialect cost one encoding an event', async (t) => {
  const clock = new SimulatedClock()
  const hub = createHub({ clock, random: new SeededRandom(1) })
  const dialect = named('session-bus')
  const codec = hub.codecs.dialect(dialect as Required<Dialect>)
  let chunks = 0
  const peers = Array.from({ length: 1_000 }, () => {
    const { link, peer } = memoryLink(codec, {
      clock,
      backpressureMax: 1e6,
      receive: () => chunks++,
      drained: () => {},
      closed: () => {},
    })
    hub.connect(link).receive({ type: 'subscribe', sub: 1, topic: 'sessions/a' })
    return peer
  })
  clock.runTurn()
  chunks = 0
  for (let n = 0; n < 10; n++) hub.session('a').publish({ type: 'tool_call_started', data: { n } })
  clock.runTurn()
  t.equal(chunks, 1_000, 'one chunk each')
  t.equal(hub.stats().delivered, 10_000)
  t.equal(hub.stats().encodings.get('sse:session-bus'), 10)
  for (const peer of peers) peer.cut()
})

for (const { name, runs } of builtInDialects) {
  if (runs === undefined) continue
  t.test(`a thousand clients of ${name} in mid-run cost one encoding an event`, async (t) => {
    const clock = new SimulatedClock()
    const hub = createHub({ clock, random: new SeededRandom(1) })
    const codec = hub.codecs.runs(name, runs)
    const say = (...events: NewEvent[]) => {
      hub.session('a').publish(events)
      hub.flush()
      clock.runTurn()
    }
    const text = (content: string) => ({ type: 'client_output_delta', data: { content } })
    say({ type: 'execution_started' }, text('so far'))
    const variant = runs.variant?.({ query: new URLSearchParams() } as RunQuery) ?? ''
    const ended = () => ({ result: 'succeeded' }) as const
    const subject = { runs, variant, session: 'a', worker: undefined, ended }
    const telling = new RunTelling({ ...subject, catalog: createCatalog() })
    const { epoch, offset } = hub.find('a') as { readonly epoch: Epoch; readonly offset: Offset }
    const before = [...(await hub.readHistory('sessions/a')).events]
    const fold = () =>
      before.reduce((at, event) => telling.tell(at, event).point, telling.begin(none, 'waiting'))
    const joined =
      runs.prelude === undefined
        ? ({ mode: 'telling', after: none, point: telling.begin(1 as Offset, 'running') } as const)
        : ({ mode: 'silent', after: offset, point: fold() } as const)
    const timers = new IdleTimers(clock, 1e6, (error) => t.fail(String(error)))
    const patience = { clock, retryMs: 1, stalled: () => {} }
    const limits = defaultLimits
    let chunks: Uint8Array[] = []
    const write = (chunk: Uint8Array) => chunks.push(chunk) > 0
    const cork = (writes: () => void) => writes()
    const stream = { waiting: 0, write, cork, end: () => {}, cut: () => t.fail('it was cut') }
    for (let n = 0; n < 1_000; n++) {
      const link = new RunLink(codec, {
        limits,
        patience,
        telling,
        session: 'a',
        variant,
        above: undefined,
        slices: () => ({}),
        ...joined,
      })
      const after = formatCursor(epoch, joined.after)
      hub.connect(link).receive({ type: 'subscribe', sub: 1, topic: 'sessions/a', after })
      link.begin(stream, timers.begin(link))
    }
    clock.runTurn()
    t.ok(Buffer.concat(chunks.slice(-2)).includes('so far'), 'they have the text so far')
    const encoded = codec.encodings
    chunks = []
    for (let n = 0; n < 10; n++) say(text(`<${n}>`))
    t.equal(chunks.length, 10_000, 'each client is told each event')
    t.equal(new Set(chunks).size, 10, 'they share the bytes')
    t.ok(Buffer.concat([...new Set(chunks)]).includes('<9>'))
    t.equal(codec.encodings - encoded, 10)
  })
}

t.test('a name of elsewhere becomes an id of the hub, and comes back', async (t) => {
  const names: [string, string][] = [
    ['chat-42', 'chat-42'],
    ['user/42#7', '~~user~2F42~237'],
    ['a b', '~~a~20b'],
    ['a~b/', '~~a~7Eb~2F'],
    ['Zürich', '~~Z~C3~BCrich'],
    ['..', '~~..'],
    ['__proto__', '~~__proto__'],
  ]
  for (const [foreign, id] of names) {
    t.equal(ownId(foreign), id)
    t.equal(foreignId(id), foreign)
  }
  t.equal(ownId('~~a~20b'), '~~a~20b', 'what is one already stays')
  t.equal(foreignId('~~%'), '~~%')
})

t.test('what a thread of AG-UI remembers is bounded, however its state is patched', async (t) => {
  const delta = (thread: typeof noThread, ...operations: JsonObject[]) =>
    after(thread, { type: 'STATE_DELTA', delta: operations })
  const copy = (n: number) => ({ op: 'copy', from: '', path: `/d${n}` })
  const begun = after(noThread, { type: 'STATE_SNAPSHOT', snapshot: { text: 'x'.repeat(1_000) } })
  // Its text would have 2 to the power of 60 characters.
  t.equal(delta(begun, ...Array.from({ length: 60 }, (_, n) => copy(n))), begun)
  let doubled = begun
  for (let n = 0; n < 60; n++) doubled = delta(doubled, copy(n))
  const length = JSON.stringify(doubled.state).length
  t.ok(length > 500_000 && length < 1_048_576, `${length} characters`)
  const add = (name: string) => ({ op: 'add', path: `/${name}`, value: 'x'.repeat(500_000) })
  const two = delta(delta(begun, add('a')), add('b'))
  t.match(two.state, { a: /^x{9}/, b: /^x{9}/ })
  t.equal(delta(two, add('c')), two, 'what leads to a larger one changes nothing')
  const other = delta(delta(two, { op: 'remove', path: '/a' }), add('c'))
  t.match(other.state, { b: /^x{9}/, c: /^x{9}/ }, 'it is measured again')
  const large = { type: 'STATE_SNAPSHOT', snapshot: 'x'.repeat(1_048_577) }
  t.equal(after(begun, large), begun)
  let many = begun
  for (let n = 0; n < 1_005; n++) {
    many = after(many, { type: 'STEP_STARTED', stepName: `s${n}` })
    many = after(many, { type: 'TEXT_MESSAGE_START', messageId: `m${n}` })
  }
  t.strictSame([many.steps.length, many.open.length], [1_000, 1_000])
  t.match([many.steps[0], many.open.at(-1)], [{ stepName: 's5' }, { id: 'm1004' }])
})

t.test('what a client of AG-UI gets that joins is bounded, however long a message is open', async (t) => {
  const delta = 'x'.repeat(65_536)
  const start = (id: string) => ({ type: 'TEXT_MESSAGE_START', messageId: id })
  const more = (id: string) => ({ type: 'TEXT_MESSAGE_CONTENT', messageId: id, delta })
  const preludeBytes = (thread: Thread) => JSON.stringify(prelude(thread, {}, {})).length
  let thread = [start('first'), more('first'), { type: 'TEXT_MESSAGE_END', messageId: 'first' }].reduce(
    after,
    noThread,
  )
  t.ok(preludeBytes(thread) > delta.length)
  thread = after(thread, start('open'))
  for (let piece = 0; piece < 100; piece += 1) thread = after(thread, more('open'))
  t.ok(preludeBytes(thread) < 4_200_000, 'the text goes on without it')
  t.ok(preludeBytes(thread) > 4_000_000)
  t.match(prelude(thread, {}, {})[2], { messages: [{ id: 'open' }] }, 'older messages have made room')
  thread = after(thread, { type: 'TEXT_MESSAGE_END', messageId: 'open' })
  for (let other = 0; other < 100; other += 1) {
    const id = `other-${other}`
    thread = [start(id), more(id), { type: 'TEXT_MESSAGE_END', messageId: id }].reduce(after, thread)
  }
  t.ok(preludeBytes(thread) < 4_200_000)
  const { messages } = prelude(thread, {}, {})[2] as { messages: readonly { id: string }[] }
  t.equal(messages.at(-1)?.id, 'other-99')
  t.equal(messages.length, 63, 'and the newest are all there')
})
