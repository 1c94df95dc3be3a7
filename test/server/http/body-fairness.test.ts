import t, { type Test } from 'tap'
import { defaultLimits } from '../../../src/protocol/limits.js'
import { BodyTurns } from '../../../src/server/access/body-turns.js'
import { BodyBudget } from '../../../src/server/http/body-budget.js'
import { SimulatedClock } from '../../kit/clock.js'
import { RawClient } from '../../kit/raw-http.js'
import { overTransports, served, transportNow } from '../../kit/served.js'
import { mint, secret } from '../../kit/tokens.js'
import { until } from '../../kit/wait.js'

function budget(bytesMax: number) {
  const clock = new SimulatedClock()
  const limits = { ...defaultLimits, bodiesBytesMax: bytesMax, bodiesSilenceMs: 1_000 }
  const bodies = new BodyBudget(limits, clock)
  const evicted: string[] = []
  const take = (sender: string, name: string) => bodies.take(sender, () => evicted.push(name))
  return { clock, bodies, evicted, take }
}

t.test('who holds most makes room, beginning with what is silent longest', (t) => {
  const { clock, bodies, evicted, take } = budget(100)
  for (const name of ['1', '2', '3']) {
    take('greedy', name).hold(30)
    clock.advance(1)
  }
  const modest = take('modest', 'modest')
  modest.hold(20)
  t.strictSame(evicted, ['1'])
  modest.hold(40)
  t.strictSame(evicted, ['1'], 'it still fits')
  t.equal(bodies.bytes, 100)
  t.throws(() => take('greedy', '4').hold(1), { code: 'unavailable' }, 'who holds most is refused')
  const third = take('third', 'third')
  third.hold(1)
  t.strictSame(evicted, ['1', '2'])
  t.throws(() => modest.hold(100), { code: 'unavailable' }, 'it holds most now')
  for (const body of [modest, third]) body.release()
  t.end()
})

t.test('while more than half is taken, the silent go, those who hold most first', (t) => {
  const { clock, bodies, evicted, take } = budget(100)
  take('a', 'a').hold(20)
  take('b', 'b1').hold(20)
  take('b', 'b2').hold(20)
  const heard = take('b', 'b3')
  heard.hold(10)
  clock.advance(999)
  heard.hold(10)
  t.strictSame(evicted, [])
  clock.advance(1)
  t.strictSame(evicted, ['b1'], 'then half is free')
  heard.hold(20)
  clock.advance(1_000)
  t.strictSame(evicted, ['b1', 'b2'])
  t.equal(bodies.bytes, 40)
  t.equal(clock.timers, 0)
  t.end()
})

t.test('unfinished lines of one token keep nobody else from publishing', async (t) => {
  const limits = { bodiesBytesMax: 4_000_000, bodiesSilenceMs: 60_000 }
  const it = await served(t, { hub: { limits }, serve: { auth: { secrets: [secret] } } })
  const greedy = await mint({ publish: ['sessions/a/workers/w'], sub: 'greedy' })
  const clients = Array.from({ length: 16 }, () => unfinished(t, it.server.port, greedy))
  await until('there is no room', () => clients.some(({ text }) => text.includes(' 503 ')))
  const other = await mint({ publish: ['**'], sub: 'other' })
  const data = 'x'.repeat(1_000_000)
  for (let at = 0; at < 10; at += 1) {
    const { status } = await fetch(`${it.url}/api/sessions/b/events?token=${other}`, {
      method: 'POST',
      body: JSON.stringify({ type: 'start', data }),
    })
    t.equal(status, 200)
  }
  t.equal(it.hub.stats().published, 10)
})

t.test('the bodies of one sender take turns', async (t) => {
  const clock = new SimulatedClock()
  const limits = { ...defaultLimits, bodyRateMax: 100, bodyBurstMax: 100 }
  const turns = new BodyTurns(limits, clock)
  const passed = [0, 0, 0]
  const publish = async (who: number) => {
    for (;;) {
      await turns.pass('one', 50, () => false)
      passed[who] = (passed[who] ?? 0) + 50
    }
  }
  for (const who of [0, 1, 2]) void publish(who)
  for (let second = 0; second < 30; second += 1) await clock.pass(1_000)
  const total = passed.reduce((sum, bytes) => sum + bytes, 0)
  t.ok(total >= 2_900 && total <= 3_300, `${total} bytes in 30 s`)
  for (const bytes of passed) t.ok(Math.abs(bytes - total / 3) <= 100, `${bytes} of ${total}`)
  t.equal(
    turns.pass('other', 50, () => false),
    undefined,
    'another sender does not wait',
  )
})

t.test('of two who publish beyond the rate both go on', async (t) => {
  const limits = { bodyRateMax: 4_000_000, bodyBurstMax: 1 }
  const it = await served(t, { hub: { limits } })
  const line = `${JSON.stringify({ type: 'start', data: 'x'.repeat(20_000) })}\n`
  const clients = ['a', 'b'].map((session) => {
    const client = new RawClient(it.server.port)
    t.teardown(() => client.socket.destroy())
    client.send(
      `POST /api/sessions/${session}/events HTTP/1.1\nhost: 127.0.0.1\ncontent-type: application/x-ndjson\ncontent-length: 900000000\n\n`,
    )
    client.socket.write(line.repeat(1_000))
    return client
  })
  const offsetOf = (session: string) => it.hub.find(session)?.offset ?? 0
  await until('both are in', () => offsetOf('a') > 0 && offsetOf('b') > 0)
  const [a, b] = ['a', 'b'].map(offsetOf)
  await until('both go on', () => offsetOf('a') > (a ?? 0) + 5 && offsetOf('b') > (b ?? 0) + 5)
  const whole = fetch(`${it.url}/api/sessions/c/events`, { method: 'POST', body: '{"type":"start"}' })
  t.equal((await whole).status, 200, 'nor do they keep a single event out')
  for (const client of clients) client.socket.destroy()
})

overTransports(t, (t) => {
  t.test('what is malformed is refused or ignored, and nothing is published twice', async (t) => {
    const it = await served(t)
    const isNode = transportNow() === 'node'
    const body = '{"type":"start"}'
    const [host, chunked] = ['host: 127.0.0.1', 'transfer-encoding: chunked']
    const cases: readonly (readonly [fields: string, sent: string, outcome: string])[] = [
      [`${host}\n${chunked}, identity`, `10\n${body}\n0\n\n`, 'refused'],
      [`${host}\ntransfer-encoding: identity`, body, 'refused'],
      [`${host}\ncontent-length: 5\ncontent-length: 16`, body, 'refused'],
      [`${host}\ncontent-length: 16\n${chunked}`, `10\n${body}\n0\n\n`, 'refused'],
      ['content-length: 16', body, 'refused'],
      [`${host}\nx-a: a\n b\ncontent-length: 16`, body, isNode ? 'refused' : 'unanswered'],
      [`${host}\n${chunked}`, `10;a=b\n${body}\n0;c\n\n`, isNode ? 'published' : 'unanswered'],
      // uWebSockets.js has passed the body on when it refuses what follows.
      [`${host}\n${chunked}`, `10\n${body}\n0\nx-a: b\n\n`, isNode ? 'published' : 'refused late'],
    ]
    for (const [fields, sent, outcome] of cases) {
      const about = `${outcome}: ${fields} ${sent}`
      const before = it.hub.stats().published
      const client = new RawClient(it.server.port)
      t.teardown(() => client.socket.destroy())
      client.send(`POST /api/sessions/a/events HTTP/1.1\n${fields}\n\n${sent}`)
      if (outcome === 'published') await until(`${about}: it is answered`, () => client.text !== '')
      else {
        // uWebSockets.js waits for the rest of what it does not understand.
        if (outcome === 'unanswered') client.socket.end()
        await until(`${about}: it is cut`, () => client.closed)
      }
      // It takes what follows the first length for another request, and that for none of its version.
      const heard = { published: /^HTTP\/1.1 200/, unanswered: /^$/ }[outcome] ?? /^HTTP\/1.1 (400|505)/
      t.match(client.text, heard, about)
      const published = it.hub.stats().published - before
      if (outcome === 'refused late') t.ok(published <= 1, about)
      else t.equal(published, outcome === 'published' ? 1 : 0, about)
    }
  })
})

function unfinished(t: Test, port: number, token: string): RawClient {
  const client = new RawClient(port)
  t.teardown(() => client.socket.destroy())
  client.send(
    `POST /api/sessions/a/workers/w/events HTTP/1.1\nhost: x\nauthorization: Bearer ${token}\ncontent-type: application/x-ndjson\ncontent-length: 2000000\n\n`,
  )
  client.socket.write('x'.repeat(1_000_000))
  return client
}
