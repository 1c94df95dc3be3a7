import t, { type Test } from 'tap'
import type { SharedLog } from '../../src/log/shared-log.js'
import { lostAt } from '../../src/log/shared-log.js'
import type { Offset } from '../../src/protocol/cursor.js'
import { redisLog } from '../../src/redis/open.js'
import type { RedisLog } from '../../src/redis/redis-log.js'
import { shardOf } from '../../src/redis/shards.js'
import { sharedLogConformance } from '../conformance/shared-log.js'
import { joinCluster, missingRedis, RedisServer, redisCli } from '../kit/redis.js'
import { until } from '../kit/wait.js'
import { append, linkTo, Told } from './log-kit.js'

const skip = missingRedis() ?? false

const slotsMoved = 1_000

/**
 * What a failover may take. A Sentinel that was held up for two seconds does nothing for thirty (TILT), and one that chose a
 * replica that does not answer tries again after seconds.
 */
const failoverMsMax = 120_000

/** Links to a Sentinel: a machine that stalls for a moment is not taken for a dead server, and calls wait for a slow one. */
const patient = { canaryMs: 1_000, waitMs: 30_000 }

/** Failovers of each kind; more by a command. */
const rounds = Number(process.env['RUNCAST_FAILOVERS'] ?? 1)
t.setTimeout(300_000 + 60_000 * rounds)

/** Appends one id after the other to a session, each until it is acknowledged. */
class Producer {
  /** Offsets of the ids that were acknowledged. */
  readonly acked = new Map<string, Offset>()
  readonly #log: SharedLog
  readonly #session: string
  readonly #done: Promise<void>
  readonly #stop = new AbortController()
  #ids = 0

  constructor(log: SharedLog, session: string) {
    this.#log = log
    this.#session = session
    this.#done = this.#run()
  }

  /** @returns once so many more ids were acknowledged than now */
  async more(count: number): Promise<void> {
    const { size } = this.acked
    await until(`${count} more are acknowledged`, () => this.acked.size >= size + count)
  }

  async stop(): Promise<void> {
    this.#stop.abort()
    await this.#done
  }

  async #run(): Promise<void> {
    let epoch: string | undefined
    for (let id = `/${this.#ids}`; !this.#stop.signal.aborted; ) {
      try {
        epoch ??= (await this.#log.open(this.#session)).epoch
        const answer = await append(this.#log, epoch, [id], this.#session)
        if (answer.kind !== 'appended') {
          epoch = undefined
          continue
        }
        const [known] = answer.known
        this.acked.set(id, known?.offset ?? ((answer.from + 1) as Offset))
        id = `/${++this.#ids}`
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 10))
      }
    }
  }
}

/** What the log has of the session in the end: where each id stands; an id that is there twice fails the test. */
async function idsOf(t: Test, log: SharedLog, session: string): Promise<Map<number, string>> {
  const { batches, before } = await log.open(session)
  const byOffset = new Map<number, string>()
  for (const { from, droppable } of [...before, ...batches]) byOffset.set(from + 1, String(droppable))
  t.equal(new Set(byOffset.values()).size, byOffset.size, 'nothing is there twice')
  return byOffset
}

/**
 * Every id that was acknowledged stands where it was said to, or its offset is within a range that is told as lost.
 *
 * @returns how many were lost
 */
async function expectTold(t: Test, log: SharedLog, session: string, { acked }: Producer): Promise<number> {
  const { lost } = await log.open(session)
  const there = await idsOf(t, log, session)
  let gone = 0
  for (const [id, offset] of acked) {
    if (there.get(offset) === id) continue
    gone++
    if (lostAt(lost, offset) === undefined) t.fail(`${id} at ${offset} is gone, and nobody is told`)
  }
  t.comment(`${acked.size} acknowledged, ${gone} lost and told, ${lost.length} ranges`)
  return gone
}

async function withSentinel(t: Test) {
  const master = await RedisServer.start(t)
  const replicas = [0, 1].map(() => RedisServer.start(t, ['--replicaof', '127.0.0.1', String(master.port)]))
  const servers = [master, ...(await Promise.all(replicas))]
  for (const replica of servers.slice(1)) {
    await until('the replica is in step', async () =>
      (await replica.command('INFO', 'replication')).includes('master_link_status:up'),
    )
  }
  const sentinel = await RedisServer.sentinel(t, master)
  await until('the sentinel has asked all replicas', async () => {
    const known = [...(await replicasOf(sentinel)).values()]
    return known.filter(({ flags, link }) => flags === 'slave' && link === 'ok').length === replicas.length
  })
  const url = `redis-sentinel://127.0.0.1:${sentinel.port}/main`
  /**
   * Kills the master and waits for another.
   *
   * @param stopped replicas that do not answer: one that Sentinel takes for alive may be chosen, and is waited for in vain
   */
  const failOver = async (stopped: readonly RedisServer[] = []) => {
    const at = await masterPort(sentinel)
    await until('the sentinel knows which replicas do not answer', async () => {
      const known = await replicasOf(sentinel)
      return stopped.every(({ port }) => known.get(port)?.flags.includes('s_down'))
    })
    const server = servers.find(({ port }) => port === at) as RedisServer
    await server.kill()
    await until('another takes over', async () => (await masterPort(sentinel)) !== at, failoverMsMax)
    return server
  }
  return { url, servers, sentinel, failOver }
}

/** @returns what a Sentinel knows of the replicas, by their ports */
async function replicasOf(sentinel: RedisServer) {
  const words = (await sentinel.command('SENTINEL', 'REPLICAS', 'main')).split('\r\n')
  const after = (name: string, from: number) => words[words.indexOf(name, from) + 2] ?? ''
  const found = new Map<number, { readonly flags: string; readonly link: string }>()
  for (const [index, word] of words.entries()) {
    if (word !== 'port') continue
    // Until a replica has answered, its link counts as broken, and Sentinel does not choose it.
    const link = after('master-link-status', index)
    found.set(Number(after('port', index)), { flags: after('flags', index), link })
  }
  return found
}

/** Waits until the replicas have what the master, the first one, has now. */
async function inStep(servers: readonly RedisServer[]): Promise<void> {
  const offsets = async () => {
    const texts = await Promise.all(servers.map((server) => server.command('INFO', 'replication')))
    return texts.map((text) => Number(/master_repl_offset:(\d+)/.exec(text)?.[1]))
  }
  const [now = 0] = await offsets()
  await until('it is on the replicas', async () => (await offsets()).every((offset) => offset >= now))
}

async function masterPort(sentinel: RedisServer): Promise<number> {
  const answer = await sentinel.command('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', 'main')
  return Number(answer.split('\r\n')[4])
}

t.test('Sentinel', { skip: skip || (missingRedis('redis-sentinel') ?? false) }, async (t) => {
  for (let round = 0; round < rounds; round++) {
    t.test('a failover to a replica in step loses nothing', async (t) => {
      const { url, failOver, servers } = await withSentinel(t)
      const log = linkTo(t, url, patient)
      const other = linkTo(t, url, patient)
      const { epoch } = await log.open('s')
      const told = new Told()
      await other.follow('s', told)
      const producer = new Producer(log, 's')
      await producer.more(50)
      const at = { epoch, offset: [...producer.acked.values()].at(-1) as Offset }
      await inStep(servers)
      await failOver()
      await producer.more(50)
      await producer.stop()
      t.equal((await log.open('s')).epoch, epoch)
      await expectTold(t, other, 's', producer)
      await until('followers are told to ask', () => told.breaks > 0)
      t.not((await other.since('s', at)).kind, 'behind')
      const { last } = await log.open('s')
      // What is published while the feed is on its way back is asked for: another one comes by it.
      await until('the feed goes on', async () => {
        await append(log, epoch)
        return told.batches.some(({ to }) => to > last)
      })
    })

    t.test('what a replica did not have is lost, told, and no offset is used twice', async (t) => {
      const { url, failOver, servers, sentinel } = await withSentinel(t)
      const log = linkTo(t, url, patient)
      const producer = new Producer(log, 's')
      await producer.more(50)
      await inStep(servers)
      const master = await masterPort(sentinel)
      const replicas = servers.filter(({ port }) => port !== master)
      // The links of the replicas break, and no new one is let in.
      await servers.find(({ port }) => port === master)?.command('CONFIG', 'SET', 'requirepass', 'cut off')
      for (const replica of replicas) await replica.command('CLIENT', 'KILL', 'TYPE', 'master')
      // No more than that: Sentinel chooses no replica whose link has been broken for ten times the time until a server is down.
      await producer.more(20)
      await failOver()
      await producer.more(50)
      await producer.stop()
      const lost = await expectTold(t, linkTo(t, url, patient), 's', producer)
      t.ok(lost > 0, 'something was lost')
    })

    t.test('what a replica has confirmed is not lost', async (t) => {
      const { url, failOver, servers, sentinel } = await withSentinel(t)
      const log = linkTo(t, url, { ...patient, acknowledge: 'replica' })
      const producer = new Producer(log, 's')
      await producer.more(50)
      const master = await masterPort(sentinel)
      const [stopped] = servers.filter(({ port }) => port !== master)
      // The other one has everything, and takes over.
      stopped?.signal('SIGSTOP')
      await producer.more(100)
      // Of two that live, Sentinel may choose by what it saw seconds ago.
      await failOver(stopped && [stopped])
      stopped?.signal('SIGCONT')
      // Sentinel does it too, once it has seen it alive for eight seconds.
      await stopped?.command('REPLICAOF', '127.0.0.1', String(await masterPort(sentinel)))
      await producer.more(20)
      await producer.stop()
      t.equal(await expectTold(t, linkTo(t, url, patient), 's', producer), 0)
    })
  }

  t.test('without a replica nothing is acknowledged that one has to confirm', async (t) => {
    const server = await RedisServer.start(t)
    const log = linkTo(t, server.url, { acknowledge: 'replica', canaryMs: 2_000 })
    const { epoch } = await log.open('s')
    await t.rejects(append(log, epoch, ['/a']), {
      kind: 'failed',
      message: /no replica of the log has confirmed/,
    })
    await RedisServer.start(t, ['--replicaof', '127.0.0.1', String(server.port)])
    await until('it is acknowledged as published before', async () => {
      const answer = await append(log, epoch, ['/a']).catch(() => undefined)
      return answer?.kind === 'appended' && answer.known.length === 1
    })
  })
})

t.test('a cluster of three', { skip: skip || (missingRedis('redis-cli') ?? false) }, async (t) => {
  const options = ['--cluster-enabled', 'yes', '--cluster-node-timeout', '2000']
  const servers = await Promise.all([0, 1, 2].map(() => RedisServer.start(t, options)))
  await joinCluster(servers)
  const [first, second] = servers as [RedisServer, RedisServer]
  const url = `redis-cluster://127.0.0.1:${first.port},127.0.0.1:${second.port}`

  t.test('does what every log does', async (t) => {
    sharedLogConformance(t, async (t) => {
      for (const server of servers) await server.command('FLUSHALL')
      return { link: () => linkTo(t, url, { canaryMs: 5_000 }) }
    })
  })

  t.test(
    'sessions of all nodes are listed, and slots that move under load cost nobody anything',
    async (t) => {
      const log = await redisLog({ url, canaryMs: 100 })
      t.teardown(() => log.close())
      // Of the slots that move, and of others.
      const all = Array.from({ length: 1_000 }, (_, i) => `moving-${i}`)
      const isMoving = (name: string) => shardOf(name).slot < slotsMoved
      const names = [
        ...all.filter(isMoving).slice(0, 12),
        ...all.filter((name) => !isMoving(name)).slice(0, 6),
      ]
      const told = new Map(names.map((name) => [name, new Told()]))
      for (const [name, feed] of told) await log.follow(name, feed)
      const producers = names.map((name) => new Producer(log, name))
      await Promise.all(producers.map((producer) => producer.more(5)))
      const other = linkTo(t, url)
      t.strictSame(
        (await other.sessions('moving', 100)).filter((id) => id.startsWith('moving')),
        names.toSorted(),
      )
      const [from = '', to = ''] = await Promise.all(
        [first, second].map(async (server) => (await server.command('CLUSTER', 'MYID')).split('\r\n')[1]),
      )
      const way = [
        '--cluster-from',
        from,
        '--cluster-to',
        to,
        '--cluster-slots',
        String(slotsMoved),
        '--cluster-yes',
      ]
      await redisCli('--cluster', 'reshard', `127.0.0.1:${first.port}`, ...way)
      await Promise.all(producers.map((producer) => producer.more(5)))
      await Promise.all(producers.map((producer) => producer.stop()))
      for (const [index, name] of names.entries()) {
        t.equal(await expectTold(t, other, name, producers[index] as Producer), 0)
        t.equal((await other.open(name)).lost.length, isMoving(name) ? 1 : 0, 'where it moved, an era began')
        const { epoch, last } = await other.open(name)
        await until(`the feed of ${name} goes on`, async () => {
          await append(other, epoch, [], name)
          return (told.get(name)?.batches ?? []).some(({ to }) => to > last)
        })
      }
    },
  )
})

t.test('a user with the rights that the manual names', { skip }, async (t) => {
  const server = await RedisServer.start(t)
  const rights =
    '~rc* &rc* -@all +@read +@write +@scripting +@pubsub +@connection +info +time +wait +memory|usage +cluster|slots'
  await server.command('ACL', 'SETUSER', 'runcast', 'on', '>secret', ...rights.split(' '))
  await server.command('ACL', 'SETUSER', 'default', 'off')
  const url = `redis://runcast:secret@127.0.0.1:${server.port}`
  const open = async (more: Partial<Parameters<typeof redisLog>[0]> = {}): Promise<RedisLog> => {
    const log = await redisLog({ url, idleMs: 20, ...more })
    t.teardown(() => log.close())
    return log
  }
  const log = await open()
  const told = new Told()
  await log.follow('s', told)
  const { epoch } = await log.open('s')
  for (let i = 0; i < 5; i++) await append(log, epoch, [`/${i}`])
  await until('it is told', () => told.batches.length === 5)
  await until('it is packed', () => log.stats.packed > 0)
  await log.remove('s')
  await t.rejects(redisLog({ url: url.replace('secret', 'other') }), /WRONGPASS/)
})

t.test(
  'a right that is missing is told at the start, not when something is published',
  { skip },
  async (t) => {
    const server = await RedisServer.start(t)
    const rights =
      '~rc* &rc* -@all +@read +@write +@scripting +@pubsub +@connection +info +time +memory|usage'
    await server.command('ACL', 'SETUSER', 'runcast', 'on', '>secret', ...rights.split(' '))
    const url = `redis://runcast:secret@127.0.0.1:${server.port}`
    await (await redisLog({ url })).close()
    for (const right of [
      '@read',
      '@write',
      '@scripting',
      '@pubsub',
      '@connection',
      'info',
      'time',
      'memory|usage',
    ]) {
      await server.command('ACL', 'SETUSER', 'runcast', `-${right}`)
      await t.rejects(redisLog({ url }), { kind: 'refused', message: /NOPERM/ }, `without ${right}`)
      await server.command('ACL', 'SETUSER', 'runcast', `+${right}`)
    }
  },
)

t.test('an engine that is stopped answers nothing, and whoever waits for it is told', { skip }, async (t) => {
  const server = await RedisServer.start(t)
  const log = linkTo(t, server.url, { waitMs: 300 })
  const { epoch } = await log.open('s')
  server.signal('SIGSTOP')
  const refused = { kind: 'failed', message: /link to the log broke|cannot be reached/ }
  await Promise.all([
    t.rejects(append(log, epoch), refused),
    t.rejects(log.follow('other', new Told()), refused),
  ])
  server.signal('SIGCONT')
  const told = new Told()
  await until('it is followed again', () =>
    log.follow('s', told).then(
      () => true,
      () => false,
    ),
  )
  await append(log, epoch, ['/a'])
  await until('it is told', () => told.batches.length === 1)
})
