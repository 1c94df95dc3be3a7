import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { networkInterfaces, tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { createHub } from '../../src/hub/hub.js'
import { systemRandom } from '../../src/lib/random.js'
import type { Delivered } from '../../src/log/shared-log.js'
import type { Offset } from '../../src/protocol/cursor.js'
import { type Address, readAddress } from '../../src/redis/address.js'
import { type RedisLogOptions, redisLog } from '../../src/redis/open.js'
import { shardOf, shards } from '../../src/redis/shards.js'
import { forkSuite } from '../conformance/forks.js'
import { sharedLogConformance } from '../conformance/shared-log.js'
import { freePort } from '../kit/free-port.js'
import { Proxy } from '../kit/proxy.js'
import { missingRedis, RedisServer } from '../kit/redis.js'
import { until } from '../kit/wait.js'
import { append, linkTo, Told } from './log-kit.js'

const skip = missingRedis() ?? false

/** @returns bytes of Redis that all keys which have a text in their name take */
async function memoryOf(server: RedisServer, text: string): Promise<number> {
  const keys = (await server.command('KEYS', `*${text}*`)).match(/rc:\S+/g) ?? []
  let sum = 0
  for (const key of keys) sum += Number(/^:(\d+)/.exec(await server.command('MEMORY', 'USAGE', key))?.[1])
  return sum
}

t.test('one server', { skip }, async (t) => {
  const server = await RedisServer.start(t)
  sharedLogConformance(t, async (t) => {
    await server.command('FLUSHALL')
    return {
      // On a busy machine a feed that is looked at more often may count as dead, and what comes meanwhile is not told.
      link: () => linkTo(t, server.url, { canaryMs: 5_000 }),
      failover: {
        mark: async () => void (await server.command('SAVE')),
        failOver: async () => {
          await server.kill()
          await server.restart()
        },
      },
    }
  })
})

t.test('forks', { skip }, async (t) => {
  const server = await RedisServer.start(t)
  forkSuite(t, {
    options: async (t) => {
      await server.command('FLUSHALL')
      return { log: linkTo(t, server.url) }
    },
    knowsFormerState: true,
  })
})

t.test('faults', { skip }, async (t) => {
  const server = await RedisServer.start(t)

  t.test('a feed or a link that dies without a word is opened anew, and its followers ask', async (t) => {
    const direct = linkTo(t, server.url)
    for (const which of [0, 1]) {
      const proxy = await Proxy.open(server.port)
      t.teardown(() => proxy.close())
      const log = linkTo(t, `redis://127.0.0.1:${proxy.port}`)
      const { epoch } = await log.open('s')
      const told = new Told()
      await log.follow('s', told)
      // On a busy machine one may already count as dead, and another take its place.
      await until('its two links are open', () => proxy.links.length === 2)
      proxy.links[which]?.stall('down')
      const before = proxy.accepted
      const missed = await append(direct, epoch)
      await until('another link is opened', () => proxy.accepted > before)
      if (missed.kind !== 'appended') throw new Error('nothing was appended')
      const after = { epoch, offset: missed.from }
      const since = () => log.since('s', after).catch(() => undefined)
      await until('the log answers', async () => (await since())?.kind === 'batches')
      await until('it is told', () => told.breaks > 0 || told.batches.length > 0)
      // What is appended while another link is opened does not come by the feed.
      const sent = new Set<number>()
      await until('the feed brings what is new', async () => {
        const last = await append(direct, epoch)
        if (last.kind === 'appended') sent.add(last.to)
        return told.batches.some(({ to }) => sent.has(to))
      })
    }
  })

  t.test('a call whose link breaks fails and may be repeated; one that comes later waits', async (t) => {
    const proxy = await Proxy.open(server.port)
    t.teardown(() => proxy.close())
    const log = linkTo(t, `redis://127.0.0.1:${proxy.port}`)
    const { epoch } = await log.open('s')
    const told = new Told()
    await log.follow('s', told)
    const first = await append(log, epoch, ['/a'])
    for (const link of proxy.links) link.stall('down')
    const unanswered = append(log, epoch, ['/b'])
    await until('it has had its effect', async () => {
      const since = await linkTo(t, server.url).since('s', {
        epoch,
        offset: 'to' in first ? first.to : (0 as Offset),
      })
      return since.kind === 'batches' && since.batches.length === 1
    })
    proxy.cut()
    await t.rejects(unanswered, { name: 'StoreError', kind: 'failed' })
    t.match(await append(log, epoch, ['/b', '/c']), { kind: 'appended', known: [{ place: 0 }] })
    await until('the followers are told', () => told.breaks > 0)
    await log.close()
    await until('nothing is left', () => proxy.links.length === 0)
  })

  t.test('what stands still for a while is waited for', async (t) => {
    const log = linkTo(t, server.url, { canaryMs: 60_000 })
    const { epoch } = await log.open('s')
    await server.command('CLIENT', 'PAUSE', '300', 'ALL')
    t.match(await append(log, epoch), { kind: 'appended' })
  })

  t.test('tells that it cannot be reached, and that it can be again', async (t) => {
    const log = linkTo(t, server.url, { faultMs: 300, waitMs: 200 })
    const faults: (string | undefined)[] = []
    log.onFault((fault) => faults.push(fault?.message))
    const { epoch } = await log.open('s')
    await server.kill()
    // The first one may still find the connection that has just died.
    await append(log, epoch).catch(() => undefined)
    await t.rejects(append(log, epoch), { kind: 'failed', message: /^the log cannot be reached: / })
    await until('it is told', () => faults.length === 1)
    t.match(faults[0], /^the log is not followed: /)
    await server.restart()
    await until('it is well', () => faults.length === 2)
    t.equal(faults[1], undefined)
    t.strictSame(await append(log, epoch), { kind: 'epoch' }, 'what was not kept is gone')
    t.not((await log.open('s')).epoch, epoch)
  })
})

t.test('what is kept', { skip }, async (t) => {
  const server = await RedisServer.start(t)

  t.test('twenty events of 200 bytes take 6 KB of Redis at most once the session is idle', async (t) => {
    const log = linkTo(t, server.url, { idleMs: 500 })
    const hub = createHub({ log })
    const text = () => Array.from({ length: 190 }, () => systemRandom.id(1)).join('')
    const texts = Array.from({ length: 20 }, text)
    for (const [index, said] of texts.entries()) {
      await hub.submit('sessions/twenty', [{ type: 'note', id: `n${index}`, data: { text: said } }])
    }
    const before = await log.open('twenty')
    const first = await memoryOf(server, 'twenty')
    await until('it is packed', () => log.stats.packed > 0)
    const bytes = await memoryOf(server, 'twenty')
    t.comment(`${first} bytes before, ${bytes} after`)
    t.ok(bytes > 3_000 && bytes <= 6_144, `it takes ${bytes} bytes`)
    const packed = { ...before, rewrites: before.rewrites + 1 }
    t.strictSame(await log.open('twenty'), packed, 'nothing else has changed')
    const half = before.batches[9] as Delivered
    t.match(await log.since('twenty', { epoch: before.epoch, offset: half.to }), {
      batches: before.batches.slice(10),
    })
    const again = await hub.submit('sessions/twenty', [{ type: 'note', id: 'n3', data: { text: '' } }])
    t.match(again, { duplicates: 1 })
    await hub.submit('sessions/twenty', [{ type: 'note', data: { text: 'more' } }])
    t.equal((await log.open('twenty')).batches.length, 21)
    await hub.closeStore()
  })

  t.test('ids go after an hour, and are not taken for new then', async (t) => {
    const log = linkTo(t, server.url)
    const { epoch } = await log.open('old')
    const head = `rc:{${shardOf('old').tag}}:s:old`
    /** Lets the mark of the session be of so much earlier. */
    const age = async (seconds: number) => {
      const [, text = ''] = (await server.command('GET', head)).split('\r\n')
      const words = text.split(' ')
      words[8] = String(Number(words[8]) - seconds)
      await server.command('SET', head, words.join(' '))
    }
    await append(log, epoch, ['/a', '/b'], 'old')
    await age(3_500)
    await append(log, epoch, ['/c'], 'old')
    t.match(await append(log, epoch, ['/a'], 'old'), { known: [{ place: 0 }] }, 'an hour has not passed')
    await age(101)
    await append(log, epoch, ['/d'], 'old')
    t.match(await server.command('ZCARD', `${head}:i`), /^:2\r/)
    t.strictSame(await append(log, epoch, ['/e', '/b'], 'old'), { kind: 'left', place: 1 })
    t.match(await append(log, epoch, ['/c', '/e'], 'old'), { known: [{ place: 0 }] })
  })

  t.test('chatter evicts nothing critical, however much there is', async (t) => {
    const log = linkTo(t, server.url)
    const { epoch } = await log.open('loud')
    const at = { session: 'loud', hub: 'h', epoch, at: 0 }
    await log.append({ ...at, number: 1, width: 1, critical: Buffer.from('critical') })
    for (let i = 0; i < 100; i++) {
      await log.append({ ...at, number: i, width: 100, droppable: Buffer.alloc(1_000) })
    }
    const { last } = await log.open('loud')
    await log.checkpoint('loud', { epoch, offset: last, bytes: Buffer.from('all') })
    const { before } = await log.open('loud')
    t.equal(String(before[0]?.critical), 'critical')
    t.ok(before.length > 10 && before.length < 15, `${before.length} batches are left`)
  })

  t.test('nothing is left of a session that was removed, or was only mentioned', async (t) => {
    await server.command('FLUSHALL')
    const log = linkTo(t, server.url)
    const { epoch } = await log.open('gone')
    await append(log, epoch, ['/a'], 'gone')
    await log.checkpoint('gone', { epoch, offset: 3 as Offset, bytes: Buffer.from('x') })
    await log.remove('gone')
    await log.open('mentioned')
    const keys = (await server.command('KEYS', '*')).match(/rc:\S+/g) ?? []
    t.strictSame(
      keys.filter((key) => !key.endsWith(':era')),
      [`rc:{${shardOf('mentioned').tag}}:s:mentioned`],
    )
    t.notMatch(await server.command('TTL', keys.find((key) => key.endsWith('mentioned')) ?? ''), /^:-1/)
  })
})

t.test('what is looked at before', { skip }, async (t) => {
  const server = await RedisServer.start(t)
  const warnings: string[] = []
  const open = async (more: Partial<RedisLogOptions> = {}) => {
    const log = await redisLog({ url: server.url, onWarning: (warning) => warnings.push(warning), ...more })
    await log.close()
  }
  await open()
  t.match(warnings, [/maxmemory/, /appendonly yes/])
  t.equal(warnings.length, 2)
  await server.command('CONFIG', 'SET', 'maxmemory', '100mb')
  await open()
  await server.command('CONFIG', 'SET', 'maxmemory-policy', 'volatile-lru')
  const at = `redis://127.0.0.1:${server.port}: `
  await t.rejects(open(), {
    kind: 'refused',
    message: new RegExp(`^${at}its maxmemory-policy is volatile-lru, `),
  })
  await server.command('CONFIG', 'SET', 'maxmemory-policy', 'noeviction')
  await t.rejects(open({ catalog: { odd: { critical: true } } }), {
    kind: 'refused',
    message: /its hubs have another catalog .* redis-cli hdel 'rc:\{\w+\}:config' catalog/,
  })
  await open({ catalog: {} })
  const key = 'a random secret of at least 32 bytes'
  const masking = { mode: 'all', patterns: [{ kind: 'staff-id', pattern: 'EMP-[0-9]{6}' }], key } as const
  await open({ masking })
  await open({ masking })
  for (const other of [
    { ...masking, mode: 'shapes' },
    { ...masking, patterns: [] },
    { mode: 'off' },
  ] as const) {
    await t.rejects(open({ masking: other }), {
      kind: 'refused',
      message:
        /its hubs mask other secrets: .* redis-cli hdel 'rc:\{\w+\}:config' masking, and restart all hubs/,
    })
  }
  const { key: _, ...withoutKey } = masking
  for (const other of [withoutKey, { ...masking, key: `${key}.` }]) {
    await t.rejects(open({ masking: other }), {
      kind: 'refused',
      message:
        /its hubs have another key for masking: .* stop them all, run redis-cli hdel '\S+' maskingKey, and/,
    })
  }
  await server.command('CONFIG', 'SET', 'requirepass', 'top secret')
  const withPassword = server.url.replace('//', '//:wrong%20secret@')
  for (const url of [server.url, withPassword]) {
    const error: Error = await open({ url }).then(
      () => new Error('it was opened'),
      (said: Error) => said,
    )
    t.match(error, { kind: 'refused', message: new RegExp(`^${at}the log cannot be reached: `) })
    t.notMatch(JSON.stringify([error.message, error.stack]), /wrong/)
  }
  await open({ url: server.url.replace('//', '//:top%20secret@') })
  await t.rejects(open({ url: 'redis://127.0.0.1:1', waitMs: 200 }), {
    kind: 'failed',
    message: /ECONNREFUSED/,
  })
})

t.test('reads where the engine is', async (t) => {
  const cases: [url: string, is: Partial<Address>][] = [
    [
      'redis://localhost',
      { kind: 'single', endpoints: [{ host: 'localhost', port: 6379 }], tls: false, db: 0 },
    ],
    [
      'rediss://me:p%40ss@[::1]:7000/2',
      { username: 'me', password: 'p@ss', tls: true, db: 2, shown: 'rediss://[::1]:7000/2' },
    ],
    ['redis+unix:///run/redis.sock', { kind: 'single', path: '/run/redis.sock', endpoints: [] }],
    [
      'redis-sentinel://:x@a:1,b/main',
      {
        kind: 'sentinel',
        name: 'main',
        endpoints: [
          { host: 'a', port: 1 },
          { host: 'b', port: 26_379 },
        ],
        password: 'x',
      },
    ],
    [
      'rediss-cluster://a,b:7',
      {
        kind: 'cluster',
        tls: true,
        endpoints: [
          { host: 'a', port: 6379 },
          { host: 'b', port: 7 },
        ],
      },
    ],
  ]
  for (const [url, is] of cases) t.match(readAddress(url), is, url)
  const bad = [
    '',
    'localhost:6379',
    'http://x:secret@h',
    'redis://:secret@',
    'redis://a,b',
    'redis://a:99999',
    'redis://a/x',
  ]
  for (const url of [
    ...bad,
    'redis-sentinel://a',
    'redis-cluster://a/1',
    'redis+unix://a/b',
    'redis://%zz@a',
  ]) {
    let said: unknown
    try {
      readAddress(url)
    } catch (error) {
      said = error
    }
    t.match(said, { name: 'StoreError', kind: 'refused', message: /^the URL of the log: / }, url)
    t.notMatch(String(said), /secret/)
  }
})

t.test('a server is reached over TLS with a certificate, a unix socket and IPv6', { skip }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'runcast-redis-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const file = (name: string) => join(folder, name)
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1']
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1']
  const made = ['-keyout', file('key.pem'), '-out', file('cert.pem')]
  execFileSync('openssl', ['req', '-x509', '-nodes', ...curve, ...subject, ...made], { stdio: 'ignore' })
  const tlsPort = await freePort()
  const hasIpv6 = Object.values(networkInterfaces()).some((all) =>
    all?.some(({ address }) => address === '::1'),
  )
  const server = await RedisServer.start(
    t,
    [
      ['--tls-port', String(tlsPort)],
      ['--tls-cert-file', file('cert.pem'), '--tls-key-file', file('key.pem')],
      // The client shows a certificate too.
      ['--tls-ca-cert-file', file('cert.pem'), '--tls-auth-clients', 'yes'],
      ['--unixsocket', file('redis.sock')],
      ['--bind', '127.0.0.1', ...(hasIpv6 ? ['::1'] : [])],
    ].flat(),
  )
  const cert = readFileSync(file('cert.pem'))
  const tls = { ca: cert, cert, key: readFileSync(file('key.pem')) }
  const urls: [url: string, more: object][] = [
    [`rediss://localhost:${tlsPort}`, { tls }],
    [`redis+unix://${file('redis.sock')}`, {}],
    [server.url, {}],
  ]
  if (hasIpv6) urls.push([`redis://[::1]:${server.port}`, {}])
  else t.pass('IPv6', { skip: 'this machine has no ::1' })
  const told = new Told()
  const all = urls.map(([url, more]) => linkTo(t, url, more))
  await all[0]?.follow('s', told)
  for (const [index, log] of all.entries()) {
    const { epoch } = await log.open('s')
    t.match(await append(log, epoch, [`by ${index}`]), { kind: 'appended' }, `by ${index}`)
  }
  await until('what came by each of them is told over TLS', () => told.batches.length >= all.length)
  await t.rejects(redisLog({ url: `rediss://localhost:${tlsPort}`, waitMs: 100 }), {
    name: 'StoreError',
    message: new RegExp(`^rediss://localhost:${tlsPort}: `),
  })
})

t.test('the shards of sessions are spread evenly over the slots', async (t) => {
  t.equal(shards.length, 256)
  t.strictSame(
    shards.map(({ slot }) => Math.floor(slot / 64)),
    Array.from({ length: 256 }, (_, i) => i),
  )
  t.equal(shards[0]?.tag, shards.find(({ number }) => number === 0)?.tag)
  const counts = new Map<number, number>()
  for (let i = 0; i < 25_600; i++) {
    const { number } = shardOf(`session-${i}`)
    counts.set(number, (counts.get(number) ?? 0) + 1)
  }
  t.ok(Math.max(...counts.values()) < 200 && Math.min(...counts.values()) > 40)
})
