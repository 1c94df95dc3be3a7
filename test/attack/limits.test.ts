import t from 'tap'
import { type LimitName, limitTable } from '../../src/protocol/limits.js'
import { SimulatedClock } from '../kit/clock.js'
import { dial, overTransports, served } from '../kit/served.js'
import { mint, secret } from '../kit/tokens.js'
import { followedLimits } from './followed-limits.js'
import { heldLimits } from './held-limits.js'
import { type LimitTest, ping } from './limits-kit.js'
import { linkLimits } from './link-limits.js'
import { sentLimits } from './sent-limits.js'
import { timeLimits } from './time-limits.js'
import { tokenLimits } from './token-limits.js'

/** A value of `limits` for one test, and what holds at it and one beyond it. */
const tests: Readonly<Record<LimitName, LimitTest>> = {
  ...sentLimits,
  ...tokenLimits,
  ...followedLimits,
  ...linkLimits,
  ...heldLimits,
  ...timeLimits,
}

t.test('every limit of the table has a test', async (t) => {
  t.strictSame(Object.keys(tests).sort(), Object.keys(limitTable).sort())
})

t.test('all links with one token have one rate, from whatever address', async (t) => {
  const hub = await served(t, {
    hub: { limits: { requestBurstMax: 4 } },
    serve: { clock: new SimulatedClock(), trustedProxies: ['127.0.0.1'], auth: { secrets: [secret] } },
  })
  const token = await mint({ subscribe: ['**'] })
  const from = (address: string) =>
    dial(t, hub.url, ['runcast.v1.json', `bearer.${token}`], { 'x-forwarded-for': address })
  const [one, other] = [await from('10.0.0.1'), await from('10.0.0.2')]
  await ping(one, 2)
  await ping(other, 2)
  other.send({ type: 'ping' })
  t.match(await other.closed, { code: 4004, reason: /requests and frames/ })
})

overTransports(t, (t) => {
  for (const [name, test] of Object.entries(tests)) {
    t.test(`${name} holds at n, and does what the table says at n + 1`, { timeout: 60_000 }, test)
  }
})
