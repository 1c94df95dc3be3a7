import t from 'tap'
import { type About, type Chunk, type Codec, EncodingCount } from '../../src/codec/codec.js'
import { Codecs } from '../../src/codec/codecs.js'
import { type DialectStream, dataBlock } from '../../src/codec/dialect.js'
import { eventJson } from '../../src/codec/json.js'
import { oneLine } from '../../src/codec/one-line.js'
import { type RunPoint, withIds } from '../../src/codec/run-codec.js'
import type { DialectRuns } from '../../src/codec/runs.js'
import { endOfBlock, type Framing } from '../../src/codec/sse.js'
import { Variants } from '../../src/codec/variants.js'
import type { ControlFrame, Events, HubEvent } from '../../src/protocol/frames.js'
import { epoch, topic } from '../conformance/codec.js'
import { at, live, note, variantsOf } from './batches.js'

const textOf = (chunk: Chunk | undefined): string | undefined =>
  chunk === undefined ? undefined : Buffer.from(chunk as Uint8Array).toString()

const about: About = { topic, epoch }
const gap = { reason: 'evicted', after: at(1), offset: at(4), dropped: 3 } as const
const subscribed = {
  type: 'subscribed',
  sub: 5,
  feed: 9,
  topic,
  epoch,
  offset: at(4),
  resumed: false,
} as const

const frames: Readonly<Record<string, readonly [frame: ControlFrame, about?: About]>> = {
  welcome: [
    { type: 'welcome', connection: 'c1', version: 1, heartbeatMs: 1, limits: {} } as unknown as ControlFrame,
  ],
  subscribed: [{ ...subscribed }, about],
  'subscribed with state': [{ ...subscribed, slices: { a: '\u2028' } }, about],
  'subscribed with a gap': [{ ...subscribed, gap, slices: { a: 1 } }, about],
  'subscribed in parts': [{ ...subscribed, gap, parts: 2 }, about],
  gap: [{ type: 'gap', sub: 5, ...gap, slices: { a: 1 } }, about],
  'gap without state': [{ type: 'gap', sub: 5, ...gap }, about],
  part: [{ type: 'part', sub: 5, slice: 'a', index: 0, text: '1', last: true }, about],
  'part with a cursor': [
    { type: 'part', sub: 5, slice: 'a', index: 0, text: '\u0085' },
    { ...about, cursor: 'e1:4~s1.a' },
  ],
  live: [{ type: 'live', sub: 5, offset: at(4) }, about],
  'live of nothing known': [{ type: 'live', sub: 5, offset: at(4) }],
  unsubscribed: [{ type: 'unsubscribed', sub: 5, code: 'removed', reason: 'gone' }, about],
  error: [{ type: 'error', sub: 5, code: 'conflict', message: 'no' }],
  pong: [{ type: 'pong', ref: 1 }],
}

const T = '"topic":"sessions/a"'
const G = '"reason":"evicted","after":1,"offset":4,"dropped":3'
const S = `${T},"sub":5,"epoch":"e1","offset":4,"resumed":false`
const initial = (slices: string) => `{"type":"state.initial",${T},"data":{"slices":${slices}}}`

/** What is said of each frame over one topic and over many: the name of the block and its data. */
const said: Readonly<Record<string, { one: readonly Said[]; many: readonly Said[] }>> = {
  welcome: { one: [], many: [['hub.open', '{"connection":"c1"}']] },
  subscribed: { one: [], many: [['hub.subscribed', `{${S}}`]] },
  'subscribed with state': {
    one: [['state.initial', initial('{"a":"\\u2028"}')]],
    many: [
      ['hub.subscribed', `{${S},"state":true}`],
      ['state.initial', initial('{"a":"\\u2028"}')],
    ],
  },
  'subscribed with a gap': {
    one: [
      ['hub.gap', `{${T},${G}}`],
      ['state.initial', initial('{"a":1}')],
    ],
    many: [
      ['hub.subscribed', `{${S},"state":true}`],
      ['hub.gap', `{${T},"sub":5,${G}}`],
      ['state.initial', initial('{"a":1}')],
    ],
  },
  'subscribed in parts': {
    one: [['hub.gap', `{${T},${G}}`]],
    many: [['hub.subscribed', `{${S},"parts":2,"gap":{${G}}}`]],
  },
  gap: {
    one: [
      ['hub.gap', `{${T},${G}}`],
      ['state.initial', initial('{"a":1}')],
    ],
    many: [
      ['hub.gap', `{${T},"sub":5,${G}}`],
      ['state.initial', initial('{"a":1}')],
    ],
  },
  'gap without state': {
    one: [['hub.gap', `{${T},${G}}`]],
    many: [['hub.gap', `{${T},"sub":5,${G}}`]],
  },
  part: {
    one: [['state.part', '"slice":"a","index":0,"text":"1","last":true', T]],
    many: [['state.part', '"slice":"a","index":0,"text":"1","last":true', `${T},"sub":5`]],
  },
  'part with a cursor': {
    one: [['state.part', '"slice":"a","index":0,"text":"\\u0085"', T, 'e1:4~s1.a']],
    many: [['state.part', '"slice":"a","index":0,"text":"\\u0085"', `${T},"sub":5`]],
  },
  live: {
    one: [
      ['', '', '', 'e1:4'],
      ['hub.live', `{${T},"sub":5,"offset":4}`],
    ],
    many: [['hub.live', `{${T},"sub":5,"offset":4}`]],
  },
  'live of nothing known': {
    one: [['hub.live', '{"sub":5,"offset":4}']],
    many: [['hub.live', '{"sub":5,"offset":4}']],
  },
  unsubscribed: {
    one: [['hub.unsubscribed', `{${T},"sub":5,"code":"removed","reason":"gone"}`]],
    many: [['hub.unsubscribed', `{${T},"sub":5,"code":"removed","reason":"gone"}`]],
  },
  error: { one: [], many: [['hub.error', '{"sub":5,"code":"conflict","message":"no"}']] },
  pong: { one: [], many: [] },
}

type Said = readonly [name: string, data: string, about?: string, id?: string]

/** A block as the framing writes it. */
function blockOf(framing: Framing, [name, data, about, id]: Said): string {
  const head = id === undefined ? '' : `id: ${id}\n`
  if (name === '') return `${head}\n`
  if (name === 'state.part') {
    if (framing === 'named') return `${head}event: state.part\ndata: {${about},${data}}\n\n`
    return `${head}data: {"type":"state.part",${about},"data":{${data}}}\n\n`
  }
  if (framing === 'named') return `event: ${name}\ndata: ${data}\n\n`
  if (name === 'state.initial') return `data: ${data}\n\n`
  if (framing === 'data and gaps' && name === 'hub.gap') {
    const [before, notice] = data.slice(1, -1).split(/,(?="reason")/)
    return `data: {"type":"hub.gap",${before},"data":{${notice}}}\n\n`
  }
  return `: ${name} ${data}\n\n`
}

t.test('a control frame is said in blocks, and where blocks have no names in comments', async (t) => {
  for (const framing of ['named', 'data', 'data and gaps'] as const) {
    for (const topics of ['one', 'many'] as const) {
      const codec = new Codecs().sse(framing, topics)
      for (const [name, [frame, about]] of Object.entries(frames)) {
        const wanted = said[name]?.[topics].map((one) => blockOf(framing, one)).join('')
        t.equal(textOf(codec.control(frame, about)) ?? '', wanted, `${framing}, ${topics}: ${name}`)
      }
      t.equal(codec.control({ type: 'pong' }), undefined, 'nothing is no chunk')
      const close = blockOf(framing, ['hub.close', '{"code":4000,"reason":"bye","retryMs":7}'])
      t.equal(textOf(codec.closing('shutdown', 'bye', 7)), `retry: 7\n${close}`)
      const plain = blockOf(framing, ['hub.close', '{"code":4001,"reason":"slow"}'])
      t.equal(textOf(codec.closing('lagging', 'slow')), plain)
    }
  }
})

t.test('over many topics a flush ends with the positions of all', async (t) => {
  const codec: Codec = new Codecs().sse('named', 'many')
  const positions = new Map([
    ['a', { epoch, offset: at(3) }],
    ['b', { epoch, offset: at(9), join: 'r2' }],
  ])
  t.equal(textOf(codec.trailer?.(positions)), 'id: a=e1:3,b=e1:9~r2\n\n')
  t.equal(codec.trailer?.(new Map()), undefined)
  const one: Codec = new Codecs().sse('named', 'one')
  t.equal(one.trailer, undefined)
})

t.test('a batch without events moves the position over one topic, and over many says nothing', async (t) => {
  const batch = { feed: 1, topic, epoch, span: live(3, 8), events: [] }
  for (const framing of ['named', 'data'] as const) {
    t.equal(textOf(new Codecs().sse(framing, 'one').batch(batch)), 'id: e1:8\n\n')
    t.equal(textOf(new Codecs().sse(framing, 'many').batch(batch)), '')
  }
})

t.test('over one topic events may leave its name out, and are as without otherwise', async (t) => {
  const codecs = new Codecs()
  const events = variantsOf(note(2))
  for (const framing of ['named', 'data'] as const) {
    for (const span of [live(1, 2), undefined]) {
      const batch = { feed: 1, topic, epoch, span, events }
      const named = textOf(codecs.sse(framing, 'one').batch(batch)) ?? ''
      t.match(named, `${T},`)
      t.equal(textOf(codecs.sse(framing, 'unnamed').batch(batch)), named.replace(`${T},`, ''))
      t.equal(textOf(codecs.sse(framing, 'one').batch(batch)), named)
    }
  }
})

t.test('a replayed event says in its id how far the join has come, as each client has joined', async (t) => {
  const codec = new Codecs().sse('named', 'one')
  const events = variantsOf(note(2), note(4))
  const block = (offset: number, id = '') =>
    `${id}event: note\ndata: {${T},"replay":true,"offset":${offset},"type":"note","time":1,"data":${offset}}\n\n`
  const chunk = codec.batch({ feed: 1, topic, epoch, span: undefined, events })
  t.equal(textOf(chunk), block(2) + block(4))
  const join = (offset: number) => codec.withCursor(chunk, { epoch, offset: at(offset) })
  t.equal(textOf(join(7)), block(2, 'id: e1:7~r2\n') + block(4, 'id: e1:7~r4\n'))
  t.equal(join(7), join(7), 'the same bytes for all who joined there')
  t.equal(textOf(join(8)), block(2, 'id: e1:8~r2\n') + block(4, 'id: e1:8~r4\n'))
  const other = Buffer.from('data: x\n\n')
  t.equal(codec.withCursor(other, { epoch, offset: at(7) }), other, 'what was not replayed stays as it is')
  const many = new Codecs().sse('named', 'many')
  const shared = many.batch({ feed: 1, topic, epoch, span: undefined, events: variantsOf(note(2)) })
  t.equal(many.withCursor(shared, { epoch, offset: at(7) }), shared)
})

t.test('a block ends with its empty line, or where the bytes do', async (t) => {
  const bytes = Buffer.from('a: 1\nb: 2\n\nc\n')
  t.equal(endOfBlock(bytes, 0), 11)
  t.equal(endOfBlock(bytes, 11), bytes.length)
  t.equal(endOfBlock(bytes, bytes.length), bytes.length)
})

t.test('links within the process get frames as objects, and nothing is encoded', async (t) => {
  const { object } = new Codecs()
  const frame: ControlFrame = { type: 'live', sub: 1, offset: at(3) }
  t.equal(object.control(frame), frame)
  const event = note(2)
  const batch = { feed: 7, topic, epoch, events: variantsOf(event) }
  const sent = object.batch({ ...batch, span: live(1, 4) })
  t.same(sent, { type: 'events', feed: 7, after: 1, last: 4, events: [event] })
  t.equal(sent.events[0], event, 'the event itself')
  t.strictSame(object.batch({ ...batch, span: undefined }), {
    type: 'events',
    feed: 7,
    replay: true,
    events: [{ ...event, replay: true }],
  })
  t.same([object.name, object.encodings, object.namesFeeds], ['object', 0, true])
})

t.test('each codec counts by its own name what it encodes', async (t) => {
  const codecs = new Codecs()
  const stream: DialectStream = {
    routes: [],
    ids: 'cursor',
    unknown: 'wait',
    follow: () => ({}),
    block: ({ data }) => (data === null ? '' : dataBlock({ data })),
  }
  const dialect = codecs.dialect({ name: 'mine', stream })
  t.equal(codecs.dialect({ name: 'mine', stream }), dialect, 'one codec for a dialect')
  const runs = codecs.runs('told', {} as DialectRuns)
  t.equal(codecs.runs('told', {} as DialectRuns), runs)
  const batch = { feed: 1, topic, epoch, span: live(0, 2) }
  const events = variantsOf(note(1), note(2, null))
  for (const codec of [codecs.json, codecs.msgpack, codecs.sse('data', 'many'), dialect, codecs.object]) {
    codec.batch({ ...batch, events })
    codec.batch({ ...batch, events })
  }
  t.strictSame(
    [...codecs.encodings()],
    [
      ['json', 2],
      ['msgpack', 2],
      ['sse', 2],
      ['sse:mine', 2],
      ['sse:told', 0],
    ],
  )
  t.same(
    [codecs.json, codecs.msgpack, codecs.sse('named', 'one'), dialect, runs].map(
      ({ namesFeeds }) => namesFeeds,
    ),
    [true, true, false, false, true],
  )
})

t.test('a dialect with cursors moves the position past an event that it does not show', async (t) => {
  const stream: DialectStream = {
    routes: [],
    ids: 'cursor',
    unknown: 'wait',
    follow: () => ({}),
    block: ({ data }, session) => (data === null ? '' : dataBlock({ data, session })),
    snapshot: (slices, now) => dataBlock({ slices, now }),
  }
  const clock = { now: () => 77 } as ConstructorParameters<typeof Codecs>[0]
  const codec = new Codecs(clock).dialect({ name: 'mine', stream })
  const made = (span: ReturnType<typeof live> | undefined, ...events: readonly HubEvent[]) =>
    textOf(codec.batch({ feed: 1, topic, epoch, span, events: variantsOf(...events) }))
  const block = (offset: number) => `data: {"data":${offset},"session":"a"}\n\n`
  t.equal(made(live(0, 5), note(1), note(3)), `id: e1:1\n${block(1)}id: e1:3\n${block(3)}`)
  t.equal(made(live(0, 5), note(1), note(3, null)), `id: e1:1\n${block(1)}id: e1:5\n\n`)
  t.equal(made(live(0, 5)), 'id: e1:5\n\n')
  t.equal(made(undefined, note(1), note(3, null)), block(1), 'a replay moves nothing')
  t.same(codec.idPlaces(codec.batch({ feed: 1, topic, epoch, span: live(0, 1), events: [] })), [])
  t.equal(codec.heartbeat(), undefined)
  const state: ControlFrame = { ...subscribed, slices: { a: 1 } }
  t.equal(textOf(codec.control(state, about)), 'data: {"slices":{"a":1},"now":77}\n\n')
  t.equal(codec.control({ ...subscribed }, about), undefined)
})

t.test('a dialect that counts tells where each response puts its own ids', async (t) => {
  const stream: DialectStream = {
    routes: [],
    ids: 'count',
    unknown: 'wait',
    follow: () => ({}),
    block: ({ data }) =>
      data === null ? '' : dataBlock({ data }) + (data === 2 ? dataBlock({ again: 2 }) : ''),
    snapshot: () => `: state\n\n${dataBlock({ state: 1 })}`,
    heartbeat: (now) => dataBlock({ now }, 'heartbeat'),
  }
  const clock = { now: () => 77 } as ConstructorParameters<typeof Codecs>[0]
  const codec = new Codecs(clock).dialect({ name: 'mine', stream })
  const chunk = codec.batch({
    feed: 1,
    topic,
    epoch,
    span: live(0, 3),
    events: variantsOf(note(1), note(2), note(3, null)),
  })
  t.equal(textOf(chunk), 'data: {"data":1}\n\ndata: {"data":2}\n\ndata: {"again":2}\n\n')
  t.same(codec.idPlaces(chunk), [0, 18, 36])
  const state = codec.control({ ...subscribed, slices: {} }, about) as Uint8Array
  t.same(codec.idPlaces(state), [9], 'a comment has none')
  const beat = codec.heartbeat() as Uint8Array
  t.equal(textOf(beat), 'event: heartbeat\ndata: {"now":77}\n\n')
  t.same(codec.idPlaces(beat), [0])
  const going = codec.control({ type: 'live', sub: 5, offset: at(4) }, about) as Uint8Array
  t.equal(textOf(going), `: hub.live {${T},"sub":5,"offset":4}\n\n`, 'no id of its own')
  t.same(codec.idPlaces(going), [])
})

t.test('what a frame tells of a run is made once for all who are equally far', async (t) => {
  const codec = new Codecs().runs('told', {} as DialectRuns)
  const frame = codec.batch({ feed: 1, topic, epoch, span: live(0, 2), events: variantsOf(note(1), note(2)) })
  let calls = 0
  const tell = (point: RunPoint, events: Events['events']) => {
    calls++
    return { point, bytes: Buffer.from(`${events.length}`) }
  }
  const point: RunPoint = { from: at(0), state: 1, phase: 'running' }
  const first = codec.step(frame, point, tell)
  t.equal(codec.step(frame, point, tell), first)
  t.same([calls, codec.encodings], [1, 2])
  codec.step(frame, { ...point }, tell)
  t.same([calls, codec.encodings], [2, 4], 'from elsewhere it is told again')
  t.equal(textOf(codec.comment('hub.live', { offset: 3 })), ': hub.live {"offset":3}\n\n')
  t.equal(textOf(codec.closing('shutdown', 'bye')), ': hub.close {"code":4000,"reason":"bye"}\n\n')
  t.same(codec.control({ type: 'pong' }), { type: 'pong' })
})

t.test(
  'clients that are equally far in a run share one point, as long as one of them is there',
  async (t) => {
    const codec = new Codecs().runs('told', {} as DialectRuns)
    t.equal(codec.known('k'), undefined)
    const shared = codec.enter('k')
    t.same({ ...shared }, { offset: 0, point: undefined, links: 1 })
    t.equal(codec.enter('k'), shared)
    t.equal(codec.known('k'), shared)
    const point = (from: number, phase: RunPoint['phase'] = 'running'): RunPoint => ({
      from: at(from),
      state: {},
      phase,
    })
    const mine = point(1)
    t.equal(codec.meet(shared, at(5), mine), mine)
    t.equal(codec.meet(shared, at(5), point(1)), mine, 'the second takes the point of the first')
    for (const other of [point(2), point(1, 'paused')]) {
      t.equal(codec.meet(shared, at(5), other), other, 'but not of another run or phase')
      t.equal(shared.point, mine)
    }
    const behind = point(1)
    t.equal(codec.meet(shared, at(4), behind), behind)
    t.equal(shared.point, mine, 'one that is behind changes nothing')
    const ahead = point(1)
    t.equal(codec.meet(shared, at(6), ahead), ahead)
    t.same([shared.point === ahead, shared.offset], [true, 6])
    codec.leave('k')
    t.equal(codec.known('k'), shared)
    codec.leave('k')
    t.equal(codec.known('k'), undefined)
    codec.leave('k')
  },
)

t.test('the last block of an event has its cursor, and no block none', async (t) => {
  const [one, two] = [{ text: 'data: 1\n\n' }, { text: 'data: 2\n\n' }]
  t.equal(withIds([one, two], epoch, at(3)), 'data: 1\n\nid: e1:3\ndata: 2\n\n')
  t.equal(withIds([one], epoch, at(3)), 'id: e1:3\ndata: 1\n\n')
  t.equal(withIds([], epoch, at(3)), '')
})

t.test('a named block has its name first, and no line break within', async (t) => {
  t.equal(dataBlock({ a: '\u2029' }, 'e'), 'event: e\ndata: {"a":"\\u2029"}\n\n')
  t.equal(dataBlock('x'), 'data: "x"\n\n')
  for (const end of ['\u0085', '\u2028', '\u2029']) {
    t.equal(oneLine(JSON.stringify(`a${end}b${end}`)), `"a${escaped(end)}b${escaped(end)}"`)
  }
})

const escaped = (end: string) => `\\u${end.charCodeAt(0).toString(16).padStart(4, '0')}`

t.test('JSON is made once, and not kept where nobody else needs it', async (t) => {
  const count = new EncodingCount()
  const [variants] = variantsOf(note(1))
  const text = JSON.stringify(note(1))
  t.equal(eventJson(variants as Variants, count, true), text)
  t.equal(variants?.json, undefined)
  t.equal(eventJson(variants as Variants, count), text)
  t.equal(variants?.json, text)
  t.equal(eventJson(variants as Variants, count, true), text)
  t.equal(count.encodings, 2)
})
