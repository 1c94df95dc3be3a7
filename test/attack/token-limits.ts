import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { systemRandom } from '../../src/lib/random.js'
import { defaultLimits, type Limits } from '../../src/protocol/limits.js'
import { Authorization } from '../../src/server/access/authorize.js'
import { authorizeByUrl } from '../../src/server/access/authorize-url.js'
import { unlocked } from '../../src/server/access/grant.js'
import { RevokedTokens } from '../../src/server/access/revoked-tokens.js'
import { Tickets } from '../../src/server/access/tickets.js'
import { type AuthOptions, Tokens } from '../../src/server/access/tokens.js'
import { SimulatedClock } from '../kit/clock.js'
import { mint, secret } from '../kit/tokens.js'
import { until } from '../kit/wait.js'

interface Started {
  readonly auth: Tokens
  readonly clock: SimulatedClock
}

async function started(
  t: Test,
  limits: Partial<Limits>,
  options: AuthOptions = { secrets: [secret] },
): Promise<Started> {
  const clock = new SimulatedClock(1_700_000_000_000)
  const auth = await Tokens.start(options, {
    clock,
    limits: { ...defaultLimits, ...limits },
    report: (error) => t.error(error, 'nothing is reported'),
  })
  t.teardown(() => auth.close())
  return { auth, clock }
}

/** @returns what a file of this name has to be called; it goes with the test */
function file(t: Test, name: string, text: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'runcast-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}

const second = 1_700_000_000

/** Asks a server that answers as it is told; the reports are those of what went wrong. */
async function askedServer(t: Test, limits: Partial<Limits>, answer: (response: ServerResponse) => void) {
  let asked = 0
  const server = createServer((_, response) => {
    asked += 1
    answer(response)
  })
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const clock = new SimulatedClock(1_700_000_000_000)
  const reports: string[] = []
  const authorize = authorizeByUrl(
    { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/may` },
    {
      clock,
      limits: { ...defaultLimits, ...limits },
      report: (error) => void reports.push(String(error)),
    },
  )
  const ask = async (name: string) =>
    authorize({
      method: 'GET',
      path: '/api/sessions',
      query: '',
      headers: new Map([['cookie', `user=${name}`]]),
      cookies: new Map(),
      address: '127.0.0.1',
    })
  return { ask, clock, reports, asked: () => asked }
}

function grants(maxAge: number): (response: ServerResponse) => void {
  return (response) => void response.end(JSON.stringify({ subscribe: ['**'], maxAge }))
}

/** Of tokens, their keys, what `authorize` finds out, and tickets. */
export const tokenLimits = {
  async authorizeMs(t: Test) {
    const { ask, clock, reports, asked } = await askedServer(t, { authorizeMs: 100 }, () => {})
    const answer = ask('a')
    answer.catch(() => {})
    await until('it is asked', () => asked() === 1)
    await clock.pass(99)
    t.same(reports, [])
    await clock.pass(1)
    await t.rejects(answer, { code: 'unavailable', message: /longer than 100 ms/ })
    const slow = new Authorization({
      authorize: () => new Promise(() => {}),
      origins: { trustsCookies: () => true },
      clock,
      limits: { ...defaultLimits, authorizeMs: 100 },
    })
    const waiting = slow.grantOf({ method: 'GET', path: '/', query: '', headers: new Map(), address: '' }, '')
    const refused = t.rejects(async () => waiting, { code: 'unavailable' })
    await clock.pass(100)
    await refused
  },

  async authorizeBytesMax(t: Test) {
    const text = JSON.stringify({ subscribe: ['**'] })
    const answer = (response: ServerResponse) => void response.end(text)
    const fits = await askedServer(t, { authorizeBytesMax: text.length }, answer)
    t.same(await fits.ask('a'), { subscribe: ['**'] })
    const tooLong = await askedServer(t, { authorizeBytesMax: text.length - 1 }, answer)
    await t.rejects(tooLong.ask('a'), { code: 'unavailable' })
    t.match(tooLong.reports, [/more than 19 bytes/])
  },

  async authorizingMax(t: Test) {
    const waiting: ServerResponse[] = []
    const { ask, asked } = await askedServer(
      t,
      { authorizingMax: 2 },
      (response) => void waiting.push(response),
    )
    const answers = [ask('a'), ask('b'), ask('a')]
    await t.rejects(ask('c'), { code: 'unavailable', message: /2 requests are waiting/ })
    await until('both are asked', () => waiting.length === 2)
    for (const response of waiting) response.end('{}')
    t.same(await Promise.all(answers), [{}, {}, {}])
    t.equal(asked(), 2)
  },

  async authorizedMax(t: Test) {
    const { ask, asked, clock } = await askedServer(t, { authorizedMax: 2 }, grants(60))
    for (const name of ['a', 'b', 'a', 'b']) await ask(name)
    t.equal(asked(), 2)
    for (const name of ['c', 'b', 'c']) await ask(name)
    t.equal(asked(), 3)
    await ask('a')
    t.equal(asked(), 4, 'the one known longest was forgotten')
    await clock.pass(60_000)
    await ask('a')
    t.equal(asked(), 5, 'and no answer is remembered for longer than its maxAge')
  },

  async tokenPatternsMax(t: Test) {
    const { auth } = await started(t, { tokenPatternsMax: 2 })
    await auth.grantOf(await mint({ subscribe: ['hub', '**'], publish: ['hub', '**'] }))
    await t.rejects(async () => auth.grantOf(await mint({ publish: ['hub', '**', '*'] })), {
      code: 'unauthorized',
    })
  },

  async tokensKnownMax(t: Test) {
    const { auth } = await started(t, { tokensKnownMax: 2 })
    const tokens = await Promise.all(['a', 'b', 'c'].map((sub) => mint({ sub })))
    const isKnown = (token: string | undefined) => !(auth.grantOf(token ?? '') instanceof Promise)
    for (const token of tokens.slice(0, 2)) await auth.grantOf(token)
    t.strictSame(tokens.slice(0, 2).map(isKnown), [true, true])
    await auth.grantOf(tokens[2] ?? '')
    t.ok(isKnown(tokens[2]))
    t.notOk(isKnown(tokens[0]), 'the one known longest is verified again')
  },

  async tokenSkewMs(t: Test) {
    const { auth, clock } = await started(t, { tokenSkewMs: 2_000 })
    const ended = await mint({ exp: second })
    const begins = await mint({ nbf: second + 2 })
    const later = await mint({ nbf: second + 3 })
    await auth.grantOf(begins)
    await t.rejects(async () => auth.grantOf(later), { message: 'The token is not valid yet.' })
    clock.advance(1_999)
    await auth.grantOf(ended)
    clock.advance(1)
    await t.rejects(async () => auth.grantOf(ended), { message: 'The token has expired.' })
  },

  async keysMax(t: Test) {
    const secrets = ['a', 'b', 'c'].map((name) => name.repeat(32))
    await started(t, { keysMax: 2 }, { secrets: secrets.slice(0, 2) })
    await t.rejects(started(t, { keysMax: 2 }, { secrets }), { message: /at most 2 keys for tokens, got 3/ })
  },

  async keysBytesMax(t: Test) {
    const secretFiles = [file(t, 'key', `${'k'.repeat(39)}\n`)]
    await started(t, { keysBytesMax: 40 }, { secretFiles })
    await t.rejects(started(t, { keysBytesMax: 39 }, { secretFiles }), {
      message: /at most 39 bytes, got 40/,
    })
  },

  async keysFetchMs(t: Test) {
    const set = JSON.stringify({ keys: [] })
    const server = createServer((request, response) => {
      if (request.url === '/quick') response.end(set)
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    t.teardown(() => {
      server.closeAllConnections()
      server.close()
    })
    const { port } = server.address() as AddressInfo
    const from = (path: string, keysFetchMs: number) =>
      started(t, { keysFetchMs }, { jwksUrl: `http://127.0.0.1:${port}${path}` })
    await t.rejects(from('/quick', 60_000), { message: /has no public key/ }, 'it has come in time')
    await t.rejects(from('/never', 50), { message: /timeout/ })
  },

  async keysMs(t: Test) {
    const path = file(t, 'key', secret)
    const { auth, clock } = await started(t, { keysMs: 1_000 }, { secretFiles: [path] })
    const token = await mint({ exp: second + 60 })
    await auth.grantOf(token)
    let withdrawn = false
    auth.onWithdrawn(() => {
      withdrawn = true
    })
    writeFileSync(path, 'another-secret-of-the-tests-that-is-as-long')
    clock.advance(999)
    await auth.grantOf(token)
    clock.advance(1)
    await until('the key has gone', () => withdrawn)
    await t.rejects(async () => auth.grantOf(token), { message: /not signed with a key of this hub/ })
  },

  async ticketMs(t: Test) {
    const clock = new SimulatedClock()
    const tickets = new Tickets(clock, systemRandom, { ...defaultLimits, ticketMs: 1_000 })
    const [one, other] = [tickets.issue(unlocked, 'a'), tickets.issue(unlocked, 'a')]
    clock.jump(86_400_000)
    clock.advance(999)
    t.equal(tickets.redeem(one)?.grant, unlocked)
    clock.advance(1)
    t.equal(tickets.redeem(other), undefined)
  },

  async ticketsMax(t: Test) {
    const clock = new SimulatedClock()
    const tickets = new Tickets(clock, systemRandom, { ...defaultLimits, ticketsMax: 3, ticketMs: 1_000 })
    const [first = '', ...others] = [1, 2, 3].map(() => tickets.issue(unlocked, 'a'))
    t.throws(() => tickets.issue(unlocked, 'a'), { code: 'rateExceeded' })
    const another = tickets.issue(unlocked, 'b')
    t.equal(tickets.redeem(first), undefined, 'the oldest of who has most has made room')
    t.equal(tickets.redeem(others[0] ?? '')?.grant, unlocked)
    t.equal(tickets.redeem(another)?.grant, unlocked)
    tickets.issue(unlocked, 'a')
    tickets.issue(unlocked, 'a')
    t.throws(() => tickets.issue(unlocked, 'a'), { code: 'rateExceeded' })
    clock.advance(1_000)
    tickets.issue(unlocked, 'a')
  },

  async ticketsPerHolderMax(t: Test) {
    const limits = { ...defaultLimits, ticketsPerHolderMax: 2 }
    const tickets = new Tickets(new SimulatedClock(), systemRandom, limits)
    const ticket = tickets.issue(unlocked, 'a')
    tickets.issue(unlocked, 'a')
    t.throws(() => tickets.issue(unlocked, 'a'), { code: 'rateExceeded' })
    tickets.issue(unlocked, 'b')
    tickets.redeem(ticket)
    tickets.issue(unlocked, 'a')
  },

  async revokedMax(t: Test) {
    const path = file(t, 'revoked', '# a list\n\na\n b\r\nb\n')
    await revoked(t, path, { revokedMax: 2 })
    await t.rejects(revoked(t, path, { revokedMax: 1 }), { message: /at most 1 ids, got 2/ })
  },

  async revokedBytesMax(t: Test) {
    const path = file(t, 'revoked', 'a\nb\n')
    await revoked(t, path, { revokedBytesMax: 4 })
    await t.rejects(revoked(t, path, { revokedBytesMax: 3 }), { message: /at most 3 bytes, got 4/ })
  },

  async revokedMs(t: Test) {
    const path = file(t, 'revoked', '')
    const { list, clock } = await revoked(t, path, { revokedMs: 1_000 })
    let changed = false
    list.onChange(() => {
      changed = true
    })
    writeFileSync(path, 'a\n')
    clock.advance(999)
    t.notOk(list.has('a'))
    clock.advance(1)
    await until('it is read', () => changed)
    t.ok(list.has('a'))
  },
}

async function revoked(
  t: Test,
  path: string,
  limits: Partial<Limits>,
): Promise<{ readonly list: RevokedTokens; readonly clock: SimulatedClock }> {
  const clock = new SimulatedClock()
  const list = await RevokedTokens.read(path, {
    clock,
    limits: { ...defaultLimits, ...limits },
    report: (error) => t.error(error, 'nothing is reported'),
  })
  t.teardown(() => list.close())
  return { list, clock }
}
