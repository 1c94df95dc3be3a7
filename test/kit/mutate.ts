import type { JsonValue } from '../../src/lib/json.js'
import type { SeededRandom } from './random.js'

/** What has broken somebody's parser before. */
const nasty: readonly JsonValue[] = [
  null,
  true,
  -0,
  1e308,
  Number.MAX_SAFE_INTEGER + 2,
  -1,
  0.5,
  '',
  '__proto__',
  'constructor',
  'toString',
  '*',
  '!',
  '!*',
  '**',
  '$session',
  '\ud800',
  '\u0000',
  '../..',
  '%2e%2e',
  'a'.repeat(300),
  '(a+)+$',
  `${'a'.repeat(60)}*`,
  'x:99999999999999999999',
  'x:-1',
  '/~2',
  '/-/-/-',
  [],
  {},
  nested(70),
  nested(900),
  Array.from({ length: 200 }, () => 'a*'),
  JSON.parse('{"__proto__":{"polluted":true}}') as JsonValue,
  JSON.parse('{"constructor":{"prototype":{"polluted":true}}}') as JsonValue,
]

function nested(levels: number): JsonValue {
  let value: JsonValue = []
  for (let level = 0; level < levels; level += 1) value = level % 2 === 0 ? [value] : { a: value }
  return value
}

/** @returns the value with a place or two of it made something else, left out, or put where another was */
export function mutateValue(value: JsonValue, random: SeededRandom): JsonValue {
  if (typeof value !== 'object' || value === null || random.chance(0.15)) return random.pick(nasty)
  const names = Object.keys(value)
  if (Array.isArray(value)) {
    const items = [...(value as readonly JsonValue[])]
    if (items.length === 0 || random.chance(0.2)) return [...items, random.pick(nasty)]
    const at = random.integer(0, items.length - 1)
    if (random.chance(0.2)) return items.filter((_, index) => index !== at)
    if (random.chance(0.2)) return [...items, ...items]
    return items.map((item, index) => (index === at ? mutateValue(item, random) : item))
  }
  const fields = Object.entries(value)
  if (fields.length === 0 || random.chance(0.1)) return withField(fields, 'toString', random.pick(nasty))
  const name = random.pick(names)
  if (random.chance(0.15)) return Object.fromEntries(fields.filter(([other]) => other !== name))
  if (random.chance(0.15)) return withField(fields, random.pick(['__proto__', 'sub', 'topic', 'after']), 1)
  return Object.fromEntries(
    fields.map(([other, item]) => [other, other === name ? mutateValue(item, random) : item]),
  )
}

function withField(
  fields: readonly (readonly [string, unknown])[],
  name: string,
  value: JsonValue,
): JsonValue {
  return Object.fromEntries([...fields, [name, value]]) as JsonValue
}

/** @returns the bytes with some of them flipped, left out, repeated, put in or cut off */
export function mutateBytes(bytes: Uint8Array, random: SeededRandom): Buffer {
  let mutated = Buffer.from(bytes)
  for (let times = random.integer(1, 4); times > 0; times -= 1) {
    const at = random.integer(0, mutated.length)
    const [before, after] = [mutated.subarray(0, at), mutated.subarray(at)]
    const parts = random.pick<() => Uint8Array[]>([
      () => [before],
      () => [before, Buffer.of(random.integer(0, 255)), after],
      () => [before, Buffer.of(random.integer(0, 255)), after.subarray(1)],
      () => [before, after.subarray(random.integer(1, 8))],
      () => [before, after.subarray(0, 20), after],
      () => [
        before,
        Buffer.from(random.pick(['\ufeff', '\\u0000', '{"a":', '[[[[', '1e999', '\u2028'])),
        after,
      ],
      // What MessagePack says of lengths, extensions and binary data.
      () => [
        before,
        Buffer.of(random.pick([0xc1, 0xc4, 0xc7, 0xd4, 0xd6, 0xdb, 0xdd, 0xdf]), 0xff, 0xff),
        after,
      ],
    ])
    mutated = Buffer.concat(parts())
  }
  return mutated
}
