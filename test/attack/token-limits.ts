import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { systemRandom } from '../../src/lib/random.js'
import { defaultLimits, type Limits } from '../../src/protocol/limits.js'
import { unlocked } from '../../src/server/access/grant.js'
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

/** Of tokens, their keys, and tickets. */
export const tokenLimits = {
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
    const [one, other] = [tickets.issue(unlocked), tickets.issue(unlocked)]
    clock.advance(999)
    t.equal(tickets.redeem(one), unlocked)
    clock.advance(1)
    t.equal(tickets.redeem(other), undefined)
  },

  async ticketsMax(t: Test) {
    const clock = new SimulatedClock()
    const tickets = new Tickets(clock, systemRandom, { ...defaultLimits, ticketsMax: 2, ticketMs: 1_000 })
    tickets.issue(unlocked)
    tickets.issue(unlocked)
    t.throws(() => tickets.issue(unlocked), { code: 'rateExceeded' })
    clock.advance(1_000)
    tickets.issue(unlocked)
  },
}
