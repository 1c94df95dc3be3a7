import t, { type Test } from 'tap'
import { createHub, type Hub } from '../../src/hub/hub.js'
import { systemClock } from '../../src/lib/clock.js'
import { systemRandom } from '../../src/lib/random.js'
import { MemoryLog } from '../../src/log/memory-log.js'
import { streamId } from '../../src/protocol/foreign-id.js'
import { memoryStore } from '../../src/store/memory.js'
import type { Store } from '../../src/store/store.js'
import { SimulatedClock } from '../kit/clock.js'
import { served } from '../kit/served.js'
import { mint, secret } from '../kit/tokens.js'
import { until } from '../kit/wait.js'

/* What the conformance suite does not look at: how streams are sessions, and what several hubs make of them. */

const json = { 'content-type': 'application/json' }

function put(url: string, path: string, headers: Record<string, string> = json): Promise<Response> {
  return fetch(`${url}/v1/stream/${path}`, { method: 'PUT', headers })
}

function post(
  url: string,
  path: string,
  value: unknown,
  more: Record<string, string> = {},
): Promise<Response> {
  const body = value === undefined ? {} : { body: JSON.stringify(value) }
  return fetch(`${url}/v1/stream/${path}`, { method: 'POST', headers: { ...json, ...more }, ...body })
}

const producer = (epoch: number, seq: number) => ({
  'producer-id': 'p',
  'producer-epoch': String(epoch),
  'producer-seq': String(seq),
})

async function read(url: string, path: string, offset = '-1'): Promise<unknown> {
  const answer = await fetch(`${url}/v1/stream/${path}?offset=${offset}`)
  return answer.status === 200 ? answer.json() : answer.status
}

t.test('each path has a session of its own, which other readers see', async (t) => {
  const paths = ['a', 'a/b', 'a%2Fb', '~~a~2Fb', 'a b', 'ä', 'a/', '__proto__']
  const ids = [...new Set(paths.map((path) => decodeURIComponent(path)))].map(streamId)
  t.equal(new Set(ids).size, ids.length)
  const { hub, url } = await served(t)
  await put(url, 'a/b')
  await post(url, 'a/b', [{ n: 1 }, 2])
  t.equal(hub.find('~~a~2Fb')?.status, 'running')
  const { events } = hub.history('sessions/~~a~2Fb')
  t.match(events, [
    { type: 'stream.json', data: { n: 1 } },
    { type: 'stream.json', data: 2 },
  ])
  await post(url, 'a/b', undefined, { 'stream-closed': 'true' })
  t.equal(hub.find('~~a~2Fb')?.status, 'ended', 'a closed stream is an ended session')
  await put(url, 'other')
  await hub.submitEnd('other')
  const head = await fetch(`${url}/v1/stream/other`, { method: 'HEAD' })
  t.equal(head.headers.get('stream-closed'), 'true', 'and an ended session a closed stream')
})

t.test('a session of something else is no stream, and can be read as one below sessions/', async (t) => {
  const { hub, url } = await served(t)
  const session = hub.session('run')
  session.publish({ type: 'note', data: 'first' })
  session.worker('w').publish({ type: 'note', data: 'of the worker' })
  t.equal((await put(url, 'run')).status, 409)
  t.equal((await fetch(`${url}/v1/stream/run`)).status, 404)
  const all = await fetch(`${url}/v1/stream/sessions/run`)
  t.match(await all.json(), [{ offset: 1, type: 'note', data: 'first' }])
  t.match(await read(url, 'sessions/run/workers/w'), [{ data: 'of the worker', worker: 'w' }])
  t.equal((await put(url, 'sessions/run')).status, 405)
  t.equal((await post(url, 'sessions/run/workers/w', [1])).status, 405)
  session.publish({ type: 'note', data: 'second' })
  const next = all.headers.get('stream-next-offset') ?? ''
  t.match(await read(url, 'sessions/run', next), [{ data: 'second' }])
  const told = fetch(`${url}/v1/stream/sessions/run?offset=${next}&live=sse`).then((answer) => answer.text())
  session.end()
  const text = await told
  t.match(text, /event: data\ndata:\[\{"offset":\d+,"type":"note"[^\n]*"second"/)
  t.match(text, /"type":"complete"/, 'the end is an event of the session')
  t.match(text, /event: control\ndata:\{[^\n]*"streamClosed":true[^\n]*\}\n\n$/)
})

t.test('only the routes of streams make messages, and no mode keeps them back', async (t) => {
  const { hub, url } = await served(t)
  await put(url, 'quiet')
  t.throws(() => hub.publish('sessions/quiet', [{ type: 'stream.json', data: 1 }]), /the hub's own/)
  await hub.submitSession('quiet', { mode: 'silent' })
  await post(url, 'quiet', [1])
  hub.publish('sessions/quiet', [{ type: 'note', data: 'beside' }])
  await post(url, 'quiet', [2])
  t.strictSame(await read(url, 'quiet'), [1, 2], 'what else is in the session is no message')
})

t.test('what is not kept any more, or of an earlier stream at the path, is gone', async (t) => {
  const { url } = await served(t, { hub: { limits: { laneEventsMax: 10 } } })
  await put(url, 'short')
  const early = (await post(url, 'short', [0])).headers.get('stream-next-offset') ?? ''
  for (let n = 1; n < 20; n++) await post(url, 'short', [n])
  t.equal(await read(url, 'short', early), 410)
  const answer = await fetch(`${url}/v1/stream/short?offset=${early}`)
  t.match(await answer.json(), { type: 'urn:runcast:gone', status: 410, detail: /no longer retained/ })
  t.strictSame(
    await read(url, 'short'),
    Array.from({ length: 10 }, (_, n) => n + 10),
    'the beginning is what is kept',
  )
  const late = (await post(url, 'short', [20])).headers.get('stream-next-offset') ?? ''
  t.equal((await fetch(`${url}/v1/stream/short`, { method: 'DELETE' })).status, 204)
  await put(url, 'short')
  await post(url, 'short', ['new'])
  t.equal(await read(url, 'short', late), 410)
})

t.test('tokens permit reading and writing by the session', async (t) => {
  const { url } = await served(t, { serve: { auth: { secrets: [secret] } } })
  const reader = { authorization: `Bearer ${await mint({ subscribe: ['sessions/~~a~2Fb'] })}` }
  const writer = { authorization: `Bearer ${await mint({ publish: ['sessions/*'] })}` }
  t.equal((await put(url, 'a/b')).status, 401)
  t.equal((await put(url, 'a/b', { ...json, ...reader })).status, 403)
  t.equal((await put(url, 'a/b', { ...json, ...writer })).status, 201)
  t.equal((await post(url, 'a/b', [1], writer)).status, 204)
  t.equal((await fetch(`${url}/v1/stream/a/b`, { headers: writer })).status, 403)
  const answer = await fetch(`${url}/v1/stream/a/b`, { headers: reader })
  t.strictSame(await answer.json(), [1])
  t.equal(answer.headers.get('cache-control'), 'no-store')
})

t.test('secrets in messages are masked as everywhere, bytes stay as they are', async (t) => {
  const { url } = await served(t)
  const token = `ghp_${'a1B2c3D4e5F6g7H8i9J0'.repeat(2).slice(0, 36)}`
  await put(url, 'said')
  await post(url, 'said', [{ token }])
  t.notMatch(JSON.stringify(await read(url, 'said')), token)
  await put(url, 'raw', { 'content-type': 'application/octet-stream' })
  const headers = { 'content-type': 'application/octet-stream' }
  await fetch(`${url}/v1/stream/raw`, { method: 'POST', headers, body: token })
  t.equal(await (await fetch(`${url}/v1/stream/raw`)).text(), token)
})

t.test('a body that is too large is refused, and its client is told so', async (t) => {
  const { url } = await served(t, { hub: { store: memoryStore() } })
  await put(url, 'large', { 'content-type': 'application/octet-stream' })
  const headers = { 'content-type': 'application/octet-stream' }
  for (let n = 0; n < 5; n++) {
    const request = { method: 'POST', headers, body: Buffer.alloc(10 * 1024 * 1024) }
    t.equal((await fetch(`${url}/v1/stream/large`, request)).status, 413)
  }
  const whole = Buffer.alloc(1024 * 1024, 'x')
  t.equal((await fetch(`${url}/v1/stream/large`, { method: 'POST', headers, body: whole })).status, 204)
  let bytes = 0
  for (let offset = '-1'; ; ) {
    const answer = await fetch(`${url}/v1/stream/large?offset=${offset}`)
    bytes += (await answer.arrayBuffer()).byteLength
    offset = answer.headers.get('stream-next-offset') ?? ''
    if (answer.headers.get('stream-up-to-date') === 'true') break
  }
  t.equal(bytes, whole.length, 'what fits comes back whole')
})

t.test('hubs of one log decide alike, also one that begins from a checkpoint', async (t) => {
  const log = new MemoryLog(systemClock, systemRandom)
  const hubOf = async (t: Test): Promise<{ url: string; hub: Hub }> =>
    served(t, { hub: { log: log.link(), limits: { logTailBytes: 1_000 } } })
  const [one, other] = [await hubOf(t), await hubOf(t)]
  t.equal((await put(one.url, 'shared')).status, 201)
  t.equal((await put(other.url, 'shared')).status, 200)
  t.equal((await post(one.url, 'shared', ['a'], producer(0, 0))).status, 200)
  t.equal((await post(other.url, 'shared', ['a'], producer(0, 0))).status, 204, 'a repeated request')
  t.equal((await post(other.url, 'shared', ['b'], producer(1, 0))).status, 200)
  t.equal((await post(one.url, 'shared', ['c'], producer(0, 1))).status, 403, 'a zombie')
  // Enough that the log gets a checkpoint.
  const padding = 'x'.repeat(200)
  const expected: unknown[] = ['a', 'b']
  for (let n = 0; n < 12; n++) {
    const { url } = n % 2 === 0 ? one : other
    const isTaken = n % 3 !== 2
    const seq = isTaken ? { 'stream-seq': String(10 + n) } : { 'stream-seq': '05' }
    const { status } = await post(url, 'shared', [n, padding], seq)
    t.equal(status, isTaken ? 204 : 409)
    if (isTaken) expected.push(n, padding)
  }
  // Two that race for the same number: one is taken.
  const racing = await Promise.all([one, other].map(({ url }) => post(url, 'shared', ['r'], producer(1, 1))))
  t.strictSame(
    racing.map(({ status }) => status).toSorted((a, b) => a - b),
    [200, 204],
  )
  expected.push('r')
  const late = await hubOf(t)
  for (const { url } of [one, other, late]) t.strictSame(await read(url, 'shared'), expected)
  t.equal((await post(late.url, 'shared', ['z'], producer(0, 2))).status, 403)
  const closing = await post(late.url, 'shared', ['end'], { ...producer(1, 2), 'stream-closed': 'true' })
  t.equal(closing.status, 200)
  const again = await post(one.url, 'shared', ['end'], { ...producer(1, 2), 'stream-closed': 'true' })
  t.equal(again.status, 204)
  t.equal(again.headers.get('stream-next-offset'), closing.headers.get('stream-next-offset'))
  t.equal(other.hub.find('shared')?.status, 'ended')
})

const create = { kind: 'create', contentType: 'application/json', closes: false } as const

/** The ids of the sessions that a store or a log has. */
type Kept = () => Promise<readonly string[]>

t.test('a stream that expires is gone without being asked for, also after a restart', async (t) => {
  const clock = new SimulatedClock()
  const inMemory = createHub({ clock })
  const store = memoryStore()
  const log = new MemoryLog(clock, systemRandom)
  const kinds: readonly { readonly name: string; readonly hub: () => Hub; readonly kept?: Kept }[] = [
    { name: 'memory', hub: () => inMemory },
    {
      name: 'store',
      hub: () => createHub({ clock, store: keptOpen(store) }),
      kept: async () => (await store.sessions('', 10)).sessions.map(({ record }) => record.session),
    },
    {
      name: 'log',
      hub: () => createHub({ clock, log: log.link() }),
      kept: () => log.link().sessions('', 10),
    },
  ]
  for (const { name, hub: make, kept } of kinds) {
    const hub = make()
    const ids: Kept = kept ?? (async () => hub.sessions().map(({ id }) => id))
    const submit = async (id: string, more: object): Promise<void> => {
      const answer = hub.streams.submit(id, { ...create, ...more })
      await clock.pass(0)
      t.equal((await answer).kind, 'created')
    }
    const expiresAt = new Date(clock.now() + 20_000).toISOString()
    await submit('short', { ttlSeconds: 10 })
    await submit('closed', { ttlSeconds: 30, closes: true })
    await submit('dated', { expiresAt })
    await submit('lasting', {})
    await clock.pass(9_000)
    // The wall clock is set three days ahead, and found to be wrong.
    clock.jump(3 * 86_400_000)
    await clock.pass(100)
    t.equal(
      (await hub.streams.find('short'))?.ttlSeconds,
      10,
      `${name}: nothing expires by a jump of the clock`,
    )
    clock.jump(-3 * 86_400_000)
    await clock.pass(0)
    const touched = hub.streams.submit('short', { kind: 'touch' })
    await clock.pass(7_900)
    await touched
    t.strictSame(
      (await ids()).toSorted(),
      ['closed', 'dated', 'lasting', 'short'],
      `${name}: a read renews it`,
    )
    await clock.pass(2_600)
    t.strictSame((await ids()).toSorted(), ['closed', 'dated', 'lasting'], `${name}: later it is gone`)
    if (kept === undefined) {
      await clock.pass(12_000)
      t.strictSame(await ids(), ['lasting'])
      continue
    }
    await hub.closeStore()
    await clock.pass(12_000)
    t.strictSame((await ids()).toSorted(), ['closed', 'dated', 'lasting'], `${name}: no hub runs`)
    const next = make()
    await clock.pass(40_000)
    t.strictSame(await ids(), ['lasting'], `${name}: the next hub removes what has expired`)
    await next.closeStore()
  }
})

/** A store that closing leaves open for the next hub. */
function keptOpen(store: Store): Store {
  return new Proxy(store, {
    get(target, name) {
      if (name === 'close') return async () => undefined
      const value: unknown = Reflect.get(target, name)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

t.test(
  'each of many clients that come at once is told where the stream ends, and a message is encoded once',
  async (t) => {
    const { hub, url } = await served(t)
    await put(url, 'busy')
    let live = 0
    const heard = Array.from({ length: 40 }, async (_, n) => {
      // The last one has a cursor that is not in the past, and so needs control events of its own.
      const query = `offset=now&live=sse${n === 39 ? '&cursor=99999999999' : ''}`
      const answer = await fetch(`${url}/v1/stream/busy?${query}`)
      let text = ''
      for await (const part of answer.body?.pipeThrough(new TextDecoderStream()) ?? []) {
        const wasLive = text.includes('"upToDate":true}\n\n')
        text += part
        if (!wasLive && text.includes('"upToDate":true}\n\n')) live += 1
        if (text.includes('event: data\ndata:["hello"]\n\n')) return true
      }
      return text
    })
    await until('all know the end', () => live === 40)
    await post(url, 'busy', ['hello'])
    t.strictSame(new Set(await Promise.all(heard)), new Set([true]))
    t.equal(hub.codecs.encodings().get('durable:json'), 1)
  },
)
