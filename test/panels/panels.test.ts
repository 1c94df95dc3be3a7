import t from 'tap'
import { plain, spansOf } from '../../src/panels/ansi.js'
import { faultIn, passes, patternsOf } from '../../src/panels/filter.js'
import { Lag } from '../../src/panels/lag.js'
import { Log, rowsMax } from '../../src/panels/log.js'
import type { Fields, Json, PanelEvent } from '../../src/panels/model.js'
import { addressOf, baseOf, placeOf, showsWorker, toggled } from '../../src/panels/place.js'
import { Rate } from '../../src/panels/rate.js'
import { following, isError, seekerOf } from '../../src/panels/search.js'
import { byStanding, needsOf, reasonOf, standingOf, usageText } from '../../src/panels/standing.js'
import type { Offset } from '../../src/protocol/cursor.js'

let offset = 0
function event(type: string, data: Json): PanelEvent {
  offset += 1
  return { offset: offset as Offset, type, time: offset, data }
}

t.test('escape sequences become looks, and those that move the cursor nothing', async (t) => {
  const { spans, after } = spansOf(
    'a\u001b[1;31mb\u001b[2K\u001b]0;title\u0007c\u001b[0m\u001b[38;5;196md\u001b[48;2;1;2;3m',
    plain,
  )
  t.strictSame(
    spans.map(({ text, look }) => [text, look.bold ?? false, look.color]),
    [
      ['a', false, undefined],
      ['b', true, 1],
      ['c', true, 1],
      ['d', false, 'rgb(255 0 0)'],
    ],
  )
  t.strictSame(after, { color: 'rgb(255 0 0)', background: 'rgb(1 2 3)' }, 'the next line goes on with it')
})

t.test('output becomes lines, however it is cut into events', async (t) => {
  const log = new Log()
  for (const text of ['one\ntw', 'o\n', '10 %\r20 %', '\r30 %\n\u001b[32mgreen\n', 'still\n']) {
    log.put(event('process.output', { text }))
  }
  t.strictSame(
    log.rows.map(({ text }) => text),
    ['one', 'two', '30 %', '\u001b[32mgreen', 'still'],
  )
  t.strictSame(log.rows.at(-1)?.look, { color: 2 }, 'a colour lasts until it is taken back')
})

t.test('text grows in one row, and a tool call ends in the row it began in', async (t) => {
  const log = new Log()
  for (const content of ['Hello', ', ', 'world']) log.put(event('llm_text_delta', { content }))
  log.put(event('tool_call_started', { tool_use_id: '1', tool_name: 'ls' }))
  log.put(event('node_retry', {}))
  log.put(event('tool_call_completed', { tool_use_id: '1', tool_name: 'ls', is_error: true }))
  log.put(event('execution_failed', { error: 'no' }))
  t.strictSame(
    log.rows.map(({ kind, name, text, outcome }) => [kind, name ?? text, outcome]),
    [
      ['text', 'Hello, world', undefined],
      ['tool', 'ls', 'failed'],
      ['event', '', undefined],
      ['error', 'error no', undefined],
    ],
  )
})

t.test('a log is bounded, waits while paused, and shows what is chosen', async (t) => {
  const log = new Log()
  for (let round = 0; round < rowsMax * 2; round += 1) log.put(event('tick', { round }))
  t.ok(log.rows.length <= rowsMax * 1.1)
  t.ok(log.removedHeight > 0, 'what left is told, so that a view does not jump')
  log.pause()
  log.put(event('tock', {}))
  t.not(log.rows.at(-1)?.type, 'tock')
  log.goOn()
  t.equal(log.rows.at(-1)?.type, 'tock')
  log.choose(['tock'])
  t.equal(log.rows.length, 1)
  t.match(log.ndjson(), /^\{"offset":\d+,"type":"tock".*\}\n$/)
})

t.test('what the panel says itself stays where it was, whatever is chosen', async (t) => {
  const log = new Log()
  log.put(event('a', 1))
  log.notice('Gap: 2 events', 5, 'error')
  log.put(event('b', 2))
  log.pause()
  log.put(event('a', 3))
  log.beginAnew('Anew', 9)
  log.put({ ...event('a', 4), offset: 1 as Offset })
  t.equal(log.rows.length, 3, 'while paused nothing is said')
  log.goOn()
  const shown = () => log.rows.map(({ type, text }) => `${type} ${text}`)
  t.strictSame(shown(), ['a 1', 'gap Gap: 2 events', 'b 2', 'a 3', ' Anew', 'a 4'])
  log.choose(['a'])
  t.strictSame(shown(), ['a 1', 'gap Gap: 2 events', 'a 3', ' Anew', 'a 4'])
  t.equal(log.ndjson().split('\n').length, 4, 'it is no event')
})

t.test('rows that are made anew are the same ones: open if they were', async (t) => {
  const log = new Log()
  log.put(event('a', { x: 1 }))
  log.notice('Gap', 5, 'error')
  log.put(event('process.output', { text: 'one\ntwo\n' }))
  const again = event('b', { x: 2 })
  log.put(again)
  log.beginAnew('Anew', 9)
  log.put({ ...event('a', { x: 3 }), offset: again.offset })
  const { rows } = log
  t.equal(new Set(rows.map(({ key }) => key)).size, rows.length, 'each has its own key')
  for (const row of rows) row.isOpen = row.type === 'b'
  const shown = () => log.rows.map(({ key, isOpen }) => ({ key, isOpen }))
  const before = shown()
  log.choose([])
  t.not(log.rows[0], rows[0])
  t.strictSame(shown(), before)
  log.choose(['b'])
  t.strictSame(
    shown(),
    before.filter(({ key, isOpen }) => isOpen || key.startsWith('notice')),
  )
})

t.test('what a wider filter brings is put in its place, and nothing twice', async (t) => {
  const at = (offset: number, type: string, data: Json): PanelEvent => ({
    offset: offset as Offset,
    type,
    time: offset,
    data,
  })
  const log = new Log()
  log.put(at(2, 'b', 'x'))
  log.notice('Gap', 2, 'error')
  log.put(at(4, 'b', 'y'))
  const retained = [
    at(1, 'a', 'k'),
    at(2, 'b', 'x'),
    at(3, 'a', 'l'),
    at(4, 'b', 'y'),
    // Came while the wider filter joined.
    at(5, 'b', 'z'),
  ]
  log.complete(retained, (type) => type === 'b')
  const shown = () => log.rows.map(({ type, text }) => `${type} ${text}`)
  t.strictSame(shown(), ['a k', 'b x', 'gap Gap', 'a l', 'b y', 'b z'])
  const counts = { a: 2, b: 3 }
  t.equal(log.received, 5)
  t.same(Object.fromEntries(log.types), counts)
  log.complete([...retained], () => false)
  t.equal(log.received, 5, 'what comes again is no more than it was')
  t.same(Object.fromEntries(log.types), counts)
  t.test('texts of a type come as a whole, in other pieces than before', async (t) => {
    const log = new Log()
    const word = (offset: number, content: string) => at(offset, 'llm_text_delta', { content })
    for (const each of [word(3, 'two '), word(4, 'three')]) log.put(each)
    log.complete([word(4, 'one two three')], () => false)
    t.strictSame(
      log.rows.map(({ text }) => text),
      ['one two three'],
    )
  })
})

t.test('lag is told against the event that came soonest, by whatever clocks', async (t) => {
  const lag = new Lag()
  t.equal(lag.ms, undefined)
  lag.count(1_000, 61_020)
  t.equal(lag.ms, 0)
  lag.count(2_000, 62_050)
  t.equal(lag.ms, 30)
  lag.count(3_000, 63_005)
  t.equal(lag.ms, 0, 'this one came sooner')
  lag.count(4_000, 64_020)
  t.equal(lag.ms, 15)
})

t.test('a filter means what it means to the hub', async (t) => {
  t.strictSame(patternsOf(' tool_*, !tool_x  a.b <script>'), ['tool_*', '!tool_x', 'a.b'])
  const cases: [type: string, patterns: string[], passes: boolean][] = [
    ['a', [], true],
    ['tool_a', ['tool_*'], true],
    ['tool_x', ['tool_*', '!tool_x'], false],
    ['b', ['tool_*'], false],
    ['b', ['!tool_*'], true],
  ]
  for (const [type, patterns, is] of cases) t.equal(passes(type, patterns), is, `${type} ${patterns.join()}`)
})

t.test('what is no pattern is said, not passed over', async (t) => {
  t.equal(faultIn('tool_*, !a ~b'), undefined)
  t.equal(faultIn('tool_* [x]'), '[x]')
  t.equal(faultIn('!'), '!')
  t.strictSame(patternsOf('tool_* [x], !'), ['tool_*'])
})

t.test('how it stands follows from what the slices say', async (t) => {
  for (const [about, standing, reason] of [
    [{}, 'waiting', ''],
    [{ status: 'running' }, 'running', ''],
    [
      { status: 'running', stalled: { since: 1, why: 'no event for 5 min' } },
      'stalled',
      'no event for 5 min',
    ],
    [{ status: 'ended', result: 'failed', reason: 'exit 3' }, 'failed', 'exit 3'],
    [{ status: 'ended', result: 'lost' }, 'lost', ''],
    [{ status: 'ended' }, 'ended', ''],
    [{ status: 'running', needs: 2 }, 'asks', ''],
    [
      { status: 'running', needs: [{ kind: 'input', key: 'a', text: 'Which?', time: 5 }], needsMore: 3 },
      'asks',
      'Which?',
    ],
    [{ status: 'ended', result: 'succeeded', needs: 1 }, 'succeeded', ''],
  ] as const) {
    t.equal(standingOf(about), standing, JSON.stringify(about))
    t.equal(reasonOf(about), reason)
  }
  t.equal(needsOf({ needs: [{}, {}], needsMore: 3 }), 5)
  t.equal(usageText({ input_tokens: 12_000, output_tokens: 540, cost_usd: 0.0432 }), '12.5 k tokens · $0.04')
  t.equal(usageText({ input_tokens: 1 }), '1 token')
  t.equal(usageText(undefined), '')
  const all: readonly [string, Fields][] = [
    ['done', { status: 'ended', result: 'succeeded' }],
    ['runs', { status: 'running' }],
    ['failed', { status: 'ended', result: 'failed' }],
    ['asks', { status: 'running', needs: 1 }],
  ]
  const ordered = byStanding(all, ([, about]) => about).map(([name]) => name)
  t.strictSame(ordered, ['asks', 'failed', 'done', 'runs'], 'what runs and what is over stays where it was')
})

t.test('a worker is hidden and shown again, and one that begins later is shown', async (t) => {
  t.ok(showsWorker({ workers: ['!noisy'] }, 'later'))
  t.notOk(showsWorker({ workers: ['!noisy'] }, 'noisy'))
  t.notOk(showsWorker({ workers: ['a'] }, 'later'))
  t.strictSame(toggled({ workers: [] }, 'a'), ['!a'])
  t.strictSame(toggled({ workers: ['!a'] }, 'a'), [])
  t.strictSame(toggled({ workers: ['a', 'b'] }, 'a'), ['b'])
  t.strictSame(toggled({ workers: ['b'] }, 'a'), ['b', 'a'])
})

t.test('a log is searched by text and by expression, around its end', async (t) => {
  const log = new Log()
  for (const text of ['one\n', 'two\n', 'three\n']) log.put(event('process.output', { text }))
  log.put(event('execution_failed', { error: { code: 'E_DEEP' } }))
  const rows = log.rows
  const matching = (text: string) => {
    const seeker = seekerOf(text)
    return seeker.kind === 'sought' ? rows.filter(seeker.matches) : []
  }
  t.strictSame(
    matching('/^t.*e$/m').map(({ text }) => text),
    ['three'],
  )
  t.equal(matching('e_deep')[0], rows[3], 'what is open of a row is searched, too')
  t.equal(seekerOf('/(/').kind, 'faulty')
  t.equal(seekerOf('').kind, 'none')
  const found = matching('T')
  t.equal(following(found, rows, undefined, 1), found[0])
  t.equal(following(found, rows, undefined, -1), found.at(-1))
  t.equal(following(found, rows, found.at(-1), 1), found[0])
  t.equal(following(found, rows, rows[0], 1), rows[1], 'from a row that is no match')
  t.equal(following([], rows, undefined, 1), undefined)
  t.strictSame(rows.filter(isError), [rows[3]])
})

t.test('a place and its address are one', async (t) => {
  for (const address of ['/', '/s/a~b', '/s/x?w=a,b', '/s/x?w=a&types=tool_*,!b&mode=summary']) {
    const place = placeOf(new URL(address, 'http://hub/'))
    for (const base of ['/', '/live/', '/s/x/', '/s/']) {
      const under = new URL(addressOf(place, base), 'http://hub/')
      t.strictSame(placeOf(under), place, address)
      t.equal(baseOf(under), base, under.pathname)
    }
  }
  t.equal(
    addressOf({ session: 'x', workers: ['a', 'b'], types: 'c*', mode: 'full' }, '/a/'),
    '/a/s/x?w=a,b&types=c*',
  )
})

t.test('a rate counts whole seconds and forgets them after two minutes', async (t) => {
  const rate = new Rate()
  for (let second = 10; second < 14; second += 1) rate.count(second * 1000, 6)
  t.equal(rate.perSecond(14_000), 6)
  t.equal(rate.perSecond(15_000), 4)
  t.equal(
    rate.series(15_000).reduce((sum, count) => sum + count),
    24,
  )
  t.equal(
    rate.series(500_000).reduce((sum, count) => sum + count),
    0,
  )
})
