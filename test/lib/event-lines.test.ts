import t from 'tap'
import { EventLines } from '../../src/lib/event-lines.js'
import { embeddedJson } from '../../src/lib/json-text.js'

const bounds = { lineBytesMax: 1_048_576, depthMax: 64, namesMax: 10_000 }

/** @returns how many characters `JSON.parse` is given meanwhile */
function parsedCharacters(task: () => void): number {
  const parse = JSON.parse
  let characters = 0
  JSON.parse = (text, ...rest) => {
    characters += String(text).length
    return parse(text, ...rest)
  }
  try {
    task()
  } finally {
    JSON.parse = parse
  }
  return characters
}

/** @returns the blocks of lines that each are the value of a `data` */
function blocksOf(lines: readonly string[]): readonly unknown[] {
  const reader = new EventLines(bounds)
  return lines.flatMap((line) => reader.push(`data: ${line}`) ?? [])
}

t.test('joins the lines of a block until they are JSON', (t) => {
  t.strictSame(blocksOf(['{"a":', '[1,', '2]}', '3', '"x"']), [
    { data: { a: [1, 2] } },
    { data: 3 },
    { data: 'x' },
  ])
  t.strictSame(blocksOf(['', '1']), [{ data: 1 }], 'after a line of white space')
  t.strictSame(blocksOf(['["]\\"[", "{"', ']', '{}']), [{ data: [']"[', '{'] }, { data: {} }])
  t.strictSame(blocksOf(['[DONE]', '[1]']), ['done', { data: [1] }])
  t.end()
})

t.test('parses no line again, however many a block has', (t) => {
  const many = Array.from({ length: 2_000 }, (_, at) => `${at},`)
  for (const lines of [
    ['[', ...many, '1]'],
    ['"not closed', ...many],
    ['[]]', ...many],
    ['[1} ', ...many],
    ['{"a":"not closed', ...many],
    ['word', ...many],
  ]) {
    const characters = parsedCharacters(() => void blocksOf(lines))
    t.ok(characters <= lines.join('\n').length, `${lines[0]}: ${characters} characters`)
  }
  t.end()
})

t.test('reports lines that never become JSON as a rest', (t) => {
  const reader = new EventLines(bounds)
  for (const line of ['data: "a', 'data: {}', 'data: 1']) t.equal(reader.push(line), undefined)
  t.equal(reader.rest, '"a\n{}\n1')
  t.end()
})

t.test('refuses data beyond each of its bounds', (t) => {
  const pushing = (data: string, given: object) => () =>
    new EventLines({ ...bounds, ...given }).push(`data: ${data}`)
  t.throws(pushing('[1,2,3]', { lineBytesMax: 6 }), { name: 'RangeError', message: /at most 6 characters/ })
  t.throws(pushing('['.repeat(5_000), { lineBytesMax: 10 }), { name: 'RangeError' })
  t.throws(pushing(`${'['.repeat(3_000)}${']'.repeat(3_000)}`, {}), { message: /nested more than/ })
  const names = JSON.stringify(
    Object.fromEntries(Array.from({ length: 200 }, (_, at) => [`name${at}`, 'x'.repeat(20)])),
  )
  t.throws(pushing(names, { namesMax: 100 }), { message: /namesMax = 100/ })
  t.end()
})

t.test('an embedded text stays text where it is no JSON or beyond the bounds', (t) => {
  t.strictSame(embeddedJson('{"a":1}', bounds), { a: 1 })
  t.strictSame(embeddedJson(' ', bounds), {})
  t.equal(embeddedJson('{"a":', bounds), '{"a":')
  const deep = `${'['.repeat(3_000)}${']'.repeat(3_000)}`
  t.equal(embeddedJson(deep, bounds), deep)
  t.end()
})
