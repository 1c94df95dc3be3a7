import { type Client, type ConnectOptions, connect, type JsonValue, type Status } from '../../src/client.js'
import { sameJson } from '../../src/lib/json.js'
import { SeededRandom } from '../kit/random.js'
import { until } from '../kit/wait.js'

/** The hub and the way to it, from outside: the client may run in another process. */
export interface Far {
  /** Publishes in one turn; to `sessions/{s}` or a worker of it. */
  publish(
    topic: string,
    events: readonly { readonly type: string; readonly data?: JsonValue }[],
  ): Promise<void>
  setState(topic: string, slice: string, value: JsonValue): Promise<void>
  endSession(session: string, outcome: string): Promise<void>
  /** What is retained of a topic, by the events' data. */
  retained(topic: string): Promise<JsonValue[]>
  stats(): Promise<Readonly<Record<'connections' | 'feeds' | 'subscriptions', number>>>
  /** Cuts all links: with a reset, or so that what is on its way still arrives. */
  cut(how: 'hard' | 'gently'): Promise<void>
  /** Closes the server with 4000 and opens another one for the same hub; `meanwhile` is published between. */
  restart(topic: string, meanwhile: JsonValue): Promise<void>
  /** How many links there have been. */
  accepted(): Promise<number>
}

export interface Setting {
  /** @returns a client whose link can be cut; its owner closes it */
  connect(): Client
  readonly far: Far
  readonly seed: number
  /** How often the link is cut. */
  readonly cuts: number
}

/** The ways to the hub that every client is tried on. */
export const ways = {
  'WebSocket with MessagePack': { transport: 'websocket' },
  'WebSocket with JSON': { transport: 'websocket', codec: 'json' },
  'SSE and POST': { transport: 'sse' },
} as const satisfies Readonly<Record<string, ConnectOptions>>

/** What holds for the client wherever it runs; by sentence. Each fails by throwing. */
export const clientSuite: Readonly<Record<string, (setting: Setting) => Promise<void>>> = {
  'follows through many cuts: every matching event once, in order, and the state': followThroughCuts,
  'publishes through cuts: everything once, in order': publishThroughCuts,
  'sets, patches and merges state, and is told what does not fit': changeState,
  'keeps two subscriptions to one topic apart, and changes one live': twoSubscriptions,
  'gives two subscriptions that ask for the same each its own events': sameTwice,
  'refuses what the hub refuses: a topic, an event': refusals,
  'shows a session to its end, and stays quiet after it': ending,
  'survives a restart of the server, and resumes': restart,
  'keeps an early subscription waiting for its session': early,
}

/** Runs one test of the suite on one way to the hub at `url`. */
export async function runOn(
  name: string,
  options: ConnectOptions & Pick<Setting, 'seed' | 'cuts'> & { readonly url: string },
  far: Far,
): Promise<void> {
  const { url, seed, cuts, ...connectOptions } = options
  const clients: Client[] = []
  const test = clientSuite[name]
  if (test === undefined) throw new Error(`there is no test ${name}`)
  try {
    await test({
      connect() {
        const client = connect(url, { backoff: { firstMs: 4, mostMs: 20 }, ...connectOptions })
        clients.push(client)
        return client
      },
      far,
      seed,
      cuts,
    })
  } finally {
    for (const client of clients) client.close()
  }
}

/**
 * As `runOn`, where the page's `farCall` leads to the hub's process.
 *
 * @public called by name in the page
 */
export function runInPage({
  name,
  ...options
}: Parameters<typeof runOn>[1] & { readonly name: string }): Promise<void> {
  const { farCall } = globalThis as unknown as {
    readonly farCall: (called: keyof Far, args: readonly unknown[]) => Promise<never>
  }
  const calling =
    (called: keyof Far) =>
    (...args: readonly unknown[]) =>
      farCall(called, args)
  return runOn(name, options, {
    publish: calling('publish'),
    setState: calling('setState'),
    endSession: calling('endSession'),
    retained: calling('retained'),
    stats: calling('stats'),
    cut: calling('cut'),
    restart: calling('restart'),
    accepted: calling('accepted'),
  })
}

function same(actual: unknown, expected: unknown, what: string): void {
  if (sameJson(actual as JsonValue, expected as JsonValue)) return
  throw new Error(`${what}: expected ${JSON.stringify(expected)}, got ${JSON.stringify(actual)}`)
}

async function rejects(promise: Promise<unknown>, code: string): Promise<void> {
  try {
    await promise
  } catch (error) {
    return same((error as { code?: unknown }).code, code, 'the code of the refusal')
  }
  throw new Error(`expected a refusal with ${code}`)
}

const reach = (client: Client, kind: Status['kind']): Promise<void> =>
  until(`the client is ${kind}`, () => client.status.kind === kind)

async function followThroughCuts({ connect, far, seed, cuts }: Setting): Promise<void> {
  const random = new SeededRandom(seed)
  const client = connect()
  const events: JsonValue[] = []
  const output: JsonValue[] = []
  const gaps: unknown[] = []
  const listener = (into: JsonValue[]) => ({
    onEvent: ({ data }: { data: JsonValue }) => into.push(data),
    onGap: (gap: unknown) => gaps.push(gap),
  })
  client.subscribe({ topic: 'sessions/s', types: ['step-*'] }, listener(events))
  const lint = client.subscribe({ topic: 'sessions/s/workers/lint', slices: ['*'] }, listener(output))
  await until('both are live', () => lint.live)

  const published: number[] = []
  let plan: JsonValue = {}
  for (let round = 0; round < cuts; round += 1) {
    for (let burst = random.integer(1, 4); burst > 0; burst -= 1) {
      const numbers = Array.from({ length: random.integer(1, 40) }, (_, at) => published.length + at)
      published.push(...numbers)
      plan = { ...plan, [`p${random.integer(0, 9)}`]: { round, burst, long: 'x'.repeat(100) } }
      const steps = numbers.map((data) => ({ type: data % 2 === 0 ? 'step-start' : 'other', data }))
      await Promise.all([
        far.publish('sessions/s', steps),
        far.publish(
          'sessions/s/workers/lint',
          numbers.map((data) => ({ type: 'line', data })),
        ),
        far.setState('sessions/s/workers/lint', 'plan', plan),
      ])
    }
    await far.cut(random.chance(0.5) ? 'hard' : 'gently')
    if (random.chance(0.6)) await reach(client, 'open')
    // History holds 1,000 lines: whoever is further behind is told of a gap, which is not what is tested here.
    await until('the client is not far behind', () => published.length - output.length < 500)
  }
  const even = published.filter((number) => number % 2 === 0)
  await until('the last line has come', () => output.at(-1) === published.length - 1, 20_000)
  await until('the last step has come', () => events.at(-1) === even.at(-1))
  same(gaps, [], 'gaps')
  same(output, published, 'lines')
  same(events, even, 'steps')
  await until('the state is the same', () => sameJson(lint.state['plan'] ?? null, plan))
}

async function publishThroughCuts({ connect, far, seed }: Setting): Promise<void> {
  const random = new SeededRandom(seed)
  const client = connect()
  const receipts = []
  for (let number = 0; number < 300; number += 1) {
    receipts.push(client.publish('sessions/p', { type: 'note', data: number }))
    if (random.chance(0.1)) {
      await far.cut('hard')
      await reach(client, 'open')
    }
    if (random.chance(0.3)) await new Promise((resolve) => setTimeout(resolve, 1))
  }
  const offsets = (await Promise.all(receipts)).map(({ first }) => first)
  same(await far.retained('sessions/p'), [...Array(300).keys()], 'what the hub has')
  same(
    offsets,
    offsets.toSorted((one, other) => one - other),
    'receipts in order',
  )
  same(new Set(offsets).size, 300, 'offsets')
}

async function changeState({ connect }: Setting): Promise<void> {
  const client = connect()
  const topic = 'sessions/s'
  const subscription = client.subscribe({ topic, slices: ['*'] })
  const first = await client.setState(topic, 'plan', { a: [1] }, { type: 'planned', payload: 'ä→b' })
  same(first.changed, true, 'the first value')
  same((await client.setState(topic, 'plan', { a: [1] })).changed, false, 'the same value')
  await client.patchState(topic, 'plan', [{ op: 'add', path: '/a/-', value: 2 }])
  await client.mergeState(topic, 'plan', { b: true })
  await rejects(client.patchState(topic, 'plan', [{ op: 'remove', path: '/none' }]), 'conflict')
  await until('the mirror has followed', () =>
    sameJson(subscription.state['plan'] ?? null, { a: [1, 2], b: true }),
  )
}

async function twoSubscriptions({ connect, far }: Setting): Promise<void> {
  const client = connect()
  const [all, some]: [string[], string[]] = [[], []]
  const one = client.subscribe({ topic: 'sessions/s' }, { onEvent: ({ type }) => all.push(type) })
  const other = client.subscribe(
    { topic: 'sessions/s', types: ['a'] },
    { onEvent: ({ type }) => some.push(type) },
  )
  await until('both are live', () => one.live && other.live)
  await far.publish('sessions/s', [{ type: 'a' }, { type: 'b' }])
  await until('the first has both', () => all.length === 2)
  await until('the second has one', () => some.length === 1)
  other.update({ types: ['b'] })
  // Published until the change has arrived: there is no telling when.
  await until('the change has arrived', async () => {
    await far.publish('sessions/s', [{ type: 'b' }])
    return some.includes('b')
  })
  await far.publish('sessions/s', [{ type: 'a' }, { type: 'end' }])
  await until('the first has all', () => all.at(-1) === 'end')
  same(some.filter((type) => type === 'a').length, 1, 'events of the filter before')
  one.close()
  await until('it has gone from the hub', async () => (await far.stats()).subscriptions === 1)
}

async function sameTwice({ connect, far }: Setting): Promise<void> {
  const client = connect()
  const seen: [string[], string[]] = [[], []]
  const made = seen.map((into) =>
    client.subscribe(
      { topic: 'sessions/s', types: ['a*'], slices: ['n'] },
      { onEvent: ({ type }) => into.push(type) },
    ),
  )
  await until('both are live', () => made.every(({ live }) => live))
  await far.setState('sessions/s', 'n', 1)
  await far.publish('sessions/s', [{ type: 'a' }, { type: 'b' }, { type: 'ab' }])
  await until('both have all', () => seen.every((types) => types.length === 2))
  await until('and the state', () => made.every(({ state }) => state['n'] === 1))
  made[0]?.update({ types: ['b'] })
  made[1]?.update({ types: ['b'] })
  await until('both changes have arrived', async () => {
    await far.publish('sessions/s', [{ type: 'b' }])
    return seen.every((types) => types.includes('b'))
  })
  same(
    seen.map((types) => types.filter((type) => type !== 'b')),
    [
      ['a', 'ab'],
      ['a', 'ab'],
    ],
    'what came before the change',
  )
}

async function refusals({ connect }: Setting): Promise<void> {
  const client = connect()
  const ends: { readonly code: string; readonly reason: string }[] = []
  const other = client.subscribe({ topic: 'sessions/s' })
  client.subscribe({ topic: 'rooms/7' }, { onEvent() {}, onEnd: (ending) => ends.push(ending) })
  await until('it ended', () => ends.length === 1)
  same([ends[0]?.code, ends[0]?.reason.includes('rooms/7')], ['refused', true], 'how it ended')
  await rejects(client.publish('sessions/s', { type: 'not a type' }), 'badFrame')
  await until('the other one is live', () => other.live)
}

async function ending({ connect, far }: Setting): Promise<void> {
  const client = connect()
  const subscription = client.subscribe({ topic: 'sessions/s' })
  await until('it is live', () => subscription.live)
  await far.publish('sessions/s', [{ type: 'a' }])
  await far.endSession('s', 'done')
  const toTheEnd = async (followed: AsyncIterable<{ readonly type: string }>): Promise<string[]> => {
    const types: string[] = []
    for await (const { type } of followed) {
      types.push(type)
      if (type === 'complete') break
    }
    return types
  }
  same(await toTheEnd(subscription), ['a', 'complete'], 'live')
  const late = client.subscribe({ topic: 'sessions/s', replay: 'all' })
  same(await toTheEnd(late), ['a', 'complete'], 'afterwards')
  same(client.status.kind, 'open', 'the status')
  // A client that came back again and again would have made hundreds.
  same((await far.accepted()) < 15, true, 'few links')
  same((await client.publish('sessions/t', { type: 'b' })).first, 1, 'can still publish')
}

async function restart({ connect, far }: Setting): Promise<void> {
  const client = connect()
  const codes: number[] = []
  client.onStatus((status) => {
    if (status.kind === 'waiting') codes.push(status.code)
  })
  const seen: JsonValue[] = []
  const subscription = client.subscribe({ topic: 'sessions/s' }, { onEvent: ({ data }) => seen.push(data) })
  await until('it is live', () => subscription.live)
  await far.publish('sessions/s', [{ type: 'a', data: 1 }])
  await until('the first has come', () => seen.length === 1)
  await far.restart('sessions/s', 2)
  await until('the second has come', () => seen.length === 2)
  same(seen, [1, 2], 'what came')
  same(codes.includes(4000), true, 'the hub said why')
}

async function early({ connect, far }: Setting): Promise<void> {
  const client = connect()
  const seen: unknown[] = []
  const subscription = client.subscribe(
    { topic: 'sessions/new/workers/w', slices: ['*'] },
    { onEvent: ({ offset, data, worker }) => seen.push([offset, data, worker]) },
  )
  await until('it is live', () => subscription.live)
  await far.publish('sessions/new/workers/w', [{ type: 'a', data: { text: '\u0000 ü 🎈 </script>' } }])
  await until('it has come', () => seen.length === 1)
  same(seen, [[1, { text: '\u0000 ü 🎈 </script>' }, 'w']], 'the event')
}
