import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { defaultLimits } from '../../../src/protocol/limits.js'
import { Tokens } from '../../../src/server/access/tokens.js'
import { memoryStore } from '../../../src/store/memory.js'
import type { SessionPage } from '../../../src/store/store.js'
import { SimulatedClock } from '../../kit/clock.js'
import { FaultyStore } from '../../kit/faulty-store.js'
import { issuer, jwk } from '../../kit/issuer.js'
import { dial, openStream, type Served, served } from '../../kit/served.js'
import { mint, secret } from '../../kit/tokens.js'
import { deferred, until } from '../../kit/wait.js'

const hour = 3_600
const old = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const young = generateKeyPairSync('ec', { namedCurve: 'P-256' })

/** A store that lists its sessions when a test lets it. */
class SlowStore extends FaultyStore {
  asked = false
  readonly go = deferred()

  override async sessions(after: string, limit: number): Promise<SessionPage> {
    this.asked = true
    await this.go.promise
    return super.sessions(after, limit)
  }
}

interface Locked extends Served {
  readonly clock: SimulatedClock
  readonly store: SlowStore
  /** Of the key that will go. */
  readonly token: string
  /** @returns once a request is being answered */
  underWay(): Promise<void>
  /** Takes the key away. @returns once the hub knows */
  withdraw(): Promise<void>
}

/** A hub whose store waits when it is told to, and whose one key can be withdrawn. */
async function locked(t: Test): Promise<Locked> {
  const keys = await issuer(t)
  keys.keys = [jwk(old.publicKey, { kid: 'old' }), jwk(young.publicKey, { kid: 'young' })]
  const clock = new SimulatedClock(1_700_000_000_000)
  const store = new SlowStore(memoryStore())
  const hub = { store, limits: { heartbeatMs: 10 * hour * 1_000 } }
  const it = await served(t, { hub, serve: { auth: { jwksUrl: keys.url }, clock } })
  const exp = clock.now() / 1_000 + hour
  const sign = (key: KeyObject, kid: string, claims: object = {}) =>
    mint({ subscribe: ['**'], publish: ['**'], exp, ...claims }, { key, alg: 'ES256', kid })
  const token = await sign(old.privateKey, 'old')
  // A connection of the key that goes: it is closed once the hub knows.
  const witness = await dial(t, it.url, ['runcast.v1.json', `bearer.${token}`])
  await witness.expect('welcome')
  const watcher = await sign(young.privateKey, 'young')
  return {
    ...it,
    clock,
    store,
    token,
    underWay: () => underWay(it.url, watcher),
    async withdraw() {
      keys.keys = [jwk(young.publicKey, { kid: 'young' })]
      clock.advance(60_000)
      t.match(await witness.closed, { code: 4501, reason: /withdrawn/ })
    },
  }
}

/** Beside the one that asks. */
function underWay(url: string, token: string): Promise<void> {
  return until('a request is being answered', async () => {
    const answer = await fetch(`${url}/metrics?token=${token}`)
    return /^runcast_requests 2$/m.test(await answer.text())
  })
}

t.test('a stream that waits to be let in is refused once its key has gone', async (t) => {
  const it = await locked(t)
  it.hub.session('a').publish({ type: 'start' })
  // They wait in the queue, two of which pass in each turn: the key goes while most are there.
  const streams = Array.from({ length: 300 }, () =>
    openStream(t, `${it.url}/api/sessions/a/events?token=${it.token}`),
  )
  await until('some are in', () => it.hub.stats().connections > 3)
  await it.withdraw()
  it.hub.session('a').publish({ type: 'secret' })
  const all = await Promise.all(streams)
  const read = await Promise.all(all.map((stream) => stream.rest()))
  t.ok(all.some(({ response }) => response.status === 200))
  t.ok(
    all.some(({ response }) => response.status === 401),
    'those who still waited are refused',
  )
  t.equal(read.flat().filter(({ event }) => event === 'secret').length, 0, 'nobody reads what came after')
  t.equal(it.hub.stats().connections, 0)
})

t.test('what is read while a key goes is not handed over', async (t) => {
  const it = await locked(t)
  it.hub.publish('sessions/a', [{ type: 'start' }])
  await it.hub.committed('a')
  const path = `/api/sessions?token=${it.token}`
  const reading = fetch(it.url + path)
  await until('the store is asked', () => it.store.asked)
  await it.withdraw()
  it.store.go.resolve()
  const answer = await reading
  t.equal(answer.status, 401)
  t.match(await answer.json(), { detail: /withdrawn/ })
})

t.test('a body that was begun before its key went publishes nothing after', async (t) => {
  for (const [type, first, rest] of [
    ['application/json', '{"type":', '"start"}'],
    ['application/x-ndjson', '{"type":', '"start"}\n'],
  ] as const) {
    const it = await locked(t)
    const link = sendPart(it, { token: it.token, type, length: first.length + rest.length })
    link.write(first)
    await it.underWay()
    await it.withdraw()
    link.write(rest)
    t.match(await link.answer(), /^HTTP\/1.1 401 /, type)
    t.equal(it.hub.find('a'), undefined)
  }
})

/** A span of a call of a model, as OpenTelemetry has it in JSON. */
const chat = {
  traceId: 'a'.repeat(32),
  spanId: 'b'.repeat(16),
  attributes: [{ key: 'gen_ai.operation.name', value: { stringValue: 'chat' } }],
}

t.test('what else changes anything is refused likewise, whatever the route', async (t) => {
  const cases = [
    ['PUT', '/api/sessions/a/state/plan', '1'],
    ['PATCH', '/api/sessions/a/state/plan', '{}'],
    ['PUT', '/api/sessions/a', '{}'],
    ['POST', '/api/sessions/a/end', '{}'],
    ['PUT', '/api/sessions/a/lease', '{"ms":5000}'],
    ['POST', '/api/sessions/a/fork', '{"session":"new"}'],
    ['POST', '/api/sessions/a/secrets', '{"values":["correct-horse-battery"]}'],
    ['POST', '/api/sessions/a/redact', '{"values":["correct-horse-battery"]}'],
    ['PUT', '/v1/stream/new', '[1]'],
    ['POST', '/v1/stream/new', '[1]'],
    [
      'POST',
      '/v1/traces?session=new',
      JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans: [chat] }] }] }),
    ],
  ] as const
  for (const [method, path, body] of cases) {
    const it = await locked(t)
    it.hub.publish('sessions/a', [{ type: 'start' }])
    const before = it.hub.find('a')?.offset
    const type = method === 'PATCH' ? 'application/merge-patch+json' : 'application/json'
    const link = sendPart(it, { token: it.token, type, length: body.length + 1, method, path })
    link.write(body)
    await it.underWay()
    await it.withdraw()
    link.write(' ')
    t.match(await link.answer(), /^HTTP\/1.1 401 /, `${method} ${path}`)
    t.match(it.hub.find('a'), { offset: before, status: 'running' })
    t.equal(it.hub.find('new'), undefined)
  }
})

t.test('a WebSocket whose key goes while it is verified is not welcomed', async (t) => {
  const it = await locked(t)
  const clients = Array.from({ length: 20 }, (_, at) =>
    mint(
      { subscribe: ['**'], sub: String(at), exp: it.clock.now() / 1_000 + hour },
      { key: old.privateKey, alg: 'ES256', kid: 'old' },
    ).then((token) => dial(t, it.url, ['runcast.v1.json', `bearer.${token}`])),
  )
  const gone = it.withdraw()
  for (const client of await Promise.all(clients)) t.match(await client.closed, { code: 4501 })
  await gone
  t.equal(it.hub.stats().connections, 0)
})

t.test('a body that takes longer than its token lives is refused', async (t) => {
  const clock = new SimulatedClock(1_700_000_000_000)
  const it = await served(t, { serve: { auth: { secrets: [secret] }, clock } })
  const token = await mint({ publish: ['**'], exp: clock.now() / 1_000 + 10 })
  const body = '{"type":"start"}'
  const link = sendPart(it, { token, type: 'application/json', length: body.length })
  link.write(body.slice(0, 5))
  await underWay(it.url, await mint({ subscribe: ['hub'], exp: clock.now() / 1_000 + hour }))
  clock.advance(15_000)
  link.write(body.slice(5))
  t.match(await link.answer(), /^HTTP\/1.1 401 /)
  t.equal(it.hub.find('a'), undefined)
})

t.test(
  'a clock that is set ahead ends tokens that have run out by it; one set back lengthens none',
  async (t) => {
    const clock = new SimulatedClock(1_700_000_000_000)
    const limits = { heartbeatMs: 10 * hour * 1_000 }
    const it = await served(t, { hub: { limits }, serve: { auth: { secrets: [secret] }, clock } })
    const claims = { subscribe: ['**'], publish: ['**'], exp: clock.now() / 1_000 + hour }
    const dialled = async () => {
      const client = await dial(t, it.url, ['runcast.v1.json', `bearer.${await mint(claims)}`])
      await client.expect('authorized')
      return client
    }
    const ahead = await dialled()
    const stream = await openStream(t, `${it.url}/api/sessions/a/events?token=${await mint(claims)}`)
    clock.jump(3 * 24 * hour * 1_000)
    clock.advance(1_000)
    t.match(await ahead.closed, { code: 4501, reason: /expired/ })
    t.match((await stream.rest()).slice(-1), [{ event: 'hub.close', data: /"code":4501/ }])

    clock.jump(-3 * 24 * hour * 1_000)
    const asking = await dialled()
    const back = await dialled()
    clock.jump(-3 * 24 * hour * 1_000)
    clock.advance(hour * 1_000 + 5_000)
    t.match(await back.closed, { code: 4501, reason: /expired/ })
    t.match(await asking.closed, { code: 4501 })
    t.equal(it.hub.stats().connections, 0)
  },
)

t.test('a frame that comes between the end of a token and its timer is not done', async (t) => {
  const clock = new SimulatedClock(1_700_000_000_000)
  const it = await served(t, { serve: { auth: { secrets: [secret] }, clock } })
  const client = await dial(t, it.url, [
    'runcast.v1.json',
    `bearer.${await mint({ publish: ['**'], exp: clock.now() / 1_000 + hour })}`,
  ])
  await client.expect('authorized')
  clock.jump(2 * hour * 1_000)
  client.send({ type: 'publish', ref: 1, topic: 'sessions/a', events: [{ type: 'start' }] })
  t.match(await client.closed, { code: 4501, reason: /expired/ })
  t.equal(it.hub.find('a'), undefined)
})

t.test('a token is revoked by its id, and no other with it', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'runcast-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const revokedFile = join(folder, 'revoked')
  writeFileSync(revokedFile, '# taken back\n')
  const clock = new SimulatedClock(1_700_000_000_000)
  const it = await served(t, { serve: { auth: { secrets: [secret], revokedFile }, clock } })
  const claims = { subscribe: ['**'], sub: 'ada', exp: clock.now() / 1_000 + hour }
  const [lost, kept] = await Promise.all(['one', 'two'].map((jti) => mint({ ...claims, jti })))
  const clients = await Promise.all(
    [lost, kept].map((token) => dial(t, it.url, ['runcast.v1.json', `bearer.${token}`])),
  )
  for (const client of clients) await client.expect('welcome')
  writeFileSync(revokedFile, '# taken back\none\n')
  clock.advance(2_000)
  t.match(await clients[0]?.closed, { code: 4501, reason: 'The token has been revoked.' })
  t.equal((await fetch(`${it.url}/api/sessions?token=${lost}`)).status, 401)
  t.equal((await fetch(`${it.url}/api/sessions?token=${kept}`)).status, 200)
  t.equal(it.hub.stats().connections, 1)
  await t.rejects(
    Tokens.start(
      { secrets: [secret], revokedFile: join(folder, 'none') },
      { clock, limits: defaultLimits, report: (error) => t.error(error) },
    ),
    { message: /none: ENOENT/ },
  )
})

/** @returns the status of the answer to frames for an open response */
async function change(
  url: string,
  connection: string | null,
  token: string | undefined,
  frames: readonly object[],
): Promise<number> {
  const answer = await fetch(`${url}/api/stream/${connection}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}` },
    body: JSON.stringify(frames),
  })
  await answer.arrayBuffer()
  return answer.status
}

t.test('a stream is changed with its own token, or one of the same holder that it hands over', async (t) => {
  const it = await served(t, { serve: { auth: { secrets: [secret] } } })
  const [opener, weaker, stranger] = await Promise.all([
    mint({ subscribe: ['sessions/a/**', 'sessions/b'], sub: 'ada', jti: '1' }),
    mint({ subscribe: ['sessions/b'], sub: 'ada', jti: '2' }),
    mint({ subscribe: ['**'], sub: 'bob' }),
  ])
  const stream = await openStream(t, `${it.url}/api/stream?token=${opener}`)
  const { connection } = JSON.parse((await stream.until(({ event }) => event === 'hub.open')).data ?? '')
  const post = (token: string | undefined, frames: object[]) => change(it.url, connection, token, frames)
  const subscribe = (sub: number, topic: string) => ({ type: 'subscribe', sub, topic })
  const authorize = (token: string | undefined) => ({ type: 'authorize', token })
  t.equal(await post(opener, [subscribe(1, 'sessions/a')]), 200)
  t.equal(await post(weaker, [subscribe(2, 'sessions/a')]), 403)
  t.equal(await post(weaker, [subscribe(2, 'sessions/a'), authorize(weaker)]), 403)
  t.equal(await post(weaker, [authorize(opener), subscribe(2, 'sessions/a')]), 403)
  t.equal(await post(stranger, [authorize(stranger)]), 403)
  t.equal(it.hub.stats().subscriptions, 1, 'nothing of it was done')
  t.equal(await post(weaker, [authorize(weaker), subscribe(2, 'sessions/b')]), 200)
  t.equal(it.hub.stats().subscriptions, 1, 'what the new one does not allow has ended')
  t.equal(await post(opener, [subscribe(3, 'sessions/a')]), 403, 'it is another token now')
})

t.test('a response of one topic takes another token of the same holder, and nothing else', async (t) => {
  const it = await served(t, { serve: { auth: { secrets: [secret] } } })
  const [opener, next, weaker, stranger] = await Promise.all([
    mint({ subscribe: ['sessions/a'], sub: 'ada', jti: '1' }),
    mint({ subscribe: ['sessions/**'], sub: 'ada', jti: '2' }),
    mint({ subscribe: ['sessions/b'], sub: 'ada', jti: '3' }),
    mint({ subscribe: ['**'], sub: 'bob' }),
  ])
  const authorization = `Bearer ${opener}`
  const stream = await openStream(t, `${it.url}/api/sessions/a/events`, { authorization })
  const connection = stream.response.headers.get('runcast-connection')
  await stream.until(({ event }) => event === 'hub.live')
  const post = (token: string, ...frames: object[]) => change(it.url, connection, token, frames)
  const authorize = (token: string) => ({ type: 'authorize', token })
  t.equal(await post(stranger, authorize(stranger)), 403)
  t.equal(await post(weaker, authorize(weaker)), 403, 'it may not see the topic')
  t.equal(await post(opener, { type: 'subscribe', sub: 2, topic: 'sessions/a' }), 400)
  t.equal(await post(opener, { type: 'unsubscribe', sub: 1 }), 400)
  t.equal(await post(next, authorize(next)), 200)
  t.equal(await post(opener, authorize(opener)), 200, 'the earlier one is still valid')
  it.hub.session('a').publish({ type: 'note' })
  await stream.until(({ event }) => event === 'note')
  stream.close()
  await until('it has gone', () => it.hub.stats().connections === 0)
  t.equal(await post(next, authorize(next)), 404)
})

interface Part {
  readonly token: string
  readonly type: string
  readonly length: number
  readonly method?: string
  readonly path?: string
}

/** A request whose body comes in parts. */
function sendPart(
  { server }: Served,
  { token, type, length, method = 'POST', path = '/api/sessions/a/events' }: Part,
): { write(text: string): void; answer(): Promise<string> } {
  const socket = connect(server.port, '127.0.0.1')
  let text = ''
  const ended = new Promise<string>((resolve) => {
    socket.on('data', (data) => {
      text += data
      if (text.includes('\r\n\r\n')) resolve(text)
    })
    socket.on('close', () => resolve(text))
  })
  socket.on('error', () => {})
  socket.write(
    `${method} ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\nContent-Type: ${type}\r\nContent-Length: ${length}\r\n\r\n`,
  )
  return {
    write: (part) => void socket.write(part),
    async answer() {
      const answer = await ended
      socket.destroy()
      return answer
    },
  }
}
