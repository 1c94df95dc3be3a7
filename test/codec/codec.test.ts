import { createParser } from 'eventsource-parser'
import fc from 'fast-check'
import { Packr } from 'msgpackr'
import t from 'tap'
import type { Chunk } from '../../src/codec/codec.js'
import { Codecs } from '../../src/codec/codecs.js'
import { Variants } from '../../src/codec/variants.js'
import { writePlain } from '../../src/codec/write-msgpack.js'
import { systemClock } from '../../src/lib/clock.js'
import { EventStreamReader, type StreamEvent } from '../../src/lib/event-stream.js'
import type { JsonValue } from '../../src/lib/json.js'
import { type Offset, parseCursor } from '../../src/protocol/cursor.js'
import type { ControlFrame, Events, HubEvent } from '../../src/protocol/frames.js'
import { epoch, type ReadBatch, someEvents, testCodec, topic } from '../conformance/codec.js'

function bytesOf(chunk: Chunk): Uint8Array {
  if (!(chunk instanceof Uint8Array)) throw new Error('expected bytes')
  return chunk
}

function ofFrame(frame: unknown): ReadBatch {
  const { events, last } = frame as Events
  return { events: events.map(({ replay: _, ...event }) => event), position: last }
}

/** Reads with a parser that others wrote. */
function ofStream(chunk: Chunk): ReadBatch {
  const events: HubEvent[] = []
  let position: Offset | undefined
  const parser = createParser({
    onEvent: ({ id, data }) => {
      const { topic: _, replay: __, ...event } = JSON.parse(data) as HubEvent & { topic: string }
      events.push(event)
      if (id !== undefined) position = parseCursor(id, 'id').offset
    },
    onError: (error) => {
      throw error
    },
  })
  parser.feed(Buffer.from(bytesOf(chunk)).toString())
  return { events, position }
}

testCodec(t, 'json', {
  make: () => new Codecs().json,
  read: (chunk) => ofFrame(JSON.parse(Buffer.from(bytesOf(chunk)).toString())),
})
testCodec(t, 'msgpack', {
  make: () => new Codecs().msgpack,
  read: (chunk) => ofFrame(new Codecs().msgpack.decode(bytesOf(chunk))),
})
for (const framing of ['named', 'data'] as const) {
  for (const topics of ['one', 'unnamed', 'many'] as const) {
    testCodec(t, `sse, ${framing}, ${topics}`, {
      make: () => new Codecs().sse(framing, topics),
      read: ofStream,
    })
  }
}

t.test('both subprotocols carry the same frames', async (t) => {
  const { json, msgpack } = new Codecs()
  const frames: ControlFrame[] = [
    { type: 'live', sub: 1, offset: 3 as Offset },
    {
      type: 'gap',
      sub: 1,
      reason: 'lagging',
      after: 1 as Offset,
      offset: 3 as Offset,
      slices: { a: [null] },
    },
    { type: 'unsubscribed', sub: 2 ** 31, code: 'asked', reason: 'grüße, 世界' },
    { type: 'error', ref: 'r', code: 'badFrame', message: '"' },
  ]
  for (const frame of frames) {
    t.same(json.decode(json.control(frame)), frame)
    t.same(msgpack.decode(msgpack.control(frame)), frame)
  }
})

t.test(
  'MessagePack is read where it is plain, and refused before values are made of it where not',
  async (t) => {
    const { msgpack } = new Codecs(systemClock, { depthMax: 2, namesMax: 100 })
    const plain = [
      [0xc0],
      [0xc2],
      [0xc3],
      [0x7f],
      [0xe0],
      [0xcc, 200],
      [0xcd, 1, 2],
      [0xce, 1, 2, 3, 4],
      [0xcf, 0, 0, 0, 0, 1, 2, 3, 4],
      [0xd0, 200],
      [0xd1, 200, 1],
      [0xd2, 200, 1, 1, 1],
      [0xd3, 255, 255, 255, 255, 0, 0, 0, 0],
      [0xca, 0, 0, 0, 0],
      [0xcb, 0, 0, 0, 0, 0, 0, 0, 0],
      [0xa2, 0xc3, 0xa4],
      [0xd9, 1, 0x61],
      [0xda, 0, 1, 0x61],
      [0xdb, 0, 0, 0, 1, 0x61],
      [0x92, 1, 2],
      [0xdc, 0, 1, 1],
      [0xdd, 0, 0, 0, 1, 1],
      [0x81, 0xa1, 0x61, 1],
      [0xde, 0, 1, 0xa1, 0x61, 1],
      [0xdf, 0, 0, 0, 1, 0xa1, 0x61, 1],
      [0x91, 0x91, 0x91, 0x91, 0x91, 0x90],
    ]
    for (const bytes of plain) msgpack.decode(Uint8Array.from(bytes))
    t.same(msgpack.decodeAll(Uint8Array.from(plain.flat())).length, plain.length)
    const bad: readonly [bytes: number[], fault: RegExp][] = [
      [[], /expected one value, got 0/],
      [[0xc0, 0xc0], /expected one value, got 2/],
      [[0xc1], /byte 0: the byte 0xc1 is in no value/],
      [[0x91, 0xc4, 1, 0], /byte 1: binary data is no JSON value/],
      // Extensions of one library: a value that is a part of itself, a pattern, an error.
      [[0xd6, 0x69, 0, 0, 0, 1, 0x92, 0xd6, 0x70, 0, 0, 0, 1, 0xd6, 0x70, 0, 0, 0, 1], /byte 0: extension/],
      [[0xc7, 3, 0x78, 0x92, 0xa1, 0x61], /byte 0: extension/],
      [[0x91, 0xd4, 0x72, 0x40], /byte 1: extension/],
      [[0x91, 0x91, 0x91, 0x91, 0x91, 0x91, 0x90], /byte 6: nested more than 6 levels deep/],
      [[0xdd, 0xff, 0xff, 0xff, 0xff], /byte 0: expected 4294967295 items, got fewer bytes/],
      [[0xdf, 0xff, 0xff, 0xff, 0xff], /byte 0: expected 8589934590 items/],
      [[0x92, 1], /byte 0: expected 2 items/],
      [[0x92, 0x91, 1], /the value is not complete/],
      [[0xdb, 0xff, 0xff, 0xff, 0xff], /byte 5: the value is not complete/],
      [[0xcd, 1], /byte 2: the value is not complete/],
      [[0x81, 1, 1], /byte 1: expected a text as the name of a field/],
      [[0xa2, 0x61, 0xff], /byte 1: expected UTF-8/],
      [[0xa3, 0xed, 0xa0, 0xc0], /byte 1: expected UTF-8/],
      [[0xa4, 0xed, 0xa0, 0x80, 0xff], /byte 1: expected UTF-8/],
    ]
    for (const [bytes, message] of bad) {
      t.throws(() => msgpack.decode(Uint8Array.from(bytes)), { message }, Buffer.from(bytes).toString('hex'))
    }
  },
)

t.test('what a library would change without a word is read from MessagePack as it is', async (t) => {
  const { msgpack } = new Codecs()
  const proto = [0xa9, ...Buffer.from('__proto__')]
  const cases: readonly [bytes: number[], value: unknown][] = [
    [[0xa3, 0xed, 0xa0, 0xbd], '\ud83d'],
    [[0xa8, 0x61, 0xed, 0xb8, 0x80, 0xf0, 0x9f, 0x98, 0x80], 'a\ude00😀'],
    [[0xa6, 0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80], '😀'],
    [[0xcf, 0, 0x20, 0, 0, 0, 0, 0, 1], 2n ** 53n + 1n],
    [[0xd3, 0xff, 0xdf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], -(2n ** 53n) - 1n],
    [[0xcf, 0, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 2 ** 53 - 1],
    [[0xd3, 0xff, 0xe0, 0, 0, 0, 0, 0, 1], 1 - 2 ** 53],
  ]
  for (const [bytes, value] of cases) t.equal(msgpack.decode(Uint8Array.from(bytes)), value)

  // Every form of every kind, beside something odd.
  const forms = [
    0x93,
    0xcf,
    0,
    0x20,
    0,
    0,
    0,
    0,
    0,
    0,
    0x82,
    ...proto,
    7,
    0xd9,
    1,
    0x61,
    0xdc,
    0,
    20,
    0xc0,
    0xc2,
    0xc3,
    0x7f,
    0xe0,
    0xca,
    0x3f,
    0x80,
    0,
    0,
    0xcb,
    0x3f,
    0xf8,
    0,
    0,
    0,
    0,
    0,
    0,
    0xcc,
    200,
    0xcd,
    1,
    0,
    0xce,
    0,
    1,
    0,
    0,
    0xd0,
    200,
    0xd1,
    255,
    0,
    0xd2,
    255,
    255,
    0,
    0,
    0xda,
    0,
    1,
    0x61,
    0xdb,
    0,
    0,
    0,
    1,
    0x62,
    0xa2,
    0xc3,
    0xa4,
    0x91,
    1,
    0xdd,
    0,
    0,
    0,
    1,
    2,
    0x81,
    0xa1,
    0x63,
    3,
    0xde,
    0,
    1,
    0xa1,
    0x63,
    4,
    0xdf,
    0,
    0,
    0,
    1,
    0xa1,
    0x63,
    5,
  ]
  const [big, object, last] = msgpack.decode(Uint8Array.from(forms)) as unknown as [bigint, object, object]
  t.equal(big, 2n ** 53n)
  t.same(Object.entries(object), [
    ['__proto__', 7],
    [
      'a',
      [
        null,
        false,
        true,
        127,
        -32,
        1,
        1.5,
        200,
        256,
        65_536,
        -56,
        -256,
        -65_536,
        'a',
        'b',
        'ä',
        [1],
        [2],
        { c: 3 },
        { c: 4 },
      ],
    ],
  ])
  t.equal(Object.getPrototypeOf(object), Object.prototype)
  t.same(last, { c: 5 })
})

t.test('half a surrogate pair leaves as U+FFFD in MessagePack, for readers that want UTF-8', async (t) => {
  const { msgpack } = new Codecs()
  for (const text of ['\ud83d', `${'a'.repeat(100)}\ude00`]) {
    const event: HubEvent = { offset: 1 as Offset, type: 'a', time: 0, data: { [text]: [text, '한 😀'] } }
    const span = { after: 0 as Offset, last: 1 as Offset }
    const bytes = msgpack.batch({ feed: 1, topic, epoch, span, events: [new Variants(event)] })
    const { events } = msgpack.decode(bytes) as unknown as Events
    const whole = text.replace(/\p{Surrogate}/u, '\ufffd')
    t.strictSame(events[0]?.data, { [whole]: [whole, '한 😀'] })
  }
})

t.test('a stream reads alike in any chunking, cut within characters too', async () => {
  const codec = new Codecs().sse('named', 'one')
  fc.assert(
    fc.property(someEvents, fc.infiniteStream(fc.integer({ min: 1, max: 40 })), (events, sizes) => {
      const span = { after: 0 as Offset, last: (events.at(-1)?.offset ?? 1) as Offset }
      const batch = { feed: 1, topic, epoch, span, events: events.map((event) => new Variants(event)) }
      const bytes = bytesOf(codec.batch(batch))
      const whole = readIn([bytes])
      const parts: Uint8Array[] = []
      for (let from = 0; from < bytes.length; ) {
        const to = from + (sizes.next().value as number)
        parts.push(bytes.subarray(from, to))
        from = to
      }
      const pieces = readIn(parts)
      return (
        pieces.lastId === whole.lastId &&
        JSON.stringify(pieces.blocks) === JSON.stringify(whole.blocks) &&
        whole.blocks.length === events.length
      )
    }),
  )
})

function readIn(parts: readonly Uint8Array[]): { blocks: StreamEvent[]; lastId: string | undefined } {
  const blocks: StreamEvent[] = []
  const reader = new EventStreamReader((block) => blocks.push(block))
  for (const part of parts) reader.push(part)
  return { blocks, lastId: reader.lastId }
}

t.test('a batch that nobody else needs has the same bytes, and keeps nothing', async (t) => {
  const numbers = [1, 127, 128, 255, 256, 65_535, 65_536, 4_294_967_295, 4_294_967_296].map(
    (n) => n as Offset,
  )
  const texts = ['', 'é😀\u2028', '\ud83d', 'x'.repeat(100_000)]
  const codecs = new Codecs()
  for (const codec of [codecs.msgpack, codecs.json, codecs.sse('named', 'one')]) {
    for (const last of numbers) {
      const span = { after: (last - 1) as Offset, last }
      for (const count of [0, 1, 15, 16]) {
        const made = () =>
          Array.from(
            { length: count },
            (_, n) =>
              new Variants({ offset: last, type: 'a', time: n, data: texts[n % texts.length] ?? null }),
          )
        const batch = { feed: last % 70_000, topic, epoch, span }
        const events = made()
        const once = codec.batch({ ...batch, events, once: true })
        t.same(once, codec.batch({ ...batch, events: made() }), `${codec.name} ${last} × ${count}`)
        // Offsets that no session reaches are not written by hand.
        const keeps = codec === codecs.msgpack && last > 0xffff_ffff && count > 0
        t.equal(
          events.some(({ json, packed }) => json !== undefined || packed !== undefined),
          keeps,
        )
      }
    }
  }
})

t.test('values are written in place with the bytes that a library packs them in', async (t) => {
  const packr = new Packr({ useRecords: false, variableMapSize: true, useToJSON: false })
  const to = Buffer.alloc(1_000_000)
  const same = (value: JsonValue, from = 3): boolean => {
    const end = writePlain(to, from, value)
    return end > 0 && packr.pack(value).equals(to.subarray(from, end))
  }
  const sizes = [0, 1, 31, 32, 63, 64, 255, 256, 65_535, 65_536]
  for (const size of sizes) {
    t.ok(same('x'.repeat(size)), `${size} letters`)
    t.ok(same('é'.repeat(size)), `${size} wide letters`)
    t.ok(same(Array.from({ length: size }, () => 1)), `${size} items`)
    t.ok(same(Object.fromEntries(Array.from({ length: size }, (_, n) => [`f${n}`, n]))), `${size} fields`)
    for (const value of [size, -size, size - 1, size / 3, size * 65_537]) t.ok(same(value), String(value))
  }
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 4, stringUnit: 'grapheme' }), (value) => same(value as JsonValue)),
    { numRuns: 500 },
  )

  t.equal(writePlain(Buffer.alloc(300), 0, 'x'.repeat(300)), -1)
  t.equal(writePlain(Buffer.alloc(30), 0, ['x'.repeat(10), 'x'.repeat(10)]), -1)
  t.equal(writePlain(to, 0, { a: undefined } as unknown as JsonValue), -1)
  const half = writePlain(to, 0, 'a\ud83d')
  t.equal(new Codecs().msgpack.decode(to.subarray(0, half)), 'a\ufffd')
})

t.test('a small event is not kept in a piece of memory that a large one has needed', async (t) => {
  const { msgpack } = new Codecs()
  const event = (data: string): Variants => new Variants({ offset: 1 as Offset, type: 'a', time: 0, data })
  const batch = { feed: 1, topic, epoch, span: { after: 0 as Offset, last: 1 as Offset } }
  for (const once of [true, false]) {
    msgpack.batch({ ...batch, events: [event('x'.repeat(1_000_000))], once })
    const kept = Array.from({ length: 100 }, () => event('small'))
    for (const one of kept) msgpack.batch({ ...batch, events: [one] })
    for (const { packed } of kept) t.ok((packed?.buffer.byteLength ?? Number.NaN) <= 8_192)
  }
})
