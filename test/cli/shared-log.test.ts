import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { shards } from '../../src/redis/shards.js'
import { freePort } from '../kit/free-port.js'
import { missingRedis, RedisServer } from '../kit/redis.js'
import { dial } from '../kit/served.js'
import { until } from '../kit/wait.js'
import { buildCommandLine } from './command-line.js'

t.setTimeout(180_000)
const commandLine = await buildCommandLine()
t.teardown(() => commandLine.remove())

t.test('--log takes the place of the store, and the options say so', async (t) => {
  const refused = async (...words: string[]) => {
    const { code, stderr } = await commandLine.run(['serve', '--port', '0', ...words])
    return `${code} ${stderr}`
  }
  const log = ['--log', 'redis://127.0.0.1:1']
  const [lmdb, data, alone, wait, key, noKey, wrong, processes, noPort] = await Promise.all([
    refused(...log, '--store', 'lmdb'),
    refused(...log, '--data', 'x'),
    refused('--acknowledge', 'replica'),
    refused('--log-wait-ms', '9'),
    refused('--masking-key-file', fileURLToPath(import.meta.url)),
    refused(...log, '--masking-key-file', '/dev/null'),
    refused('--log', 'http://:secret@127.0.0.1'),
    refused('--processes', '2'),
    refused('--processes', '2', ...log),
  ])
  t.match(lmdb, /^2 .*--store lmdb is of the store, and the log takes its place/)
  t.match(data, /^2 .*--data is of the store/)
  t.match(alone, /^2 .*--acknowledge says what a log does: give --log too/)
  t.match(wait, /^2 .*--log-wait-ms says what a log does: give --log too/)
  t.match(key, /^2 .*--masking-key-file says what a log does: give --log too/)
  t.match(noKey, /^1 .*--masking-key-file: expected at least 32 bytes in \/dev\/null; make it with openssl/)
  t.match(wrong, /^1 .*--log: /)
  t.notMatch(wrong, /secret/)
  t.match(processes, /^2 .*--processes needs a log that they share/)
  t.match(noPort, /^2 .*--processes needs a port that they share/)
})

t.test(
  'a hub waits for a log that cannot be reached yet, and says so',
  { skip: missingRedis() ?? false },
  async (t) => {
    const redis = await RedisServer.start(t, ['--maxmemory-policy', 'noeviction'])
    await redis.kill()
    const start = (port: number, ...words: string[]) => {
      const address = ['--port', `${port}`, '--log', redis.url, '--log-format', 'json']
      const running = commandLine.start(['serve', ...address, ...words])
      t.teardown(() => running.process.kill('SIGKILL'))
      return running
    }
    const port = await freePort()
    const url = `http://127.0.0.1:${port}`
    const waiting = start(port)
    const impatient = start(await freePort(), '--log-wait-ms', '0')
    const { code, stderr } = await impatient.finished
    t.equal(code, 1)
    t.match(stderr, /runcast: --log: redis:\/\/127\.0\.0\.1:\d+: the log cannot be reached: .*ECONNREFUSED/)
    await waiting.says('waiting for the log')
    await waiting.says('started')
    t.equal((await fetch(`${url}/healthz`)).status, 200)
    const ready = async () => (await fetch(`${url}/readyz`)).status
    t.equal(await ready(), 503)
    const publish = () => fetch(`${url}/api/sessions/s/events`, { method: 'POST', body: '{"type":"note"}' })
    const refused = await publish()
    t.equal(refused.status, 503)
    t.match(await refused.json(), { detail: /the log cannot be reached/ })
    await redis.restart()
    await until('it is ready', async () => (await ready()) === 200)
    t.equal((await publish()).status, 200)

    // A later hub starts over an engine that is full: what is there can be watched.
    await redis.command('CONFIG', 'SET', 'maxmemory', '1')
    const full = await freePort()
    await start(full).says('started')
    const history = await fetch(`http://127.0.0.1:${full}/api/sessions/s/history?all=1`)
    t.match(await history.json(), { events: [{ type: 'note' }] })
    await redis.command('CONFIG', 'SET', 'maxmemory', '0')

    // One that waits and then finds what it cannot use ends.
    await redis.kill()
    const other = start(await freePort())
    await other.says('waiting for the log')
    await redis.restart()
    await redis.command('HSET', `rc:{${shards[0]?.tag}}:config`, 'format', '1', 'catalog', 'another')
    const ended = await other.finished
    t.equal(ended.code, 1)
    t.match(ended.stderr, /another catalog of event types/)
  },
)

/** @returns the numbers of the processes that answer on a port, as seen by so many new connections */
async function answering(url: string): Promise<string[]> {
  const seen = new Set<string>()
  for (let i = 0; i < 10; i++) {
    const answer = await fetch(`${url}/metrics`, { headers: { connection: 'close' } }).catch(() => undefined)
    seen.add(/^runcast_process (\d)$/m.exec((await answer?.text()) ?? '')?.[1] ?? 'none')
  }
  return [...seen].sort()
}

async function started(t: Test, words: readonly string[]) {
  const redis = await RedisServer.start(t)
  const port = await freePort()
  const address = ['--port', `${port}`, '--log', redis.url]
  const running = commandLine.start(['serve', ...address, '--log-format', 'json', ...words])
  t.teardown(() => running.process.kill('SIGTERM'))
  let errors = ''
  running.process.stderr.on('data', (text: string) => (errors += text))
  await running.says('all processes listen')
  const pids = (number: number) =>
    errors.split('\n').flatMap((line) => {
      if (!line.includes('"started"')) return []
      const { pid, process } = JSON.parse(line) as { pid: number; process: number }
      return process === number ? pid : []
    })
  return { running, url: `http://127.0.0.1:${port}`, pids }
}

for (const transport of ['auto', 'node']) {
  t.test(
    `--processes serves one port with several (${transport})`,
    { skip: missingRedis() ?? false },
    async (t) => {
      const { running, url, pids } = await started(t, ['--processes', '2', '--transport', transport])
      await until('both answer', async () => (await answering(url)).join() === '1,2')
      const watchers = await Promise.all(Array.from({ length: 4 }, () => dial(t, url)))
      for (const watcher of watchers) {
        watcher.send({ type: 'subscribe', sub: 1, topic: 'sessions/s' })
        await watcher.expect('live')
      }
      const events = JSON.stringify({ type: 'note', data: 1 })
      t.equal((await fetch(`${url}/api/sessions/s/events`, { method: 'POST', body: events })).status, 200)
      for (const watcher of watchers) t.match(await watcher.expect('events'), { events: [{ type: 'note' }] })

      const [killed] = pids(2)
      process.kill(killed as number, 'SIGKILL')
      await until('another is started', () => pids(2).length === 2)
      await until('both answer again', async () => (await answering(url)).join() === '1,2')

      // As a terminal does, which all processes get the signal of.
      for (const pid of [pids(1)[0], pids(2)[1]]) process.kill(pid as number, 'SIGINT')
      running.process.kill('SIGINT')
      const { code } = await running.finished
      t.equal(code, 0)
      for (const pid of [pids(1)[0], pids(2)[1]])
        t.throws(() => process.kill(pid as number, 0), { code: 'ESRCH' })
    },
  )
}
