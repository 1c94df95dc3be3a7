import t from 'tap'
import type { Events } from '../../src/protocol/frames.js'
import { memoryStore } from '../../src/store/memory.js'
import { randomOf, secretsOf } from '../kit/secrets.js'
import { type Client, setUp } from './hub-kit.js'

const token = secretsOf(randomOf(1)).find(({ kind }) => kind === 'anthropic-key')?.secret as string
const mark = '[secret:anthropic-key]'
const text = 'llm_text_delta'

function eventsOf({ frames }: Client) {
  return frames.filter((frame): frame is Events => frame.type === 'events').flatMap(({ events }) => events)
}

t.test('masks what is published, before it is kept, stored or sent', async (t) => {
  const store = memoryStore()
  const { hub, clock, client } = setUp({ store })
  const one = client()
  one.subscribe('sessions/a/**', { slices: ['*'] })
  const session = hub.session('a')
  hub.createSession('a', { metadata: { title: `uses ${token}` } })
  session.publish({ type: 'step', data: { text: `key ${token}.`, list: [token] } })
  session.worker('w').publish([{ type: 'tool_call_completed', id: '1', data: { result: token } }])
  session.setState('plan', { key: token, n: 1 }, { type: 'planned', payload: { token } })
  session.patchState('plan', [{ op: 'add', path: '/more', value: `x ${token}` }])
  session.mergeState('plan', { merged: token })
  session.worker('w').setState('own', [token])
  session.end({ key: token }, { result: 'failed', reason: `refused ${token}` })
  clock.runTurn()
  await hub.committed('a')
  const history = await hub.readHistory('sessions/a/**', {})
  const shown = JSON.stringify([one.frames, history, hub.state('sessions/a'), hub.find('a'), hub.sessions()])
  t.notMatch(shown, token.slice(10, 30))
  t.same(hub.state('sessions/a', ['plan']).slices['plan'], {
    key: mark,
    n: 1,
    more: `x ${mark}`,
    merged: mark,
  })
  t.match(hub.find('a'), {
    metadata: { title: `uses ${mark}` },
    reason: `refused ${mark}`,
    outcome: { key: mark },
  })
  t.equal(hub.stats().masked.get('anthropic-key'), 11)
  const stored = store.now?.load('a')
  t.notMatch(JSON.stringify(stored), token.slice(10, 30))
})

t.test('a secret that is already a mark makes no change of state', async (t) => {
  const { hub } = setUp()
  const session = hub.session('a')
  t.equal(session.setState('env', { key: token, url: 'redis://u:passw0rd@cache/' }).changed, true)
  t.equal(session.setState('env', { key: token, url: 'redis://u:passw0rd@cache/' }).changed, false)
  const now = hub.state('sessions/a', ['env']).slices['env']
  t.same(now, { key: mark, url: 'redis://u:[secret:password]@cache/' })
  t.equal(session.setState('env', now as never).changed, false)
  t.equal(session.mergeState('env', { n: 1 }).changed, true)
  t.same(hub.state('sessions/a', ['env']).slices['env'], { ...(now as object), n: 1 })
})

t.test('off masks nothing', async (t) => {
  const { hub } = setUp({ masking: { mode: 'off' } })
  hub.session('a').publish({ type: 'step', data: token })
  t.equal(hub.history('sessions/a').events[0]?.data, token)
  t.same([...hub.stats().masked], [])
})

t.test(
  'keeps back the end of a text that may be the beginning of a secret, and every event has its offset',
  async (t) => {
    const { hub, clock, client } = setUp()
    const one = client()
    one.subscribe('sessions/a')
    const session = hub.session('a')
    const pieces = [`first ${token.slice(0, 20)}`, token.slice(20, 60), `${token.slice(60)} and`, ' more']
    const offsets = pieces.map((content) => session.publish({ type: text, data: { content } }).first)
    t.same(offsets, [1, 2, 3, 4])
    t.same(
      hub.history('sessions/a').events.map(({ offset, data }) => [offset, data]),
      [
        [1, { content: 'first ' }],
        [2, { content: '' }],
        [3, { content: `${mark} and` }],
        [4, { content: ' more' }],
      ],
    )
    clock.runTurn()
    t.equal(clock.timers, 0, 'nothing waits any more')
  },
)

t.test(
  'what is kept back comes before an event that is no text, by its publisher alone, and when its session ends',
  async (t) => {
    const { hub } = setUp()
    const session = hub.session('a')
    const half = token.slice(0, 22)
    session.publish({ type: text, data: { content: `a ${half}` } })
    session.worker('w').publish({ type: text, data: { content: `w ${half}` } })
    session.worker('w').publish({ type: 'tool_call_started', data: { tool: 'x' } })
    const result = session.publish({ type: 'tool_call_started', data: { tool: 'y' } })
    t.same([result.first, result.last, result.accepted], [6, 6, 1])
    session.publish({ type: text, data: { content: `b ${half}` } })
    session.end()
    t.same(
      hub
        .history('sessions/a/**')
        .events.map(({ type, data, worker }) => [type, (data as { content?: string }).content, worker]),
      [
        [text, 'a ', undefined],
        [text, 'w ', 'w'],
        [text, half, 'w'],
        ['tool_call_started', undefined, 'w'],
        [text, half, undefined],
        ['tool_call_started', undefined, undefined],
        [text, 'b ', undefined],
        [text, half, undefined],
        ['complete', undefined, undefined],
      ],
    )
  },
)

t.test(
  'what is kept back is published after 200 ms, once, and a text that goes on is masked further',
  async (t) => {
    const { hub, clock, client } = setUp()
    const one = client()
    one.subscribe('sessions/a')
    const session = hub.session('a')
    session.publish({ type: text, id: 'x', data: { content: `a ${token.slice(0, 22)}` } })
    clock.advance(199)
    t.equal(hub.history('sessions/a').events.length, 1)
    clock.advance(1)
    const events = hub.history('sessions/a').events
    t.same(
      events.map(({ data, id }) => [(data as { content: string }).content, id]),
      [
        ['a ', 'x'],
        [token.slice(0, 22), undefined],
      ],
    )
    session.publish({ type: text, data: { content: `see ${token}` } })
    clock.advance(200)
    session.publish({ type: text, data: { content: `${token.slice(5, 40)} end` } })
    clock.advance(10_000)
    t.equal(clock.timers, 0)
    t.equal(
      eventsOf(one)
        .map(({ data }) => (data as { content: string }).content)
        .join('|'),
      `a |${token.slice(0, 22)}|see |${mark}| end`,
      'what goes on like the secret is a part of it',
    )
  },
)

t.test('a wall clock that is set publishes no part of a secret that waits', async (t) => {
  const { hub, clock } = setUp()
  const session = hub.session('a')
  session.publish({ type: text, data: { content: `a ${token.slice(0, 10)}` } })
  clock.advance(150)
  session.publish({ type: text, data: { content: token.slice(10, 20) } })
  clock.jump(3_600_000)
  clock.advance(199)
  session.publish({ type: text, data: { content: token.slice(20, 30) } })
  clock.jump(-7_200_000)
  clock.advance(199)
  session.publish({ type: text, data: { content: `${token.slice(30)} end` } })
  const contents = hub.history('sessions/a').events.map(({ data }) => (data as { content: string }).content)
  t.equal(contents.join(''), `a ${mark} end`)
})

t.test('two texts of one publisher that alternate do not mix', async (t) => {
  const { hub, clock } = setUp()
  const session = hub.session('a')
  for (let at = 0; at < token.length; at += 10) {
    const piece = token.slice(at, at + 10)
    session.publish({ type: 'process.output', data: { stream: 'stdout', text: piece } })
    session.publish({ type: 'process.output', data: { stream: 'stderr', text: piece.toUpperCase() } })
  }
  session.publish({ type: 'process.output', data: { stream: 'stdout', text: '\n' } })
  clock.advance(1_000)
  const all = hub.history('sessions/a').events.map(({ data }) => data as { stream: string; text: string })
  const textOf = (stream: string) =>
    all
      .filter((data) => data.stream === stream)
      .map((data) => data.text)
      .join('')
  t.equal(textOf('stdout'), `${mark}\n`)
  t.equal(textOf('stderr'), token.toUpperCase())
})

t.test('an event that was published before changes no text', async (t) => {
  const { hub } = setUp()
  const session = hub.session('a')
  const first = { type: text, id: '1', data: { content: `k ${token.slice(0, 30)}` } }
  session.publish(first)
  t.same(session.publish(first).duplicates, 1)
  session.publish({ type: text, id: '2', data: { content: `${token.slice(30)} end` } })
  t.equal(
    hub
      .history('sessions/a')
      .events.map(({ data }) => (data as { content: string }).content)
      .join('|'),
    `k |${mark} end`,
  )
})

t.test('closing the hub publishes what is kept back', async (t) => {
  const store = memoryStore()
  const { hub, clock } = setUp({ store })
  hub.session('a').publish({ type: text, data: { content: `k ${token.slice(0, 30)}` } })
  hub.close()
  clock.runTurn()
  await hub.committed('a')
  t.equal(store.now?.load('a')?.events, 2)
  t.equal(clock.timers, 0)
})

t.test('marks and counts outlive a session that left memory', async (t) => {
  const store = memoryStore()
  const { hub, clock } = setUp({ store })
  hub.session('a').publish({ type: 'step', data: token })
  clock.runTurn()
  await hub.committed('a')
  const other = setUp({ store }).hub
  other.session('a').publish({ type: 'step', data: token })
  t.equal(other.history('sessions/a').events.at(-1)?.data, '[secret:anthropic-key:2]')
})

t.test(
  'registered values are masked in their session alone, also after a restart, until it ends',
  async (t) => {
    const store = memoryStore()
    const { hub, clock } = setUp({ store })
    const value = 'correct horse battery'
    const session = hub.session('a')
    session.publish({ type: 'step', data: `before ${value}` })
    session.registerSecrets([{ value, kind: 'db-password' }, 'another value'])
    session.publish({ type: 'step', data: { text: `x${value}y`, more: ['another value'] } })
    for (const content of ['so cor', 'rect horse bat', 'tery it is'])
      session.publish({ type: text, data: { content } })
    hub.session('b').publish({ type: 'step', data: value })
    session.setState('s', value)
    clock.advance(1_000)
    await hub.committed('a')
    const [first, second, ...pieces] = hub.history('sessions/a').events
    t.equal(first?.data, `before ${value}`, 'what was published before stays')
    t.same(second?.data, { text: 'x[secret:db-password]y', more: ['[secret:value]'] })
    t.equal(
      pieces.map(({ data }) => (data as { content: string }).content).join(''),
      'so [secret:db-password] it is',
    )
    t.equal(hub.state('sessions/a').slices['s'], '[secret:db-password]')
    t.equal(hub.history('sessions/b').events[0]?.data, value)
    const record = store.now?.load('a')?.record
    t.ok(record?.masks)
    t.notMatch(JSON.stringify(record), /horse|another/)
    const next = setUp({ store })
    next.hub.session('a').publish({ type: 'step', data: value })
    t.match(next.hub.history('sessions/a').events.at(-1)?.data, /^\[secret:db-password(:\d)?\]$/)
    next.hub.session('a').end()
    next.clock.runTurn()
    await next.hub.committed('a')
    t.equal(store.now?.load('a')?.record.masks, undefined)
  },
)

t.test('refuses what is no value to register, without quoting it', async (t) => {
  const { hub } = setUp({ limits: { sessionsMax: 1 } })
  const session = hub.session('a')
  for (const [values, code, pointer] of [
    ['hunter22', 'badFrame', '/values'],
    [[], 'badFrame', '/values'],
    [['longenough', 'hunter2'], 'badFrame', '/values/1'],
    [[{ value: 'hunter22', kind: 'No Kind' }], 'badFrame', '/values/0/kind'],
    [[{ value: 'hunter22', extra: 'hunter22' }], 'badFrame', '/values/0'],
    [[7], 'badFrame', '/values/0'],
  ] as const) {
    t.throws(() => session.registerSecrets(values as never), {
      code,
      place: { pointer },
      message: /^(?!.*hunter)/,
    })
  }
  t.equal(hub.find('a'), undefined, 'what is refused begins no session')
  session.registerSecrets(Array.from({ length: 999 }, (_, index) => `value number ${index}`))
  t.throws(() => session.registerSecrets(['one more value', 'and another one']), { code: 'conflict' })
  t.throws(() => setUp({ masking: { mode: 'off' } }).hub.registerSecrets('a', ['hunter22x']), {
    code: 'conflict',
  })
})

t.test(
  'what is kept back has the time of its text, and a mark that a producer made is not cut',
  async (t) => {
    const { hub, clock } = setUp()
    const session = hub.session('a')
    session.registerSecrets(['a rather long secret value'])
    session.publish({ type: text, time: 5, data: { content: 'with [secret:deploy-token]' } })
    clock.advance(200)
    t.same(
      hub.history('sessions/a').events.map(({ time, data }) => [time, data]),
      [
        [5, { content: '' }],
        [5, { content: 'with [secret:deploy-token]' }],
      ],
    )
    session.publish({
      type: text,
      time: 6,
      data: { content: 'before [secret:deploy-token] then some more of it' },
    })
    const shown = hub.history('sessions/a').events.at(-1)
    t.same(shown?.data, { content: 'before ' })
  },
)

t.test('a mark that a producer made, cut anywhere, is no value named secret', async (t) => {
  const given = 'token is [secret:deploy-token] and [secret:github-token:2]\n'
  for (let at = 1; at < given.length; at++) {
    const { hub } = setUp({ masking: { mode: 'all' } })
    for (const content of [given.slice(0, at), given.slice(at)])
      hub.publish('sessions/a', [{ type: text, data: { content } }])
    hub.endSession('a')
    const { events } = hub.history('sessions/a')
    const contents = events
      .filter(({ type }) => type === text)
      .map(({ data }) => (data as { content: string }).content)
    t.equal(contents.join(''), given, `cut after ${at} characters`)
  }
})
