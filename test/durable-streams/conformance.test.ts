import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import type { HubOptions } from '../../src/hub/hub-options.js'
import { systemClock } from '../../src/lib/clock.js'
import { systemRandom } from '../../src/lib/random.js'
import { MemoryLog } from '../../src/log/memory-log.js'
import { openLmdb } from '../../src/store/lmdb.js'
import { served } from '../kit/served.js'

/* The conformance suite of Durable Streams, which others wrote, over each kind of hub. */

const here = fileURLToPath(new URL('.', import.meta.url))
const isInstalled = existsSync(`${here}node_modules/@durable-streams/server-conformance-tests`)
const skip = isInstalled ? false : 'npm ci --prefix test/durable-streams'

/** As the suite is told: how long a long-poll waits. Milliseconds */
const longPollMs = 500

/** Tests of the suite without those of subscriptions, which no server needs to have. */
const testsOfSuite = 332

const hubs: Readonly<Record<string, (t: Test) => HubOptions>> = {
  memory: () => ({}),
  lmdb: (t) => ({ store: openLmdb({ directory: t.testdir() }) }),
  log: () => ({ log: new MemoryLog(systemClock, systemRandom).link() }),
}

// They sleep most of the time.
t.jobs = 3
for (const [kind, optionsOf] of Object.entries(hubs)) {
  t.test(`a hub with ${kind} passes the suite`, { skip }, async (t) => {
    const { server } = await served(t, {
      hub: { ...optionsOf(t), limits: { longPollMs } },
      serve: { origins: ['*'] },
    })
    const { passed, failed } = await runSuite(server.url)
    t.strictSame(failed, [])
    t.equal(passed, testsOfSuite)
  })
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
  const child = spawn(process.execPath, [vitest, 'run', '--reporter=json'], {
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
