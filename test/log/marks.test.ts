import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { createHub, type Hub } from '../../src/hub/hub.js'
import type { NewEvent } from '../../src/protocol/frames.js'
import { missingRedis, RedisServer } from '../kit/redis.js'
import { randomOf, secretsOf } from '../kit/secrets.js'
import { until } from '../kit/wait.js'
import { linkTo } from '../redis/log-kit.js'
import { setUp } from './hubs-kit.js'

const topic = 'sessions/s'
const shared = 'a secret that all hubs of this log have'
/** Different secrets of one kind. */
const made = Array.from({ length: 40 }, (_, seed) => {
  const found = secretsOf(randomOf(seed + 1)).find((one) => one.kind === 'anthropic-key')
  return found?.secret ?? ''
})

/** Half of them are passwords, of which without a key no hash is in the log. */
const isPassword = (index: number) => index % 2 === 1
const mixed = made.map((secret, index) => (isPassword(index) ? `db://me:pAs5w0rd${index}@db/x` : secret))

const note = (text: string, id?: string): NewEvent => ({
  type: 'note',
  data: { text },
  ...(id !== undefined && { id }),
})

function texts(hub: Hub, of = topic): string[] {
  return hub.history(of).events.flatMap(({ data }) => (data as { text?: string } | null)?.text ?? [])
}

/** @returns the marks by secret, of texts `INDEX MARK` */
function marksIn(t: Test, shown: readonly string[]): Map<number, Set<string>> {
  const marks = new Map<number, Set<string>>()
  for (const text of shown) {
    const [, index, mark = ''] = /^(\d+) \S*(\[secret:[a-z-]+(?::\d+)?\])\S*$/.exec(text) ?? []
    if (!t.ok(index, `a number and a mark: ${text}`)) continue
    const of = marks.get(Number(index)) ?? new Set()
    marks.set(Number(index), of.add(mark))
  }
  return marks
}

function isDistinct(marks: ReadonlyMap<number, ReadonlySet<string>>): boolean {
  const all = [...marks.values()].flatMap((of) => [...of])
  return new Set(all).size === all.length
}

for (const key of [undefined, shared]) {
  const how = key === undefined ? 'without a key' : 'with a key'
  t.test(`hubs give different marks to different secrets ${how}, whoever publishes them`, async (t) => {
    const { hubs, done, clock } = setUp(t, 3, { masking: { ...(key !== undefined && { key }) } })
    const random = randomOf(5)
    for (const hub of hubs) await done(Promise.resolve(hub.open(topic)))
    let published = 0
    // Several at once, each secret at several hubs.
    for (let round = 0; round < 30; round++) {
      await Promise.all(
        hubs.map((hub) => {
          const index = Math.floor(random() * made.length)
          published++
          return done(hub.submit(topic, [note(`${index} ${mixed[index]}`)]))
        }),
      )
    }
    await clock.pass(1_000)
    const marks = marksIn(t, texts(hubs[0]))
    t.ok(marks.size > 15)
    t.ok(isDistinct(marks), 'no two secrets have the same mark')
    for (const hub of hubs) {
      await done(Promise.resolve(hub.catchUp(topic)))
      t.strictSame(texts(hub), texts(hubs[0]))
    }
    for (const [index, of] of marks)
      if (key !== undefined || !isPassword(index)) t.equal(of.size, 1, 'a secret has one mark')
    const counted = hubs
      .flatMap((hub) => [...hub.stats().masked.values()])
      .reduce((sum, count) => sum + count, 0)
    t.equal(counted, published, 'each is counted once')
  })
}

t.test('marks are in a checkpoint, and only as hashes with a key', async (t) => {
  const { hubs, done, clock, log } = setUp(t, 2, {
    masking: { key: shared },
    limits: { logTailBytes: 1_024 },
  })
  const [a, b] = hubs
  for (let index = 0; index < 20; index++) await done(a.submit(topic, [note(`${index} ${made[index]}`)]))
  await clock.pass(1_000)
  t.ok(log.image().sessions.get('s')?.checkpoint)
  await done(Promise.resolve(b.open(topic)))
  for (let index = 19; index >= 0; index--) await done(b.submit(topic, [note(`${index} ${made[index]}`)]))
  const marks = marksIn(t, texts(b))
  t.equal(marks.size, 20)
  t.ok(isDistinct(marks))
  for (const of of marks.values()) t.equal(of.size, 1)
})

t.test('a refused batch takes no number and counts nothing', async (t) => {
  const { hubs, done } = setUp(t)
  const [a, b] = hubs
  const masked = (hub: Hub) => hub.stats().masked.get('anthropic-key') ?? 0
  await done(a.submit(topic, [note(`0 ${made[0]}`, '1')]))
  // The log knows the first one, and refuses the batch that would give a mark to the second.
  const again = await done(b.submit(topic, [note(`0 ${made[0]}`, '1'), note(`1 ${made[1]}`, '2')]))
  t.match(again, { accepted: 1, duplicates: 1 })
  t.strictSame(texts(b), ['0 [secret:anthropic-key]', '1 [secret:anthropic-key:2]'])
  t.equal(masked(a), 1)
  t.equal(masked(b), 1)
  await done(b.submit(topic, [note(`1 ${made[1]}`, '2')]))
  t.equal(masked(b), 1, 'what was published before is not counted')
  // A change of a slice that another one overtakes is made again.
  const change = (hub: Hub, text: string) => done(hub.submitState(topic, 'plan', { value: { text } }))
  await Promise.all([change(a, `${made[2]}`), change(b, `${made[3]}`)])
  t.equal(masked(a) + masked(b), 4)
  t.match(JSON.stringify(b.state(topic)), /"\[secret:anthropic-key:[34]\]"/)
  // Without a secret that is new, a batch changes nothing of what is held back.
  await done(a.submitEnd('s', { outcome: `${made[0]}` }))
  t.equal(masked(a) + masked(b), 5)
})

t.test('with a key, what is held back over a log is only there encrypted', async (t) => {
  const { hubs, done, follow, clock, log } = setUp(t, 3, { masking: { key: shared } })
  const [a, b] = hubs
  await follow(b, topic)
  const whole = `a ${made[0]} b`
  const piece = (content: string) => ({ type: 'llm_text_delta', data: { content } })
  const held = () => log.image().sessions.get('s')?.held.bytes ?? new Uint8Array()
  for (let at = 0; at < whole.length; at += 7) {
    const hub = hubs[(at / 7) % 3] as Hub
    await done(hub.submit(topic, [piece(whole.slice(at, at + 7))]))
    for (let from = 2; from < at; from += 3) {
      t.notOk(Buffer.from(held()).includes(whole.slice(from, from + 5)), `the part from ${from}`)
    }
  }
  t.ok(held().length === 0 || held()[0] === 1)
  await clock.pass(3_000)
  const shown = b.history(topic).events.map(({ data }) => (data as { content: string }).content)
  t.match(shown.join(''), /^a (sk?)?\[secret:anthropic-key\] b$/)
  await done(a.submit(topic, [piece(whole.slice(0, 30))]))
  t.ok(held().length > 50)
})

t.test('with a key, no part of a secret is in Redis', { skip: missingRedis() ?? false }, async (t) => {
  const server = await RedisServer.start(t, ['--rdbcompression', 'no', '--dbfilename', 'all.rdb'])
  const registered = 'correct horse battery staple'
  const hubs = [0, 1, 2].map(() => createHub({ log: linkTo(t, server.url), masking: { key: shared } })) as [
    Hub,
    Hub,
    Hub,
  ]
  const [a, b, c] = hubs
  await a.submitSecrets('s', [{ value: registered, kind: 'db-password' }])
  const saved = async (): Promise<Buffer> => {
    await server.command('SAVE')
    return readFileSync(join(server.directory, 'all.rdb'))
  }
  const all = [registered, ...made.slice(0, 3)]
  const isIn = (bytes: Buffer) =>
    all.filter((secret) => {
      for (let at = 0; at + 8 <= secret.length; at++)
        if (bytes.includes(secret.slice(at, at + 8))) return true
      return false
    })
  const [token = ''] = made
  // The pieces are a third of the whole each.
  const third = Math.ceil(token.length / 3)
  const piece = (content: string) => ({ type: 'llm_text_delta', data: { content } })
  await a.submit(topic, [
    piece(`one thing that is longer than all that may be held back ${token.slice(0, third)}`),
  ])
  const during = await saved()
  t.ok(during.includes('one thing'), 'what is published is there')
  t.strictSame(isIn(during), [])
  await b.submit(topic, [piece(token.slice(third, 2 * third))])
  t.strictSame(isIn(await saved()), [])
  await c.submit(topic, [piece(`${token.slice(2 * third)} two`)])
  await Promise.all(hubs.map((hub, index) => hub.submit(topic, [note(`0 ${registered} ${made[index]}`)])))
  await until('all is published', () => /two/.test(JSON.stringify(c.history(topic).events)))
  await Promise.all(hubs.map((hub) => hub.closeStore()))
  t.strictSame(isIn(await saved()), [])
})
