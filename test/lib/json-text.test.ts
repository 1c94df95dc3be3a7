import fc from 'fast-check'
import t from 'tap'
import { levelsAround, parseJsonText } from '../../src/lib/json-text.js'

const bounds = { depthMax: 3, namesMax: 10_000 }
const levels = bounds.depthMax + levelsAround
const padding = ' '.repeat(5_000)
const tooDeep = /nested more than 7 levels deep/

t.test('refuses long text that is nested too deeply, before it is parsed', async (t) => {
  const arrays = (count: number) => '['.repeat(count) + ']'.repeat(count)
  const objects = (count: number) => `${'{"a":'.repeat(count)}1${'}'.repeat(count)}`
  for (const nested of [arrays, objects]) {
    t.same(parseJsonText(padding + nested(levels), bounds), JSON.parse(nested(levels)))
    t.throws(() => parseJsonText(padding + nested(levels + 1), bounds), tooDeep)
  }
  t.throws(() => parseJsonText('['.repeat(1_000_000), bounds), tooDeep, 'whether it is JSON or not')
  t.throws(() => parseJsonText(`["x",${'['.repeat(1_000_000)}`, bounds), tooDeep)
})

t.test('does not count what is in strings, escaped quotes among it', async (t) => {
  const brackets = '[{'.repeat(3_000)
  for (const text of [
    brackets,
    `\\${brackets}`,
    `"${brackets}\\\\"`,
    `${brackets}\\`,
    `\\"${brackets}\\\\\\"`,
  ]) {
    const json = JSON.stringify([{ [text]: text }, text])
    t.same(parseJsonText(json, bounds), JSON.parse(json))
  }
  const ended = `${JSON.stringify(['x\\', '\\\\'.repeat(3_000)]).slice(0, -1)},`
  t.throws(() => parseJsonText(ended + '['.repeat(100), bounds), tooDeep, 'what follows a string counts')
  for (const text of [`"${padding}`, `"${padding}\\"`, `${padding}]]]]`]) {
    t.throws(() => parseJsonText(text, bounds), { name: 'SyntaxError' })
  }
})

t.test('counts names that are new, however they are written', async (t) => {
  const few = { depthMax: 8, namesMax: 2_000 }
  const tooMany = { name: 'SyntaxError', message: /^more than 2000 different names/ }
  const object = (from: number, count: number) =>
    `{${Array.from({ length: count }, (_, at) => `"name${from + at}" : ${at}`).join()}}`
  const list = (count: number, make: (at: number) => string) =>
    `[${Array.from({ length: count }, (_, at) => make(at)).join()}]`
  const fits = [
    object(0, 1_999),
    list(5_000, () => object(0, 3)),
    list(1_900, (at) => `{"one":${at}}`),
    list(30, (at) => object(100 * at, 50)),
    list(7_500, () => '[]'),
    JSON.stringify({ text: '{"name":1},'.repeat(5_000) }),
  ]
  for (const text of fits) t.same(parseJsonText(text, few), JSON.parse(text))
  const exceeding = [
    object(0, 2_001),
    object(0, 2_001).replaceAll('name', 'n\\u0061me'),
    list(2_001, (at) => `{"n${at}":1}`),
    list(41, (at) => object(100 * at, 50)),
    // The parser does not profit from equal names in large objects.
    list(10, () => object(0, 201)),
    list(8_500, () => '[]'),
    list(8_500, () => '{}'),
    `${object(0, 2_001).slice(0, -1)},"again":${object(0, 10)}}`,
  ]
  for (const text of exceeding) t.throws(() => parseJsonText(text, few), tooMany, text.slice(0, 60))
})

t.test('reads the same as JSON.parse where it is not too deep', async () => {
  fc.assert(
    fc.property(fc.json({ maxDepth: levels - 1 }), (json) => {
      const read = JSON.stringify(parseJsonText(padding + json, bounds))
      return read === JSON.stringify(JSON.parse(json))
    }),
  )
})
