import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { createCatalog } from '../../src/catalog/catalog.js'
import { createHub, type Hub } from '../../src/hub/hub.js'
import { Masking } from '../../src/mask/masking.js'
import type { Epoch, Offset } from '../../src/protocol/cursor.js'
import type { HubFrame } from '../../src/protocol/frames.js'
import { LogTexts } from '../../src/sessions/log/log-texts.js'
import { HeldStreams } from '../../src/sessions/texts/held-streams.js'
import { SimulatedClock } from '../kit/clock.js'
import { SeededRandom } from '../kit/random.js'
import { missingRedis, RedisServer } from '../kit/redis.js'
import { randomOf, secretsOf } from '../kit/secrets.js'
import { until } from '../kit/wait.js'
import { linkTo } from '../redis/log-kit.js'
import { setUp } from './hubs-kit.js'

const topic = 'sessions/s'
const made = secretsOf(randomOf(4))
const some = made.filter((_, index) => index % 4 === 0)
const token = made.find(({ kind }) => kind === 'anthropic-key')?.secret as string
const mark = '[secret:anthropic-key]'
const half = token.slice(0, 22)

const piece = (content: string, id?: string) => ({
  type: 'llm_text_delta',
  data: { content },
  ...(id !== undefined && { id }),
})

/** What a follower has been sent of a text. */
function sent(frames: readonly HubFrame[]): string {
  return frames
    .flatMap((frame) => (frame.type === 'events' ? frame.events : []))
    .map(({ data }) => (data as { content?: string } | null)?.content ?? '')
    .join('')
}

function kept(hub: Hub, of = topic) {
  return hub
    .history(of)
    .events.map(
      ({ type, data, worker }) => (data as { content?: string } | null)?.content ?? `${worker ?? ''} ${type}`,
    )
}

/** Two characters of a beginning may be sent before it is one, as they are no part of what is secret. */
function joined(hub: Hub, of: string): string {
  return kept(hub, of)
    .join('')
    .replace(/sk?(?=\[)/g, '')
}

t.test('a secret that is cut at any place is masked, wherever its pieces are published', async (t) => {
  const { hubs, done, follow, clock, log } = setUp(t, 3)
  const random = new SeededRandom(11)
  // Every place of one secret in two pieces, and others in any number of pieces.
  const whole = `a ${token} b`
  const cut: (readonly string[])[] = Array.from({ length: whole.length + 1 }, (_, at) => [
    whole.slice(0, at),
    whole.slice(at),
  ])
  for (const { text } of some) {
    const pieces: string[] = []
    for (let at = 0; at < text.length; ) {
      const length = random.pick([1, 3, 10, 40, 400])
      pieces.push(text.slice(at, at + length))
      at += length
    }
    cut.push([...pieces, ' end'])
  }
  const following = await Promise.all(hubs.map((hub) => follow(hub, 'sessions/s/**')))
  const texts = new Map<string, string>()
  for (const [index, pieces] of cut.entries()) {
    const worker = `w${index}`
    const isMoving = random.chance(0.7)
    let hub = random.pick(hubs)
    for (const content of pieces) {
      if (isMoving) hub = random.pick(hubs)
      const { first } = await done(hub.submit(`${topic}/workers/${worker}`, [piece(content)]))
      t.ok(first > 0)
    }
    texts.set(worker, pieces.join(''))
  }
  await clock.pass(5_000)
  const images = [...log.image().sessions.values()].flatMap(({ batches }) =>
    batches.flatMap(({ critical, droppable }) =>
      [critical, droppable].map((lane) => String(lane && Buffer.from(lane))),
    ),
  )
  const secrets = some.map(({ secret }) => secret.slice(4, 24))
  for (const secret of [token.slice(8, 30), ...secrets]) t.notMatch(images.join(), secret)
  for (const [index, hub] of hubs.entries()) {
    const { frames } = following[index] as (typeof following)[number]
    const all = JSON.stringify(frames)
    for (const secret of [token.slice(8, 30), ...secrets]) t.notOk(all.includes(secret), secret)
    for (const [worker, text] of [...texts].slice(0, whole.length + 1)) {
      t.equal(joined(hub, `${topic}/workers/${worker}`), text.replace(token, mark), worker)
    }
  }
})

t.test('what a hub holds back when it dies is published by another', async (t) => {
  const { hubs, done, follow, clock, links } = setUp(t, 3)
  const [a, b, c] = hubs as [Hub, Hub, Hub]
  const { frames } = await follow(b, topic)
  await follow(c, topic)
  await done(a.submit(topic, [piece(`one ${half}`)]))
  links[0]?.kill()
  await clock.pass(900)
  t.equal(sent(frames), 'one ')
  await clock.pass(3_000)
  t.strictSame(kept(b), ['one ', half])
  t.strictSame(kept(c), ['one ', half])
})

t.test('what is held back of a session that nobody follows is published when somebody does', async (t) => {
  const { hubs, done, follow, clock, links } = setUp(t)
  const [a, b] = hubs
  await done(a.submit(topic, [piece(`one ${half}`)]))
  links[0]?.kill()
  await clock.pass(60_000)
  const { frames } = await follow(b, topic)
  await clock.pass(3_000)
  t.equal(sent(frames), half)
  t.strictSame(kept(b), ['one ', half])
  // What is continued long afterwards is another text.
  await done(b.submit(topic, [piece(token.slice(22))]))
  t.strictSame(kept(b), ['one ', half, token.slice(22)])
})

t.test('what is held back is published in time, at the end of its text and of its session', async (t) => {
  const { hubs, done, follow, clock } = setUp(t)
  const [a, b] = hubs
  const { frames } = await follow(b, 'sessions/s/**')
  await done(a.submit(topic, [piece(`a ${half}`)]))
  await done(b.submit(`${topic}/workers/w`, [piece(`w ${half}`)]))
  const { first, accepted } = await done(a.submit(`${topic}/workers/w`, [{ type: 'tool_call_started' }]))
  t.equal(accepted, 1)
  await clock.pass(5)
  const all = frames.flatMap((frame) => (frame.type === 'events' ? frame.events : []))
  t.equal(all.find(({ type }) => type === 'tool_call_started')?.offset, first)
  t.strictSame(kept(b, `${topic}/workers/w`), ['w ', half, 'w tool_call_started'])
  t.strictSame(kept(b), ['a '])
  await clock.pass(300)
  t.strictSame(kept(b), ['a ', half])
  await done(a.submit(topic, [piece(`b ${half}`)]))
  await done(b.submitEnd('s'))
  t.strictSame(kept(b), ['a ', half, 'b ', half, ' complete'])
  t.strictSame(kept(a), ['a ', half, 'b ', half, ' complete'])
})

t.test('pieces that are published again join nothing', async (t) => {
  const { hubs, done, follow, clock } = setUp(t)
  const [a, b] = hubs
  await follow(a, topic)
  await follow(b, topic)
  // It is in the log, and its producer has not been told.
  await done(a.submit(topic, [piece(`a ${token.slice(0, 30)}`, '1')]))
  const { duplicates } = await done(
    b.submit(topic, [piece(`a ${token.slice(0, 30)}`, '1'), piece(`${token.slice(30)} b`, '2')]),
  )
  t.equal(duplicates, 1)
  await clock.pass(5)
  const whole = /^a \[secret:anthropic-key\] b$/
  t.match(kept(a).join(''), whole)
  // All of it again.
  const again = await done(
    a.submit(topic, [piece(`a ${token.slice(0, 30)}`, '1'), piece(`${token.slice(30)} b`, '2')]),
  )
  t.match(again, { accepted: 0, duplicates: 2 })
  await clock.pass(5_000)
  for (const hub of [a, b]) t.match(kept(hub).join(''), whole)
})

t.test('hubs that publish at the same time lose nothing of each other', async (t) => {
  const { hubs, done, follow, clock } = setUp(t, 3)
  const following = await follow(hubs[0], 'sessions/s/**')
  const whole = `a ${token} b ${token} c `
  for (let at = 0; at < whole.length; at += 5) {
    const content = whole.slice(at, at + 5)
    await Promise.all(
      hubs.map((hub, index) => done(hub.submit(`${topic}/workers/w${index}`, [piece(content)]))),
    )
  }
  await clock.pass(3_000)
  for (const hub of hubs) {
    await done(Promise.resolve(hub.catchUp(topic)))
    for (let index = 0; index < 3; index++) {
      t.equal(joined(hub, `${topic}/workers/w${index}`), `a ${mark} b ${mark} c `)
    }
  }
  t.notMatch(JSON.stringify(following.frames), token.slice(5, 15))
})

t.test('a hub forgets what it knows of texts with their session, unless it has to publish it', async (t) => {
  const clock = new SimulatedClock()
  const random = new SeededRandom(3)
  const catalog = createCatalog()
  const masking = new Masking('shapes', [], random)
  const released: string[] = []
  const texts = new LogTexts({
    masking,
    catalog,
    clock,
    random,
    release: async (session) => released.push(session),
  })
  const bytesAfter = (content: string) => {
    const streams = new HeldStreams({ masking, catalog })
    const session = {
      epoch: 'e',
      masks: undefined,
      startMasks: () => undefined,
      masksChanged: () => undefined,
    }
    const traits = catalog.traitsOf('llm_text_delta')
    streams.masked(
      piece(content),
      { session, worker: undefined, traits, now: clock.elapsed() },
      () => undefined,
    )
    return { base: 1 as Offset, bytes: streams.pack(clock) }
  }
  const epoch = 'e' as Epoch
  texts.changed({ id: 'remembered', epoch }, bytesAfter('an s'), true)
  texts.changed({ id: 'held', epoch }, bytesAfter(`a ${half}`), true)
  t.equal(texts.size, 2)
  for (const id of ['remembered', 'held']) texts.changed({ id, epoch }, undefined, false)
  t.equal(texts.size, 1)
  await clock.pass(250)
  t.strictSame(released, ['held'])
  // As long as nothing comes of it, it is tried again now and then.
  await clock.pass(2_000)
  t.strictSame(released, ['held', 'held', 'held'])
  texts.changed({ id: 'held', epoch }, { base: 2 as Offset, bytes: new Uint8Array() }, true)
  t.equal(texts.size, 0)
})

t.test('a hub that closes publishes what it holds back', async (t) => {
  const { hubs, done, follow } = setUp(t)
  const [a, b] = hubs
  await follow(b, topic)
  await done(a.submit(topic, [piece(`a ${half}`)]))
  await done(a.closeStore())
  await done(Promise.resolve(b.catchUp(topic)))
  t.strictSame(kept(b), ['a ', half])
})

t.test(
  'the same over Redis, of which nothing keeps the secret',
  { skip: missingRedis() ?? false },
  async (t) => {
    const server = await RedisServer.start(t, ['--rdbcompression', 'no', '--dbfilename', 'all.rdb'])
    const links = [0, 1, 2].map(() => linkTo(t, server.url))
    const hubs = links.map((log) => createHub({ log })) as [Hub, Hub, Hub]
    const [a, b, c] = hubs
    t.teardown(() => Promise.all([b, c].map((hub) => hub.closeStore())))
    await b.open(topic)
    const told: string[] = []
    const following = (async () => {
      for await (const { data } of b.subscribe('sessions/s/**'))
        told.push((data as { content?: string } | null)?.content ?? '')
    })()
    const whole = `a ${token} b`
    for (let at = 3; at < whole.length; at += 9) {
      const of = `${topic}/workers/w${at}`
      await a.submit(of, [piece(whole.slice(0, at), '1')])
      await c.submit(of, [piece(whole.slice(0, at), '1'), piece(whole.slice(at), '2')])
      await until('all is there', async () => {
        await c.catchUp(of)
        return /^a (sk?)?\[secret:anthropic-key(:\d+)?\] b$/.test(kept(c, of).join(''))
      })
    }
    await server.command('SAVE')
    t.notOk(readFileSync(join(server.directory, 'all.rdb')).includes(token.slice(6, 20)))
    await a.submit(topic, [piece(`last ${half}`)])
    // As if the process were killed: nothing that it holds back leaves it any more.
    await links[0]?.close()
    await until('another hub publishes what it held back', () => told.join('').endsWith(half))
    t.strictSame(kept(b), ['last ', half])
    await c.submitEnd('s')
    await following
    t.notMatch(told.join(''), token.slice(22))
  },
)
