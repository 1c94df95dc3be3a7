import { isDeepStrictEqual } from 'node:util'
import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import t from 'tap'
import { isCanonical, type JsonValue, measure } from '../../src/lib/json.js'
import { canonicalValue } from '../../src/protocol/value.js'

const setting = { field: 'data', pointer: '/0/data', depthMax: 8 }
const canonical = (value: unknown) => canonicalValue(value, setting)

class Point {
  readonly x = 1
}

t.test('what JSON.stringify turns into JSON becomes that JSON', async (t) => {
  const sparse: unknown[] = []
  sparse[2] = 1
  const time = new Date(0)
  const values: readonly unknown[] = [
    time,
    new Date(Number.NaN),
    { at: time, list: [time] },
    { a: undefined, b: 1, [Symbol('c')]: 2 },
    [undefined, 1],
    sparse,
    new URL('http://a/b'),
    Buffer.from('ab'),
    { toJSON: () => ({ toJSON: 1 }) },
    { toJSON: (name: string) => `in ${name}` },
    { deep: [{ toJSON: (name: string) => `in ${name}` }] },
    { gone: { toJSON: () => undefined }, list: [{ toJSON: () => undefined }] },
    Object.create(null, { a: { value: 1, enumerable: true } }),
    runInNewContext('({ a: 1, b: { c: 2 } })'),
    -0,
    [-0, { a: -0 }],
    { 2: 'b', 1: 'a', constructor: 1, prototype: 2, toString: 3, '': 4 },
  ]
  for (const value of values) {
    const json = JSON.stringify(value)
    t.ok(isDeepStrictEqual(canonical(value), JSON.parse(json)), json)
    t.equal(JSON.stringify(canonical(value)), JSON.stringify(JSON.parse(json)), 'in the same order')
  }
  t.ok(Object.is(canonical(-0), 0))
})

t.test('what is no JSON is refused, with the place', async (t) => {
  const circle: Record<string, unknown> = {}
  circle.a = { b: circle }
  const cases: readonly [value: unknown, message: RegExp, pointer?: string][] = [
    [{ a: [1, Number.NaN] }, /finite number, got NaN/, '/a/1'],
    [Number.POSITIVE_INFINITY, /finite number, got Infinity/],
    [{ 'a/b': { '~': 1n } }, /BigInt/, '/a~1b/~0'],
    [{ a: () => 1 }, /a function/, '/a'],
    [[Symbol('a')], /a symbol/, '/0'],
    [{ a: new Map() }, /plain object, got Map/, '/a'],
    [new Point(), /plain object, got Point/],
    [new Error('a'), /plain object, got Error/],
    [[new Uint8Array(1)], /plain object, got Uint8Array/, '/0'],
    [Promise.resolve(), /plain object, got Promise/],
    [circle, /nested too deeply/, '/a/b/a/b/a/b/a/b'],
    [undefined, /expected a JSON value, got nothing/],
    [JSON.parse('{"a":[{"__proto__":1}]}'), /__proto__/, '/a/0/__proto__'],
    [{ '\ud800': 1, '\ud801': 2 }, /another field has the same name/, '/\ufffd'],
    [{ '\ufffd': 1, '\ud801': 2 }, /another field has the same name/, '/\ufffd'],
    [{ '\ud801': 2, '\ufffd': 1 }, /another field has the same name/, '/\ufffd'],
  ]
  for (const [value, message, pointer = ''] of cases) {
    t.throws(() => canonical(value), { code: 'badFrame', message, place: { pointer: `/0/data${pointer}` } })
  }
  const vast: unknown[] = []
  vast.length = 1e9
  t.throws(() => canonicalValue(vast, { ...setting, bytesMax: 1_000 }), { code: 'frameTooLarge' })
})

t.test('texts and names become well-formed Unicode', async (t) => {
  t.strictSame(canonical({ 'a\ud83d': ['\ude00b', '😀', { c: 'x\ud83dy' }] }), {
    'a\ufffd': ['\ufffdb', '😀', { c: 'x\ufffdy' }],
  })
})

t.test('a value of which nothing changes is itself, and shares what does not change', async (t) => {
  const part = { list: [1, { text: 'a' }] }
  const value = { part, at: new Date(0) }
  t.equal(canonical(part), part)
  const made = canonical(value) as { part: unknown; at: unknown }
  t.equal(made.part, part)
  t.equal(made.at, '1970-01-01T00:00:00.000Z')
  t.type(value.at, Date, 'what was given stays as it is')
})

t.test('what is known is not walked again, wherever it has moved in a list', async (t) => {
  let reads = 0
  const watched = (name: string): JsonValue =>
    new Proxy(
      { name },
      {
        ownKeys(target) {
          reads += 1
          return Reflect.ownKeys(target)
        },
      },
    )
  const items = Array.from({ length: 100 }, (_, at) => watched(`item ${at}`))
  const known = { items, other: watched('other') }
  for (const list of [
    items.slice(1),
    [{ name: 'new' }, ...items],
    items.toSpliced(50, 3),
    items.with(7, 'x'),
  ]) {
    reads = 0
    const value = { ...known, items: list }
    t.ok(isCanonical(value, 8, known))
    t.equal(reads, 0)
  }
  const bad = [
    1n,
    undefined,
    new Date(0),
    Number.NaN,
    '\ud800',
    JSON.parse('{"__proto__":1}'),
    -0,
  ] as JsonValue[]
  for (const item of bad) t.notOk(isCanonical({ ...known, items: [...items, item] }, 8, known))
  for (const item of bad) t.notOk(isCanonical([item], 8, []))
  t.notOk(isCanonical([-0], 8, [0]))
  t.notOk(isCanonical({ a: -0 }, 8, { a: 0 }))
  t.notOk(isCanonical([[[]]], 2, [[]]), 'deeper than it may be')
})

t.test('any value is made what JSON and Unicode would make of it, and measured', async () => {
  const text = fc.string({ unit: 'binary', maxLength: 6 })
  const value = fc.jsonValue({ maxDepth: 4, stringUnit: 'binary' })
  fc.assert(
    fc.property(value, text, fc.constantFrom('', '\ud800', '\udc00'), (json, name, half) => {
      const given = { [`${name}.`]: json, text: `${name}${half}` }
      if (JSON.stringify(json).includes('"__proto__"')) return true
      const made = canonical(given)
      const buffer = Buffer.from(`${name}${half}`)
      return (
        measure(made, 20) >= 0 &&
        canonical(made) === made &&
        isCanonical(made, 20, undefined) &&
        isCanonical(made, 20, json as JsonValue) &&
        (made as { text: string }).text === buffer.toString('utf8')
      )
    }),
  )
})
