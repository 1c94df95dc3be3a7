import { createHmac, createSecretKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { UnsecuredJWT } from 'jose'
import t, { type Test } from 'tap'
import { systemClock } from '../../../src/lib/clock.js'
import { defaultLimits } from '../../../src/protocol/limits.js'
import { parseTopic } from '../../../src/protocol/topic.js'
import { signToken } from '../../../src/server/access/sign-token.js'
import { type AuthOptions, Tokens } from '../../../src/server/access/tokens.js'
import { SimulatedClock } from '../../kit/clock.js'
import { issuer, jwk } from '../../kit/issuer.js'
import { type Minted, mint, secret } from '../../kit/tokens.js'

const folder = mkdtempSync(join(tmpdir(), 'runcast-auth-'))
t.teardown(() => rmSync(folder, { recursive: true }))
let files = 0

function file(text: string): string {
  files += 1
  const path = join(folder, String(files))
  writeFileSync(path, text)
  return path
}

async function started(t: Test, options: AuthOptions, clock = systemClock): Promise<Tokens> {
  const report = (error: unknown) => t.error(error, 'nothing is reported')
  const auth = await Tokens.start(options, { clock, limits: defaultLimits, report })
  t.teardown(() => auth.close())
  return auth
}

/** @returns nothing when the token is taken, otherwise what is said against it */
async function verdict(auth: Tokens, token: string): Promise<string | undefined> {
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
    const grant = await auth.grantOf(token)
    t.match(grant, { expiresAt: Number })
    grant.use((permissions) => t.match(permissions, { reads: true, sessions: ['a'] }))
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

t.test('keys that are read meanwhile are waited for, and tried again when they could not be', async (t) => {
  const keys = await issuer(t)
  keys.keys = [jwk(rsa.publicKey)]
  keys.down = true
  const clock = new SimulatedClock()
  const reported: unknown[] = []
  const report = (error: unknown) => void reported.push(error)
  const auth = Tokens.begin({ jwksUrl: keys.url }, { clock, limits: defaultLimits, report })
  t.teardown(() => auth.close())
  const token = await mint({ exp: 9_999_999_999 }, { key: rsa.privateKey, alg: 'RS256' })
  t.match(await verdict(auth, token), /^unavailable: The keys for tokens cannot be read/)
  t.match(reported, [/HTTP 500/])
  keys.down = false
  t.match(await verdict(auth, token), /^unavailable/, 'they were asked for just now')
  clock.advance(10_000)
  t.equal(await verdict(auth, token), undefined)
  const setting = { clock, limits: defaultLimits, report }
  t.throws(() => Tokens.begin({}, setting), /at least one key/)
  t.throws(() => Tokens.begin({ secrets: ['short'] }, setting), /at least 32 bytes, got 5/)
  t.throws(() => Tokens.begin({ jwksUrl: 'http://keys.example/' }, setting), /an https URL/)
})

t.test('signToken makes what the hub takes, with a key of any kind', async (t) => {
  const jwkText = (key: KeyObject, more: object = {}) => JSON.stringify(jwk(key, more))
  const cases: readonly [name: string, key: string | Uint8Array | KeyObject, options: AuthOptions][] = [
    ['a secret', secret, { secrets: [secret] }],
    ['the bytes of a secret', Buffer.from(secret), { secrets: [secret] }],
    ['a secret as an object', createSecretKey(Buffer.from(secret)), { secrets: [secret] }],
    ['RSA as PEM', pem(rsa.privateKey), { keyFiles: [file(pem(rsa.publicKey))] }],
    ['P-256 as an object', ec.privateKey, { keyFiles: [file(pem(ec.publicKey))] }],
    [
      'Ed25519 as JWK',
      jwkText(ed.privateKey, { kid: 'e' }),
      { keyFiles: [file(jwkText(ed.publicKey, { kid: 'e' }))] },
    ],
  ]
  const expiresAt = Date.now() + 60_000
  for (const [name, key, options] of cases) {
    const auth = await started(t, options)
    const token = await signToken(
      { publish: ['sessions/a'], command: ['sessions/b'], subject: 'ann', expiresAt },
      key,
    )
    const grant = await auth.grantOf(token)
    const { holder, expiresAt: until } = grant
    const permissions = grant.use((allowed) => allowed)
    const may = (topic: string) => {
      const at = parseTopic(topic, 'topic', defaultLimits)
      return [permissions.mayRead(at), permissions.mayWrite(at), permissions.mayCommand(at)]
    }
    t.same(
      [may('sessions/a'), may('sessions/b')],
      [
        [false, true, true],
        [false, false, true],
      ],
      name,
    )
    t.match(holder, 'ann')
    t.equal(until, Math.floor(expiresAt / 1_000) * 1_000 + defaultLimits.tokenSkewMs)
  }
  const auth = await started(t, { secrets: [secret], audience: ['here'], issuer: ['me'] })
  t.equal(await verdict(auth, await signToken({}, secret, { audience: ['here'], issuer: 'me' })), undefined)
  t.match(await verdict(auth, await signToken({}, secret, { issuer: 'me' })), /audience/)
  await t.rejects(signToken({ subscribe: ['a/b'] }, secret), /^grant\.subscribe\[0\]: expected hub or/)
  await t.rejects(signToken({}, 'short'), /key: expected a secret of at least 32 bytes, got 5/)
  await t.rejects(signToken({}, rsa.publicKey), /key: expected a key of RSA/)
  await t.rejects(signToken({}, '-----BEGIN nothing'), /key: expected a private key as PEM or JWK/)
  const many = Array.from({ length: 200 }, (_, at) => `sessions/${'x'.repeat(100)}${at}`)
  await t.rejects(signToken({ subscribe: many }, secret), /a hub takes 8192: use fewer patterns/)
})
