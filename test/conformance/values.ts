import { Packr, Unpackr } from 'msgpackr'
import type { JsonValue } from '../../src/lib/json.js'

/** MessagePack as another program writes it. */
export const packr = new Packr({ useRecords: false, variableMapSize: true, useToJSON: false })

/** MessagePack as another program reads it. */
export const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: 'number' })

/** A value as producers may hand it over, in each of the forms that can say it. */
export interface Given {
  readonly name: string
  /** Absent: no value of JavaScript. */
  readonly js?: unknown
  /** JSON text; absent: JSON cannot say it. */
  readonly text?: string
  /** MessagePack; absent: it cannot say it, or only as the text does. */
  readonly packed?: Uint8Array
}

export interface Taken extends Given {
  /** What everybody gets. */
  readonly becomes: JsonValue
}

export interface Refused extends Given {
  /** What each door says, but for what the door itself is called. */
  readonly says: RegExp
  /** Where, within the value. */
  readonly pointer: string
}

const plain = (name: string, js: JsonValue, becomes: JsonValue = js): Taken => ({
  name,
  js,
  text: JSON.stringify(js),
  packed: packr.pack(js),
  becomes,
})

const odd = JSON.parse('{"__proto__":1}') as JsonValue
const controls = String.fromCharCode(...Array.from({ length: 0x20 }, (_, unit) => unit))
const nested = (levels: number): JsonValue => JSON.parse(`${'['.repeat(levels)}${']'.repeat(levels)}`)
const sparse: unknown[] = []
sparse[2] = 1
const circle: Record<string, unknown> = {}
circle.self = circle

class Point {
  readonly x = 1
}

/** Values that every door takes. */
export const taken: readonly Taken[] = [
  ...[
    null,
    true,
    false,
    0,
    1,
    -1,
    0.1,
    -1.5,
    127,
    128,
    255,
    256,
    65_536,
    -32,
    -33,
    -129,
    2 ** 31,
    2 ** 32,
    -(2 ** 31),
  ].map((value) => plain(String(value), value)),
  ...[2 ** 53 - 1, 1 - 2 ** 53, 2 ** 53, 2 ** 60, 1e21, 5e-324, Number.MAX_VALUE, 1.1e-10].map((value) =>
    plain(String(value), value),
  ),
  { name: '-0', js: -0, text: '-0', packed: Uint8Array.of(0xcb, 0x80, 0, 0, 0, 0, 0, 0, 0), becomes: 0 },
  { name: '2^53 + 1 in JSON text', text: '9007199254740993', becomes: 9007199254740992 },
  { name: 'int64', packed: packr.pack(2n ** 53n - 1n), becomes: 2 ** 53 - 1 },
  { name: 'float32', packed: Uint8Array.of(0xca, 0x3f, 0xc0, 0, 0), becomes: 1.5 },
  plain('an empty text', ''),
  plain('ends of lines', 'a\nb\r\nc\u0085d\u2028e\u2029f'),
  plain('controls', controls),
  plain('a byte order mark', '\ufeffa\ufeff'),
  plain('what is no character', '\ufffd\uffff\ufdd0'),
  plain('scripts', 'äöü ﷺ 한국어 日本語 👩‍👩‍👧‍👦 e\u0301'),
  plain('latin', 'é'.repeat(300)),
  plain('a long text', 'x😀'.repeat(3_000)),
  plain('a first half', 'a\ud83d', 'a\ufffd'),
  plain('a second half', '\ude00b', '\ufffdb'),
  plain('halves in the wrong order', 'x\ude00\ud83dy', 'x\ufffd\ufffdy'),
  plain('a whole in halves', ['\ud83d', '\ude00', '\ud83d\ude00'], ['\ufffd', '\ufffd', '😀']),
  plain('a name with a half', { 'n\ud800': { '\udc00': 1 } }, { 'n\ufffd': { '\ufffd': 1 } }),
  plain('empty ones', [[], {}, [{}], { a: [] }]),
  plain('names', {
    '': 1,
    '-': 2,
    '/': 3,
    '~': 4,
    '~1': 5,
    '0': 6,
    '01': 7,
    constructor: 8,
    prototype: 9,
    toString: 10,
    hasOwnProperty: 11,
    __proto: 12,
    __proto_: 13,
    length: 14,
    'a"b\\c': 15,
    ü: 16,
    '🦊': 17,
    'a\u2028b': 18,
    // oxlint-disable-next-line no-thenable -- it is what it is about
    then: 19,
    toJSON: 20,
  }),
  plain('many fields', Object.fromEntries(Array.from({ length: 300 }, (_, at) => [`field ${at}`, at]))),
  plain(
    'a long list',
    Array.from({ length: 2_000 }, (_, at) => at % 7),
  ),
  plain('deep', nested(60)),
  {
    name: 'the same name twice',
    text: '{"a":1,"a":2}',
    packed: Uint8Array.of(0x82, 0xa1, 0x61, 1, 0xa1, 0x61, 2),
    becomes: { a: 2 },
  },
  { name: 'a Date', js: { at: new Date(0) }, becomes: { at: '1970-01-01T00:00:00.000Z' } },
  { name: 'a Date that is none', js: new Date(Number.NaN), becomes: null },
  { name: 'toJSON', js: [{ toJSON: (name: string) => ({ name }) }], becomes: [{ name: '0' }] },
  { name: 'a Buffer', js: Buffer.from('a'), becomes: { type: 'Buffer', data: [97] } },
  { name: 'undefined', js: { a: undefined, b: [undefined] }, becomes: { b: [null] } },
  { name: 'a sparse list', js: sparse, becomes: [null, null, 1] },
  { name: 'without a prototype', js: Object.assign(Object.create(null), { a: 1 }), becomes: { a: 1 } },
]

/** Values that every door refuses that can be handed them at all. */
export const refused: readonly Refused[] = [
  {
    name: '__proto__',
    js: odd,
    text: '{"__proto__":1}',
    packed: Uint8Array.of(0x81, 0xa9, ...Buffer.from('__proto__'), 1),
    says: /\/__proto__: a field may not be named __proto__$|: a field may not be named __proto__$/,
    pointer: '/__proto__',
  },
  {
    name: '__proto__ within',
    js: { a: [odd] },
    text: '{"a":[{"__proto__":{"x":1}}]}',
    packed: Uint8Array.of(0x81, 0xa1, 0x61, 0x91, 0x81, 0xd9, 9, ...Buffer.from('__proto__'), 1),
    says: /\/a\/0\/__proto__: a field may not be named __proto__$/,
    pointer: '/a/0/__proto__',
  },
  {
    name: 'names that become the same',
    js: { '\ud800': 1, '\ud801': 2 },
    text: '{"\\ud800":1,"\\ud801":2}',
    packed: packr.pack({ '\ud800': 1, '\ud801': 2 }),
    says: /another field has the same name once it is well-formed Unicode$/,
    pointer: '/\ufffd',
  },
  {
    name: 'more than any number',
    js: { a: Number.POSITIVE_INFINITY },
    text: '{"a":1e400}',
    packed: packr.pack({ a: Number.POSITIVE_INFINITY }),
    says: /\/a: expected a finite number, got Infinity$/,
    pointer: '/a',
  },
  {
    name: 'NaN',
    js: [Number.NaN],
    packed: packr.pack([Number.NaN]),
    says: /\/0: expected a finite number, got NaN$/,
    pointer: '/0',
  },
  {
    name: 'too deep',
    text: JSON.stringify(nested(64)),
    packed: packr.pack(nested(64)),
    // A patch says which operation it was.
    says: /: nested (too deeply|more than 64 levels deep)$/,
    pointer: '/0'.repeat(63),
  },
  ...[2n ** 53n, -(2n ** 53n), 2n ** 64n - 1n].map(
    (integer): Refused => ({
      name: `the integer ${integer}`,
      js: { n: integer },
      packed: packr.pack({ n: integer }),
      says: /\/n: expected an integer of at most 2\^53 − 1/,
      pointer: '/n',
    }),
  ),
  ...(
    [
      ['a function', () => 1, /a: expected a JSON value, got a function$/],
      ['a symbol', Symbol('s'), /a: expected a JSON value, got a symbol$/],
      ['a Map', new Map(), /a: expected a plain object, got Map$/],
      ['an Error', new Error('e'), /a: expected a plain object, got Error$/],
      ['an instance of a class', new Point(), /a: expected a plain object, got Point$/],
      ['bytes', new Uint8Array(1), /a: expected a plain object, got Uint8Array$/],
      ['a promise', Promise.resolve(), /a: expected a plain object, got Promise$/],
    ] as const
  ).map(([name, js, says]): Refused => ({ name, js: { a: js }, says, pointer: '/a' })),
  { name: 'a circle', js: circle, says: /: nested too deeply$/, pointer: '' },
]

/** A text that a producer cuts within characters. */
export const cutText = ['Hi ', '\ud83d', '\ude00', '!\ud83d', '\ude01', 'a\ud83d', 'b']
export const wholeText = 'Hi 😀!😁a\ufffdb'

/** Names that are no ids of sessions or workers. */
export const noIds = ['.', '..', '__proto__', 'prototype', 'constructor']

/** Types that only the hub publishes. */
export const ownTypes = [
  'hub.close',
  'hub.live',
  'hub.anything',
  'state.initial',
  'state.update',
  'complete',
  'worker.lost',
  'session.lost',
]
