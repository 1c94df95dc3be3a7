import fc from 'fast-check'
import t from 'tap'
import { createHub } from '../../src/hub/hub.js'
import { NamePattern } from '../../src/session/filter.js'

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
