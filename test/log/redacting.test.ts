import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { createHub, type Hub } from '../../src/hub/hub.js'
import type { HubOptions } from '../../src/hub/hub-options.js'
import { systemClock } from '../../src/lib/clock.js'
import { systemRandom } from '../../src/lib/random.js'
import { MemoryLog } from '../../src/log/memory-log.js'
import type { RewrittenPast, SharedLog } from '../../src/log/shared-log.js'
import type { HubEvent } from '../../src/protocol/frames.js'
import type { RedactOptions } from '../../src/sessions/redact/redacting.js'
import { StoreError } from '../../src/store/store.js'
import { missingRedis, RedisServer } from '../kit/redis.js'
import { until } from '../kit/wait.js'
import { linkTo } from '../redis/log-kit.js'
import { historyOf } from '../sessions/committing-kit.js'

const secret = 'correct-horse-battery'
const redact: RedactOptions = { values: [{ value: secret, kind: 'db-password' }] }
const mark = '[secret:db-password]'
const topics = ['sessions/s', 'sessions/s/workers/w', 'sessions/s/**']

/** A log that is searched byte by byte. */
interface SearchedLog {
  link(): SharedLog
  has(text: string): Promise<boolean>
}

async function inMemory(): Promise<SearchedLog> {
  const log = new MemoryLog(systemClock, systemRandom)
  return {
    link: () => log.link(),
    async has(text) {
      return [...log.image().sessions.values()].some(({ batches, checkpoint }) =>
        [checkpoint?.bytes, ...batches.flatMap(({ critical, droppable }) => [critical, droppable])].some(
          (bytes) => bytes !== undefined && Buffer.from(bytes).includes(text),
        ),
      )
    },
  }
}

async function inRedis(t: Test): Promise<SearchedLog> {
  const server = await RedisServer.start(t, ['--rdbcompression', 'no', '--dbfilename', 'all.rdb'])
  return {
    link: () => linkTo(t, server.url),
    async has(text) {
      await server.command('SAVE')
      return readFileSync(join(server.directory, 'all.rdb')).includes(text)
    },
  }
}

const logs = { memory: inMemory, redis: inRedis }

function hubAt(t: Test, log: SharedLog, options: HubOptions = {}): Hub {
  const hub = createHub({ masking: { mode: 'off' }, ...options, log })
  t.teardown(() => hub.closeStore())
  return hub
}

/** Puts the secret into everything that an entry of the log may have. */
async function fill(hub: Hub): Promise<void> {
  await hub.submitSession('s', { metadata: { title: `deploy with ${secret}` } })
  await hub.submit('sessions/s', [
    { type: 'note', data: { text: `the password is ${secret}`, [secret]: [secret, 1] } },
    { type: 'llm_completed', data: { text: Buffer.from(secret).toString('base64') } },
    { type: 'execution_status', key: 'k', data: { message: secret } },
  ])
  await hub.submit('sessions/s/workers/w', [
    { type: 'execution_started', data: {} },
    { type: 'permission_requested', key: 'q', data: { prompt: `May I use ${secret}?` } },
  ])
  for (const content of ['say corr', 'ect-', 'horse-ba', 'ttery twice'])
    await hub.submit('sessions/s/workers/w', [{ type: 'llm_text_delta', data: { content } }])
  const cause = { type: 'x', payload: secret }
  await hub.submitState('sessions/s', 'plan', { value: { steps: [{ text: secret }], done: 0 } }, { cause })
  await hub.submitState('sessions/s', 'plan', { patch: [{ op: 'replace', path: '/done', value: 1 }] })
  await hub.submitState('sessions/s', 'names', { value: { [secret]: 1, other: 2 } })
  await hub.submitState('sessions/s', 'names', { patch: [{ op: 'replace', path: `/${secret}`, value: 3 }] })
  await hub.submitState('sessions/s', 'was', { value: { password: secret } })
  await hub.submitState('sessions/s', 'was', { patch: [{ op: 'remove', path: '/password' }] })
}

async function readable(hub: Hub): Promise<string> {
  const pages = await Promise.all(
    topics.map(async (topic) => {
      await hub.catchUp(topic)
      return [await historyOf(hub, topic, 500), hub.state(topic)]
    }),
  )
  return JSON.stringify([pages, hub.find('s'), await hub.listSessions('', 10)])
}

const parts = new RegExp(`${secret}|${Buffer.from(secret).toString('base64')}|corr|ttery`)

for (const [name, make] of Object.entries(logs)) {
  const skip = (name === 'redis' && missingRedis()) || false
  t.test(`a log in ${name} has a value no longer, nor has any hub`, { skip }, async (t) => {
    const log = await make(t)
    const [a, b] = [hubAt(t, log.link()), hubAt(t, log.link())]
    const told: HubEvent[] = []
    await b.open('sessions/s')
    const following = (async () => {
      for await (const event of b.subscribe('sessions/s', { slices: ['plan', 'names'] })) told.push(event)
    })()
    await fill(a)
    await until('the other hub has all of it', async () => parts.test(await readable(b)))
    t.ok(await log.has(secret))
    await until('the follower has it', () => JSON.stringify(told).includes('"done":1') || told.length > 6)
    const before = told.length
    const cursor = `${a.find('s')?.epoch}:3`
    const { redacted } = await a.redact('s', redact)
    t.ok(redacted >= 7, `${redacted} events`)
    t.notOk(await log.has(secret), 'no byte of it is in the log')
    for (const hub of [a, b, hubAt(t, log.link())]) {
      const now = await readable(hub)
      t.notMatch(now, parts)
      t.match(now, /say \[secret:db-password\]/)
      t.match(now, / twice/)
      t.match(hub.find('s'), { metadata: { title: `deploy with ${mark}` } })
      t.match(hub.state('sessions/s').slices, {
        plan: { steps: [{ text: mark }], done: 1 },
        names: { [mark]: 3, other: 2 },
        was: {},
      })
    }
    t.strictSame(await historyOf(a, 'sessions/s/**', 500), await historyOf(b, 'sessions/s/**', 500))
    const rest = await b.readHistory('sessions/s', { limit: 500, after: cursor })
    t.match(rest.events.at(-1)?.type, 'redacted')
    await until('the notice has come', () => told.some(({ type }) => type === 'redacted'))
    t.notMatch(JSON.stringify(told.slice(before)), parts)
    t.match(
      await a.redact('s', redact),
      { redacted: 0, masksLater: false },
      'a second time there is nothing left',
    )
    t.equal(a.stats().redacted, redacted)
    await b.submit('sessions/s', [{ type: 'note', data: 'goes on' }])
    await a.catchUp('sessions/s')
    t.match((await historyOf(a, 'sessions/s', 500)).at(-1)?.data, 'goes on')
    await a.submitEnd('s')
    await following
  })

  t.test(
    `matches of patterns leave a log in ${name}, and what is appended meanwhile stays`,
    { skip },
    async (t) => {
      const log = await make(t)
      const [a, b] = [hubAt(t, log.link()), hubAt(t, log.link())]
      await a.submit('sessions/s', [{ type: 'note', data: 'badge EMP-123456' }])
      await b.open('sessions/s')
      let isOver = false
      const appending = (async () => {
        let count = 0
        for (; !isOver || count < 20; count++)
          await b.submit('sessions/s', [{ type: 'note', data: `number ${count}` }])
        return count
      })()
      const result = await a.redact('s', { patterns: [{ pattern: 'EMP-[0-9]{6}', kind: 'staff-id' }] })
      isOver = true
      const count = await appending
      t.match(result, { redacted: 1 })
      t.notOk(await log.has('EMP-123456'))
      for (const hub of [a, b, hubAt(t, log.link())]) {
        await hub.catchUp('sessions/s')
        const texts = (await historyOf(hub, 'sessions/s', 500)).map(({ data }) => data)
        t.strictSame(
          texts.filter((data) => typeof data === 'string'),
          ['badge [secret:staff-id]', ...Array.from({ length: count }, (_, at) => `number ${at}`)],
        )
      }
    },
  )

  t.test(
    `an ended session in ${name} is redacted, and hubs that have it in memory read it again`,
    { skip },
    async (t) => {
      const log = await make(t)
      const [a, b] = [hubAt(t, log.link()), hubAt(t, log.link())]
      await fill(a)
      await a.submitEnd('s', { said: secret }, { result: 'failed', reason: `refused ${secret}` })
      t.match(await readable(b), parts)
      await a.redact('s', redact)
      t.notOk(await log.has(secret))
      for (const hub of [a, b]) {
        await until('the hub has read it again', async () => !parts.test(await readable(hub)))
        t.match(hub.find('s'), { outcome: { said: mark }, reason: `refused ${mark}` })
      }
    },
  )

  t.test(`a fork in ${name} is redacted by itself`, { skip }, async (t) => {
    const log = await make(t)
    const a = hubAt(t, log.link())
    await fill(a)
    await a.forkSession('s', { session: 'f' })
    await a.redact('s', redact)
    await a.catchUp('sessions/f')
    t.match(JSON.stringify(await historyOf(a, 'sessions/f', 500)), secret)
    t.ok(await log.has(secret))
    await a.redact('f', redact)
    t.notOk(await log.has(secret))
    await a.catchUp('sessions/f')
    t.notMatch(JSON.stringify([await historyOf(a, 'sessions/f', 500), a.state('sessions/f')]), parts)
  })
}

t.test('a redaction that fails in between leaves all events, and another call finishes it', async (t) => {
  const log = new MemoryLog(systemClock, systemRandom)
  const has = (text: string) =>
    [...log.image().sessions.values()].some(({ batches }) =>
      batches.some(({ droppable = Buffer.of() }) => Buffer.from(droppable).includes(text)),
    )
  for (const failing of ['before', 'after'] as const) {
    const broken = log.link()
    const rewrite = broken.rewrite.bind(broken)
    broken.rewrite = async (session: string, past: RewrittenPast) => {
      if (failing === 'after') await rewrite(session, past)
      throw new StoreError('failed', 'the link broke')
    }
    const session = `sessions/${failing}`
    const [a, b] = [hubAt(t, broken), hubAt(t, log.link())]
    await a.submit(session, [
      { type: 'note', data: secret },
      { type: 'note', data: 'plain' },
    ])
    await b.open(session)
    await t.rejects(a.redact(failing, redact), { code: 'unavailable' })
    t.equal(has(secret), failing === 'before')
    const other = hubAt(t, log.link())
    for (const hub of [b, other]) {
      await hub.catchUp(session)
      const texts = (await historyOf(hub, session, 100)).map(({ data }) => data)
      t.strictSame(texts.slice(0, 2), [mark, 'plain'], 'every hub has redacted its memory')
    }
    await other.redact(failing, redact)
    t.notOk(has(secret))
  }
})
