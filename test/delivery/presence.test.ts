import t from 'tap'
import { fieldsOf } from '../../src/lib/json.js'
import type { Events } from '../../src/protocol/frames.js'
import { type Client, setUp } from '../hub/hub-kit.js'
import { dial, served } from '../kit/served.js'
import { mint, secret } from '../kit/tokens.js'
import { until } from '../kit/wait.js'

const topic = 'sessions/s'
/** What each update of `$watchers` said: a value as small as this is never told as a patch. */
const watchersOf = ({ frames }: Pick<Client, 'frames'>): unknown[] =>
  frames
    .filter((frame): frame is Events => frame.type === 'events')
    .flatMap(({ events }) => events.filter(({ type }) => type === 'state.update'))
    .map(({ data }) => fieldsOf(data))
    .filter(({ slice }) => slice === '$watchers')
    .map(({ value, removed }) => value ?? removed)

t.test('who asks by the exact name is told how many connections watch, once a second at most', async (t) => {
  const { hub, clock, client } = setUp()
  hub.session('s').publish({ type: 'start' })
  const asker = client(100)
  asker.subscribe(topic, { slices: ['$watchers'], types: [] })
  const other = client(100)
  other.subscribe(topic)
  other.subscribe(topic, { types: ['a'] })
  client(100).subscribe('sessions/s/**')
  client(100).subscribe(topic, { types: ['command.*'] })
  clock.advance(1)
  t.strictSame(watchersOf(asker), [{ count: 3 }], 'an agent that follows commands does not watch')
  t.strictSame(hub.state(topic, ['$watchers']).slices, { $watchers: { count: 3 } })
  t.strictSame(Object.keys(hub.state(topic, ['*']).slices), ['$session', '$workers'])
  t.strictSame(hub.state(topic, ['$watch*']).slices, {})
  for (let n = 0; n < 10; n++) client(100).subscribe(topic)
  clock.advance(998)
  t.equal(watchersOf(asker).length, 1)
  clock.advance(2)
  t.strictSame(watchersOf(asker).at(-1), { count: 13 })
  other.connection.closed()
  clock.advance(1_000)
  t.strictSame(watchersOf(asker), [{ count: 3 }, { count: 13 }, { count: 12 }])
  clock.advance(10_000)
  t.equal(watchersOf(asker).length, 3, 'nothing is told where nothing has changed')
})

t.test('nothing is counted where nobody asks', async (t) => {
  const { hub, clock, client } = setUp()
  hub.session('s').publish({ type: 'start' })
  const { offset } = hub.state(topic, [])
  client().subscribe(topic, { slices: ['*', '$session', '$w*'] })
  clock.advance(5_000)
  t.strictSame(hub.state(topic, ['$watchers']).slices, {})
  t.ok(hub.state(topic, []).offset - offset <= 2)
  const asker = client()
  asker.subscribe(topic, { slices: ['$watchers'] })
  clock.advance(1)
  t.strictSame(hub.state(topic, ['$watchers']).slices, { $watchers: { count: 2 } })
  asker.connection.closed()
  clock.advance(5_000)
  t.strictSame(hub.state(topic, ['$watchers']).slices, {}, 'and no more once the last one has left')
  t.equal(clock.timers, 0)
})

t.test('a session that has not begun is counted once it has', async (t) => {
  const { hub, clock, client } = setUp()
  const asker = client()
  asker.subscribe('sessions/later/workers/w', { slices: ['$watchers'] })
  clock.advance(3_000)
  t.strictSame(watchersOf(asker), [])
  hub.session('later').worker('w').publish({ type: 'start' })
  clock.advance(1_000)
  t.strictSame(watchersOf(asker), [{ count: 1 }])
  hub.endSession('later')
  hub.flush()
  t.strictSame(watchersOf(asker), [{ count: 1 }, true], 'removed before the event that ends everything')
  const { offset } = hub.state('sessions/later')
  client().subscribe('sessions/later/workers/w')
  clock.advance(3_000)
  t.equal(hub.state('sessions/later').offset, offset, 'what has ended stays as it is')
})

t.test('the subjects of tokens are named, and change with the token of the connection', async (t) => {
  const { url, hub } = await served(t, { serve: { auth: { secrets: [secret] } } })
  hub.session('s').publish({ type: 'start' })
  const tokenOf = (sub: string) => mint({ sub, subscribe: ['**'] })
  const join = async (sub: string, frame: object) => {
    const dialogue = await dial(t, url, ['runcast.v1.json', `bearer.${await tokenOf(sub)}`])
    dialogue.send({ type: 'subscribe', sub: 1, ...frame })
    return dialogue
  }
  const told = (subjects: readonly string[]) =>
    until(`${subjects.join(' and ')} are told`, () => {
      const now = hub.state(topic, ['$watchers']).slices.$watchers
      return JSON.stringify(now) === JSON.stringify({ count: subjects.length, subjects })
    })
  await join('ann', { topic, slices: ['$watchers'], types: [] })
  await told(['ann'])
  const other = await join('bob', { topic: 'sessions/s/**' })
  await told(['ann', 'bob'])
  other.send({ type: 'authorize', token: await tokenOf('cid') })
  await told(['ann', 'cid'])
  other.socket.close()
  await told(['ann'])
})
