import { PassThrough } from 'node:stream'
import fc from 'fast-check'
import t from 'tap'
import { startChild } from '../../src/cli/running/child.js'
import { Grep, grepOption } from '../../src/cli/showing/grep.js'
import { LineSplitter } from '../../src/cli/showing/lines.js'
import {
  formatBytes,
  formatCount,
  formatDuration,
  overwrites,
  paletteFor,
  terminalText,
} from '../../src/cli/showing/paint.js'
import { StateLines } from '../../src/cli/showing/state-lines.js'
import { Transcript } from '../../src/cli/showing/transcript.js'
import { sinceOption } from '../../src/cli/since.js'
import { escapeControls } from '../../src/lib/controls.js'
import { EventStreamReader, type StreamEvent } from '../../src/lib/event-stream.js'
import type { JsonValue } from '../../src/lib/json.js'
import { quote } from '../../src/protocol/codes.js'
import type { Offset } from '../../src/protocol/cursor.js'
import { SimulatedClock } from '../kit/clock.js'
import { deferred, until } from '../kit/wait.js'

function split(bytes: Buffer, sizes: readonly number[], charactersMax: number): string[] {
  const splitter = new LineSplitter(charactersMax)
  const lines: string[] = []
  let from = 0
  for (const size of sizes) {
    lines.push(...splitter.write(bytes.subarray(from, from + size)))
    from += size
  }
  return [...lines, ...splitter.write(bytes.subarray(from)), ...splitter.end()]
}

t.test('lines', (t) => {
  t.test('every line keeps its newline, the last may be without', (t) => {
    t.same(split(Buffer.from('a\n\nb\r\nc'), [], 100), ['a\n', '\n', 'b\r\n', 'c'])
    t.same(split(Buffer.from(''), [], 100), [])
    t.same(split(Buffer.from('a\n'), [], 100), ['a\n'])
    t.end()
  })

  t.test('any chunking gives the same lines, and together they are the text', (t) => {
    const text = fc.string({ unit: fc.constantFrom('a', 'ö', '€', '🙂', '\n', '\r\n') })
    fc.assert(
      fc.property(text, fc.array(fc.nat(5)), (text, sizes) => {
        const bytes = Buffer.from(text)
        const lines = split(bytes, sizes, 1000)
        t.same(lines, split(bytes, [], 1000))
        return lines.join('') === text
      }),
    )
    t.end()
  })

  t.test('a long line comes in pieces, none of which is longer or ends within a character', (t) => {
    const text = fc.string({ unit: fc.constantFrom('a', '🙂', '\n'), maxLength: 200 })
    fc.assert(
      fc.property(
        text,
        fc.array(fc.nat(50)),
        fc.integer({ min: 2, max: 20 }),
        (text, sizes, charactersMax) => {
          const lines = split(Buffer.from(text), sizes, charactersMax)
          return (
            lines.join('') === text &&
            lines.every((line) => line.length <= charactersMax && !/[\ud800-\udbff]$/.test(line))
          )
        },
      ),
    )
    t.end()
  })

  t.test('an unfinished line can be taken, and goes on as a new one', (t) => {
    const splitter = new LineSplitter(100)
    t.same(splitter.write(Buffer.from('one\nPass')), ['one\n'])
    t.equal(splitter.unfinished, true)
    t.equal(splitter.take(), 'Pass')
    t.equal(splitter.unfinished, false)
    t.same(splitter.write(Buffer.from('word\n')), ['word\n'])
    t.same(splitter.end(), [])
    t.end()
  })

  t.test('of a progress bar what is over is taken up to the last return', (t) => {
    const lines = new LineSplitter(100)
    t.same(lines.write(Buffer.from('a\n10%\r20%\r30')), ['a\n'])
    t.equal(lines.take(), '10%\r20%\r')
    t.same(lines.write(Buffer.from('%')), [])
    t.equal(lines.take(), '30%')
    t.same(lines.write(Buffer.from('\rdone\n')), ['\rdone\n'])
    t.ok(overwrites('\rdone\n') && overwrites('1%\r2%'))
    t.notOk(overwrites('crlf\r\n') || overwrites('10%\r'))
    t.end()
  })

  t.test('bytes that are not UTF-8 become U+FFFD', (t) => {
    t.same(split(Buffer.from([0x61, 0xff, 0x0a, 0xe2, 0x82]), [1, 1], 100), ['a\ufffd\n', '\ufffd'])
    t.end()
  })
  t.end()
})

t.test('JSON for whoever reads a pipe says the same without steering a terminal', (t) => {
  const value = { 'a\u009b': 'b\u202e\u2066c\u007f\u0085 ö 🙂 \\u009b' }
  const json = escapeControls(JSON.stringify(value))
  t.notMatch(json, /[\u007f-\u009f\u202a-\u202e\u2066-\u2069]/)
  t.same(JSON.parse(json), value)
  t.match(quote('\u009b2J'), '"\\u009b2J"')
  t.end()
})

t.test('text on a terminal', (t) => {
  t.test('what does nothing is shown as it is', (t) => {
    t.equal(terminalText('plain\tö 🙂\n'), 'plain\tö 🙂\n')
    t.end()
  })

  t.test('colours stay and end with the text', (t) => {
    t.equal(terminalText('\u001b[1;31mred\n'), '\u001b[1;31mred\u001b[0m\n')
    t.end()
  })

  t.test('what would move, clear, retitle or ring is left out', (t) => {
    t.equal(
      terminalText('a\u001b[2J\u001b[10;10Hb\u0007c\u001b]0;title\u0007d\u001bce\u009b2Jf'),
      'abcdef'.replace('f', '2Jf'),
    )
    t.equal(terminalText('a\u001b]52;c;never ends'), 'a')
    t.equal(terminalText('a\u001b'), 'a')
    t.equal(terminalText('user\u202e\u2066 nimda\u2069'), 'user nimda', 'and what would turn the text')
    t.end()
  })

  t.test('of a line that was overwritten the last version stays', (t) => {
    t.equal(terminalText('10 %\r50 %\r100 %\r\n'), '100 %\n')
    // A pattern for those at the end took ten seconds for a tenth of it.
    t.equal(terminalText(`${'\r'.repeat(1_000_000)}x`), 'x')
    t.equal(terminalText(`x${'\r'.repeat(1_000_000)}`), 'x')
    t.end()
  })

  t.test('colours are for terminals, unless NO_COLOR or FORCE_COLOR say otherwise', (t) => {
    const pipe = new PassThrough()
    const terminal = Object.assign(new PassThrough(), { isTTY: true })
    t.equal(paletteFor(pipe, {}).coloured, false)
    t.equal(paletteFor(pipe, { FORCE_COLOR: '1' }).coloured, true)
    t.equal(paletteFor(terminal, {}).coloured, true)
    t.equal(paletteFor(terminal, { TERM: 'dumb' }).coloured, false)
    t.equal(paletteFor(terminal, { FORCE_COLOR: '0' }).coloured, false)
    t.equal(paletteFor(terminal, { NO_COLOR: '1', FORCE_COLOR: '1' }).coloured, false)
    t.equal(paletteFor(terminal, { NO_COLOR: '' }).coloured, true)
    t.end()
  })

  t.test('figures read well', (t) => {
    t.equal(formatCount(1, 'line'), '1 line')
    t.equal(formatCount(12_345, 'line'), '12,345 lines')
    t.equal(formatDuration(340), '340 ms')
    t.equal(formatDuration(1_240), '1.2 s')
    t.equal(formatDuration(125_000), '2 min 5 s')
    t.equal(formatBytes(512), '512 B')
    t.equal(formatBytes(4_200_000), '4.2 MB')
    t.end()
  })
  t.end()
})

t.test('an event stream is read in any chunking', (t) => {
  const text =
    '\ufeffretry: 1\n\nid: a:1\nevent: x\ndata: ö\n\n: note\n\nid: a:2\n\ndata: 1\r\ndata:2\r\n\r\nid: a:3\ndata: half'
  const bytes = Buffer.from(text)
  for (let size = 1; size <= bytes.length; size++) {
    const events: StreamEvent[] = []
    const reader = new EventStreamReader((event) => events.push(event))
    for (let from = 0; from < bytes.length; from += size) reader.push(bytes.subarray(from, from + size))
    t.same(events, [
      { event: 'x', data: 'ö' },
      { event: 'message', data: '1\n2' },
    ])
    t.equal(reader.lastId, 'a:2')
  }
  t.end()
})

t.test('a transcript reads as the output did, and other events in one line', (t) => {
  const transcript = new Transcript(paletteFor(process.stdout, { NO_COLOR: '1' }), () => 60)
  const time = new Date(2026, 0, 1, 9, 5, 7).getTime()
  const show = (type: string, worker: string, data: unknown) => transcript.show({ type, time, worker, data })
  const output = (worker: string, text: string) => show('process.output', worker, { stream: 'stdout', text })
  t.equal(show('process.started', 'lint', { command: 'npm run\nlint' }), '09:05:07 lint | $ npm run lint\n')
  t.equal(output('lint', 'a\nb\n'), '09:05:07 lint | a\n09:05:07 lint | b\n')
  t.equal(output('lint', 'hal'), '09:05:07 lint | hal')
  t.equal(output('lint', 'f\n'), 'f\n')
  t.equal(output('lint', 'open'), '09:05:07 lint | open')
  t.equal(output('x', 'other\u001b[2J\n'), '\n09:05:07 x    | other\n')
  t.equal(
    show('process.exited', 'x', { code: 3, signal: null, durationMs: 12 }),
    '09:05:07 x    | ✗ exited with 3 after 12 ms\n',
  )
  t.equal(show('complete', '', {}), '09:05:07      | complete\n')
  const long = show('note', 'x', { text: 'y'.repeat(100) })
  t.match(long, /^09:05:07 x {4}\| note \{"text":"y+…\n$/)
  t.ok(long.length <= 61)
  t.end()
})

t.test('a transcript goes on below its own beginning, says the day, and paints what failed', (t) => {
  const time = new Date(2026, 0, 1, 9, 5, 7).getTime()
  const at = (env: NodeJS.ProcessEnv, columns: number) =>
    new Transcript(paletteFor(process.stdout, env), () => columns, time + 86_400_000)
  const narrow = at({ NO_COLOR: '1' }, 30)
  const output = (text: string) => ({
    type: 'process.output',
    time,
    worker: 'fix',
    data: { stream: 'stdout', text },
  })
  t.equal(
    narrow.show(output('one two three four five\n')),
    '── 2026-01-01\n09:05:07 fix | one two three \n             | four five\n',
  )
  // In pieces, as text comes that a model writes: the column is remembered.
  t.equal(narrow.show(output('0123456789 ')), '09:05:07 fix | 0123456789 ')
  t.equal(narrow.show(output('abcdef')), '\n             | abcdef')
  t.equal(narrow.show(output('ghi 漢字漢字\n')), 'ghi \n             | 漢字漢字\n')
  t.equal(
    narrow.show(output(`${'x'.repeat(20)}\n`)),
    `09:05:07 fix | ${'x'.repeat(15)}\n             | xxxxx\n`,
  )
  t.equal(narrow.show(output('tab\tab\n')), '09:05:07 fix | tab\tab\n')
  // Where hardly any room is left the terminal does it.
  const slim = at({ NO_COLOR: '1' }, 20)
  slim.show(output('first\n'))
  t.equal(slim.show(output('one two three\n')), '09:05:07 fix | one two three\n')

  const painted = at({ FORCE_COLOR: '1' }, 200)
  const red = (type: string, data: unknown) =>
    painted.show({ type, time, worker: '', data }).includes('\u001b[31m')
  t.ok(red('process.exited', { code: 3, durationMs: 1 }))
  t.ok(red('error', { message: 'no' }))
  t.ok(red('tool_call_completed', { tool_name: 'ls', is_error: true }))
  t.ok(red('worker.lost', {}))
  t.ok(red('note', { success: false }))
  t.ok(red('complete', { outcome: { code: 3 } }))
  t.notOk(red('complete', { outcome: { code: 0 } }))
  t.notOk(red('process.exited', { code: 130, cancelled: true, durationMs: 1 }))
  t.notOk(red('note', { success: true }))
  t.match(
    painted.show({ type: 'client_input_requested', time, worker: '', data: { prompt: 'go?' } }),
    '\u001b[33m',
  )
  t.end()
})

t.test('grep shows the lines that match, whatever pieces they come in, and other events whole', (t) => {
  const take = (grep: Grep, type: string, data: object, worker = 'w') =>
    grep.take({ type, time: 0, worker, data })?.data
  const text = new Grep('Timeout')
  t.same(take(text, 'process.output', { stream: 'stdout', text: 'ok\na TIMEOUT\nok\ntime' }), {
    stream: 'stdout',
    text: 'a TIMEOUT\n',
  })
  t.equal(take(text, 'process.output', { stream: 'stdout', text: 'out' }), undefined)
  // Of another stream, and so of another line.
  t.equal(take(text, 'process.output', { stream: 'stderr', text: 'time\n' }), undefined)
  t.same(take(text, 'process.output', { stream: 'stdout', text: ' again\n' }), {
    stream: 'stdout',
    text: 'timeout again\n',
  })
  t.equal(take(text, 'note', { why: 'none' }), undefined)
  t.same(take(text, 'note', { why: ['a timeout'] }), { why: ['a timeout'] })
  t.same(take(text, 'client_output_delta', { content: 'the end: timeout' }), undefined)
  t.same(
    text.end().map(({ data }) => data),
    [{ content: 'the end: timeout\n' }],
  )
  const expression = new Grep('/^error \\d+$/')
  t.same(
    take(expression, 'process.output', {
      stream: 'stdout',
      text: '\u001b[31merror 12\u001b[0m\r\nerror x\n',
    }),
    {
      stream: 'stdout',
      text: '\u001b[31merror 12\u001b[0m\r\n',
    },
  )
  const long = take(text, 'process.output', { stream: 'stdout', text: `${'x'.repeat(20_000)}timeout` })
  t.match(long, { text: /x+timeout$/ })
  // A pattern for those at the end of a line took a minute.
  const returns = '\r'.repeat(300_000)
  t.same(
    take(new Grep('/^x$/'), 'process.output', { stream: 'stdout', text: `${returns}y\nx${returns}\n` }),
    {
      stream: 'stdout',
      text: `x${returns}\n`,
    },
  )
  t.throws(() => grepOption('/(/'), /expected a regular expression of RE2/)
  t.end()
})

t.test('since is an age, a time or a cursor', (t) => {
  t.same(sinceOption('10m'), { kind: 'ago', ms: 600_000 })
  t.same(sinceOption('1h30m'), { kind: 'ago', ms: 5_400_000 })
  t.same(sinceOption('2026-01-31T10:00:00Z'), { kind: 'time', at: Date.UTC(2026, 0, 31, 10) })
  t.same(sinceOption('abc:12'), { kind: 'cursor', cursor: 'abc:12' })
  t.throws(() => sinceOption('2026-13-31T10:00:00Z'), /expected a cursor, an age/)
  t.end()
})

t.test('state', (t) => {
  const stateLines = (all = false, env: NodeJS.ProcessEnv = { NO_COLOR: '1' }) =>
    new StateLines(paletteFor(process.stdout, env), { columns: () => 60, all })
  const update = (offset: number, data: JsonValue, worker?: string) => ({
    offset: offset as Offset,
    data,
    ...(worker !== undefined && { worker }),
  })

  t.test('is shown as it is at first, what is long over several lines', (t) => {
    const lines = stateLines(true)
    const text = 'x'.repeat(50)
    t.same(
      lines.begin({ plan: { done: 0 }, 'workers/lint/files': { seen: ['a', 'b'], text, of: { text } } }),
      [
        { worker: '', lines: ['plan {"done":0}'] },
        {
          worker: 'lint',
          lines: [
            'files',
            '  seen: ["a","b"]',
            `  text: "${'x'.repeat(50)}"`,
            '  of:',
            `    text: "${'x'.repeat(48)}…`,
          ],
        },
      ],
    )
    const [long] = stateLines().begin({ list: Array.from({ length: 100 }, (_, n) => ({ n })) })
    t.equal(long?.lines.length, 42)
    t.equal(long?.lines.at(-1), '  … and 60 more lines')
    t.end()
  })

  t.test('is shown by what has changed: paths, old and new, added and removed', (t) => {
    const lines = stateLines()
    lines.begin({ plan: { goal: 'a', steps: ['x', 'y', 'z'], 'a/b': 1 } })
    t.same(
      lines.update(
        update(5, {
          slice: 'plan',
          base: 4,
          patch: [{ op: 'replace', path: '/a~1b', value: 2 }],
          cause: { type: 'why' },
        }),
      ),
      ['plan (why) ~ /a~1b 1 → 2'],
    )
    // A value in place of a patch is compared all the same; places in lists are those of the moment.
    t.same(
      lines.update(update(6, { slice: 'plan', base: 5, value: { steps: ['y', 'w', 'v'], 'a/b': null } })),
      [
        'plan',
        '  - /goal "a"',
        '  - /steps/0 "x"',
        '  ~ /steps/1 "z" → "w"',
        '  + /steps/2 "v"',
        '  ~ /a~1b 2 → null',
      ],
    )
    t.same(lines.update(update(7, { slice: 'new', base: 0, value: [1] })), ['new [1]'])
    t.same(lines.update(update(8, { slice: 'new', base: 7, removed: true })), ['new removed'])
    const list = Array.from({ length: 30 }, (_, n) => n)
    lines.update(update(9, { slice: 'list', base: 0, value: [] }))
    t.equal(
      lines.update(update(10, { slice: 'list', base: 9, value: list })).at(-1),
      '  … and 10 more changes',
    )
    t.end()
  })

  t.test('is painted: what is added green, what is removed red, what changes yellow', (t) => {
    const lines = stateLines(false, { FORCE_COLOR: '1' })
    lines.begin({ s: { a: 1, b: 2 } })
    const shown = lines.update(update(2, { slice: 's', base: 1, value: { a: 3, c: 4 } })).join('\n')
    t.match(shown, '\u001b[33m~ /a\u001b[39m \u001b[31m1\u001b[39m \u001b[2m→\u001b[22m \u001b[32m3')
    t.match(shown, '\u001b[31m- /b\u001b[39m \u001b[31m2')
    t.match(shown, '\u001b[32m+ /c\u001b[39m \u001b[32m4')
    t.end()
  })

  t.test('says once what came again, and only what is new after a cut', (t) => {
    const lines = stateLines()
    lines.begin({ s: { a: 1 }, gone: 1 })
    const change = update(3, { slice: 's', base: 2, patch: [{ op: 'replace', path: '/a', value: 2 }] })
    t.same(lines.update(change), ['s ~ /a 1 → 2'])
    t.same(lines.update(change), [])
    t.same(lines.begin({ s: { a: 3 } }), [{ worker: '', lines: ['s ~ /a 2 → 3', 'gone removed'] }])
    t.same(lines.begin({ s: { a: 3 } }), [])
    t.end()
  })

  t.test('of an unknown value is shown as the update says it, and of the hub’s own counts nothing', (t) => {
    const lines = stateLines()
    t.same(
      lines.update(update(3, { slice: 's', base: 2, patch: [{ op: 'replace', path: '/a', value: 2 }] })),
      ['s', '  ~ /a 2'],
    )
    lines.begin({ $workers: { lint: { status: 'running', events: 1 } } })
    const count = [{ op: 'replace', path: '/lint/events', value: 2 }]
    t.same(lines.update(update(4, { slice: '$workers', base: 3, patch: count })), [])
    t.end()
  })
  t.end()
})

t.test('reading on before a line has ended shows its beginning once', async (t) => {
  const clock = new SimulatedClock()
  const shown: string[] = []
  const ended = deferred()
  const child = startChild(
    { kind: 'shell', text: 'printf beginning; exec sleep 60' },
    { env: process.env, input: 'ignore', clock },
    {
      started: () => undefined,
      output: (_, texts) => shown.push(...texts),
      exited: () => ended.resolve(),
    },
  )
  try {
    await until('its output has come', () => clock.timers === 1)
    child.resume()
    t.equal(clock.timers, 1)
    clock.advance(5_000)
    t.same(shown, ['beginning'])
  } finally {
    child.signal('SIGKILL')
    await ended.promise
  }
  t.same(shown, ['beginning'])
})

t.test('a transcript shows what an agent says and does', async (t) => {
  const transcript = new Transcript(paletteFor(process.stdout, { NO_COLOR: '1' }), () => 100)
  const shown = (type: string, data: object): string =>
    transcript.show({ type, data, time: 0, worker: 'fix' }).replaceAll(/^\d\d:\d\d:\d\d /gm, '')
  t.equal(shown('client_output_delta', { content: 'I will ' }), 'fix | I will ')
  t.equal(shown('client_output_delta', { content: 'look.' }), 'look.')
  t.equal(
    shown('tool_call_started', { tool_name: 'ls', tool_input: { path: '/' } }),
    '\nfix | → ls {"path":"/"}\n',
  )
  const failed = { tool_name: 'ls', result: 'no\nsuch place', is_error: true }
  t.equal(shown('tool_call_completed', failed), 'fix | ← ls failed no such place\n')
  const turn = { model: 'm-1', input_tokens: 10, output_tokens: 5, cost_usd: 0.0123 }
  t.equal(shown('llm_turn_complete', turn), 'fix | m-1: 10 tokens in, 5 out, $0.0123\n')
  t.equal(shown('execution_failed', { error: 'no key' }), 'fix | failed: no key\n')
  t.equal(shown('execution_completed', {}), 'fix | completed\n')
  const notice = (offsets: string) =>
    `fix | a secret was taken out of ${offsets}: what is shown of these offsets above may still have it\n`
  t.equal(
    shown('redacted', {
      offsets: [
        [3, 3],
        [5, 9],
      ],
    }),
    notice('3, 5–9'),
  )
  const many = Array.from({ length: 11 }, (_, n) => [2 * n, 2 * n])
  t.equal(shown('redacted', { offsets: many }), notice('0, 2, 4, 6, 8, 10, 12, 14, 16, 18 and others'))
})
