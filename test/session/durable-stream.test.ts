import t from 'tap'
import type { StreamChange } from '../../src/log/entries.js'
import type { Offset } from '../../src/protocol/cursor.js'
import {
  decide,
  expiryOf,
  isExpired,
  isTaken,
  producerIdleMs,
  streamForksMax,
  streamProducersMax,
  weightOf,
} from '../../src/session/durable-stream.js'
import type { StreamRecord } from '../../src/store/store.js'

const aStream: StreamRecord = { contentType: 'text/plain; charset=utf-8', lifetime: 7, tail: 3 as Offset }
const [now, isFree] = [1_000, { now: 1_000, isTaken: false }]
type Create = Extract<StreamChange, { kind: 'create' }>
type Append = Extract<StreamChange, { kind: 'append' }>

/** @returns why a request is refused, or the kind of its answer */
function answerTo(stream: StreamRecord | undefined, change: StreamChange, moment = isFree): string {
  const { outcome, next } = decide(stream, change, moment)
  if (outcome.kind === 'refused') {
    t.equal(next, undefined, 'what is refused changes nothing')
    return outcome.why
  }
  t.equal(next === undefined, outcome.kind === 'exists' || outcome.kind === 'repeated')
  return outcome.kind
}

t.test('a stream is created once, with its settings', async (t) => {
  const create: Create = { kind: 'create', contentType: 'text/plain', closes: false }
  t.same(decide(undefined, create, isFree), {
    outcome: { kind: 'created', stream: { contentType: 'text/plain', lifetime: now, tail: 0 } },
    next: { contentType: 'text/plain', lifetime: now, tail: 0 },
  })
  t.equal(answerTo(undefined, create, { now, isTaken: true }), 'taken')
  t.equal(answerTo({ ...aStream, isDeleted: true }, create), 'deleted')
  t.equal(answerTo(aStream, create), 'exists', 'parameters of the content type do not count')
  const fork = { source: 'other', offset: 3 as Offset, more: 0 }
  for (const [stream, more] of [
    [aStream, { contentType: 'application/json' }],
    [aStream, { ttlSeconds: 5 }],
    [aStream, { expiresAt: '2026-01-01T00:00:00Z' }],
    [aStream, { closes: true }],
    [{ ...aStream, closed: {} }, {}],
    [{ ...aStream, fork }, {}],
    [aStream, { fork: { ...fork, lifetime: 7, tail: 3 as Offset } }],
    [{ ...aStream, fork }, { fork: { ...fork, source: 'third', lifetime: 7, tail: 3 as Offset } }],
    [{ ...aStream, fork }, { fork: { ...fork, offset: 2 as Offset, lifetime: 7, tail: 3 as Offset } }],
    [{ ...aStream, fork }, { fork: { ...fork, more: 1, lifetime: 7, tail: 3 as Offset } }],
  ] as const)
    t.equal(answerTo(stream, { ...create, ...more }), 'different', JSON.stringify([stream, more]))
  const given = { ttlSeconds: 5, expiresAt: '2026-01-01T00:00:00Z', closes: true }
  const { outcome } = decide(undefined, { ...create, ...given }, isFree)
  t.match(outcome, { kind: 'created', closedNow: true })
  t.same(outcome.stream, {
    contentType: 'text/plain',
    lifetime: now,
    tail: 0,
    ttlSeconds: 5,
    touchedAt: now,
    expiresAt: '2026-01-01T00:00:00Z',
    closed: {},
  })
  const forked = decide(
    undefined,
    { ...create, fork: { ...fork, lifetime: 7, tail: 3 as Offset } },
    isFree,
  ).outcome
  t.same(forked.stream, { contentType: 'text/plain', lifetime: 7, tail: 3, fork })
})

t.test('nothing is done to a stream that is not there, or was deleted', async (t) => {
  const changes: readonly StreamChange[] = [
    { kind: 'append', closes: false },
    { kind: 'touch' },
    { kind: 'delete' },
    { kind: 'refer', fork: 'f' },
  ]
  for (const change of changes) {
    t.equal(answerTo(undefined, change), 'missing', change.kind)
    t.equal(answerTo({ ...aStream, isDeleted: true }, change), 'deleted', change.kind)
  }
  const release: StreamChange = { kind: 'release', fork: 'f' }
  t.equal(answerTo(undefined, release), 'missing')
  const deleted = { ...aStream, isDeleted: true, forks: ['f', 'g'] } as const
  t.same(decide(deleted, release, isFree).next, { ...deleted, forks: ['g'] })
  t.same(decide({ ...aStream, forks: ['f'] }, release, isFree).next, aStream)
  t.same(decide(aStream, { kind: 'delete' }, isFree).next, { ...aStream, isDeleted: true })
  t.same(decide(aStream, { kind: 'touch' }, isFree).next, aStream, 'it lasts for ever')
  t.match(decide({ ...aStream, ttlSeconds: 5, touchedAt: 1 }, { kind: 'touch' }, isFree).next, {
    touchedAt: now,
  })
})

t.test('a stream has a bounded number of forks, each once', async (t) => {
  const refer: StreamChange = { kind: 'refer', fork: 'f' }
  t.same(decide({ ...aStream, forks: ['f', 'g'] }, refer, isFree).next?.forks, ['g', 'f'])
  const forks = Array.from({ length: streamForksMax }, (_, n) => `f${n}`)
  t.equal(answerTo({ ...aStream, forks }, refer), 'forks')
  t.equal(answerTo({ ...aStream, forks: forks.slice(1) }, refer), 'changed')
  t.equal(answerTo({ ...aStream, forks: [...forks.slice(1), 'f'] }, refer), 'changed')
})

t.test('an append fits the stream, and follows the last one', async (t) => {
  const append: Append = { kind: 'append', contentType: 'Text/Plain', closes: false }
  t.same(decide(aStream, append, isFree), {
    outcome: { kind: 'appended', stream: aStream },
    next: aStream,
  })
  t.equal(answerTo(aStream, { ...append, contentType: 'text/html' }), 'contentType')
  t.same(decide(aStream, { ...append, seq: 'b' }, isFree).next, { ...aStream, seq: 'b' })
  const numbered = { ...aStream, seq: 'b' }
  for (const [seq, expected] of [
    ['a', 'seq'],
    ['b', 'seq'],
    ['ba', 'appended'],
    ['é', 'appended'],
  ] as const)
    t.equal(answerTo(numbered, { ...append, seq }), expected, seq)
  t.equal(answerTo(numbered, append), 'appended')
  t.same(decide(aStream, { ...append, closes: true }, isFree), {
    outcome: { kind: 'appended', stream: { ...aStream, closed: {} }, closedNow: true },
    next: { ...aStream, closed: {} },
  })
  t.match(decide({ ...aStream, ttlSeconds: 5, touchedAt: 1 }, append, isFree).next, { touchedAt: now })
})

t.test('to a closed stream nothing is appended, but what closed it may be repeated', async (t) => {
  const by = { id: 'p', epoch: 1, seq: 4 }
  const close: Append = { kind: 'append', closes: true }
  const [closed, closedBy] = [
    { ...aStream, closed: {} },
    { ...aStream, closed: { by } },
  ]
  for (const [stream, change, expected] of [
    [closed, close, 'repeated'],
    [closed, { ...close, contentType: 'text/plain' }, 'closed'],
    [closed, { ...close, closes: false }, 'closed'],
    [closed, { ...close, producer: by }, 'closed'],
    [closedBy, { ...close, producer: by }, 'repeated'],
    [closedBy, { ...close, closes: false, contentType: 'text/plain', producer: by }, 'repeated'],
    [closedBy, { ...close, producer: { ...by, id: 'q' } }, 'closed'],
    [closedBy, { ...close, producer: { ...by, epoch: 2 } }, 'closed'],
    [closedBy, { ...close, producer: { ...by, seq: 5 } }, 'closed'],
  ] as const)
    t.equal(answerTo(stream, change), expected, JSON.stringify([stream.closed, change]))
})

t.test('each request of a producer counts once and in order, of its newest epoch', async (t) => {
  const from = (epoch: number, seq: number, id = 'p'): Append => ({
    kind: 'append',
    closes: false,
    producer: { id, epoch, seq },
  })
  const known = { ...aStream, producers: [{ id: 'p', epoch: 2, seq: 4, at: 1 }] }
  t.same(decide(aStream, from(3, 0), isFree).next?.producers, [{ id: 'p', epoch: 3, seq: 0, at: now }])
  t.same(decide(known, from(2, 5), isFree).next?.producers, [{ id: 'p', epoch: 2, seq: 5, at: now }])
  t.same(decide(known, from(3, 0), isFree).next?.producers, [{ id: 'p', epoch: 3, seq: 0, at: now }])
  t.match(decide(aStream, from(3, 1), isFree).outcome, { why: 'gap', expected: 0, received: 1 })
  t.match(decide(known, from(2, 6), isFree).outcome, { why: 'gap', expected: 5, received: 6 })
  t.match(decide(known, from(1, 5), isFree).outcome, { why: 'fenced', epoch: 2 })
  t.equal(answerTo(known, from(3, 1)), 'epochStart')
  for (const seq of [4, 3]) {
    const { outcome } = decide(known, from(2, seq), isFree)
    t.match(outcome, { kind: 'repeated', producer: { id: 'p', epoch: 2, seq: 4 } })
  }
  const closing = decide(known, { ...from(2, 5), closes: true }, isFree)
  t.same(closing.next?.closed, { by: { id: 'p', epoch: 2, seq: 5 } })
  const many = Array.from({ length: streamProducersMax }, (_, n) => ({
    id: `p${n}`,
    epoch: 1,
    seq: 0,
    at: n,
  }))
  const full = { ...aStream, producers: many }
  t.equal(answerTo(full, from(1, 0, 'new')), 'producers')
  t.equal(answerTo(full, from(1, 1, 'p9')), 'appended', 'a known one needs no room')
  const later = { now: producerIdleMs, isTaken: false }
  t.same(decide(full, from(1, 0, 'new'), later).next?.producers, [
    ...many.slice(1),
    { id: 'new', epoch: 1, seq: 0, at: producerIdleMs },
  ])
  t.equal(answerTo(full, from(1, 0, 'new'), { ...later, now: producerIdleMs - 1 }), 'producers')
})

t.test('a stream expires after it was touched, or at its time, and weighs what it names', async (t) => {
  t.equal(expiryOf(aStream), undefined)
  t.equal(isExpired(aStream, Number.MAX_SAFE_INTEGER), false)
  t.equal(expiryOf({ ...aStream, ttlSeconds: 5, touchedAt: 100 }), 5_100)
  t.equal(isExpired({ ...aStream, ttlSeconds: 5, touchedAt: 100 }, 5_099), false)
  t.equal(isExpired({ ...aStream, ttlSeconds: 5, touchedAt: 100 }, 5_100), true)
  t.equal(expiryOf({ ...aStream, expiresAt: '1970-01-01T00:00:02Z' }), 2_000)
  const own = weightOf(aStream)
  t.equal(weightOf({ ...aStream, seq: 'abc' }) - own, 3)
  t.equal(
    weightOf({ ...aStream, forks: ['abcd'], producers: [{ id: 'p', epoch: 1, seq: 0, at: 0 }] }) - own,
    133,
  )
  const create: Create = { kind: 'create', contentType: 'text/plain', closes: false }
  const fork = { source: 'other', more: 0, lifetime: 7, tail: 3 as Offset }
  const [running, forkedFrom] = ['running', { session: 'other', at: 'e:3' }] as const
  for (const [session, change, expected] of [
    [{ stream: undefined, status: running, forkedFrom: undefined }, create, true],
    [{ stream: undefined, status: 'waiting', forkedFrom: undefined }, create, false],
    [{ stream: aStream, status: running, forkedFrom: undefined }, create, false],
    [{ stream: undefined, status: running, forkedFrom }, create, true],
    [{ stream: undefined, status: running, forkedFrom }, { ...create, fork }, false],
    [{ stream: undefined, status: running, forkedFrom: undefined }, { ...create, fork }, true],
    [{ stream: undefined, status: running, forkedFrom }, { kind: 'touch' }, true],
  ] as const)
    t.equal(isTaken(session, change), expected, JSON.stringify([session, change]))
})
