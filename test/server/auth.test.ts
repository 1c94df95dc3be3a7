import { createHmac, createSecretKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { get } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { UnsecuredJWT } from 'jose'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { systemClock } from '../../src/lib/clock.js'
import { defaultLimits } from '../../src/protocol/limits.js'
import { Auth, type AuthOptions } from '../../src/server/auth.js'
import { SimulatedClock } from '../kit/clock.js'
import { issuer } from '../kit/issuer.js'
import { dial, openStream, type Served, served } from '../kit/served.js'
import { type Minted, mint, secret } from '../kit/tokens.js'
import { until } from '../kit/wait.js'

const folder = mkdtempSync(join(tmpdir(), 'runcast-auth-'))
t.teardown(() => rmSync(folder, { recursive: true }))
let files = 0

function file(text: string): string {
  files += 1
  const path = join(folder, String(files))
  writeFileSync(path, text)
  return path
}

async function started(t: Test, options: AuthOptions, clock = systemClock): Promise<Auth> {
  const report = (error: unknown) => t.error(error, 'nothing is reported')
  const auth = await Auth.start(options, { clock, limits: defaultLimits, report })
  t.teardown(() => auth.close())
  return auth
}

/** @returns nothing when the token is taken, otherwise what is said against it */
async function verdict(auth: Auth, token: string): Promise<string | undefined> {
  try {
    await auth.grantOf(token)
    return undefined
  } catch (error) {
    const { code, message } = error as { readonly code: string; readonly message: string }
    return code === 'unauthorized' ? message : `${code}: ${message}`
  }
}

const unsigned = 'The token is not signed with a key of this hub.'
const rsa = generateKeyPairSync('rsa', { modulusLength: 2_048 })
const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const ed = generateKeyPairSync('ed25519')
const pem = (key: KeyObject) =>
  key.export({ type: key.type === 'private' ? 'pkcs8' : 'spki', format: 'pem' }).toString()
const jwk = (key: KeyObject, more: object = {}) => ({ ...key.export({ format: 'jwk' }), ...more })

t.test('takes tokens that a key of any kind has signed', async (t) => {
  const set = {
    keys: [
      jwk(rsa.publicKey, { kid: 'r', alg: 'RS256', use: 'sig' }),
      jwk(ed.publicKey, { kid: 'e' }),
      { kty: 'unknown' },
    ],
  }
  const cases: readonly [name: string, options: AuthOptions, key: KeyObject, alg: string, kid?: string][] = [
    ['a secret', { secrets: [secret] }, createSecretKey(Buffer.from(secret)), 'HS256'],
    [
      'a secret in a file',
      { secretFiles: [file(`${secret}\n`)] },
      createSecretKey(Buffer.from(secret)),
      'HS256',
      'any',
    ],
    ['RSA as PEM', { keyFiles: [file(pem(rsa.publicKey))] }, rsa.privateKey, 'RS256'],
    ['RSA as PEM, PSS', { keyFiles: [file(pem(rsa.publicKey))] }, rsa.privateKey, 'PS384'],
    ['P-256 as PEM', { keyFiles: [file(pem(ec.publicKey))] }, ec.privateKey, 'ES256', 'of the issuer'],
    [
      'a private key, of which the public half counts',
      { keyFiles: [file(pem(ec.privateKey))] },
      ec.privateKey,
      'ES256',
    ],
    ['Ed25519 as JWK', { keyFiles: [file(JSON.stringify(jwk(ed.publicKey)))] }, ed.privateKey, 'EdDSA'],
    ['a JWK set', { keyFiles: [file(JSON.stringify(set))] }, rsa.privateKey, 'RS256', 'r'],
    ['a JWK set, without kid', { keyFiles: [file(JSON.stringify(set))] }, ed.privateKey, 'EdDSA'],
    ['the second key', { secrets: ['x'.repeat(32), secret] }, createSecretKey(Buffer.from(secret)), 'HS256'],
  ]
  for (const [name, options, key, alg, kid] of cases) {
    const auth = await started(t, options)
    const token = await mint({ subscribe: ['sessions/a'] }, { key, alg, ...(kid !== undefined && { kid }) })
    t.equal(await verdict(auth, token), undefined, name)
    t.match(await auth.grantOf(token), { permissions: { reads: true, sessions: ['a'] }, expiresAt: Number })
  }
})

t.test('no algorithm but the key’s own verifies anything', async (t) => {
  const encode = (value: object | string) =>
    Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')
  const claims = { subscribe: ['**'], exp: 9_999_999_999 }
  /** Signs with the text of the public key as if it were a secret. */
  const confused = (text: string, alg: string) => {
    const head = `${encode({ alg, typ: 'JWT' })}.${encode(claims)}`
    return `${head}.${createHmac('sha256', text).update(head).digest('base64url')}`
  }
  const publicPem = pem(rsa.publicKey)
  const auth = await started(t, { keyFiles: [file(publicPem)] })
  const both = await started(t, { keyFiles: [file(publicPem)], secrets: [secret] })
  const none = new UnsecuredJWT(claims).encode()
  const strangers: readonly [name: string, token: string][] = [
    ['alg none', none],
    ['alg NONE', none.replace(/^[^.]+/, encode({ alg: 'NONE' }))],
    ['alg none with a signature', `${none}AAAA`],
    ['no alg', `${encode({})}.${encode(claims)}.AAAA`],
    ['HS256 with the public key as the secret', confused(publicPem, 'HS256')],
    ['HS256 with the trimmed public key', confused(publicPem.trim(), 'HS256')],
    ['RS256 that is HS256', confused(publicPem, 'RS256')],
    [
      'another RSA key',
      await mint(claims, {
        key: generateKeyPairSync('rsa', { modulusLength: 2_048 }).privateKey,
        alg: 'RS256',
      }),
    ],
    ['another kind of key', await mint(claims, { key: ec.privateKey, alg: 'ES256' })],
    [
      'HS512 with the secret',
      await mint(claims, { key: createSecretKey(Buffer.alloc(64, 'k')), alg: 'HS512' }),
    ],
  ]
  for (const [name, token] of strangers) {
    for (const hub of [auth, both]) t.ok(await verdict(hub, token), name)
  }
  const bound = await started(t, { keyFiles: [file(JSON.stringify(jwk(rsa.publicKey, { alg: 'RS256' })))] })
  t.equal(
    await verdict(bound, await mint(claims, { key: rsa.privateKey, alg: 'PS256' })),
    unsigned,
    'alg of the JWK',
  )
  const named = await started(t, { keyFiles: [file(JSON.stringify(jwk(rsa.publicKey, { kid: 'a' })))] })
  t.equal(
    await verdict(named, await mint(claims, { key: rsa.privateKey, alg: 'RS256', kid: 'b' })),
    unsigned,
    'kid',
  )
})

t.test('checks when, for whom and by whom a token was made', async (t) => {
  const clock = new SimulatedClock(1_700_000_000_000)
  const now = 1_700_000_000
  const auth = await started(t, { secrets: [secret], audience: ['hub', 'other hub'], issuer: ['ci'] }, clock)
  const good = { aud: 'hub', iss: 'ci', exp: now + 60 }
  const cases: readonly [claims: Minted, said: string | undefined][] = [
    [good, undefined],
    [{ ...good, aud: ['x', 'other hub'] }, undefined],
    [{ ...good, exp: now - 6 }, 'The token has expired.'],
    [{ ...good, nbf: now + 7 }, 'The token is not valid yet.'],
    [{ ...good, aud: 'x' }, 'The token is meant for another audience (aud).'],
    [{ exp: now + 60, iss: 'ci' }, 'The token is meant for another audience (aud).'],
    [{ ...good, iss: 'x' }, 'The token is from another issuer (iss).'],
    [{ ...good, subscribe: ['rooms/*'] }, "The token's claim subscribe[0]: expected hub or sessions"],
    [{ ...good, publish: '**' as unknown as string[] }, "The token's claim publish is no list"],
    [{ ...good, exp: 'soon' as unknown as number }, 'claim exp'],
  ]
  for (const [claims, said] of cases) {
    const got = await verdict(auth, await mint(claims))
    if (said === undefined) t.equal(got, undefined, JSON.stringify(claims))
    else t.match(got, said, JSON.stringify(claims))
  }
  const anyAudience = await started(t, { secrets: [secret] })
  t.match(await verdict(anyAudience, await mint({ aud: 'somebody else' })), /meant for an audience/)
  t.match(await verdict(auth, 'x'.repeat(8_193)), /too long/)
  const garbage = await verdict(auth, 'half-a-secret')
  t.equal(garbage, 'The token is no JWT.', 'what came is not repeated')
})

t.test('refuses to start with keys that protect nothing', async (t) => {
  const weak = generateKeyPairSync('rsa', { modulusLength: 1_024 })
  const cases: readonly [options: AuthOptions, said: RegExp][] = [
    [{}, /at least one key/],
    [{ secrets: ['x'.repeat(31)] }, /secret of at least 32 bytes, got 31/],
    [{ secretFiles: [file('short\n')] }, /at least 32 bytes, got 5/],
    [{ secretFiles: [join(folder, 'missing')] }, /missing: cannot be read/],
    [{ keyFiles: [file('no key')] }, /expected a public key as PEM or JWK/],
    [{ keyFiles: [file(pem(weak.publicKey))] }, /RSA of 2048 bits or more/],
    [{ keyFiles: [file(JSON.stringify(jwk(rsa.publicKey, { use: 'enc' })))] }, /a key for signatures/],
    [{ keyFiles: [file('{"kty":"oct","k":"c2hvcnQ"}')] }, /at least 32 bytes, got 5/],
    [{ jwksUrl: 'http://keys.example/jwks' }, /expected an https URL/],
    [{ jwksUrl: 'http://127.0.0.1:1/jwks' }, /expected a JWK set/],
  ]
  for (const [options, said] of cases) await t.rejects(started(t, options), { message: said })
})

t.test('fetches a JWK set once, again for a kid that it does not know, and never a secret', async (t) => {
  const keys = await issuer(t)
  keys.keys = [
    jwk(rsa.publicKey, { kid: 'one' }),
    { kty: 'oct', k: Buffer.from(secret).toString('base64url') },
  ]
  const clock = new SimulatedClock()
  const auth = await started(t, { jwksUrl: keys.url }, clock)
  const claims = { exp: 9_999_999_999 }
  const one = { key: rsa.privateKey, alg: 'RS256', kid: 'one' }
  const two = { key: ec.privateKey, alg: 'ES256', kid: 'two' }
  for (const sub of ['a', 'b', 'c'])
    t.equal(await verdict(auth, await mint({ ...claims, sub }, one)), undefined)
  t.equal(keys.asked, 1)
  t.equal(await verdict(auth, await mint(claims)), unsigned, 'what anyone can fetch is no secret')
  keys.keys.push(jwk(ec.publicKey, { kid: 'two' }))
  t.equal(await verdict(auth, await mint(claims, two)), unsigned, 'it was read just now')
  clock.advance(10_000)
  t.equal(await verdict(auth, await mint(claims, two)), undefined)
  t.equal(keys.asked, 2)
})

// A hub whose server has a simulated clock

const hour = 3_600

interface Locked extends Served {
  readonly clock: SimulatedClock
}

async function locked(t: Test, auth: AuthOptions = { secrets: [secret] }): Promise<Locked> {
  const clock = new SimulatedClock(1_700_000_000_000)
  // Nobody is to be closed for being silent.
  const hub = { limits: { heartbeatMs: 10 * hour * 1_000 } }
  return { ...(await served(t, { hub, serve: { auth, clock } })), clock }
}

function inSeconds({ clock }: Locked, seconds: number): number {
  return Math.floor(clock.now() / 1_000) + seconds
}

t.test('a WebSocket without a good token is closed with 4501', async (t) => {
  const it = await locked(t)
  for (const token of [undefined, 'x', await mint({ exp: 1 }), await mint({ subscribe: ['x'] })]) {
    const client = await dial(t, it.url, ['runcast.v1.json', ...(token ? [`bearer.${token}`] : [])])
    t.match(await client.closed, { code: 4501, reason: /token/i })
    t.equal(await client.next(), undefined, 'not a word before')
  }
  const token = await mint({ subscribe: ['**'], exp: inSeconds(it, hour) })
  const ways = [
    new WebSocket(`${it.url.replace('http', 'ws')}/api/ws?token=${token}`),
    new WebSocket(`${it.url.replace('http', 'ws')}/api/ws`, {
      headers: { authorization: `bearer ${token}` },
    }),
    new WebSocket(`${it.url.replace('http', 'ws')}/api/ws`, ['runcast.v1.json', `bearer.${token}`]),
  ]
  const welcomes = ways.map(
    (socket) =>
      new Promise((resolve) => socket.once('message', (data: Buffer) => resolve(JSON.parse(String(data))))),
  )
  for (const [way, socket] of ways.entries()) {
    t.teardown(() => socket.terminate())
    t.match(await welcomes[way], { type: 'welcome' })
    t.ok(['', 'runcast.v1.json'].includes(socket.protocol), 'the token is never chosen')
  }
})

t.test('frames do what the token allows, and nothing else', async (t) => {
  const it = await locked(t)
  const token = await mint({
    subscribe: ['sessions/a'],
    publish: ['sessions/a/workers/w'],
    exp: inSeconds(it, hour),
  })
  const client = await dial(t, it.url, ['runcast.v1.json', `bearer.${token}`])
  t.match(await client.expect('authorized'), { expiresInMs: hour * 1_000 + 5_000 })
  const ask = async (frame: object) => {
    client.send({ ref: 1, ...frame })
    for (;;) {
      const answer = await client.next()
      if (answer?.type === 'error') return String(answer.code)
      if (answer !== undefined && ['subscribed', 'published', 'updated'].includes(String(answer.type)))
        return 'done'
    }
  }
  const events = [{ type: 'start' }]
  const change = { topic: 'sessions/a', slice: 'plan' }
  const cases: readonly [frame: object, answer: string][] = [
    [{ type: 'subscribe', ref: undefined, sub: 1, topic: 'sessions/a' }, 'done'],
    [{ type: 'subscribe', ref: undefined, sub: 2, topic: 'sessions/a/**' }, 'forbidden'],
    [{ type: 'subscribe', ref: undefined, sub: 3, topic: 'sessions/a/workers/w' }, 'forbidden'],
    [{ type: 'subscribe', ref: undefined, sub: 4, topic: 'sessions/b' }, 'forbidden'],
    [{ type: 'publish', topic: 'sessions/a/workers/w', events }, 'done'],
    [{ type: 'publish', topic: 'sessions/a', events }, 'forbidden'],
    [{ type: 'publish', topic: 'sessions/b', events }, 'forbidden'],
    [{ type: 'set', ...change, topic: 'sessions/a/workers/w', value: 1 }, 'done'],
    [{ type: 'set', ...change, value: 1 }, 'forbidden'],
    [{ type: 'patch', ...change, patch: [] }, 'forbidden'],
    [{ type: 'merge', ...change, merge: {} }, 'forbidden'],
  ]
  for (const [frame, answer] of cases) t.equal(await ask(frame), answer, JSON.stringify(frame))
  t.match(it.hub.stats(), { published: 1, subscriptions: 1 })
  t.equal(it.hub.find('b'), undefined)
})

t.test('what a token allows ends with it, unless it is renewed in time', async (t) => {
  const it = await locked(t)
  const claims = { subscribe: ['sessions/a/**'], publish: ['sessions/a/**'] }
  const short = await mint({ ...claims, exp: inSeconds(it, 10) })
  const [kept, lost] = await Promise.all(
    [0, 1].map(() => dial(t, it.url, ['runcast.v1.json', `bearer.${short}`])),
  )
  const stream = await openStream(t, `${it.url}/api/sessions/a/events?token=${short}`)
  const many = await openStream(t, `${it.url}/api/stream?topic=sessions/a/**`, {
    authorization: `Bearer ${short}`,
  })
  const { connection } = JSON.parse((await many.until(({ event }) => event === 'hub.open')).data ?? '')
  for (const client of [kept, lost]) {
    client?.send({ type: 'subscribe', sub: 1, topic: 'sessions/a' })
    await client?.expect('live')
  }
  const long = await mint({ ...claims, exp: inSeconds(it, hour) })
  kept?.send({ type: 'authorize', token: 'x.y.z' })
  t.match(await kept?.expect('error'), { code: 'unauthorized' })
  kept?.send({ type: 'authorize', token: long })
  t.match(await kept?.expect('authorized'), { expiresInMs: hour * 1_000 + 5_000 })
  const renewed = await fetch(`${it.url}/api/stream/${connection}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${short}` },
    body: JSON.stringify([
      { type: 'authorize', token: long },
      { type: 'subscribe', sub: 2, topic: 'sessions/a' },
    ]),
  })
  t.same(await renewed.json(), { applied: 2 })
  const body = new TransformStream<Uint8Array, Uint8Array>()
  const writer = body.writable.getWriter()
  const publishing = fetch(`${it.url}/api/sessions/a/events?token=${short}`, {
    method: 'POST',
    body: body.readable,
    duplex: 'half',
    headers: { 'content-type': 'application/x-ndjson' },
  })
  await writer.write(Buffer.from('{"type":"start"}\n'))
  await until('it is published', () => it.hub.stats().published === 1)

  it.clock.advance(14_999)
  t.equal(it.hub.stats().connections, 4)
  it.clock.advance(1)
  t.match(await lost?.closed, { code: 4501, reason: 'The token has expired.' })
  t.match((await stream.rest()).slice(-1), [{ event: 'hub.close', data: /"code":4501/ }])
  await writer.write(Buffer.from('{"type":"step-end"}\n'))
  const refused = await publishing
  t.equal(refused.status, 401)
  t.match(await refused.json(), { detail: /expired/, accepted: 1 })
  await writer.abort().catch(() => undefined)

  t.equal(it.hub.stats().connections, 2)
  it.hub.session('a').publish({ type: 'step-start' })
  t.match(await kept?.expect('events'), { events: [{ type: 'start' }] })
  t.match(await kept?.expect('events'), { events: [{ type: 'step-start' }] })
  await many.until(({ event }) => event === 'step-start')
  it.clock.advance(hour * 1_000)
  t.match(await kept?.closed, { code: 4501 })
  await many.until(({ event }) => event === 'hub.close')
})

t.test('another token ends what it does not allow, and shows other sessions', async (t) => {
  const it = await locked(t)
  for (const id of ['a', 'b']) it.hub.session(id).publish({ type: 'start' })
  const exp = inSeconds(it, hour)
  const client = await dial(t, it.url, [
    'runcast.v1.json',
    `bearer.${await mint({ subscribe: ['sessions/a/**'], exp })}`,
  ])
  client.send({ type: 'subscribe', sub: 1, topic: 'sessions/a' })
  client.send({ type: 'subscribe', sub: 2, topic: 'hub', slices: ['sessions'] })
  let list = await client.expect('subscribed')
  if (list.sub === 1) list = await client.expect('subscribed')
  t.same(Object.keys((list.slices as { sessions: object }).sessions), ['a'])
  it.hub.session('b').end()
  it.hub.session('a').worker('w').publish({ type: 'start' })
  const update = await client.expect('events')
  t.match(update, { feed: list.feed, events: [{ type: 'state.update', data: { slice: 'sessions' } }] })
  t.notMatch(JSON.stringify(update), '"b"')
  client.send({ type: 'authorize', token: await mint({ subscribe: ['sessions/b'], exp }) })
  t.match(await client.expect('unsubscribed'), { sub: 1, code: 'forbidden' })
  const other = await client.expect('subscribed')
  t.match(other, { sub: 2, topic: 'hub', resumed: false, slices: { sessions: { b: { status: 'ended' } } } })
  t.not(other.epoch, list.epoch)
  t.match(await client.expect('authorized'), {})
  t.equal(it.hub.stats().subscriptions, 1)
})

t.test('a withdrawn key takes its tokens along', async (t) => {
  const keys = await issuer(t)
  keys.keys = [jwk(rsa.publicKey, { kid: 'old' }), jwk(ec.publicKey, { kid: 'new' })]
  const it = await locked(t, { jwksUrl: keys.url })
  const claims = { subscribe: ['**'], exp: inSeconds(it, hour) }
  const old = await mint(claims, { key: rsa.privateKey, alg: 'RS256', kid: 'old' })
  const young = await mint(claims, { key: ec.privateKey, alg: 'ES256', kid: 'new' })
  const clients = await Promise.all(
    [old, young].map((token) => dial(t, it.url, ['runcast.v1.json', `bearer.${token}`])),
  )
  for (const client of clients) {
    client.send({ type: 'subscribe', sub: 1, topic: 'sessions/a' })
    await client.expect('live')
  }
  const answer = await fetch(`${it.url}/api/ticket`, {
    method: 'POST',
    headers: { authorization: `Bearer ${old}` },
  })
  const { ticket } = (await answer.json()) as { ticket: string }
  keys.keys = [jwk(ec.publicKey, { kid: 'new' })]
  it.clock.advance(60_000)
  t.match(await clients[0]?.closed, { code: 4501, reason: /has been withdrawn/ })
  t.equal((await fetch(`${it.url}/api/sessions?token=${old}`)).status, 401)
  t.equal((await fetch(`${it.url}/api/stream?ticket=${ticket}`)).status, 401)
  t.equal((await fetch(`${it.url}/api/sessions?token=${young}`)).status, 200)
  t.equal(it.hub.stats().subscriptions, 1)
})

t.test('keys that cannot be read again stay as they were', async (t) => {
  const keys = await issuer(t)
  keys.keys = [jwk(rsa.publicKey, { kid: 'a' })]
  const clock = new SimulatedClock(1_700_000_000_000)
  const reported: unknown[] = []
  const report = (error: unknown) => reported.push(error)
  const it = { ...(await served(t, { serve: { auth: { jwksUrl: keys.url }, clock, report } })), clock }
  const token = await mint({ exp: inSeconds(it, hour) }, { key: rsa.privateKey, alg: 'RS256', kid: 'a' })
  keys.down = true
  clock.advance(60_000)
  await until('it is reported', () => reported.length === 1)
  t.match(reported, [{ message: /jwks.json: expected a JWK set: HTTP 500/ }])
  t.equal((await fetch(`${it.url}/api/sessions?token=${token}`)).status, 200)
})

t.test('a ticket opens one stream, soon, and changes nothing', async (t) => {
  const it = await locked(t)
  it.hub.session('a').publish({ type: 'start' })
  const token = await mint({ subscribe: ['sessions/a'], publish: ['sessions/a'], exp: inSeconds(it, hour) })
  const headers = { authorization: `Bearer ${token}` }
  const ask = async (): Promise<string> => {
    const answer = await fetch(`${it.url}/api/ticket`, { method: 'POST', headers })
    t.equal(answer.headers.get('cache-control'), 'no-store')
    const { ticket, expiresInMs } = (await answer.json()) as { ticket: string; expiresInMs: number }
    t.equal(expiresInMs, 30_000)
    return ticket
  }
  const [first, second] = [await ask(), await ask()]
  const url = `${it.url}/api/sessions/a/events?replay=all&ticket=`
  const stream = await openStream(t, url + first)
  await stream.until(({ event }) => event === 'start')
  stream.close()
  t.equal((await fetch(url + first)).status, 401, 'it is used up')
  t.equal((await fetch(`${it.url}/api/sessions/b/events?ticket=${await ask()}`)).status, 403)
  t.equal((await fetch(url + (await ask()), { method: 'POST', body: '{"type":"start"}' })).status, 401)
  it.clock.advance(30_000)
  t.equal((await fetch(url + second)).status, 401, 'it is too old')
  t.equal((await fetch(`${it.url}/api/ticket`, { method: 'POST' })).status, 401)
})

t.test('a hub on loopback is called by no name but its own', async (t) => {
  const open = await served(t, { serve: { hosts: ['Runcast.example'] } })
  const locked = await served(t, { serve: { auth: { secrets: [secret] } } })
  const status = (url: string, host: string, headers: Record<string, string> = {}) =>
    new Promise<number | undefined>((resolve, reject) => {
      get(`${url}/healthz`, { headers: { host, ...headers }, agent: false }, (response) => {
        response.resume()
        resolve(response.statusCode)
      }).on('error', reject)
    })
  const { port } = open.server
  for (const host of [
    'localhost',
    `localhost:${port}`,
    '127.0.0.1',
    `[::1]:${port}`,
    'app.localhost',
    '10.1.2.3',
    `RUNCAST.example:${port}`,
  ]) {
    t.equal(await status(open.url, host), 200, host)
  }
  for (const host of [
    'evil.example',
    `evil.example:${port}`,
    '127.0.0.1.evil.example',
    'localhost.evil.example',
  ]) {
    t.equal(await status(open.url, host), 403, `"${host}"`)
  }
  const rebound = `http://evil.example:${port}`
  t.equal(
    await status(open.url, `evil.example:${port}`, { origin: rebound }),
    403,
    'though its origin is the host',
  )
  const socket = new WebSocket(`${open.url.replace('http', 'ws')}/api/ws`, {
    headers: { host: 'evil.example' },
    origin: 'http://evil.example',
  })
  const refused = await new Promise((resolve) =>
    socket.on('unexpected-response', (_, { statusCode }) => resolve(statusCode)),
  )
  t.equal(refused, 403)
  t.equal(await status(locked.url, 'any.example'), 200, 'where a token is needed, a name alone opens nothing')
})
