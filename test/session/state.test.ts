import t, { type Test } from 'tap'
import type { Chunk, Codec } from '../../src/codec/codec.js'
import type { Connection } from '../../src/delivery/connection.js'
import type { Link } from '../../src/delivery/link.js'
import { createHub, type Hub } from '../../src/hub/hub.js'
import type { HubOptions } from '../../src/hub/hub-options.js'
import { type JsonValue, sameJson } from '../../src/lib/json.js'
import { ProtocolError } from '../../src/protocol/codes.js'
import { formatCursor } from '../../src/protocol/cursor.js'
import type { HubFrame, Subscribe } from '../../src/protocol/frames.js'
import { emptyMirror, StateMirror } from '../../src/state/mirror.js'
import { memoryStore } from '../../src/store/memory.js'
import { SimulatedClock } from '../kit/clock.js'

/** A link that keeps what it gets; it can be told to have no room. */
class Watcher implements Link {
  readonly waiting = 0
  readonly codec: Codec
  readonly frames: HubFrame[] = []
  mirror = emptyMirror
  full = false
  misfits = 0
  readonly connection: Connection
  readonly #decode: (chunk: Chunk) => HubFrame

  constructor(hub: Hub, codec: 'object' | 'json' | 'msgpack') {
    this.codec = hub.codecs[codec]
    this.#decode = (chunk) => {
      if (!(chunk instanceof Uint8Array)) return chunk
      const decoded = codec === 'json' ? hub.codecs.json.decode(chunk) : hub.codecs.msgpack.decode(chunk)
      return decoded as unknown as HubFrame
    }
    this.connection = hub.connect(this)
  }

  subscribe(topic: string, more: Partial<Subscribe> = {}): this {
    this.connection.receive({ type: 'subscribe', sub: 1, topic, ...more })
    return this
  }

  write(chunk: Chunk): boolean {
    const frame = this.#decode(chunk)
    this.frames.push(frame)
    if ('slices' in frame && frame.slices !== undefined && 'offset' in frame) {
      this.mirror = StateMirror.of(frame.slices, frame.offset)
    }
    if (frame.type === 'events' && frame.after !== undefined) {
      for (const event of frame.events) {
        if (event.type !== 'state.update') continue
        const applied = this.mirror.apply(event)
        if (applied.kind === 'applied') this.mirror = applied.mirror
        else this.misfits++
      }
    }
    return !this.full
  }

  get updates(): JsonValue[] {
    return this.frames.flatMap((frame) =>
      frame.type === 'events'
        ? frame.events.filter(({ type }) => type === 'state.update').map(({ data }) => data)
        : [],
    )
  }

  cork(writes: () => void): void {
    writes()
  }

  end(): void {}
  close(): void {}
}

function aHub(options: HubOptions = {}) {
  const clock = new SimulatedClock()
  const hub = createHub({ clock, ...options })
  return { hub, turn: () => clock.advance(0) }
}

function refused(task: () => unknown) {
  try {
    task()
  } catch (error) {
    if (error instanceof ProtocolError) return { code: error.code, message: error.message }
    throw error
  }
  throw new Error('expected a refusal')
}

const long = 'a text that is long enough for a patch to be smaller than the value it leads to'

t.test(
  'a change is compared once and encoded once per codec, whatever the number of subscribers',
  async (t) => {
    const { hub, turn } = aHub()
    const session = hub.session('s')
    session.setState('plan', { long, step: -1, list: [] as JsonValue[] })
    turn()
    const before = hub.stats()
    const watchers = Array.from({ length: 50 }, (_, index) => {
      const watcher = new Watcher(hub, index % 2 === 0 ? 'json' : 'msgpack')
      // Half of them want no events at all: types and slices do not touch each other.
      return watcher.subscribe('sessions/s', { slices: ['pl*'], ...(index % 3 === 0 && { types: ['none'] }) })
    })
    const list: JsonValue[] = []
    for (let step = 0; step < 150; step++) {
      list.push({ step })
      session.setState('plan', { long, step, list: [...list] }, { type: 'stepped', id: String(step) })
      turn()
      const expected = { plan: { long, step, list } }
      if (!watchers.every(({ mirror }) => sameJson(mirror.slices, expected)))
        t.fail(`they differ at step ${step}`)
    }
    const after = hub.stats()
    t.equal(after.state.comparisons - before.state.comparisons, 150)
    t.equal(after.state.patches, 150)
    t.ok(
      after.encodings.get('json') === 150 && after.encodings.get('msgpack') === 150,
      'one encoding per codec',
    )
    t.ok(watchers.every(({ misfits }) => misfits === 0))
    t.match(watchers[0]?.updates[3], { slice: 'plan', cause: { type: 'stepped', id: '3' }, base: 4 })
  },
)

t.test('who stalls during 10,000 changes of five slices catches up with five updates', async (t) => {
  const { hub, turn } = aHub()
  const session = hub.session('s')
  const watcher = new Watcher(hub, 'object').subscribe('sessions/s', { slices: ['*'] })
  watcher.full = true
  session.setState('s0', { long, n: -1 })
  turn()
  const had = watcher.updates.length
  for (let n = 0; n < 10_000; n++) {
    session.setState(`s${n % 5}`, { long, n })
    if (n % 100 === 0) turn()
  }
  turn()
  t.equal(watcher.updates.length, had)
  watcher.full = false
  watcher.connection.drained()
  turn()
  t.same(
    watcher.updates.slice(had),
    [0, 1, 2, 3, 4].map((n) => ({ slice: `s${n}`, base: 0, value: { long, n: 9_995 + n } })),
  )
  session.setState('s0', { long, n: 0 })
  turn()
  t.match(watcher.updates.at(-1), { slice: 's0', patch: [{ op: 'replace', path: '/n', value: 0 }] })
  t.equal(watcher.misfits, 0)
  const { $session: _, $workers: __, ...slices } = watcher.mirror.slices
  t.same(
    slices,
    Object.fromEntries([0, 1, 2, 3, 4].map((n) => [`s${n}`, { long, n: n === 0 ? 0 : 9_995 + n }])),
  )
})

t.test(
  'a join begins with a snapshot, a resume with what has changed, another epoch with both',
  async (t) => {
    const { hub, turn } = aHub()
    const session = hub.session('s')
    session.setState('a', 1)
    session.setState('b', { long, n: 1 })
    session.publish({ type: 'note' })
    const first = new Watcher(hub, 'object').subscribe('sessions/s', { slices: ['a', 'b'] })
    t.match(first.frames[1], { type: 'subscribed', offset: 3, slices: { a: 1, b: { n: 1 } } })
    t.same(first.updates, [])
    const epoch = hub.find('s')?.epoch as string

    session.setState('b', { long, n: 2 })
    session.removeState('a')
    turn()
    const resumed = new Watcher(hub, 'object')
    resumed.subscribe('sessions/s', { slices: ['*'], after: `${epoch}:2` })
    const frame = resumed.frames[1]
    t.match(frame, { type: 'subscribed', resumed: true })
    t.notOk(frame !== undefined && 'slices' in frame, 'a resume has no snapshot')
    t.same(resumed.updates.slice(0, 2), [
      { slice: 'b', base: 0, value: { long, n: 2 } },
      { slice: 'a', base: 0, removed: true },
    ])
    const other = new Watcher(hub, 'object').subscribe('sessions/s', { slices: ['b'], after: 'other:9' })
    t.match(other.frames[1], { resumed: false, gap: { reason: 'epoch' }, slices: { b: { n: 2 } } })
    t.same(other.mirror.slices, { b: { long, n: 2 } })
  },
)

t.test('slices can be chosen live, and a silent subscription begins again with a snapshot', async (t) => {
  const { hub, turn } = aHub()
  const session = hub.session('s')
  session.setState('a', 1)
  const watcher = new Watcher(hub, 'object').subscribe('sessions/s')
  t.notOk('slices' in (watcher.frames[1] as object), 'no state unless it is asked for')
  watcher.connection.receive({ type: 'update', sub: 1, slices: ['a'] })
  t.same(watcher.mirror.slices, { a: 1 })
  watcher.connection.receive({ type: 'update', sub: 1, mode: 'silent' })
  session.setState('a', 2)
  turn()
  t.same(watcher.mirror.slices, { a: 1 })
  watcher.connection.receive({ type: 'update', sub: 1, mode: 'control' })
  t.same(watcher.mirror.slices, { a: 2 })
  session.setState('a', 3)
  turn()
  t.same(watcher.mirror.slices, { a: 3 }, 'in every mode but silent')
})

t.test('the whole session shows the workers’ slices by worker, and a worker’s topic its own', async (t) => {
  const { hub, turn } = aHub()
  const session = hub.session('s')
  session.setState('plan', 0)
  const all = new Watcher(hub, 'object').subscribe('sessions/s/**', { slices: ['plan'] })
  const own = new Watcher(hub, 'object').subscribe('sessions/s', { slices: ['plan'] })
  const lint = new Watcher(hub, 'object').subscribe('sessions/s/workers/lint', { slices: ['plan'] })
  session.worker('lint').setState('plan', 1)
  turn()
  t.same(own.mirror.slices, { plan: 0 })
  t.same(lint.mirror.slices, { plan: 1 })
  t.match(all.frames.at(-1), { events: [{ worker: 'lint', data: { slice: 'plan', value: 1 } }] })
  t.same(hub.state('sessions/s/**', ['plan']).slices, { plan: 0, 'workers/lint/plan': 1 })
})

t.test(
  'names that begin with $ only come when they are named or with *, and expose narrows both',
  async (t) => {
    const { hub } = aHub({ expose: (slice, topic) => slice !== 'secret' && topic !== 'sessions/hidden' })
    for (const id of ['s', 'hidden']) {
      hub.session(id).setState('plan', 1)
      hub.session(id).setState('secret', 1)
    }
    const names = (...slices: string[]) => Object.keys(hub.state('sessions/s', slices).slices).sort()
    t.same(names('*'), ['$session', '$workers', 'plan'])
    t.same(names('$session'), ['$session'])
    t.same(names('$*'), ['$session', '$workers'])
    t.same(names('s*', 'p*'), ['plan'])
    t.same(hub.state('sessions/hidden').slices, {})
  },
)

t.test('the hub keeps $session, $workers and the list of sessions, once a flush', async (t) => {
  const { hub, turn } = aHub()
  const session = hub.session('s')
  const watcher = new Watcher(hub, 'object').subscribe('sessions/s', { slices: ['*'] })
  const dashboard = new Watcher(hub, 'object').subscribe('hub', { slices: ['sessions'] })
  session.worker('w').publish(Array.from({ length: 100 }, () => ({ type: 'note' })))
  session.worker('w').publish({ type: 'process.exited' })
  session.publish({ type: 'execution_paused' })
  turn()
  t.match(watcher.mirror.slices, {
    $session: { status: 'paused', startedAt: Number },
    $workers: { w: { status: 'ended', events: 101, startedAt: Number, endedAt: Number } },
  })
  t.equal(watcher.updates.length, 2)
  t.match(dashboard.mirror.slices, { sessions: { s: { status: 'paused', workers: 1 } } })
  session.end('done')
  turn()
  t.match(watcher.mirror.slices, { $session: { status: 'ended', outcome: 'done', endedAt: Number } })
  const last = watcher.frames.flatMap((frame) => (frame.type === 'events' ? frame.events : [])).at(-1)
  t.match(last, { type: 'complete' }, 'before the event that ends the session')
  t.match(dashboard.mirror.slices, { sessions: { s: { status: 'ended' } } })
  void hub.removeSession('s')
  turn()
  t.same(dashboard.mirror.slices, { sessions: {} })
  t.equal(dashboard.misfits + watcher.misfits, 0)
  t.equal(hub.stats().state.comparisons, 0, 'nobody’s changes but the hub’s own')
})

t.test('a wrong change is refused and changes nothing', async (t) => {
  const { hub, turn } = aHub({ limits: { sliceBytesMax: 100 } })
  const cases: [() => unknown, string, RegExp][] = [
    [() => hub.setState('hub', 'sessions', {}), 'badFrame', /expected sessions\/{id}\[/],
    [() => hub.setState('sessions/s/**', 'a', 1), 'badFrame', /expected sessions\/{id}\[/],
    [() => hub.setState('sessions/s', '$session', 1), 'badFrame', /not beginning with \$/],
    [() => hub.setState('sessions/s', '__proto__', 1), 'badFrame', /slice/],
    [() => hub.setState('sessions/s', 'a', 'x'.repeat(100)), 'frameTooLarge', /100 bytes/],
    [() => hub.setState('sessions/s', 'a', { n: Number.NaN }), 'badFrame', /finite/],
    [() => hub.patchState('sessions/s', 'a', []), 'notFound', /no slice a/],
    [
      () => hub.setState('sessions/s', 'a', 1, { unless: { absent: true } }),
      'preconditionFailed',
      /no slice a/,
    ],
  ]
  for (const [task, code, message] of cases) t.match(refused(task), { code, message })
  t.equal(hub.find('s'), undefined, 'a session does not begin with what was refused')
  t.equal(hub.stats().sessions, 0)

  hub.setState('sessions/s', 'a', { n: 1 })
  const { epoch, offset, version } = hub.state('sessions/s', ['a'])
  t.same([offset, version], [1, 1])
  hub.session('s').publish({ type: 'note' })
  const changedSince = { epoch, offset: version }
  t.match(hub.setState('sessions/s', 'a', { n: 2 }, { unless: { changedSince } }), {
    offset: 3,
    changed: true,
  })
  const late = refused(() => hub.setState('sessions/s', 'a', { n: 3 }, { unless: { changedSince } }))
  t.match(late, {
    code: 'preconditionFailed',
    message: `changed at ${formatCursor(epoch, 3 as typeof offset)}`,
  })
  const patch = [{ op: 'remove', path: '/none' } as const]
  t.match(
    refused(() => hub.patchState('sessions/s', 'a', patch)),
    { code: 'conflict', message: /operation 0/ },
  )
  t.match(hub.setState('sessions/s', 'a', { n: 2 }), { offset: 3, changed: false })
  t.match(hub.mergeState('sessions/s', 'a', { n: null }), { offset: 4, changed: true })
  t.match(hub.removeState('sessions/s', 'a'), { offset: 5, changed: true })
  t.same(hub.state('sessions/s', ['a']).slices, {})
  hub.endSession('s')
  t.match(
    refused(() => hub.setState('sessions/s', 'a', 1)),
    { code: 'conflict', message: /has ended/ },
  )
  turn()
})

t.test('state survives a restart of the hub with its store', async (t: Test) => {
  const store = memoryStore()
  const options: HubOptions = { store, limits: { idleSessionsMax: 1 } }
  const hub = createHub(options)
  hub.session('s').setState('plan', { long, n: 1 })
  hub.session('s').worker('w').setState('own', [1])
  hub.session('s').worker('w').publish({ type: 'process.exited' })
  await hub.committed('s')
  const before = hub.state('sessions/s/**', ['plan', 'own'])
  // Another one takes its place in memory.
  for (const id of ['t', 'u']) {
    hub.session(id).publish({ type: 'note' })
    await hub.committed(id)
  }
  t.same(hub.state('sessions/s/**', ['plan', 'own']), before)
  t.match(hub.state('sessions/s', ['$workers']).slices, { $workers: { w: { status: 'ended', events: 1 } } })
  const resumed = new Watcher(hub, 'object')
  resumed.subscribe('sessions/s', { slices: ['plan'], after: `${before.epoch}:${before.offset}` })
  t.match(
    resumed.frames[1],
    { resumed: true, slices: { plan: { n: 1 } } },
    'a resume across it has a snapshot',
  )
  hub.close()
  await hub.closeStore()
})
