import fc from 'fast-check'
import t from 'tap'
import { createHub } from '../../src/hub/hub.js'
import { defaultLimits } from '../../src/protocol/limits.js'
import { everything, nothing, Permissions } from '../../src/protocol/permissions.js'
import { formatTopic, parseTopic } from '../../src/protocol/topic.js'

const pattern = fc.oneof(
  fc.constantFrom('**', '*', 'hub', 'hub/**', 'sessions/**', 'sessions/*', '*/**', 'sessions/*/workers/*'),
  fc
    .tuple(
      fc.constantFrom('a', 'b', '*'),
      fc.constantFrom('', '/**', '/workers/**', '/workers/*', '/workers/v', '/*/w', '/*/**'),
    )
    .map(([session, rest]) => `sessions/${session}${rest}`),
)

/** The same meaning, said in the language of regular expressions. */
function isNamed(patterns: readonly string[], topic: string): boolean {
  return patterns.some((text) => {
    const source = text
      .split('/')
      .map((segment) => (segment === '**' ? '(/[^/]+)*' : `/${segment === '*' ? '[^/]+' : segment}`))
      .join('')
    return new RegExp(`^${source}$`).test(`/${topic}`)
  })
}

t.test('a pattern names topics: * one segment, ** the rest', async (t) => {
  const cases: readonly [pattern: string, named: readonly string[], others: readonly string[]][] = [
    ['sessions/a', ['sessions/a'], ['sessions/b', 'sessions/a/workers/w', 'sessions/a/**']],
    ['sessions/a/**', ['sessions/a', 'sessions/a/workers/w', 'sessions/a/**'], ['sessions/b', 'sessions/ab']],
    ['sessions/*', ['sessions/a', 'sessions/b'], ['sessions/a/workers/w', 'sessions/a/**']],
    ['sessions/**', ['sessions/a', 'sessions/b/workers/w', 'sessions/c/**'], []],
    [
      'sessions/a/workers/*',
      ['sessions/a/workers/w'],
      ['sessions/a', 'sessions/a/**', 'sessions/b/workers/w'],
    ],
    ['sessions/*/workers/w', ['sessions/a/workers/w'], ['sessions/a/workers/v', 'sessions/a']],
    ['**', ['sessions/a', 'sessions/a/**', 'sessions/a/workers/w'], []],
  ]
  for (const [text, named, others] of cases) {
    const permissions = new Permissions({ subscribe: [text], publish: [text] })
    for (const topic of named) {
      t.ok(permissions.mayRead(parseTopic(topic, '', defaultLimits)), `${text} has ${topic}`)
      t.ok(permissions.mayWrite(parseTopic(topic, '', defaultLimits)), `${text} has ${topic}`)
    }
    for (const topic of others) {
      t.notOk(permissions.mayRead(parseTopic(topic, '', defaultLimits)), `${text} does not have ${topic}`)
      t.throws(() => permissions.expectWrite(parseTopic(topic, '', defaultLimits)), {
        code: 'forbidden',
        message: topic,
      })
    }
  }
  const both = new Permissions({ subscribe: ['sessions/a', 'sessions/a/workers/*'] })
  t.ok(both.mayRead({ kind: 'all', session: 'a' }), 'the session and any worker are all of it')
  t.notOk(both.mayWrite({ kind: 'session', session: 'a' }), 'reading is not publishing')
})

t.test('patterns mean what they say, and the sessions they name are told', async (t) => {
  fc.assert(
    fc.property(fc.array(pattern, { maxLength: 5 }), (subscribe) => {
      const permissions = new Permissions({ subscribe })
      for (const session of ['a', 'b', 'c']) {
        const own = isNamed(subscribe, `sessions/${session}`)
        t.equal(permissions.mayRead({ kind: 'session', session }), own)
        t.equal(permissions.sessions?.includes(session) ?? true, own, subscribe.join(' '))
        let everyWorker = true
        for (const worker of ['v', 'w', 'x', 'any-other']) {
          const name = { kind: 'worker', session, worker } as const
          const may = isNamed(subscribe, formatTopic(name))
          t.equal(permissions.mayRead(name), may)
          everyWorker &&= may
        }
        t.equal(permissions.mayRead({ kind: 'all', session }), own && everyWorker)
      }
      t.equal(permissions.readsHub, isNamed(subscribe, 'hub'))
    }),
    { numRuns: 300 },
  )
})

t.test('what is no pattern is refused by name', async (t) => {
  for (const text of [
    '',
    'rooms/a',
    'sessions/a*',
    'sessions/**/x',
    'sessions//x',
    'sessions/a/workers/w/x',
    'sessions/a/w/x',
    ' **',
  ]) {
    t.throws(() => new Permissions({ publish: ['**', text] }), {
      code: 'badFrame',
      message: /^publish\[1\]: expected/,
    })
  }
  t.notOk(nothing.mayRead({ kind: 'hub' }))
  t.ok(everything.readsHub)
})

t.test('the list of sessions has what may be seen, made once for all who see the same', async (t) => {
  const hub = createHub()
  for (const id of ['a', 'b', 'c']) hub.session(id).publish({ type: 'step-start' })
  const lists = ['sessions/a/**', 'sessions/b'].map((text) => new Permissions({ subscribe: [text] }))
  const [ofA, ofB] = lists as [Permissions, Permissions]
  const alsoOfA = new Permissions({ subscribe: ['sessions/c/workers/*', 'sessions/a'] })
  t.equal(hub.topicToFollow({ kind: 'hub' }, everything), hub.topicToFollow({ kind: 'hub' }, everything))
  t.not(hub.topicToFollow({ kind: 'hub' }, ofA), hub.topicToFollow({ kind: 'hub' }, ofB))
  t.equal(hub.topicToFollow({ kind: 'hub' }, ofA), hub.topicToFollow({ kind: 'hub' }, alsoOfA))
  const ids = async (permissions: Permissions, after = '', limit = 10) => {
    const { sessions, end } = await hub.listSessions(after, limit, permissions)
    return [...sessions.map(({ id }) => id), end]
  }
  t.same(await ids(everything), ['a', 'b', 'c', true])
  t.same(await ids(ofA), ['a', true])
  t.same(await ids(nothing), [true])
  const gaps = new Permissions({
    subscribe: ['sessions/0', 'sessions/a', 'sessions/aa', 'sessions/c', 'sessions/d'],
  })
  t.same(await ids(gaps, '', 1), ['a', false])
  t.same(await ids(gaps, 'a', 1), ['c', false])
  t.same(await ids(gaps, 'c', 1), [true])
})
