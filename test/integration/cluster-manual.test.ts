// What docs/operations/cluster.md tells people to type, typed: only the ports are others.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { connect } from '../../src/client/client.js'
import { buildCommandLine } from '../cli/command-line.js'
import { freePort } from '../kit/free-port.js'
import { missingRedis } from '../kit/redis.js'
import { until } from '../kit/wait.js'

const docs = fileURLToPath(new URL('../../docs/operations/', import.meta.url))
const manual = readFileSync(`${docs}cluster.md`, 'utf8')

/** @returns a block of code of the manual: the first after a text */
function blockAfter(text: string): string {
  const [, block] = /```\w*\n([\s\S]*?)```/.exec(manual.slice(manual.indexOf(text))) ?? []
  if (block === undefined) throw new Error(`cluster.md: expected a block of code after "${text}"`)
  return block
}

function missing(...programs: string[]): string | false {
  for (const program of programs) {
    try {
      execFileSync('which', [program], { stdio: 'ignore' })
    } catch {
      return `${program} is not installed`
    }
  }
  return false
}

t.setTimeout(180_000)
const skip = missingRedis() ?? missing('nginx')

t.test('three hubs behind nginx, typed as the manual has it', { skip }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'runcast-manual-'))
  const commandLine = await buildCommandLine()
  t.teardown(() => {
    commandLine.remove()
    rmSync(folder, { recursive: true, force: true })
  })
  const program = join(folder, 'runcast')
  writeFileSync(program, `#!/bin/sh\nexec '${process.execPath}' '${commandLine.main}' "$@"\n`)
  chmodSync(program, 0o755)
  const ports = new Map<string, number>()
  for (const known of ['6379', '4600', '4601', '4602', '4603']) ports.set(known, await freePort())
  const typed = (text: string) =>
    text.replaceAll(/\b(6379|460[0-3])\b/g, (port) => String(ports.get(port) ?? port))
  const url = typed('http://127.0.0.1:4600')
  const env = { ...process.env, PATH: `${folder}:${process.env['PATH']}`, RUNCAST_HUB: url }

  /** Types a command in a terminal of its own. */
  const type = (line: string) => {
    const child = spawn('sh', ['-c', `exec ${typed(line)}`], {
      cwd: folder,
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const said = { text: '' }
    for (const output of [child.stdout, child.stderr]) {
      output.setEncoding('utf8').on('data', (text: string) => (said.text += text))
    }
    const ended = new Promise<number | null>((resolve) => child.on('exit', resolve))
    t.teardown(async () => {
      child.kill('SIGTERM')
      await ended
    })
    return { child, said, ended }
  }
  writeFileSync(join(folder, 'nginx-cluster.conf'), typed(readFileSync(`${docs}nginx-cluster.conf`, 'utf8')))
  const lines = blockAfter('## Three hubs behind nginx').trim().split('\n')
  t.equal(lines.length, 5, 'Redis, three hubs and nginx')
  // All at once: a hub waits for Redis.
  const running = lines.map(type)
  const statusOf = (path: string, base = url) =>
    fetch(base + path).then(
      ({ status }) => status,
      () => 0,
    )
  for (const known of ['4601', '4602', '4603', '4600']) {
    const base = typed(`http://127.0.0.1:${known}`)
    await until(`${base} is ready`, async () => (await statusOf('/readyz', base)) === 200, 60_000)
  }

  const [run, tail] = ['runcast run --session demo -- ls -la', 'runcast tail demo'].map((line) => {
    t.ok(manual.includes(`\`${line}\``), `the manual has ${line}`)
    return line
  }) as [string, string]
  t.equal(await type(run).ended, 0)
  const watching = type(tail)
  await until('it is shown', () => watching.said.text.includes('nginx-cluster.conf'))

  await t.test('a hub is killed, and its clients continue at the others', async (t) => {
    await expectToGoOn(t, url, (running[1] as { child: ChildProcess }).child)
  })

  await t.test('HAProxy, with the backend of the manual', { skip: missing('haproxy') }, async (t) => {
    const port = await freePort()
    const hubs = ['4602', '4603'].map((known) => ports.get(known))
    // The first hub of the manual is the one that was killed: HAProxy has to find out.
    const backend = [ports.get('4601'), ...hubs].reduce<string>(
      (text, hub, index) => text.replace(`10.0.0.${index + 1}:4600`, `127.0.0.1:${hub}`),
      blockAfter('For HAProxy, replace the backend'),
    )
    t.notMatch(backend, /10\.0\.0\./)
    const whole = readFileSync(`${docs}haproxy.cfg`, 'utf8')
      .replace(/^backend runcast[\s\S]*/m, backend)
      .replace(/bind :443 .*/, `bind 127.0.0.1:${port}`)
      .replace('log /dev/log local0', 'log stdout format raw local0')
      .replace('maxconn 20000', 'maxconn 256')
    writeFileSync(join(folder, 'haproxy.cfg'), whole)
    const haproxy = type('haproxy -db -f haproxy.cfg')
    const base = `http://127.0.0.1:${port}`
    await until('HAProxy answers', async () => (await statusOf('/readyz', base)) === 200)
    // Two are left; the second dies with clients.
    await expectToGoOn(t, base, (running[2] as { child: ChildProcess }).child)
    t.equal(haproxy.child.exitCode, null, haproxy.said.text)
  })
})

/** Clients watch and publish through a balancer while a hub behind it is killed. */
async function expectToGoOn(t: Test, url: string, hub: ChildProcess): Promise<void> {
  const client = connect(url, { backoff: { firstMs: 10, mostMs: 50 } })
  const watchers = Array.from({ length: 6 }, () => connect(url, { backoff: { firstMs: 10, mostMs: 50 } }))
  t.teardown(() => {
    for (const one of [client, ...watchers]) one.close()
  })
  const session = `killed-${hub.pid}`
  const seen = watchers.map((watcher) => {
    const subscription = watcher.subscribe({ topic: `sessions/${session}`, types: ['note'] })
    const events: unknown[] = []
    void (async () => {
      for await (const { data } of subscription) events.push(data)
    })()
    return { subscription, events }
  })
  await until('all watch', () => seen.every(({ subscription }) => subscription.position !== undefined))
  const publish = async (data: number) => {
    const events = JSON.stringify({ type: 'note', id: `${data}`, data })
    // A request that was under way at the hub that dies gets no answer: it is repeated with its id.
    await until('it is acknowledged', async () => {
      const answer = await fetch(`${url}/api/sessions/${session}/events`, {
        method: 'POST',
        body: events,
      }).catch(() => undefined)
      if (answer !== undefined && answer.status < 500) t.equal(answer.status, 200)
      return answer?.status === 200
    })
  }
  for (let n = 0; n < 3; n++) await publish(n)
  hub.kill('SIGKILL')
  for (let n = 3; n < 9; n++) await publish(n)
  // Reading at a hub that has gone is tried at another one.
  for (let n = 0; n < 10; n++) t.equal((await fetch(`${url}/readyz`)).status, 200)
  const all = [0, 1, 2, 3, 4, 5, 6, 7, 8]
  await until('all have all', () => seen.every(({ events }) => events.length >= all.length))
  for (const { events } of seen) t.strictSame(events, all)
}
