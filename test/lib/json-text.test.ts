import fc from 'fast-check'
import t from 'tap'
import { levelsAround, parseJsonText } from '../../src/lib/json-text.js'

const depthMax = 3
const levels = depthMax + levelsAround
const padding = ' '.repeat(5_000)
const tooDeep = /nested more than 7 levels deep/

t.test('refuses long text that is nested too deeply, before it is parsed', async (t) => {
  const arrays = (count: number) => '['.repeat(count) + ']'.repeat(count)
  const objects = (count: number) => `${'{"a":'.repeat(count)}1${'}'.repeat(count)}`
  for (const nested of [arrays, objects]) {
    t.same(parseJsonText(padding + nested(levels), depthMax), JSON.parse(nested(levels)))
    t.throws(() => parseJsonText(padding + nested(levels + 1), depthMax), tooDeep)
  }
  t.throws(() => parseJsonText('['.repeat(1_000_000), depthMax), tooDeep, 'whether it is JSON or not')
  t.throws(() => parseJsonText(`["x",${'['.repeat(1_000_000)}`, depthMax), tooDeep)
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
    t.same(parseJsonText(json, depthMax), JSON.parse(json))
  }
  const ended = `${JSON.stringify(['x\\', '\\\\'.repeat(3_000)]).slice(0, -1)},`
  t.throws(() => parseJsonText(ended + '['.repeat(100), depthMax), tooDeep, 'what follows a string counts')
  for (const text of [`"${padding}`, `"${padding}\\"`, `${padding}]]]]`]) {
    t.throws(() => parseJsonText(text, depthMax), { name: 'SyntaxError' })
  }
})

t.test('reads the same as JSON.parse where it is not too deep', async () => {
  fc.assert(
    fc.property(fc.json({ maxDepth: levels - 1 }), (json) => {
      const read = JSON.stringify(parseJsonText(padding + json, depthMax))
      return read === JSON.stringify(JSON.parse(json))
    }),
  )
})
