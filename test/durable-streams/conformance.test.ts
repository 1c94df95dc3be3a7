import { spawn } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import type { HubOptions } from '../../src/hub/hub-options.js'
import { systemClock } from '../../src/lib/clock.js'
import { systemRandom } from '../../src/lib/random.js'
import { MemoryLog } from '../../src/log/memory-log.js'
import { redisLog } from '../../src/redis/open.js'
import { openLmdb } from '../../src/store/lmdb.js'
import { freePort } from '../kit/free-port.js'
import { RedisServer } from '../kit/redis.js'
import { served } from '../kit/served.js'
import { until } from '../kit/wait.js'

/* The conformance suite of Durable Streams, which others wrote, over each kind of hub. */

const here = fileURLToPath(new URL('.', import.meta.url))
const isInstalled = existsSync(`${here}node_modules/@durable-streams/server-conformance-tests`)
const skip = isInstalled ? false : 'npm ci --prefix test/durable-streams'

/** As the suite is told: how long a long-poll waits. Milliseconds */
const longPollMs = 500

/** Tests of the suite without those of subscriptions, which no server needs to have. */
const testsOfSuite = 332

const hubs: Readonly<Record<string, (t: Test) => HubOptions | Promise<HubOptions>>> = {
  memory: () => ({}),
  lmdb: (t) => ({ store: openLmdb({ directory: t.testdir() }) }),
  log: () => ({ log: new MemoryLog(systemClock, systemRandom).link() }),
  redis: async (t) => ({ log: await redisLog({ url: (await RedisServer.start(t)).url }) }),
  nginx: () => ({}),
}

/** `RUNCAST_SUITES=memory,redis,nginx` for the others. */
const kinds = (process.env['RUNCAST_SUITES'] ?? 'lmdb,log').split(',')

// They sleep most of the time.
t.jobs = 3
for (const [kind, optionsOf] of Object.entries(hubs).filter(([kind]) => kinds.includes(kind))) {
  t.test(`a hub with ${kind} passes the suite`, { skip }, async (t) => {
    const { server } = await served(t, {
      hub: { ...(await optionsOf(t)), limits: { longPollMs } },
      serve: { origins: ['*'] },
    })
    const { passed, failed } = await runSuite(
      kind === 'nginx' ? await throughNginx(t, server.port) : server.url,
    )
    t.strictSame(failed, [])
    t.equal(passed, testsOfSuite)
  })
}

/** @returns the address of an nginx in front of the hub, as the guide has it, without TLS */
async function throughNginx(t: Test, hub: number): Promise<string> {
  const [port, folder] = [await freePort(), t.testdir()]
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (name) => `${name}_temp_path ${folder}/${name};`,
  )
  writeFileSync(
    `${folder}/all.conf`,
    `${process.getuid?.() === 0 ? 'user root;' : ''} daemon off; pid ${folder}/pid; worker_processes 1; error_log ${folder}/error.log;
    events { worker_connections 256; }
    http { ${temporary.join(' ')} access_log off;
      server { listen 127.0.0.1:${port}; location / {
        proxy_pass http://127.0.0.1:${hub}; proxy_http_version 1.1; proxy_set_header Connection ''; proxy_set_header Host $http_host;
        proxy_buffering off; proxy_request_buffering off; client_max_body_size 0; } } }`,
  )
  const words = ['-p', folder, '-c', `${folder}/all.conf`, '-e', `${folder}/error.log`]
  const nginx = spawn('nginx', words, { stdio: 'inherit' })
  t.teardown(() => nginx.kill())
  const url = `http://127.0.0.1:${port}`
  await until('nginx answers', () =>
    fetch(`${url}/healthz`).then(
      ({ ok }) => ok,
      () => false,
    ),
  )
  return url
}

interface Report {
  readonly numPassedTests: number
  readonly testResults: readonly {
    readonly assertionResults: readonly {
      readonly status: string
      readonly fullName: string
      readonly failureMessages: readonly string[]
    }[]
  }[]
}

async function runSuite(url: string): Promise<{ passed: number; failed: readonly string[] }> {
  const vitest = `${here}node_modules/vitest/vitest.mjs`
  // Its tests of expiry sleep, and expect an answer within the second that is left: on a busy machine one was late, so each has a second try.
  const child = spawn(process.execPath, [vitest, 'run', '--reporter=json', '--retry=1'], {
    cwd: here,
    // What tap adds to processes would be loaded by each worker of vitest.
    env: {
      ...process.env,
      NODE_OPTIONS: '',
      CONFORMANCE_TEST_URL: url.replace(/\/$/, ''),
      CONFORMANCE_LONG_POLL_MS: String(longPollMs),
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let output = ''
  for await (const part of child.stdout.setEncoding('utf8')) output += part
  const report = JSON.parse(output.slice(output.indexOf('{'))) as Report
  const failed = report.testResults
    .flatMap(({ assertionResults }) => assertionResults)
    .filter(({ status }) => status === 'failed')
    .map(({ fullName, failureMessages }) => `${fullName}: ${failureMessages[0]?.split('\n', 1)[0] ?? ''}`)
  return { passed: report.numPassedTests, failed }
}
