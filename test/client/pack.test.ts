import fc from 'fast-check'
import { Packr, Unpackr } from 'msgpackr'
import t from 'tap'
import { pack } from '../../src/client/pack.js'
import { unpack } from '../../src/client/unpack.js'
import type { JsonValue } from '../../src/lib/json.js'

t.test('pack', async (t) => {
  t.test('makes MessagePack that msgpackr reads as the same value', async () => {
    const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: 'number' })
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 5 }), (value) => {
        // msgpackr renames this one name, to keep careless readers from harm.
        fc.pre(!JSON.stringify(value).includes('__proto__'))
        const read = unpackr.unpack(pack(value)) as JsonValue
        return JSON.stringify(read) === JSON.stringify(value)
      }),
    )
  })

  t.test('knows every length and number', async (t) => {
    const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: 'number' })
    const values: JsonValue[] = [
      0,
      -1,
      -32,
      -33,
      127,
      128,
      255,
      65_536,
      2 ** 32 - 1,
      2 ** 32,
      -(2 ** 40),
      1.5,
      Date.UTC(2025, 0),
      -0,
    ]
    for (const length of [0, 15, 16, 31, 32, 255, 256, 65_535, 65_536]) {
      values.push(
        'ü'.repeat(length >> 1) + 'x'.repeat(length & 1),
        Array.from({ length }, (_, index) => index),
      )
      values.push(Object.fromEntries(Array.from({ length }, (_, index) => [`k${index}`, index])))
    }
    t.strictSame(
      values.map((value) => unpackr.unpack(pack(value)) as JsonValue),
      values,
    )
    t.same(unpackr.unpack(pack({ a: undefined, b: 1 })), { b: 1 })
    t.strictSame(
      values.map((value) => unpack(new Packr({ useRecords: false, variableMapSize: true }).pack(value))),
      values,
    )
  })
})

t.test('unpack', async (t) => {
  const packr = new Packr({ useRecords: false, variableMapSize: true })

  t.test('reads what msgpackr makes of a value', async () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 5 }), (value) => {
        return JSON.stringify(unpack(packr.pack(value))) === JSON.stringify(value)
      }),
    )
  })

  t.test('refuses bytes that are cut, that go on, or that are no JSON, wherever that is', async (t) => {
    const value = {
      offset: 300,
      data: [null, true, -1.5, -70_000, 'a', 'ä'.repeat(20), 'x'.repeat(300), { '': {} }],
    }
    const bytes = packr.pack(value)
    t.strictSame(unpack(bytes), value)
    for (let length = 0; length < bytes.length; length++) t.throws(() => unpack(bytes.subarray(0, length)))
    t.throws(() => unpack(Buffer.concat([bytes, bytes])), /one value/)
    for (const bad of [
      [0xc1],
      [0xc4, 1, 0],
      [0xd4, 1, 0],
      [0xa1, 0xff],
      [0xdd, 255, 255, 255, 255],
      [0x81, 0xa1],
    ]) {
      t.throws(() => unpack(Uint8Array.from([0x91, ...bad])), String(bad))
    }
  })
})
