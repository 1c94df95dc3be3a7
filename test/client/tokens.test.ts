import t from 'tap'
import { connect } from '../../src/client.js'
// Loaded before the simulated clock moves: a client that loads them when it dials would give the dial up meanwhile.
import '../../src/client/dial-sse.js'
import '../../src/client/over-http.js'
import { tokenHasExpired } from '../../src/protocol/token.js'
import { SimulatedClock, settle } from '../kit/clock.js'
import { SeededRandom } from '../kit/random.js'
import { until } from '../kit/wait.js'
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

/** A hub that is asked over HTTP, and refuses every token until it has refused so many. */
function refusing(count: number, detail: string, answer: () => Response) {
  const tokens: string[] = []
  const fetch = async (_: unknown, init: RequestInit = {}): Promise<Response> => {
    tokens.push(new Headers(init.headers).get('authorization') ?? '')
    if (tokens.length > count) return answer()
    return Response.json({ type: 'urn:runcast:unauthorized', detail }, { status: 401 })
  }
  return { tokens, fetch: fetch as typeof globalThis.fetch }
}

t.test('a token that expires before the hub looks at it is followed by another one', async (t) => {
  const stale = (n: number) => tokenOf(`t${n}`, { exp: 1 })
  const fresh = (n: number) => tokenOf(`t${n}`, { exp: 1e11 })
  const ways = [
    { name: 'it says so itself', make: stale, reason: 'The gateway does not like it.' },
    { name: 'the hub says so, whose clock is ahead', make: fresh, reason: tokenHasExpired },
  ]
  for (const { name, make, reason } of ways) {
    t.test(`${name}: over a WebSocket`, async (t) => {
      let asked = 0
      const clock = new SimulatedClock()
      await clock.pass(10_000)
      const { network, client } = setUp(t, { clock, token: () => make(++asked) })
      for (let refused = 1; refused < 6; refused += 1) {
        t.match(network.socket.protocols[1], `bearer.${make(refused)}`)
        network.socket.cut(4501, reason)
        const { status } = client
        t.match(status, { kind: 'waiting', code: 4501, reason })
        await clock.pass(status.kind === 'waiting' ? status.retryMs : 0)
      }
      network.socket.welcome()
      t.equal(client.status.kind, 'open')
    })

    t.test(`${name}: in a call over HTTP`, async (t) => {
      const clock = new SimulatedClock()
      await clock.pass(10_000)
      const { tokens, fetch } = refusing(5, reason, () =>
        Response.json({ epoch: 'e', offset: 0, slices: {} }),
      )
      let asked = 0
      const client = connect('http://hub.test', {
        transport: 'sse',
        clock,
        random: new SeededRandom(1),
        fetch,
        token: () => make(++asked),
        pause: { offline: true },
        page: { hidden: false, offline: true, watch: () => () => undefined },
        timeoutMs: 1_000_000,
      })
      t.teardown(() => client.close())
      let state: unknown
      const read = client.getState('sessions/s').then((got) => (state = got))
      await until('the state is read', async () => {
        await clock.pass(1_000)
        return state !== undefined
      })
      await read
      t.same(
        tokens,
        [1, 2, 3, 4, 5, 6].map((n) => `Bearer ${make(n)}`),
      )
    })
  }

  t.test('the hub says so: over SSE, for a response and for a request', async (t) => {
    const clock = new SimulatedClock()
    const blocks = 'event: hub.open\ndata: {"connection":"c"}\n\n'
    const opened = () => new Response(new ReadableStream({ start: (to) => to.enqueue(Buffer.from(blocks)) }))
    const response = refusing(5, tokenHasExpired, opened)
    const request = refusing(1, tokenHasExpired, () => Response.json({ first: 1, last: 1, duplicates: 0 }))
    const fetch = ((url: URL, init: RequestInit) =>
      (init.method === 'POST' ? request : response).fetch(url, init)) as typeof globalThis.fetch
    let asked = 0
    const client = connect('http://hub.test', {
      transport: 'sse',
      clock,
      random: new SeededRandom(1),
      fetch,
      token: () => fresh(++asked),
    })
    t.teardown(() => client.close())
    const bearers = (numbers: readonly number[]) => numbers.map((n) => `Bearer ${fresh(n)}`)
    await until('it is open', async () => {
      await clock.pass(1_000)
      return client.status.kind === 'open'
    })
    t.same(response.tokens, bearers([1, 2, 3, 4, 5, 6]))
    let last = 0
    const published = client.publish('sessions/s', { type: 'note' }).then((receipt) => (last = receipt.last))
    await until('it is published', async () => {
      await clock.pass(1_000)
      return last === 1
    })
    await published
    t.same(request.tokens, bearers([6, 7]))
  })

  t.test('but one that is refused while it is valid ends it, and so does one that was given', async (t) => {
    for (const token of [() => fresh(1), async () => fresh(1), stale(1), fresh(1)]) {
      const clock = new SimulatedClock()
      await clock.pass(10_000)
      const reason =
        typeof token === 'string' ? tokenHasExpired : 'The token is not signed with a key of this hub.'
      const { network, client } = setUp(t, { clock, token })
      await settle()
      network.socket.cut(4501, reason)
      t.match(client.status, { kind: 'closed', code: 4501, reason })

      const { tokens, fetch } = refusing(100, reason, () => Response.json({}))
      const over = setUp(t, { clock, token, fetch, transport: 'sse' })
      await until('it is closed', () => over.client.status.kind === 'closed')
      t.match(over.client.status, { code: 4501, reason })
      t.equal(tokens.length, 1)

      const calls = refusing(100, reason, () => Response.json({}))
      const calling = setUp(t, { clock, token, fetch: calls.fetch })
      await t.rejects(calling.client.getState('sessions/s'), { code: 'unauthorized', message: reason })
      t.equal(calls.tokens.length, 2, 'the one that was in use may have expired, so a call tries another')
    }
  })
})
