import t from 'tap'
import { plain, spansOf } from '../../src/panels/ansi.js'
import { faultIn, passes, patternsOf } from '../../src/panels/filter.js'
import { Finder, following } from '../../src/panels/finder.js'
import { Lag } from '../../src/panels/lag.js'
import { eventsMax, Log } from '../../src/panels/log.js'
import { hasLongRun } from '../../src/panels/long-runs.js'
import type { Fields, Json, PanelEvent } from '../../src/panels/model.js'
import {
  addressOf,
  baseOf,
  filterOf,
  placeOf,
  showsWorker,
  toggled,
  withFilter,
} from '../../src/panels/place.js'
import { Rate } from '../../src/panels/rate.js'
import type { HubRequests, Query } from '../../src/panels/requests.js'
import { rowsMax } from '../../src/panels/rows.js'
import { isError, seekerOf } from '../../src/panels/search.js'
import { byStanding, needsOf, reasonOf, standingOf, usageText } from '../../src/panels/standing.js'
import { TopicHistory } from '../../src/panels/topic-history.js'
import type { Offset } from '../../src/protocol/cursor.js'

/** Today, so that no row tells the day. */
const noon = new Date().setHours(12, 0, 0, 0)
let offset = 0
function event(type: string, data: Json): PanelEvent {
  offset += 1
  return { offset: offset as Offset, type, time: noon + offset, data }
}
function at(offset: number, type: string, data: Json, time = noon): PanelEvent {
  return { offset: offset as Offset, type, time, data }
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
  t.ok(log.takeRemovedHeight() > 0, 'what left is told, so that a view does not jump')
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
  log.notice('Gap: 2 events', noon, 'gap')
  log.put(event('b', 2))
  log.pause()
  log.put(event('a', 3))
  log.beginAnew('Anew', noon)
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
  log.notice('Gap', noon, 'gap')
  log.put(event('process.output', { text: 'one\ntwo\n' }))
  const again = event('b', { x: 2 })
  log.put(again)
  log.beginAnew('Anew', noon)
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

const texts = (log: Log) => log.rows.map(({ type, text }) => `${type} ${text}`)

t.test('what a join brings takes the place of what was loaded, and nothing comes twice', async (t) => {
  const log = new Log()
  log.put(at(2, 'b', 'x'))
  log.notice('Gap', noon, 'gap')
  log.put(at(4, 'b', 'y'))
  const retained = [at(1, 'a', 'k'), at(2, 'b', 'x'), at(3, 'a', 'l'), at(4, 'b', 'y'), at(5, 'b', 'z')]
  log.join(retained, true)
  t.strictSame(texts(log), ['a k', 'b x', 'gap Gap', 'a l', 'b y', 'b z'])
  t.equal(log.received, 5)
  t.ok(log.whole)
  log.pause()
  log.join([...retained, at(6, 'a', 'm')], true)
  t.equal(texts(log).at(-1), 'b z', 'a panel that rests gets nothing newer')
  t.equal(log.pending.length, 1)
  log.goOn()
  t.equal(texts(log).at(-1), 'a m')
})

t.test('a log goes up through the history and down again to what is live, without a hole', async (t) => {
  const note = (offset: number) => at(offset, 'note', offset)
  const some = (from: number, to: number) =>
    Array.from({ length: to - from + 1 }, (_, each) => note(from + each))
  const offsets = (log: Log) => log.rows.map(({ offset }) => offset)
  const log = new Log()
  log.join(some(20_001, 20_100), false)
  for (let first = 20_001; first > 20_001 - eventsMax; first -= 500)
    log.precede(some(first - 500, first - 1), false)
  t.equal(log.rows.length, eventsMax, 'no more than are kept')
  t.ok(log.away, 'the newest ones have left')
  const top = offsets(log)[0]
  log.put(note(20_101))
  t.equal(offsets(log).includes(20_101), false, 'what is live waits')
  log.follow(some(log.last + 1, log.last + 50), false)
  t.notOk(log.away, 'what waits follows directly')
  const shown = offsets(log)
  t.equal(shown.at(-1), 20_101)
  t.ok((shown[0] ?? 0) > (top ?? 0), 'and the oldest ones have left')
  t.strictSame(
    shown,
    shown.map((_, each) => (shown[0] ?? 0) + each),
  )

  log.goTo(some(100, 300), { whole: false, end: false })
  t.strictSame(
    offsets(log),
    some(100, 300).map(({ offset }) => offset),
  )
  log.put(note(20_102))
  log.follow(some(301, 800), false)
  t.equal(log.last, 800)
  t.ok(log.away)
  log.toEnd()
  t.equal(offsets(log).at(-1), 20_102, 'at once at the end')
  t.notOk(log.whole)
})

t.test('a day has a row of its own, unless it is today', async (t) => {
  const log = new Log()
  const day = Date.UTC(2026, 0, 5, 12)
  for (const time of [day, day + 60_000, day + 86_400_000, noon]) log.put(event2(time))
  t.strictSame(
    log.rows.map(({ kind }) => kind),
    ['date', 'event', 'event', 'date', 'event', 'date', 'event'],
  )
  t.equal(log.rows[0]?.text, 'Monday, January 5, 2026')
  function event2(time: number): PanelEvent {
    return { ...event('note', {}), time }
  }
})

t.test('pieces of text grow whatever the stream of the model, and a backspace takes back', async (t) => {
  const log = new Log()
  const delta = (text: string) => ({
    type: 'content_block_delta',
    index: 0,
    delta: { type: 'text_delta', text },
  })
  for (const text of ['Hel', 'lo']) log.put(event('content_block_delta', delta(text)))
  log.put(event('content_block_delta', { index: 1, delta: { partial_json: '{"a"' } }))
  for (const delta of ['1', '2']) log.put(event('response.output_text.delta', { delta, sequence_number: 4 }))
  log.put(event('langgraph.messages', [{ content: 'x' }, {}]))
  log.put(event('process.output', { text: 'ab\b\bcd\n' }))
  log.put(event('message_stop', { type: 'message_stop', at: 1 }))
  t.strictSame(texts(log), [
    'content_block_delta Hello',
    'content_block_delta {"a"',
    'response.output_text.delta 12',
    'langgraph.messages x',
    'process.output cd',
    'message_stop at 1',
  ])
  t.strictSame(
    log.rows.slice(0, 2).map(({ isProse }) => isProse),
    [true, false],
    'arguments are no prose',
  )
})

t.test('what is sought is found in what is loaded and on in the history of the hub', async (t) => {
  const asked: Query[] = []
  const all = Array.from({ length: 40 }, (_, each) =>
    at(each + 1, 'note', each % 10 === 0 ? 'needle' : 'hay'),
  )
  const requests: HubRequests = {
    async get(path, query) {
      asked.push(query)
      t.equal(path, 'api/sessions/s/history')
      // A request looks at ten events, as that of a hub looks at a bounded number.
      const before = Number(String(query['before'] ?? 'e:0').slice(2))
      const from = Math.max(0, before - 11)
      const events = all.slice(from, before - 1).filter(({ data }) => data === query['q'])
      return {
        epoch: 'e',
        events: events.toReversed() as unknown as Json,
        ...(from > 0 && { next: `e:${from + 1}` }),
      }
    },
    async delete() {},
  }
  const log = new Log()
  log.join(all.slice(30), false)
  const seeker = seekerOf('needle')
  if (seeker.kind !== 'sought') throw new Error('it is')
  const finder = new Finder(seeker.matches)
  const history = new TopicHistory(requests, 'sessions/s')
  await finder.search(
    history,
    { patterns: ['note'], mode: 'summary', q: seeker.q },
    [{ before: 31 }],
    () => {},
  )
  t.strictSame(
    finder.matching(log.rows).map(({ offset, row }) => [offset, row !== undefined]),
    [
      [1, false],
      [11, false],
      [21, false],
      [31, true],
    ],
  )
  t.equal(finder.searched.kind, 'done')
  t.match(asked.at(-1), { types: 'note', level: 'summary,control', order: 'desc', q: 'needle' })
  finder.keep([31])
  log.goTo(all.slice(5, 15), { whole: false, end: false })
  t.strictSame(
    finder.matching(log.rows).map(({ offset, row }) => [offset, row !== undefined]),
    [
      [1, false],
      [11, true],
      [21, false],
      [31, false],
    ],
    'what was loaded is known when it has left',
  )
  const page = await history.page({ patterns: [], mode: 'full', q: 'needle' }, { before: 20 }, 5)
  t.strictSame(
    page.events.map(({ offset }) => offset),
    [11],
    'a page goes on until something is found',
  )
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
    return seeker.kind === 'sought' ? new Finder(seeker.matches).matching(rows) : []
  }
  t.strictSame(
    matching('/^t.*e$/m').map(({ row }) => row?.text),
    ['three'],
  )
  t.equal(matching('e_deep')[0]?.row, rows[3], 'what is open of a row is searched, too')
  t.equal(seekerOf('/(/').kind, 'faulty')
  t.equal(seekerOf('').kind, 'none')
  t.match(seekerOf('/^a/im'), { q: '/(?m)^a/i' }, 'as the hub has it')
  const found = matching('T')
  t.equal(following(found, undefined, 1), found[0])
  t.equal(following(found, undefined, -1), found.at(-1))
  t.equal(following(found, found.at(-1), 1), found[0])
  t.equal(following(found, { offset: rows[0]?.offset ?? 0 }, 1), found[1], 'from a row that was not gone to')
  t.equal(following([], undefined, 1), undefined)
  t.strictSame(rows.filter(isError), [rows[3]])
})

t.test('a place and its address are one', async (t) => {
  for (const address of [
    '/',
    '/s/a~b',
    '/s/x?w=a,b',
    '/s/x?w=a&types=tool_*,!b&mode=summary',
    '/s/x?types=a&types:w=&mode:=control#o=4711',
  ]) {
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
  const place = withFilter({ session: 'x', workers: [], types: 'a', mode: 'full' }, 'w', {
    types: '',
    mode: 'full',
  })
  t.equal(addressOf({ ...place, event: 7 }, '/'), '/s/x?types=a&types:w=#o=7')
  t.strictSame(filterOf(place, 'w'), { types: '', mode: 'full' })
  t.strictSame(filterOf(place, 'v'), { types: 'a', mode: 'full' })
  t.notOk(
    withFilter(place, 'w', { types: 'a', mode: 'full' }).panels,
    'one that is as all are is none of its own',
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

t.test('text with a long run of characters, or of spaces, is not read as Markdown', async (t) => {
  const run = (length: number, unit: string) => unit.repeat(length)
  for (const unit of ['a', ' ', '\t', '.', '*']) {
    t.notOk(
      hasLongRun(`b c${run(1_990, unit)}\n`.repeat(9)),
      `a line of ${JSON.stringify(unit)} ends its run`,
    )
    t.ok(hasLongRun(`some text\n b ${run(2_001, unit)}c`), JSON.stringify(unit))
  }
  t.notOk(hasLongRun(run(50_000, 'words and spaces ')))
  t.notOk(hasLongRun(run(50_000, '\n')))
})
