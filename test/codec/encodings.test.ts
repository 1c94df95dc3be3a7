import t from 'tap'
import { Codecs } from '../../src/codec/codecs.js'
import { pack } from '../../src/codec/msgpack.js'
import { checkPlain } from '../../src/codec/plain-msgpack.js'
import { readPlain } from '../../src/codec/read-msgpack.js'
import { GrowingText } from '../../src/codec/utf8.js'
import { wideText } from '../../src/codec/wide-text.js'
import type { Events } from '../../src/protocol/frames.js'
import { epoch, topic } from '../conformance/codec.js'
import { live, note, variantsOf } from './batches.js'

t.test('text that grows is the same text, however long it gets', async (t) => {
  for (const length of [0, 1, 32 * 1024 - 1, 32 * 1024, 32 * 1024 + 1, 100_000]) {
    const text = new GrowingText()
    const pieces = Array.from({ length: Math.ceil(length / 1_000) }, (_, n) =>
      'é'.repeat(Math.min(1_000, length - n * 1_000)),
    )
    for (const piece of pieces) text.add(piece)
    t.equal(Buffer.from(text.encoded()).toString(), 'é'.repeat(length), `${length} characters`)
  }
})

t.test('half a surrogate pair is read where UTF-8 fails, and nothing else that is no UTF-8', async (t) => {
  const read = (...bytes: number[]) => wideText(Uint8Array.from(bytes))
  t.equal(read(0x61, 0xed, 0xa0, 0xbd, 0x62, 0xed, 0xb8, 0x80), 'a\ud83db\ude00')
  t.equal(read(0xed, 0x95, 0x9c, 0xed, 0xa0, 0x80), '한\ud800', 'a character that begins alike')
  t.equal(read(0xed, 0xbf, 0xbf, 0xed, 0xa0, 0x80), '\udfff\ud800')
  t.equal(read(0xef, 0xbb, 0xbf, 0x61), '\ufeffa', 'a byte order mark is a character')
  for (const bytes of [
    [0xed, 0xa0],
    [0xed, 0xa0, 0x7f],
    [0xed, 0xa0, 0xc0],
    [0xff, 0xed, 0xa0, 0x80],
    [0xed, 0xa0, 0x80, 0xff],
    [0xed, 0xc0, 0x80],
  ])
    t.equal(read(...bytes), undefined, Buffer.from(bytes).toString('hex'))
})

t.test('MessagePack is judged byte by byte', async (t) => {
  const scan = (...bytes: number[]) => checkPlain(Uint8Array.from(bytes), { depthMax: 4, namesMax: 100 })
  const text = [...Buffer.from('__proto__')]
  t.same(scan(), { values: 0, isOdd: false })
  t.same(scan(0x81, 0xa9, ...text, 1), { values: 1, isOdd: true }, 'a field __proto__')
  t.same(scan(0x92, 0xa9, ...text, 1), { values: 1, isOdd: false }, 'not a text of that kind')
  t.same(scan(0x81, 0xa9, ...Buffer.from('__prot0__'), 1), { values: 1, isOdd: false })
  t.same(scan(0x81, 0xa1, 0x61, 0xa9, ...text), { values: 1, isOdd: false }, 'nor a value')
  t.same(scan(0x82, 0xa9, ...text, 1, 0xa9, ...Buffer.from('__prot0__'), 1).isOdd, true, 'and it stays odd')
  t.same(scan(0xa3, 0xed, 0xa0, 0xbd), { values: 1, isOdd: true })
  t.same(scan(0xcf, 0, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), { values: 1, isOdd: false })
  t.same(scan(0xcf, 0, 0x20, 0, 0, 0, 0, 0, 0), { values: 1, isOdd: true })
  t.same(scan(0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), { values: 1, isOdd: true }, 'not −1')
  t.same(scan(0xd3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), { values: 1, isOdd: false }, '−1')
  t.same(scan(0x93, 0xcf, 0, 0x20, 0, 0, 0, 0, 0, 0, 1, 2).isOdd, true)
  t.same(scan(0x91, 0x91, 0x91, 0x90), { values: 1, isOdd: false }, 'four levels')
  t.throws(() => scan(0x91, 0x91, 0x91, 0x91, 0x90), { message: /byte 4: nested more than 4 levels deep/ })
  t.same(scan(0x92, 0x90, 0x81, 0xa0, 0x90, 0xc0), { values: 2, isOdd: false })
  for (const [bytes, message] of [
    [[0xc5], /byte 0: binary data/],
    [[0xc6], /byte 0: binary data/],
    [[0x81, 0x91, 1, 1], /byte 1: expected a text as the name of a field/],
    [[0x81, 0xc0, 1], /byte 1: expected a text as the name of a field/],
    [[0x82, 0xa0, 1, 1, 1], /byte 3: expected a text as the name of a field/],
    [[0x93, 1, 2], /byte 0: expected 3 items, got fewer bytes/],
    [[0xcc], /byte 1: the value is not complete/],
    [[0xcb, 0, 0, 0, 0, 0, 0, 0], /byte 8: the value is not complete/],
  ] as const)
    t.throws(() => scan(...bytes), { message }, Buffer.from(bytes).toString('hex'))
})

t.test('plain MessagePack is read to its end, and no further', async (t) => {
  const decoder = new TextDecoder()
  const read = (...bytes: number[]) =>
    readPlain(Uint8Array.from(bytes), (all, from, to) => decoder.decode(all.subarray(from, to)))
  t.strictSame(read(0x7f, 0xe0, 0xff, 0x80, 0x90, 0xa0), [127, -32, -1, {}, [], ''])
  t.strictSame(read(0xbf, ...Buffer.from('x'.repeat(31))), ['x'.repeat(31)])
  t.strictSame(read(0x9f, ...Array(15).fill(1)), [Array(15).fill(1)])
  t.strictSame(read(0xd3, 0xff, 0xdf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), [-(2n ** 53n) - 1n])
  const [object] = read(0x81, 0xa9, ...Buffer.from('__proto__'), 1) as [object]
  t.same(Object.getOwnPropertyDescriptor(object, '__proto__'), {
    value: 1,
    enumerable: true,
    configurable: true,
    writable: true,
  })
  for (const bytes of [[0x91], [0xa2, 0x61], [0xcd, 1], [0x81, 0xa1, 0x61]])
    t.throws(() => read(...bytes), RangeError, Buffer.from(bytes).toString('hex'))
  t.throws(() => read(0xc1), { message: 'expected a value of JSON, got 0xc1' })
  t.throws(() => read(0xd4, 1, 1), { message: 'expected a value of JSON, got 0xd4' })
})

t.test('frames of MessagePack are cut from shared pieces of memory, large ones have their own', async (t) => {
  const { msgpack } = new Codecs()
  const sizeOf = (length: number, once: boolean) => {
    const chunk = msgpack.batch({
      feed: 1,
      topic,
      epoch,
      span: live(0, 1),
      events: variantsOf(note(1, 'x'.repeat(length))),
      once,
    })
    return [chunk.length, chunk.buffer.byteLength]
  }
  for (const once of [true, false]) {
    const [small = 0, piece] = sizeOf(100, once)
    t.ok(small < 300)
    t.equal(piece, 64 * 1024)
    const [large, own] = sizeOf(17 * 1024, once)
    t.equal(own, large, 'a quarter of a piece and more')
  }
  const frames = Array.from({ length: 2_000 }, (_, n) => {
    const span = live(n, n + 1)
    return {
      n,
      chunk: msgpack.batch({ feed: 1, topic, epoch, span, events: variantsOf(note(n + 1)), once: true }),
    }
  })
  for (const { n, chunk } of frames)
    t.equal((msgpack.decode(chunk) as unknown as Events).events[0]?.data, n + 1)
  t.ok(new Set(frames.map(({ chunk }) => chunk.buffer)).size < 5, 'none is written over')
})

t.test('values without a counterpart in JSON leave MessagePack as plain ones', async (t) => {
  const { msgpack } = new Codecs()
  const decoded = msgpack.decode(pack({ a: undefined, toJSON: 1, n: 2 ** 40, b: [undefined] }))
  t.strictSame(decoded, { a: null, toJSON: 1, n: 2 ** 40, b: [null] })
  t.equal(pack({})[0], 0x80, 'a map with its length, no record')
  t.strictSame(msgpack.decodeAll(Buffer.concat([pack({ a: 1 }), pack([2])])), [{ a: 1 }, [2]])
  t.throws(() => msgpack.decodeAll(new Uint8Array()))
  const odd = pack({ a: 1 })
  t.strictSame(msgpack.decodeAll(Buffer.concat([odd, Uint8Array.of(0xa3, 0xed, 0xa0, 0xbd)])), [
    { a: 1 },
    '\ud83d',
  ])
})
