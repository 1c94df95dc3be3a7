// Which events filters and searches let pass.

import fc from 'fast-check'
import t from 'tap'
import { createCatalog } from '../../src/catalog/catalog.js'
import { Entry } from '../../src/history/entry.js'
import { createHub } from '../../src/hub/hub.js'
import type { JsonValue } from '../../src/lib/json.js'
import type { Offset } from '../../src/protocol/cursor.js'
import type { HubEvent } from '../../src/protocol/frames.js'
import { carries, Filter, NamePattern } from '../../src/session/filter.js'
import { HistoryFilter } from '../../src/session/history-filter.js'
import { Search } from '../../src/session/search.js'

const event = (data: JsonValue, more: object = {}): HubEvent => ({
  offset: 1 as Offset,
  type: 'note',
  time: 10,
  data,
  ...more,
})

const limits = { searchLengthMax: 20, searchWorkMax: 32_000 }

const catalog = createCatalog()
const made = (type: string, data: JsonValue = null, worker?: string): Entry =>
  new Entry(event(data, { type, ...(worker && { worker }) }), catalog.traitsOf(type), 1)

/** What a list of patterns says, one after the other. */
function simply(entries: readonly string[], name: string): boolean {
  const matching = entries.filter((entry) => {
    const pattern = entry.replace('!', '')
    return pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : name === pattern
  })
  if (matching.some((entry) => entry.startsWith('!'))) return false
  return matching.length > 0 || (entries.length > 0 && entries.every((entry) => entry.startsWith('!')))
}

t.test('a filter of many patterns answers as each of them would', (t) => {
  const letters = fc.string({ unit: fc.constantFrom('a', 'b', '.'), maxLength: 5 })
  const pattern = fc
    .tuple(fc.constantFrom('', '!'), letters, fc.constantFrom('', '*'))
    .map((parts) => parts.join(''))
    .filter((text) => text !== '' && text !== '!')
  fc.assert(
    fc.property(
      fc.array(pattern, { maxLength: 12 }),
      fc.array(letters, { minLength: 1 }),
      (entries, names) => {
        const filter = new NamePattern(entries, 'types')
        for (const name of names) if (filter.matches(name) !== simply(entries, name)) return false
        return true
      },
    ),
    { numRuns: 2_000 },
  )
  t.end()
})

t.test('to judge a type takes a few comparisons, however many patterns there are', (t) => {
  const prefixes = Array.from({ length: 64 }, (_, n) => `${'p'.repeat(n + 1)}*`)
  t.ok(new NamePattern(prefixes, 'types').steps <= 8)
  t.end()
})

t.test('what follows a whole session of thousands of workers is selected once, in one pass', (t) => {
  const count = 3_000
  const hub = createHub({
    catalog: { mark: { replay: 'latest' }, step: { replay: 'all' } },
    limits: { historyLooksMax: 2_000 },
  })
  for (let at = 0; at < count; at += 1) {
    hub.publish(`sessions/s/workers/w${at}`, [{ type: 'mark' }, { type: 'step' }, { type: 'mark' }])
  }
  let read = 0
  for (let after: string | undefined, isOver = false; !isOver; ) {
    const page = hub.history('sessions/s/**', {
      limit: 1_000,
      types: ['none', 'step'],
      ...(after && { after }),
    })
    read += page.events.length
    after = page.next
    isOver = after === undefined
  }
  t.equal(read, count, 'page by page')
  const nothing = hub.history('sessions/s/**', { types: ['none'] })
  t.equal(nothing.events.length, 0)
  t.ok(nothing.next, 'a page looks at a bounded number of events, and says where to go on')
  t.end()
})

t.test('a search finds text in any case, in types, workers, names, texts and numbers', async (t) => {
  const finds = (q: string, one: HubEvent) => new Search(q, limits).matches(one)
  const one = event({ Path: ['a', { deep: 'Timeout' }, 42, true, null] }, { worker: 'Lint' })
  for (const q of ['NOTE', 'lint', 'path', 'deep', 'timeOUT', '42', 'true', 'null', 'meou'])
    t.ok(finds(q, one), q)
  for (const q of ['other', '{', 'atimeout']) t.notOk(finds(q, one), q)
  t.notOk(finds('lint', event({ Path: 1 })), 'no worker')
  t.ok(finds('x', event('x')), 'data that is a text')
  t.notOk(finds('x', event(null)))
})

t.test(
  'a search between slashes is an expression, and one that is none is refused with its place',
  async (t) => {
    const finds = (q: string, text: string) => new Search(q, limits).matches(event(text))
    t.ok(finds('/after \\d+/', 'timeout after 12 s'))
    t.notOk(finds('/after \\d+/', 'timeout after x'))
    t.notOk(finds('/ERROR/', 'error'))
    t.ok(finds('/ERROR/i', 'error'))
    t.ok(finds('/a.b/x', '/A.B/x'), 'what has something behind it is a text')
    t.ok(finds('//', 'http://x'), 'and so is an empty expression')
    t.notOk(finds('x/a/', 'a'))
    for (const [q, message] of [
      ['', /^q: expected 1–20 characters, got ""$/],
      ['x'.repeat(21), /^q: expected 1–20 characters/],
      ['/(/', /^q: expected a regular expression of RE2, /],
      ['/(a|b){200}/', /^q: expected a regular expression of at most 256 instructions, got one of \d+$/],
    ] as const)
      t.throws(() => new Search(q, limits), { code: 'badFrame', message }, q)
    t.ok(new Search('x'.repeat(20), limits))
  },
)

t.test('a search looks at a bounded part of an event, and counts its work', async (t) => {
  const search = new Search('end', limits)
  t.ok(search.matches(event(`${'x'.repeat(993)}end`)), 'within 1,000 characters, the type among them')
  t.notOk(search.matches(event(`${'x'.repeat(994)}end`)), 'beyond')
  t.notOk(search.matches(event(['x'.repeat(2_000), 'end'])))
  const before = search.work
  search.matches(event('abc'))
  t.equal(search.work - before, 4 + 3 + 1, 'the type, the text, and one for the event')
  const pattern = new Search('/ab/', limits)
  pattern.matches(event('abc'))
  t.ok(pattern.work > 8 && pattern.work % 8 === 0, 'times the instructions')
  t.ok(search.matchesText(['a', 'the END']))
  t.notOk(search.matchesText([`${'x'.repeat(1_000)}end`]))
  t.notOk(search.matchesText([]))
})

t.test('a filter of the history asks for types, workers, levels and errors together', async (t) => {
  const accepts = (selection: ConstructorParameters<typeof HistoryFilter>[0], entry: Entry) =>
    new HistoryFilter(selection).accepts(entry)
  const delta = made('llm_text_delta', { content: 'x' }, 'a')
  t.ok(accepts({}, delta))
  t.notOk(accepts({ types: ['tool_*'] }, delta))
  t.ok(accepts({ workers: ['b', 'a'] }, delta))
  t.notOk(accepts({ workers: ['b'] }, delta))
  t.notOk(accepts({ workers: ['b'] }, made('note')), 'the session’s own are of no worker')
  t.ok(accepts({ levels: ['delta'] }, delta))
  t.notOk(accepts({ levels: ['summary', 'control'] }, delta))
  t.notOk(accepts({ errors: true }, delta))
  t.ok(accepts({ errors: true, levels: ['summary'] }, made('error')))
  t.ok(accepts({ errors: false }, delta))
})

t.test('a pattern of names includes, excludes, and names what it asks for', async (t) => {
  const matches = (entries: readonly string[], name: string) =>
    new NamePattern(entries, 'types').matches(name)
  t.notOk(matches([], 'a'))
  t.ok(matches(['!b'], 'a'))
  t.notOk(matches(['!b'], 'b'))
  t.notOk(matches(['a', '!b'], 'c'))
  t.notOk(matches(['a', '!a'], 'a'), 'an exclusion wins')
  t.notOk(matches(['!a', 'a'], 'a'))
  t.notOk(matches(['a*', '!ab*'], 'abc'))
  t.notOk(matches(['!a*', 'ab*'], 'abc'), 'also a shorter one')
  t.notOk(matches(['!a*', 'a*'], 'abc'))
  t.ok(matches(['b*', 'a*', 'ab'], 'ac'))
  t.ok(matches(['*'], 'x'))
  t.notOk(matches(['a*', 'c*'], 'b'))
  t.ok(matches(['a*', 'abc*', 'b'], 'abd'), 'by a shorter prefix than the nearest')
  for (const bad of ['', '!', 'a b', 'a*b'])
    t.throws(
      () => new NamePattern([bad], 'types'),
      { message: /^types: expected name, prefix\* or !name, got / },
      bad,
    )
  const names = (entries: readonly string[], name: string) => new NamePattern(entries, 'types').names(name)
  t.ok(names(['command.*'], 'command.stop'))
  t.ok(names(['command.stop'], 'command.stop'))
  t.notOk(names(['*'], 'command.stop'), 'that asks for everything')
  t.notOk(names(['!x'], 'command.stop'))
  t.notOk(names(['command.*', '!command.stop'], 'command.stop'))
  t.equal(new NamePattern(['a*', 'b*', 'c*'], 'types').steps, 3)
})

t.test('filters that let the same pass have the same name, and others another', async (t) => {
  const name = (expression: ConstructorParameters<typeof Filter>[0]) => new Filter(expression).name
  const one = name({ mode: 'full', types: ['a', 'b'], slices: ['x', 'y'] })
  t.equal(name({ mode: 'full', types: ['b', 'a', 'a'], slices: ['y', 'x'] }), one)
  for (const other of [
    { mode: 'summary', types: ['a', 'b'], slices: ['x', 'y'] },
    { mode: 'full', types: ['a'], slices: ['x', 'y'] },
    { mode: 'full', types: ['a', 'b'], slices: ['x'] },
    { mode: 'full', types: ['a', 'b'], slices: ['x', 'y'], notReplayed: ['a'] },
    { mode: 'full', types: ['x', 'y'], slices: ['a', 'b'] },
  ] as const)
    t.not(name(other), one, JSON.stringify(other))
})

t.test('a filter decides once for each type, and keeps state from who asks for none', async (t) => {
  const filter = new Filter({ mode: 'summary', types: ['a*', 'llm_*'] })
  const entry = (type: string, more: object = {}) =>
    new Entry(event(null, { type }), catalog.traitsOf(type), 1, more)
  t.ok(filter.accepts(entry('ab')))
  t.notOk(filter.accepts(entry('llm_text_delta')))
  t.ok(filter.accepts(entry('llm_text_delta', { force: true })))
  t.notOk(filter.accepts(entry('other', { force: true })))
  t.ok(filter.accepts(entry('other', { everywhere: true })))
  const { compared } = filter
  t.ok(compared > 0)
  filter.accepts(entry('ab'))
  t.equal(filter.compared, compared, 'the verdict is known')
  const superseded = entry('ab')
  superseded.superseded = true
  t.notOk(filter.accepts(superseded))
  t.notOk(filter.accepts(entry('state.update', { slice: 'plan' })))
  const stateful = new Filter({ mode: 'control', slices: ['p*'] })
  t.ok(stateful.accepts(entry('state.update', { slice: 'plan' })))
  t.notOk(stateful.accepts(entry('state.update', { slice: 'other' })))
  t.notOk(new Filter({ mode: 'silent', slices: ['p*'] }).accepts(entry('state.update', { slice: 'plan' })))
  const all = new Filter({ mode: 'full' })
  all.accepts(entry('anything'))
  t.equal(all.compared, 0)
  for (const [slices, slice, wanted] of [
    [['*'], '$session', true],
    [['$session'], '$session', true],
    [['$*'], '$workers', true],
    [['p*'], '$session', false],
    [['*'], '$watchers', false],
    [['$watchers'], '$watchers', true],
    [['$*'], '$watchers', false],
    [['!$session'], '$session', false],
  ] as const)
    t.equal(
      new Filter({ mode: 'full', slices: [...slices] }).wantsSlice(slice),
      wanted,
      `${slices.join()} ${slice}`,
    )
  t.ok(new Filter({ mode: 'full', slices: ['*'] }).watches)
  t.ok(new Filter({ mode: 'full', slices: ['sessions'] }).watches)
  t.notOk(new Filter({ mode: 'silent', slices: ['*'] }).watches)
  t.notOk(new Filter({ mode: 'full', slices: ['plan'] }).watches)
  t.same(
    (['full', 'summary', 'control', 'silent'] as const).map((mode) =>
      (['summary', 'delta', 'control'] as const).map((level) => carries(mode, level)),
    ),
    [
      [true, true, true],
      [true, false, true],
      [false, false, true],
      [false, false, false],
    ],
  )
})
