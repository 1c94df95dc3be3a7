import t from 'tap'
import { SimulatedClock, settle } from '../kit/clock.js'
import { setUp } from './client-kit.js'

/** A token that the hub would check; here only its times are read. */
function tokenOf(name: string, times: { readonly exp?: number; readonly iat?: number }): string {
  return `h.${Buffer.from(JSON.stringify({ ...times, name })).toString('base64url')}.s`
}

t.test('a function that makes tokens', async (t) => {
  t.test('is called again at 80 % of the life of each, and nothing is cut', async (t) => {
    const asked: number[] = []
    const clock = new SimulatedClock()
    const { network, statuses } = setUp(t, {
      clock,
      token: () => {
        const now = clock.now()
        asked.push(now)
        return tokenOf(`t${asked.length}`, { iat: now / 1_000, exp: now / 1_000 + 6 })
      },
    })
    network.socket.welcome(1e9)
    const begun = clock.now()
    await clock.pass(600_000)
    t.same(asked.slice(0, 3), [begun, begun + 4_800, begun + 9_600])
    t.equal(asked.length, 1 + 600_000 / 4_800)
    t.match(network.socket.take().at(-1), { type: 'authorize', token: /^h\./ })
    t.same(
      statuses.map(({ kind }) => kind),
      ['open'],
    )
  })

  t.test('is believed about the length of a life, whatever the time is here', async (t) => {
    let asked = 0
    const clock = new SimulatedClock()
    const { network } = setUp(t, {
      clock,
      // The clock of whoever makes tokens is a day ahead.
      token: () =>
        tokenOf(`t${++asked}`, { iat: clock.now() / 1_000 + 86_400, exp: clock.now() / 1_000 + 86_410 }),
    })
    network.socket.welcome(1e9)
    await clock.pass(8_000)
    t.equal(asked, 2)
  })

  t.test('is tried again when it fails, and what failed is told', async (t) => {
    let asked = 0
    const clock = new SimulatedClock()
    const { network, client } = setUp(t, {
      clock,
      token: async () => {
        asked += 1
        if (asked === 2) throw new Error('the login is away')
        return tokenOf(`t${asked}`, { exp: clock.now() / 1_000 + 100 })
      },
    })
    await settle()
    network.socket.welcome(1e9)
    const errors: string[] = []
    client.onError(({ message }) => errors.push(message))
    await clock.pass(80_000)
    t.same(errors, ['no new token: Error: the login is away'])
    await clock.pass(5_000)
    t.equal(asked, 3)
    t.equal(network.socket.take().length, 1)
    t.equal(client.status.kind, 'open')
  })

  t.test('is not called while there is no link, nor for what is no JWT or never ends', async (t) => {
    for (const token of ['opaque', tokenOf('for ever', {}), 'a.bm8.c']) {
      let asked = 0
      const clock = new SimulatedClock()
      const { network } = setUp(t, {
        clock,
        token: () => {
          asked += 1
          return token
        },
      })
      network.socket.welcome(1e9)
      await clock.pass(1_000_000)
      t.equal(asked, 1, token)
    }
    let asked = 0
    const clock = new SimulatedClock()
    const { network } = setUp(t, {
      clock,
      backoff: { firstMs: 100_000, mostMs: 100_000 },
      token: () => {
        asked += 1
        return tokenOf('', { exp: clock.now() / 1_000 + 10 })
      },
    })
    network.socket.welcome(1e9)
    network.socket.cut()
    await clock.pass(20_000)
    t.equal(asked, 1)
  })

  t.test('is not called once the application has given a token of its own', async (t) => {
    let asked = 0
    const clock = new SimulatedClock()
    const { network, client } = setUp(t, {
      clock,
      token: () => tokenOf(`t${++asked}`, { exp: clock.now() / 1_000 + 10 }),
    })
    network.socket.welcome(1e9)
    client.authorize(tokenOf('own', { exp: clock.now() / 1_000 + 10 }))
    await clock.pass(100_000)
    t.equal(asked, 1)
  })
})
