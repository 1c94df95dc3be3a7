// The parts of a session, each by itself.

import t from 'tap'
import { createCatalog } from '../../src/catalog/catalog.js'
import { defaultTraits, type Traits } from '../../src/catalog/traits.js'
import { Entry } from '../../src/history/entry.js'
import type { JsonValue } from '../../src/lib/json.js'
import type { Offset } from '../../src/protocol/cursor.js'
import type { HubEvent, NewEvent } from '../../src/protocol/frames.js'
import { Commands, receiptIn, sentCommand } from '../../src/session/commands.js'
import { hubEvent, keyOf } from '../../src/session/hub-event.js'
import { cutTo, windowOf } from '../../src/session/replayed.js'
import { isError, reasonText, turnOf, worst } from '../../src/session/result.js'
import { SessionLeases } from '../../src/session/session-leases.js'
import { type Heard, mayBeStuck, Stall } from '../../src/session/stall.js'
import { type Tracer, Tracing } from '../../src/session/tracing.js'
import { SimulatedClock } from '../kit/clock.js'

const event = (data: JsonValue, more: object = {}): HubEvent => ({
  offset: 1 as Offset,
  type: 'note',
  time: 10,
  data,
  ...more,
})

const entries = [1, 2, 3, 4, 5].map(
  (offset) => new Entry(event(null, { offset, time: offset * 10 }), defaultTraits, 1),
)
const offsets = (list: readonly Entry[]) => list.map(({ offset }) => offset)

t.test('a window is cut from what memory has, and what is left of it from what precedes', async (t) => {
  const cut = (window: Parameters<typeof cutTo>[0], list = entries) => {
    const { entries, isWhole, left } = cutTo(window, list)
    return [offsets(entries), isWhole, left]
  }
  t.strictSame(cut({ last: 2 }), [[4, 5], true, { last: -3 }])
  t.strictSame(cut({ last: 5 }), [[1, 2, 3, 4, 5], true, { last: 0 }])
  t.strictSame(cut({ last: 7 }), [[1, 2, 3, 4, 5], false, { last: 2 }])
  t.strictSame(cut({ since: 25 }), [[3, 4, 5], true, { since: 25 }])
  t.strictSame(cut({ since: 30 }), [[3, 4, 5], true, { since: 30 }], 'of that time or later')
  t.strictSame(cut({ since: 5 }), [[1, 2, 3, 4, 5], false, { since: 5 }], 'there may be more before')
  t.strictSame(cut({ since: 60 }), [[], true, { since: 60 }])
  t.strictSame(cut({ since: 60 }, []), [[], false, { since: 60 }])
  t.strictSame(cut({ since: 25, last: 2 }), [[4, 5], true, { since: 25, last: -1 }])
  const complete = new Entry(event(null, { offset: 6, time: 1 }), defaultTraits, 1, { everywhere: true })
  t.strictSame(
    cut({ since: 60 }, [...entries, complete]),
    [[6], true, { since: 60 }],
    'the end is always due',
  )
  t.equal(windowOf({}), undefined)
  t.strictSame(windowOf({ last: 3 }), { last: 3 })
  t.strictSame(windowOf({ since: 4 }), { since: 4 })
  t.strictSame(windowOf({ last: 3, since: 4 }), { last: 3, since: 4 })
})

const catalog = createCatalog()

t.test('an error is what its type, its data or its result says', async (t) => {
  const says = (type: string, data: JsonValue) => isError({ type, data }, catalog.traitsOf(type))
  t.ok(says('error', null))
  t.ok(says('note', { is_error: true }))
  t.notOk(says('note', { is_error: 'true' }))
  t.ok(says('note', { success: false }))
  t.notOk(says('note', { success: true }))
  t.notOk(says('note', null))
  t.ok(says('execution_failed', {}))
  t.notOk(says('execution_completed', {}))
  t.ok(says('process.exited', { code: 1 }))
})

t.test('every status that a runtime may say has its meaning', async (t) => {
  const statuses: readonly [status: JsonValue, means: string | undefined][] = [
    ['running', 'running'],
    ['started', 'running'],
    ['resumed', 'running'],
    ['in_progress', 'running'],
    ['paused', 'paused'],
    ['completed', 'succeeded'],
    ['complete', 'succeeded'],
    ['succeeded', 'succeeded'],
    ['success', 'succeeded'],
    ['finished', 'succeeded'],
    ['failed', 'failed'],
    ['failure', 'failed'],
    ['error', 'failed'],
    ['timeout', 'failed'],
    ['cancelled', 'cancelled'],
    ['canceled', 'cancelled'],
    ['aborted', 'cancelled'],
    ['stopped', 'cancelled'],
    ['toString', undefined],
    [3, undefined],
  ]
  for (const [status, means] of statuses) {
    const turn = turnOf({ ...defaultTraits, ends: 'byStatus' }, { status })
    t.equal(turn?.ending?.result ?? turn?.status, means, JSON.stringify(status))
  }
  const ended = (data: JsonValue) => turnOf({ ...defaultTraits, ends: 'failed' }, data)?.ending?.reason
  t.equal(ended({ reason: 'r', message: 'm' }), 'm')
  t.equal(ended({ error: { code: 'c', type: 't' } }), 'c')
  t.equal(ended({ error: { type: 't' } }), 't')
  t.equal(ended({ error: {}, code: 5 }), '5')
  t.equal(ended({ error: true }), undefined)
  const exited = (data: JsonValue) => turnOf({ ...defaultTraits, ends: 'byExit' }, data)?.ending
  t.strictSame(exited({ code: 'x' }), { result: 'failed', reason: 'exit ?' })
  t.strictSame(exited({ code: 0 }), { result: 'succeeded' })
  t.equal(turnOf(defaultTraits, {}), undefined)
  t.strictSame(turnOf({ ...defaultTraits, status: 'running' }, {}), { status: 'running' })
  t.equal(reasonText('  a \n\t b  '), 'a b')
})

t.test('failed is worse than lost, lost than cancelled, and of several alike the first counts', async (t) => {
  const ends = (...results: ('succeeded' | 'failed' | 'cancelled' | 'lost')[]) =>
    worst(results.map((result, id) => ({ result, id })))?.id
  t.equal(ends(), undefined)
  t.equal(ends('succeeded', 'cancelled'), 1)
  t.equal(ends('cancelled', 'lost', 'succeeded'), 1)
  t.equal(ends('lost', 'failed', 'failed'), 1)
  t.equal(ends('failed', 'lost'), 0)
})

const stallLimits = { stalledCallMs: 100, stalledSilenceMs: 1_000, stalledRepeats: 3 }

/** Finds out what it is stuck in, and marks it as such. */
function stuck(stall: Stall, silent: Heard | undefined) {
  const found = stall.stuckIn(silent, stallLimits, new SimulatedClock(0))
  stall.stall(found)
  return found
}

t.test('a call that stays open counts as stuck from when it began, until its result comes', async (t) => {
  const stall = new Stall()
  const clock = new SimulatedClock(0)
  t.equal(stall.leftMs(undefined, stallLimits, clock), undefined)
  clock.advance(10)
  stall.tool('call', { tool_use_id: 'a', tool_name: 'grep', x: 1 }, 10, clock.elapsed())
  clock.jump(1_000)
  clock.advance(10)
  stall.tool('call', { toolCallId: 'b', toolName: 'ls', x: 2 }, 20, clock.elapsed())
  const silent = { at: 5, elapsed: 5 }
  t.equal(stall.leftMs(undefined, stallLimits, clock), 90)
  t.equal(stall.leftMs(silent, { ...stallLimits, stalledSilenceMs: 50 }, clock), 35, 'what comes first')
  t.equal(stall.leftMs(silent, { ...stallLimits, stalledCallMs: 0 }, clock), 985)
  t.equal(
    stall.leftMs(silent, { stalledCallMs: 0, stalledSilenceMs: 0, stalledRepeats: 0 }, clock),
    undefined,
  )
  t.strictSame(stuck(stall, undefined), { since: 10, why: 'call', tool: 'grep' })
  t.strictSame(stall.stalled, { since: 10, why: 'call' })
  t.equal(stall.leftMs(undefined, stallLimits, clock), undefined, 'it is told once')
  stall.tool('result', { toolCallId: 'b' }, 30)
  t.notOk(stall.clears(), 'another call has ended')
  stall.tool('result', { tool_call_id: 'unknown' }, 30)
  t.notOk(stall.clears())
  stall.tool('result', { call_id: 'a' }, 30)
  t.ok(stall.clears())
  t.notOk(stall.clears())
  t.same([stall.calls, stall.stalled], [[], undefined])
})

t.test(
  'a result without an id ends the oldest call, and of too many calls the oldest is forgotten',
  async (t) => {
    const stall = new Stall()
    for (const at of [1, 2]) stall.tool('call', { tool: 't', at }, at)
    stall.tool('result', {}, 3)
    t.same(stall.calls, [{ id: '', tool: 't', since: 2 }])
    const named = new Stall()
    for (const id of ['a', 'b']) named.tool('call', { tool: 't', tool_use_id: id }, 1)
    named.tool('result', {}, 3)
    t.same(named.calls, [{ id: 'b', tool: 't', since: 1 }])
    for (let at = 3; at <= 102; at++) stall.tool('call', { at }, at)
    t.equal(stall.calls.length, 100)
    t.equal(stall.calls[0]?.since, 3)
    const long = new Stall()
    long.tool('call', { tool: 'x'.repeat(200), tool_use_id: '' }, 1)
    t.equal(long.calls[0]?.tool.length, 128)
  },
)

t.test('the same call in a row counts as stuck, whatever its id, until another one comes', async (t) => {
  const clock = new SimulatedClock(0)
  for (const input of ['x', 'x'.repeat(100)]) {
    const stall = new Stall()
    const call = (id: string, given: string, at: number) => {
      stall.tool('call', { tool_use_id: id, tool_name: 'grep', input: given }, at)
      stall.tool('result', { tool_use_id: id }, at)
    }
    call('1', `${input}a`, 1)
    for (const at of [2, 3]) call(`${at}`, input, at)
    t.equal(stall.leftMs(undefined, stallLimits, clock), undefined, 'twice is not yet')
    call('4', input, 4)
    t.equal(stall.leftMs(undefined, stallLimits, clock), 0)
    t.equal(stall.leftMs(undefined, { ...stallLimits, stalledRepeats: 0 }, clock), undefined)
    t.strictSame(stuck(stall, undefined), { since: 2, why: 'repeat', tool: 'grep' })
    t.notOk(stall.clears())
    call('5', input, 5)
    t.notOk(stall.clears(), 'once more')
    call('6', `${input}b`, 6)
    t.ok(stall.clears())
  }
})

t.test('silence under a lease counts as stuck until anything comes, and an end clears all', async (t) => {
  const stall = new Stall()
  const clock = new SimulatedClock(10)
  const silent = { at: 7, elapsed: 7 }
  t.equal(stall.leftMs(silent, stallLimits, clock), 997)
  t.strictSame(stuck(stall, silent), { since: 7, why: 'silence' })
  t.ok(stall.clears())
  t.notOk(stall.clear())
  stall.tool('call', {}, 1)
  stuck(stall, undefined)
  t.ok(stall.clear())
  t.same(
    [stall.calls, stall.stalled, stall.leftMs(undefined, stallLimits, clock)],
    [[], undefined, undefined],
  )
  stall.restore([{ id: 'a', tool: 't', since: 4 }], { since: 4, why: 'call' })
  t.same([stall.calls, stall.stalled], [[{ id: 'a', tool: 't', since: 4 }], { since: 4, why: 'call' }])
  t.notOk(stall.clears())
  t.notOk(mayBeStuck({ status: 'ended', startedAt: 1 }))
  t.notOk(mayBeStuck({ status: 'running' }))
  t.ok(mayBeStuck({ status: 'paused', startedAt: 1 }))
})

const sent = (offset: number, more: object = {}) =>
  sentCommand(
    { type: 'command.cancel', data: { ttlMs: 100, ...more } },
    { offset: offset as Offset, now: 10, ttlMs: 1_000, delivered: false },
  )

t.test('a command says what it is, and how long it waits', async (t) => {
  t.strictSame(sent(3, { reason: 'r' }), {
    offset: 3 as Offset,
    type: 'command.cancel',
    state: 'queued',
    time: 10,
    expiresAt: 110,
    text: 'r',
  })
  const one = sentCommand(
    { type: 'x', id: 'i', data: { text: '', reason: 'y'.repeat(300), ttlMs: '5' } },
    { offset: 4 as Offset, now: 10, ttlMs: 1_000, delivered: true },
  )
  t.match(one, { id: 'i', state: 'delivered', expiresAt: 1_010, text: `${'y'.repeat(199)}…` })
  t.notOk(
    'text' in
      sentCommand(
        { type: 'x', data: { text: 5 } },
        { offset: 4 as Offset, now: 1, ttlMs: 1, delivered: true },
      ),
  )
  t.strictSame(receiptIn({ offset: 3, state: 'refused', reason: 'no' }), {
    offset: 3 as Offset,
    state: 'refused',
    reason: 'no',
  })
  t.strictSame(receiptIn({ offset: 3, state: 'applied', reason: 5 }), {
    offset: 3 as Offset,
    state: 'applied',
  })
})

t.test('commands are delivered once, end once, and the last ones that ended are shown', async (t) => {
  const commands = new Commands()
  t.equal(commands.dueAt, undefined)
  for (const offset of [1, 2, 3]) commands.add({ ...sent(offset), expiresAt: 200 - offset })
  t.equal(commands.dueAt, 197)
  t.equal(
    commands.deliver(1 as Offset, (type) => type === 'command.cancel'),
    2,
    'of those after a position',
  )
  t.equal(
    commands.deliver(1 as Offset, () => true),
    0,
  )
  t.equal(
    commands.deliver(0 as Offset, () => false),
    0,
  )
  t.same(
    [...commands.open].map(({ state }) => state),
    ['queued', 'delivered', 'delivered'],
  )
  t.equal(commands.done({ offset: 9 as Offset, state: 'applied' }, 10 as Offset, 50), undefined)
  const done = commands.done(
    { offset: 2 as Offset, state: 'refused', reason: 'z'.repeat(300) },
    10 as Offset,
    50,
  )
  t.match(done, { state: 'refused', doneAt: 50, doneOffset: 10, reason: `${'z'.repeat(199)}…` })
  t.equal(
    commands.done({ offset: 2 as Offset, state: 'applied' }, 11 as Offset, 60),
    undefined,
    'the first word counts',
  )
  t.same([commands.size, commands.isOpen(2 as Offset), commands.isOpen(3 as Offset)], [2, false, true])
  t.same([commands.doneAt(2 as Offset), commands.doneAt(3 as Offset)], [10, undefined])
  const slice = commands.slice() as Record<string, object>
  t.same(Object.keys(slice), ['1', '2', '3'])
  t.notOk('doneOffset' in (slice['2'] ?? {}))
  t.notOk('offset' in (slice['2'] ?? {}))
  const again = new Commands()
  again.restore(commands.record())
  t.same([again.slice(), again.size, again.doneAt(2 as Offset)], [commands.slice(), 2, 10])
  for (let offset = 20; offset < 50; offset++) {
    again.add(sent(offset))
    again.done({ offset: offset as Offset, state: 'applied' }, (offset + 100) as Offset, 70)
  }
  t.equal(Object.keys(again.slice()).length, 20 + 2)
})

const trace = (n: number) => `00-${`${n}`.padStart(32, '0')}-${'1'.padStart(16, '0')}-01`
const traced = (n: number): NewEvent => ({ type: 'note', data: null, trace: trace(n) })

t.test(
  'a span belongs to the trace of its events, and commit and flush to the publishes they are about',
  async (t) => {
    const spans: object[] = []
    let contexts = 100
    const tracer: Tracer = {
      start(name, from) {
        const context = { trace: trace(contexts++) }
        return {
          context,
          end: (figures, error) => spans.push({ name, from, figures, ...(error !== undefined && { error }) }),
        }
      },
    }
    const tracing = new Tracing(tracer)
    t.equal(tracing.begin('flush'), undefined, 'nothing was published')
    const figures = tracing.publish('sessions/s', [traced(1), traced(1), { type: 'x' }, traced(2)], () => ({
      events: 4,
    }))
    t.same(figures, { events: 4 })
    t.strictSame(spans.shift(), {
      name: 'runcast.publish',
      from: { parent: { trace: trace(1) }, links: [{ trace: trace(2) }] },
      figures: { topic: 'sessions/s', events: 4 },
    })
    tracing.begin('flush')?.end({})
    t.strictSame(spans.shift(), {
      name: 'runcast.flush',
      from: { parent: { trace: trace(100) }, links: [] },
      figures: {},
    })
    t.equal(tracing.begin('flush'), undefined)
    tracing.publish('sessions/s', [], () => ({}))
    t.match(spans.shift(), { from: { links: [] } })
    tracing.begin('commit')?.end({ n: 1 })
    t.match(spans.shift(), {
      name: 'runcast.commit',
      from: { links: [{ trace: trace(100) }, { trace: trace(102) }] },
    })
    const wrong = new Error('no')
    t.throws(
      () =>
        tracing.publish('sessions/s', [], () => {
          throw wrong
        }),
      wrong,
    )
    t.match(spans.shift(), { name: 'runcast.publish', figures: { topic: 'sessions/s' }, error: wrong })
    tracing.begin('flush')?.end({})
    t.match(spans.shift(), { from: { parent: { trace: trace(102) } } }, 'one that failed leads to nothing')
    for (let n = 0; n < 200; n++) tracing.publish('sessions/s', [], () => ({}))
    spans.length = 0
    tracing.begin('commit')?.end({})
    t.equal((spans[0] as { from: { links: unknown[] } }).from.links.length, 128)
    tracing.publish(
      'sessions/s',
      Array.from({ length: 200 }, (_, n) => traced(n + 1)),
      () => ({}),
    )
    t.equal((spans[1] as { from: { links: unknown[] } }).from.links.length, 127)
  },
)

t.test('an event has what its producer gave, and its key from its data', async (t) => {
  const facts = (traits: Traits) => ({ traits, bytes: 1, now: 9 })
  t.strictSame(hubEvent({ type: 'a' }, 3 as Offset, undefined, facts(defaultTraits)), {
    offset: 3 as Offset,
    type: 'a',
    time: 9,
    data: null,
  })
  const full: NewEvent = {
    type: 'a',
    time: 5,
    data: { k: 1 },
    id: 'i',
    trace: trace(1),
    tracestate: 'a=b',
    attempt: { step: 's', number: 0 },
  }
  t.strictSame(hubEvent(full, 3 as Offset, 'w', facts({ ...defaultTraits, key: 'k' })), {
    offset: 3 as Offset,
    ...full,
    time: 5,
    data: { k: 1 },
    worker: 'w',
    key: '1',
  })
  t.notOk(
    'tracestate' in hubEvent({ type: 'a', tracestate: 'a=b' }, 1 as Offset, undefined, facts(defaultTraits)),
  )
  const keyed = { ...defaultTraits, key: 'k' }
  t.equal(keyOf({ type: 'a', key: 'own', data: { k: 'x' } }, keyed), 'own')
  t.equal(keyOf({ type: 'a', data: { k: 'x' } }, keyed), 'x')
  t.equal(keyOf({ type: 'a', data: { k: true } }, keyed), undefined)
  t.equal(keyOf({ type: 'a', data: 'k' }, keyed), undefined)
  t.equal(keyOf({ type: 'a', data: { k: 'x' } }, defaultTraits), undefined)
})

t.test('leases are kept by worker, and say whether they have changed', async (t) => {
  const leases = new SessionLeases(new SimulatedClock(), false)
  t.equal(leases.record(), undefined)
  t.notOk(leases.set('w', 0))
  t.ok(leases.set('w', 5))
  t.notOk(leases.set('w', 5))
  t.ok(leases.set(undefined, 7))
  t.same([leases.of('w'), leases.of(undefined), leases.of('v')], [5, 7, 0])
  t.strictSame(leases.record(), { leases: { w: 5, '': 7 } })
  const again = new SessionLeases(new SimulatedClock(), false)
  again.restore(leases.record() ?? {})
  again.restore({})
  t.same([again.of('w'), again.of(undefined)], [5, 7])
  t.ok(again.set('w', 0))
  t.ok(again.set(undefined, 0))
  t.equal(again.record(), undefined)
  leases.clear()
  t.same([leases.of('w'), leases.record()], [0, undefined])
})
