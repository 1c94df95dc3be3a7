import fc from 'fast-check'
import t from 'tap'
import {
  checkCause,
  checkEvent,
  checkEvents,
  checkFrame,
  checkId,
  checkPatch,
  checkSlice,
  checkTypes,
} from '../../src/protocol/check.js'
import { ProtocolError } from '../../src/protocol/codes.js'
import { defaultLimits } from '../../src/protocol/limits.js'
import { parseTopic } from '../../src/protocol/topic.js'

const limits = { ...defaultLimits, filterTypesMax: 3, publishEventsMax: 2, patchOperationsMax: 2 }
const topic = 'sessions/s'

function failure(check: () => unknown): ProtocolError {
  try {
    check()
  } catch (error) {
    if (error instanceof ProtocolError) return error
    throw error
  }
  throw new Error('expected a ProtocolError')
}

t.test('lets every well-formed frame through, unchanged', async (t) => {
  const frames = [
    { type: 'subscribe', sub: 1, topic },
    { type: 'subscribe', sub: -1, topic: 'hub', slices: ['*'] },
    {
      type: 'subscribe',
      sub: 1,
      topic: 'sessions/s/**',
      types: ['a', '!b*', '*'],
      mode: 'silent',
      replay: 'all',
    },
    {
      type: 'subscribe',
      sub: 1,
      topic: 'sessions/s/workers/w',
      slices: ['$session', 'plan*'],
      after: 'abc:12',
    },
    { type: 'subscribe', sub: 1, topic, replay: false, mode: undefined },
    { type: 'update', sub: 1, types: null, mode: 'full', slices: null },
    { type: 'unsubscribe', sub: 0 },
    {
      type: 'publish',
      ref: 'r',
      topic,
      events: [{ type: 'a' }, { type: 'b:c', data: null, id: '1', key: 'k', time: 0, force: true }],
    },
    {
      type: 'publish',
      topic,
      events: [{ type: 'a', trace: `00-${'1'.repeat(32)}-${'1'.repeat(16)}-00`, tracestate: 'a=b' }],
    },
    { type: 'publish', topic: 'sessions/s/workers/w', events: [] },
    {
      type: 'set',
      ref: 1,
      topic,
      slice: 'plan',
      value: null,
      cause: { type: 'plan/updated', id: 'x', payload: [] },
    },
    {
      type: 'patch',
      topic,
      slice: 'plan',
      patch: [
        { op: 'remove', path: '' },
        { op: 'move', from: '/a~1b', path: '/c', extra: 1 },
      ],
    },
    { type: 'merge', topic, slice: 'plan', merge: { a: null } },
    { type: 'authorize', token: 'x.y.z' },
    { type: 'ping' },
  ]
  for (const frame of frames) t.equal(checkFrame(frame, limits), frame, JSON.stringify(frame))
})

t.test('names the field, what was expected and what came', async (t) => {
  const long = 'x'.repeat(129)
  const subscribe = { type: 'subscribe', sub: 1, topic }
  const publish = { type: 'publish', topic, events: [{ type: 'a' }] }
  const patch = { type: 'patch', topic, slice: 'p', patch: [] }
  const cases: readonly [frame: unknown, message: string, pointer: string | undefined][] = [
    [undefined, 'frame: expected an object, got nothing', undefined],
    [null, 'frame: expected an object, got null', undefined],
    [[], 'frame: expected an object, got an array of 0', undefined],
    [{}, 'frame.type: expected one of subscribe, update,', '/type'],
    [{ type: 'subscirbe' }, 'got "subscirbe"', '/type'],
    [{ type: 'toString' }, 'got "toString"', '/type'],
    [{ type: 'subscribe', topic }, 'subscribe.sub: expected an integer, got nothing', '/sub'],
    [{ ...subscribe, sub: 1.5 }, 'subscribe.sub: expected an integer, got 1.5', '/sub'],
    [{ ...subscribe, sub: '1' }, 'subscribe.sub: expected an integer, got "1"', '/sub'],
    [
      { type: 'subscribe', sub: 1 },
      'subscribe.topic: expected sessions/{id}[/workers/{id}|/**] or hub, got nothing',
      '/topic',
    ],
    [{ ...subscribe, topic: 'session/s' }, 'subscribe.topic: expected sessions/{id}', '/topic'],
    [{ ...subscribe, topic: 'sessions/' }, 'subscribe.topic:', '/topic'],
    [{ ...subscribe, topic: 'sessions/a/b' }, 'subscribe.topic:', '/topic'],
    [{ ...subscribe, topic: 'sessions/a/**/b' }, 'subscribe.topic:', '/topic'],
    [{ ...subscribe, topic: 'sessions/*' }, 'subscribe.topic:', '/topic'],
    [{ ...subscribe, topic: 'sessions/a/workers/' }, 'subscribe.topic:', '/topic'],
    [{ ...subscribe, topic: 'sessions/a/workers/b/c' }, 'subscribe.topic:', '/topic'],
    [{ ...subscribe, topic: 'sessions/a\n' }, 'subscribe.topic:', '/topic'],
    [{ ...subscribe, topic: 'sessions/__proto__' }, 'subscribe.topic:', '/topic'],
    [{ ...subscribe, topic: `sessions/${long}` }, 'subscribe.topic:', '/topic'],
    [{ ...subscribe, types: 'a' }, 'subscribe.types: expected a list of at most 3 types, got "a"', '/types'],
    [{ ...subscribe, types: ['a', 'b', 'c', 'd'] }, 'got an array of 4', '/types'],
    [{ ...subscribe, types: null }, 'subscribe.types:', '/types'],
    [
      { ...subscribe, types: ['a', '*b'] },
      'subscribe.types[1]: expected a type, prefix*, or ! before either, got "*b"',
      '/types/1',
    ],
    [{ ...subscribe, types: ['!'] }, 'subscribe.types[0]:', '/types/0'],
    [
      { ...subscribe, mode: 'loud' },
      'subscribe.mode: expected one of full, summary, control, silent, got "loud"',
      '/mode',
    ],
    [{ ...subscribe, slices: ['a b'] }, 'subscribe.slices[0]:', '/slices/0'],
    [{ ...subscribe, after: 12 }, 'subscribe.after: expected a cursor <epoch>:<offset>, got 12', '/after'],
    [{ ...subscribe, after: 'abc' }, 'subscribe.after: expected a cursor', '/after'],
    [{ ...subscribe, replay: 'some' }, 'subscribe.replay: expected true, false or "all"', '/replay'],
    [
      { ...subscribe, typse: ['a'] },
      'subscribe.typse: expected no field but type, sub, topic, types, mode,',
      '/typse',
    ],
    [
      JSON.parse('{"type":"ping","__proto__":{}}'),
      'ping.__proto__: expected no field but type, ref',
      '/__proto__',
    ],
    [{ type: 'ping', 'a/b~c': 1 }, 'ping."a/b~c": expected no field', '/a~1b~0c'],
    [
      { type: 'ping', ref: {} },
      'ping.ref: expected a number, or a text of at most 256 characters, got a value of type object',
      '/ref',
    ],
    [
      { ...publish, topic: 'sessions/s/**' },
      'publish.topic: expected sessions/{id}[/workers/{id}], got',
      '/topic',
    ],
    [{ ...publish, topic: 'hub' }, 'publish.topic:', '/topic'],
    [{ ...publish, events: {} }, 'publish.events: expected a list of at most 2 events', '/events'],
    [{ ...publish, events: [{ type: 'a' }, {}, {}] }, 'got an array of 3', '/events'],
    [{ ...publish, events: [{ type: 'a' }, 'b'] }, 'publish.events[1]: expected an event', '/events/1'],
    [
      { ...publish, events: [{ data: 1 }] },
      'publish.events[0].type: expected a type of 1–128 of',
      '/events/0/type',
    ],
    [{ ...publish, events: [{ type: 'a b' }] }, 'publish.events[0].type:', '/events/0/type'],
    [{ ...publish, events: [{ type: long }] }, 'publish.events[0].type:', '/events/0/type'],
    [
      { ...publish, events: [{ type: 'a', id: '' }] },
      'publish.events[0].id: expected a text of 1–256',
      '/events/0/id',
    ],
    [{ ...publish, events: [{ type: 'a', key: 1 }] }, 'publish.events[0].key:', '/events/0/key'],
    [{ ...publish, events: [{ type: 'a', time: Number.NaN }] }, 'publish.events[0].time:', '/events/0/time'],
    [{ ...publish, events: [{ type: 'a', time: -1 }] }, 'publish.events[0].time:', '/events/0/time'],
    [{ ...publish, events: [{ type: 'a', trace: 1 }] }, 'expected a traceparent', '/events/0/trace'],
    [
      { ...publish, events: [{ type: 'a', tracestate: 'a' }] },
      'publish.events[0].tracestate: expected a tracestate key=value,…',
      '/events/0/tracestate',
    ],
    [
      { ...publish, events: [{ type: 'a', force: 1 }] },
      'publish.events[0].force: expected true or false, got 1',
      '/events/0/force',
    ],
    [
      { ...publish, events: [{ type: 'a', payload: 1 }] },
      'publish.events[0].payload: expected no field but type, data',
      '/events/0/payload',
    ],
    [{ type: 'set', topic, slice: 'p' }, 'set.value: expected a value, got nothing', '/value'],
    [{ type: 'set', topic, slice: '$session', value: 1 }, 'set.slice:', '/slice'],
    [{ type: 'set', topic, slice: '__proto__', value: 1 }, 'set.slice:', '/slice'],
    [{ type: 'set', topic, slice: 'p', value: 1, cause: 'x' }, 'set.cause: expected a cause', '/cause'],
    [
      { type: 'set', topic, slice: 'p', value: 1, cause: {} },
      'set.cause.type: expected a text',
      '/cause/type',
    ],
    [
      { ...patch, patch: [{ op: 'set', path: '' }] },
      'patch.patch[0].op: expected one of add, replace,',
      '/patch/0/op',
    ],
    [
      { ...patch, patch: [{ op: 'remove', path: 'a' }] },
      'patch.patch[0].path: expected a JSON pointer',
      '/patch/0/path',
    ],
    [{ ...patch, patch: [{ op: 'remove', path: '/a~2' }] }, 'patch.patch[0].path:', '/patch/0/path'],
    [
      { ...patch, patch: [{ op: 'add', path: '/a' }] },
      'patch.patch[0].value: expected any value, got nothing',
      '/patch/0/value',
    ],
    [{ ...patch, patch: [{ op: 'copy', path: '/a' }] }, 'patch.patch[0].from:', '/patch/0/from'],
    [{ ...patch, patch: [1] }, 'patch.patch[0]: expected an operation', '/patch/0'],
    [{ ...patch, patch: [1, 2, 3] }, 'patch.patch: expected a list of at most 2 operations', '/patch'],
    [{ type: 'authorize', token: 's'.repeat(9_000) }, 'authorize.token: expected a token', '/token'],
  ]
  for (const [frame, message, pointer] of cases) {
    const error = failure(() => checkFrame(frame, limits))
    t.match(error.message, message)
    t.equal(error.code, 'badFrame')
    t.equal(error.place.pointer, pointer)
  }
})

t.test('does not repeat a token in its message', async (t) => {
  t.notMatch(
    failure(() => checkFrame({ type: 'authorize', token: 's'.repeat(9_000) }, limits)).message,
    'sss',
  )
})

t.test('checks the parts that come by HTTP alone', async (t) => {
  const event = { type: 'a', data: { deep: [] } }
  t.equal(checkEvent(event, limits), event)
  t.match(
    failure(() => checkEvent({ type: 1 }, limits)),
    { message: /^event\.type: /, place: { pointer: '/type' } },
  )
  t.match(
    failure(() => checkEvents([event, { type: 1 }], limits)),
    {
      message: /^events\[1\]\.type: /,
      place: { pointer: '/1/type' },
    },
  )
  t.equal(checkId('a.b_c~d-e', limits, 'session'), 'a.b_c~d-e')
  t.match(failure(() => checkId('a/b', limits, 'session')).message, 'session: expected an id of 1–128')
  t.strictSame(parseTopic('sessions/a/**', 'topic', limits), { kind: 'all', session: 'a' })
  t.match(failure(() => checkTypes(['a', ''], limits, 'types')).message, 'types[1]: expected a type')
  t.equal(checkSlice('plan', limits, 'slice'), 'plan')
  t.match(failure(() => checkPatch({}, limits, 'patch')).message, 'patch: expected a list')
  t.match(
    failure(() => checkCause({ type: 'x', by: 1 }, limits, 'X-Cause')).message,
    'X-Cause.by: expected no field',
  )
})

t.test('throws nothing but a ProtocolError, whatever comes', async (t) => {
  const types = [
    'subscribe',
    'update',
    'unsubscribe',
    'publish',
    'set',
    'patch',
    'merge',
    'authorize',
    'ping',
  ]
  const names = [
    'sub',
    'topic',
    'types',
    'mode',
    'slices',
    'after',
    'replay',
    'ref',
    'events',
    'slice',
    'patch',
    'cause',
  ]
  const frame = fc
    .tuple(fc.constantFrom(...types), fc.dictionary(fc.constantFrom(...names), fc.jsonValue()))
    .map(([type, fields]) => ({ ...fields, type }))
  let seen = 0
  fc.assert(
    fc.property(fc.oneof(fc.jsonValue(), fc.anything(), frame), (value) => {
      seen += 1
      try {
        checkFrame(value, limits)
      } catch (error) {
        if (!(error instanceof ProtocolError)) throw error
        if (error.message.length > 600) throw new Error(`a message of ${error.message.length} characters`)
      }
    }),
    { numRuns: 2_000 },
  )
  t.equal(seen, 2_000)
})
