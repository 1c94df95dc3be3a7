// What is refused on the wire is refused within the process too, in the same words.

import t from 'tap'
import type { LocalOptions } from '../../src/delivery/local.js'
import { createHub, type Hub } from '../../src/hub/hub.js'
import { systemClock } from '../../src/lib/clock.js'
import { systemRandom } from '../../src/lib/random.js'
import { MemoryLog } from '../../src/log/memory-log.js'
import { checkEvents, checkFrame } from '../../src/protocol/check.js'
import { ProtocolError } from '../../src/protocol/codes.js'
import type { GivenLimits } from '../../src/protocol/given-limits.js'
import { defaultLimits } from '../../src/protocol/limits.js'
import { setUp } from './hub-kit.js'

/** @returns the code and the text of the error that a call throws or rejects with */
async function refusalOf(call: () => unknown): Promise<string> {
  try {
    await call()
  } catch (error) {
    if (error instanceof ProtocolError) return `${error.code} ${error.message}`
    throw error
  }
  return 'taken'
}

/** One more than a filter may have. */
const sixtyFive: readonly string[] = Array.from({ length: 65 }, () => 'x')

/** What JavaScript lets a caller pass. */
const any = (value: unknown): never => value as never

t.test('subscribing within the process refuses what a frame may not have', async (t) => {
  const { hub } = setUp()
  hub.publish('sessions/s', [{ type: 'a' }])
  const wrong: Record<keyof Omit<LocalOptions, 'onGap'>, readonly unknown[]> = {
    types: [5, ['a b'], [5], sixtyFive],
    mode: ['loud', null],
    slices: [5, ['a b'], [5], sixtyFive],
    after: [5, 'x', 'e:-1'],
    replay: ['some', 5, null],
    last: [0, -1, 1.5, '3', 1_001],
    since: [-1, 'x'],
  }
  for (const [field, values] of Object.entries({ ...wrong, topic: [5, 'sessions/__proto__'] })) {
    for (const value of values) {
      const given = { topic: 'sessions/s', [field]: value }
      const onWire = await refusalOf(() => checkFrame({ type: 'subscribe', sub: 0, ...given }, hub.limits))
      const { topic, ...options } = given
      t.match(onWire, /^badFrame subscribe\./)
      t.equal(await refusalOf(() => hub.subscribe(topic, options)), onWire)
    }
  }
  for (const options of [{ bogus: 1 }, { type: 'a' }, { sub: 1 }, { topic: 'sessions/s' }]) {
    const [name] = Object.keys(options)
    const expected = `badFrame subscribe.${name}: expected no field but types, mode, slices, after, `
    t.ok((await refusalOf(() => hub.subscribe('sessions/s', any(options)))).startsWith(expected), expected)
  }
  const onGap = await refusalOf(() => hub.subscribe('sessions/s', any({ onGap: 5 })))
  t.equal(onGap, 'badFrame subscribe.onGap: expected a function, got 5')
  t.equal(hub.stats().connections, 0, 'nothing is left of what was refused')
  for (const options of [
    { last: 1 },
    { replay: 'all', mode: undefined },
    { after: 'e:0', since: 0 },
  ] as const)
    hub.subscribe('sessions/s', any(options)).close()
})

const longIds = ['__proto__', 'a b', 's'.repeat(129), '']

function refusedBy(hub: Hub): readonly (readonly [() => unknown, RegExp])[] {
  const submits = hub.isShared
  const end = (ending: unknown) =>
    submits ? hub.submitEnd('s', undefined, any(ending)) : hub.endSession('s', undefined, any(ending))
  const create = (changed: unknown) =>
    submits ? hub.submitSession('s', any(changed)) : hub.createSession('s', any(changed))
  const publish = (events: unknown) =>
    submits ? hub.submit('sessions/s', any(events)) : hub.publish('sessions/s', any(events))
  const change = (changed: object, options: object = {}) =>
    submits
      ? hub.submitState('sessions/s', 'a', any(changed), options)
      : hub.changeState('sessions/s', 'a', any(changed), options)
  const history = (query: object) => hub.history('sessions/s', query)
  const find = (query: object) => hub.findSessions({ limit: 10, ...query })
  return [
    [() => publish(5), /^badFrame events: expected a list of at most 10000 events, got 5$/],
    [
      () => end({ result: 'lost' }),
      /^badFrame result: expected one of succeeded, failed, cancelled, got "lost"$/,
    ],
    [() => end({ result: null }), /^badFrame result: /],
    [() => end({ reason: 5 }), /^badFrame reason: expected a text, got 5$/],
    [
      () => create({ mode: 'loud' }),
      /^badFrame mode: expected one of full, summary, control, silent, got "loud"$/,
    ],
    [() => create({ metadata: [] }), /^badFrame metadata: expected an object, got an array of 0$/],
    [() => create({ metadata: null }), /^badFrame metadata: expected an object, got null$/],
    [() => change({ patch: 5 }), /^badFrame patch: expected a list of operations, got 5$/],
    [() => change({ value: 1 }, { cause: null }), /^badFrame cause: expected a cause \{/],
    [() => change({ value: 1 }, { unless: {} }), /^badFrame unless: expected \{ changedSince: .*, got /],
    [() => change({ value: 1 }, { unless: 5 }), /^badFrame unless: .*got 5$/],
    [
      () => change({ value: 1 }, { couse: 1 }),
      /^badFrame options\.couse: expected no field but cause, unless, got 1$/,
    ],
    [
      () => change({}),
      /^badFrame change: expected one of value, patch, merge, or removed: true, got nothing$/,
    ],
    [() => change({ removed: false }), /^badFrame change: expected one of .*, got removed$/],
    [() => change({ value: 1, merge: {} }), /^badFrame change: expected one of .*, got value, merge$/],
    [
      () => change({ valeu: 1 }),
      /^badFrame change\.valeu: expected no field but value, patch, merge, removed, got 1$/,
    ],
    [() => end({ reasn: 'x' }), /^badFrame ending\.reasn: expected no field but .*result, reason, got "x"$/],
    [() => create({ lables: 1 }), /^badFrame changed\.lables: expected no field but mode, metadata, got 1$/],
    [() => create(5), /^badFrame changed: expected an object \{ mode\?, metadata\? \}, got 5$/],
    [
      () => hub.redact('s', any({ pattern: 'x' })),
      /^badFrame options\.pattern: expected no field but values, /,
    ],
    [
      () => hub.forkSession('s', any({ to: 'x' })),
      /^badFrame options\.to: expected no field but at, session, state, /,
    ],
    [
      () => history({ type: 'a' }),
      /^badFrame query\.type: expected no field but after, before, order, .*, got "a"$/,
    ],
    [() => history({ errors: 'yes' }), /^badFrame errors: expected true or false, got "yes"$/],
    [
      () => find({ label: 'a' }),
      /^badFrame query\.label: expected no field but after, limit, order, .*, got "a"$/,
    ],
    [() => find({ needs: 1 }), /^badFrame needs: expected true or false, got 1$/],
    [() => find({ labels: [5] }), /^badFrame labels: expected a list of labels, got an array of 1$/],
    [() => hub.state('sessions/s', any([5])), /^badFrame slices\[0\]: expected a name of a slice/],
    [() => hub.state('sessions/s', any('a')), /^badFrame slices: expected a list of at most 64 /],
    [() => hub.state('sessions/s', sixtyFive), /^badFrame slices: .* an array of 65$/],
    [() => history({ types: sixtyFive }), /^badFrame types: expected a list of at most 64 types/],
    [() => history({ limit: 1_001 }), /^badFrame limit: expected an integer from 1 to 1000, got 1001$/],
    [() => history({ order: 'up' }), /^badFrame order: expected one of asc, desc, got "up"$/],
    [() => history({ level: ['loud'] }), /^badFrame level: expected one of summary, delta, control/],
    [() => history({ q: 5 }), /^badFrame q: expected 1–256 characters, got 5$/],
    ...[0, -1, 1.5, 1_001, '5'].flatMap((limit) => [
      [
        () => hub.listSessions('', any(limit)),
        /^badFrame limit: expected an integer from 1 to 1000, got /,
      ] as const,
      [() => find({ limit }), /^badFrame limit: expected an integer from 1 to 1000, got /] as const,
    ]),
    [
      () => find({ order: 'up' }),
      /^badFrame order: expected one of id, attention, started, active, got "up"$/,
    ],
    [() => find({ status: ['up'] }), /^badFrame status: expected some of running, paused, ended, got "up"$/],
    [
      () => find({ status: 'ended' }),
      /^badFrame status: expected some of running, paused, ended, got "ended"$/,
    ],
    [
      () => find({ result: [5] }),
      /^badFrame result: expected some of succeeded, failed, cancelled, lost, got 5$/,
    ],
    [() => find({ labels: 'a' }), /^badFrame labels: expected a list of labels, got "a"$/],
    ...longIds.flatMap((id) =>
      [
        () => (submits ? hub.submitEnd(id) : hub.endSession(id)),
        () => hub.removeSession(id),
        () => hub.redact(id, { values: ['a secret value'] }),
        () => hub.forkSession(id),
      ].map((call) => [call, /^badFrame session: expected an id of 1–128 /] as const),
    ),
  ]
}

t.test('a hub refuses within the process what it refuses on the wire, with a log or without', async (t) => {
  const log = new MemoryLog(systemClock, systemRandom)
  for (const hub of [createHub(), createHub({ log: log.link() })]) {
    await hub.submitState('sessions/s', 'a', { value: { n: 1 } })
    await hub.catchUp('sessions/s')
    const before = hub.find('s')
    t.match(before, { status: 'running', offset: Number })
    for (const [call, expected] of refusedBy(hub)) t.match(await refusalOf(call), expected)
    await hub.catchUp('sessions/s')
    t.same(hub.find('s'), before, 'nothing has changed')
    await hub.closeStore()
  }
})

t.test('refuses limits that are none, and takes those of another hub', (t) => {
  const wrong: readonly (readonly [unknown, RegExp])[] = [
    [{ bogusMax: 1 }, /^limits\.bogusMax: unknown limit$/],
    [{ toString: 1 }, /^limits\.toString: unknown limit$/],
    [{ handshakeMs: 5 }, /^limits\.handshakeMs: this limit cannot be changed$/],
    [{ idLengthMax: 0 }, /^limits\.idLengthMax: expected a positive whole number, got 0$/],
    [{ idLengthMax: '5' }, /^limits\.idLengthMax: expected a positive whole number, got "5"$/],
    [{ idLengthMax: 1.5 }, /^limits\.idLengthMax: expected a positive whole number, got 1\.5$/],
    [{ idLengthMax: Number.NaN }, /^limits\.idLengthMax: expected a positive whole number, got NaN$/],
    [{ requestRateMax: 0 }, /^limits\.requestRateMax: expected a positive number, got 0$/],
    [{ stalledRepeats: -1 }, /^limits\.stalledRepeats: expected a positive whole number, or 0, got -1$/],
  ]
  for (const [limits, message] of wrong)
    t.throws(() => createHub({ limits: limits as GivenLimits }), { name: 'TypeError', message })
  const given = { stalledRepeats: 0, requestRateMax: 0.5, unkeptBytesMax: 7 }
  const { limits } = createHub({ limits: given })
  t.same(limits, { ...defaultLimits, stalledRepeats: 0, requestRateMax: 0.5, uncommittedBytesMax: 7 })
  t.same(createHub({ limits }).limits, limits, 'the fixed ones too')
  t.same(createHub({ limits: any({ idLengthMax: undefined }) }).limits, defaultLimits)
  t.end()
})

t.test('names the lengths that the limits say', async (t) => {
  const { hub } = setUp({ limits: { idLengthMax: 300 } })
  hub.setState('sessions/s', 'a'.repeat(300), 1)
  const refused = await refusalOf(() => hub.setState('sessions/s', 'a'.repeat(301), 1))
  t.match(
    refused,
    /^badFrame slice: expected a slice of 1–300 of A–Z a–z 0–9 \. _ : ~ \$ -, not beginning with \$/,
  )
})

t.test('the limits that a hub is given hold for whoever asks within the process', (t) => {
  const { hub } = setUp({
    limits: { idLengthMax: 3, typeLengthMax: 130 },
    catalog: { ['t'.repeat(130)]: { critical: true } },
  })
  const refused = { code: 'badFrame' } as const
  hub.publish('sessions/abc', [{ type: 't'.repeat(130) }])
  t.equal(hub.catalog.traitsOf('t'.repeat(130)).critical, true)
  t.throws(() => hub.publish('sessions/abc', [{ type: 't'.repeat(131) }]), refused)
  hub.session('abc').worker('w').publish({ type: 'a' })
  for (const id of ['abcd', '..', '__proto__', 'a/b', '']) {
    const topic = `sessions/${id}`
    t.throws(() => hub.session(id), refused, id)
    t.throws(() => hub.createSession(id), refused, id)
    t.throws(() => hub.session('abc').worker(id), refused, id)
    for (const name of [topic, `sessions/abc/workers/${id}`]) {
      t.throws(() => hub.publish(name, [{ type: 'a' }]), refused, name)
      t.throws(() => hub.subscribe(name), refused, name)
      t.throws(() => hub.setState(name, 'slice', 1), refused, name)
      t.throws(() => hub.state(name), refused, name)
      t.throws(() => hub.history(name), refused, name)
    }
  }
  t.throws(() => setUp({ limits: { typeLengthMax: 2 }, catalog: { abc: {} } }), {
    message: 'catalog: expected an event type (1–2 of A–Z a–z 0–9 . _ : -) or prefix*, got "abc"',
  })
  const { hub: wide } = setUp({ limits: { idLengthMax: 200 } })
  wide.publish(`sessions/${'s'.repeat(200)}`, [{ type: 'a' }])
  t.ok(wide.find('s'.repeat(200)))
  t.end()
})

t.test('what may be published to is the same on the wire and within the process', async (t) => {
  const { hub } = setUp({ limits: { publishEventsMax: 2 } })
  const events = [{ type: 'a' }]
  for (const topic of ['hub', 'sessions/s/**']) {
    const onWire = await refusalOf(() => checkFrame({ type: 'publish', topic, events }, hub.limits))
    t.equal(onWire, `badFrame publish.topic: expected sessions/{id}[/workers/{id}], got "${topic}"`)
    t.equal(await refusalOf(() => hub.publish(topic, events)), onWire)
    t.equal(await refusalOf(() => hub.submit(topic, events)), onWire)
    const set = { type: 'set', topic, slice: 'a', value: 1 }
    const setOnWire = await refusalOf(() => checkFrame(set, hub.limits))
    for (const call of [() => hub.setState(topic, 'a', 1), () => hub.submitState(topic, 'a', { value: 1 })])
      t.equal(await refusalOf(call), setOnWire.replace('set.topic', 'topic'))
  }
  const three = Array.from({ length: 3 }, () => ({ type: 'a' }))
  const tooMany = await refusalOf(() => checkEvents(three, hub.limits))
  t.equal(tooMany, 'badFrame events: expected a list of at most 2 events, got an array of 3')
  for (const call of [
    () => hub.publish('sessions/s', three),
    () => hub.submit('sessions/s', three),
    () => hub.session('s').publish(three),
    () => hub.session('s').worker('w').publish(three),
  ])
    t.equal(await refusalOf(call), tooMany)
  t.equal(hub.find('s'), undefined, 'nothing has begun')
  hub.session('s').publish(three.slice(1))
  t.match(hub.find('s'), { offset: 2 })
})

t.test('says where in an outcome the value is that is no JSON', (t) => {
  const { hub } = setUp()
  hub.publish('sessions/s', [{ type: 'a' }])
  const pointers: unknown[] = []
  for (const outcome of [{ list: [1, 5n] }, 5n]) {
    try {
      hub.endSession('s', any(outcome))
    } catch (error) {
      pointers.push(error instanceof ProtocolError && error.place.pointer)
    }
  }
  t.same(pointers, ['/list/1', undefined], 'the whole of it has none')
  t.end()
})

t.test('refuses options of a hub that there are not', (t) => {
  const wrong: readonly (readonly [unknown, RegExp])[] = [
    [{ limit: {} }, /^createHub\.limit: expected no field but clock, random, catalog, /],
    [{ masking: { modes: 'off' } }, /^masking\.modes: expected no field but mode, patterns, key$/],
    [{ masking: { mode: 'none' } }, /^masking\.mode: expected one of off, shapes, all, got "none"$/],
    [{ retention: { age: 1 } }, /^retention\.age: expected no field but ageMs, sessionEvents, /],
  ]
  for (const [options, message] of wrong)
    t.throws(() => createHub(any(options)), { name: 'TypeError', message })
  t.end()
})
