import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { open } from 'lmdb'
import t from 'tap'
import { openLmdb } from '../../src/store/lmdb.js'
import { aSession, at, offset, someEvents } from '../conformance/store-kit.js'
import { served } from '../kit/served.js'
import { mint, secret } from '../kit/tokens.js'
import { buildCommandLine } from './command-line.js'
import { startFakeHub } from './fake-hub.js'

const commandLine = await buildCommandLine()
t.teardown(() => commandLine.remove())

const folder = mkdtempSync(join(tmpdir(), 'runcast-data-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))
const directory = join(folder, 'data')
const events = someEvents(1, 2_500).map((event) => ({ ...event, id: `id-${event.offset}` }))

t.before(async () => {
  const store = openLmdb({ directory })
  const slices = [{ slice: 'plan', offset: offset(1), value: 1 }]
  await store.commit({ at, sessions: [{ ...aSession('build', events), slices }, aSession('empty', [])] })
  const forced = { offset: offset(2_501), type: 'note', time: at, data: 'forced', passes: 'modes' } as const
  const complete = { offset: offset(2_502), type: 'complete', time: at, data: {}, passes: 'all' } as const
  await store.commit({
    at,
    sessions: [{ session: 'build', last: offset(2_502), events: [forced, complete] }],
  })
  await store.close()
})

t.test('inspect lists what is there, and finds it consistent', async (t) => {
  const { code, stdout } = await commandLine.run(['inspect', directory])
  t.equal(code, 0)
  t.match(stdout, /^build {2}running {2}0 workers {2}2,?502 events, .*epoch-build:1 to epoch-build:2502/m)
  t.match(stdout, /^empty .* no events/m)
  t.match(stdout, /2 sessions, 2,?502 events, .*closed cleanly; consistent/)
  const rows = (await commandLine.run(['inspect', directory, '--json'])).stdout.trim().split('\n')
  t.match(JSON.parse(rows[0] ?? ''), { session: 'build', events: 2_502, first: 1, slices: 1, faults: [] })
})

t.test('export writes what publish reads back', async (t) => {
  const { code, stdout } = await commandLine.run(['export', 'build', '--data', directory])
  t.equal(code, 0)
  const hub = await startFakeHub()
  t.teardown(() => hub.close())
  const file = join(folder, 'build.ndjson')
  writeFileSync(file, stdout)
  const published = await commandLine.run(['publish', '--hub', hub.url, '--session', 'again', file])
  t.equal(published.code, 0, published.stderr)
  t.equal(hub.events.length, 2_501)
  // Workers are published side by side; within each the order is kept.
  for (const worker of [undefined, 'w0', 'w1']) {
    const of = (list: readonly { worker?: string; data: unknown }[]) =>
      list.filter((event) => event.worker === worker && event.data !== 'forced').map((event) => event.data)
    t.strictSame(of(hub.events), of(events), worker ?? 'the session')
  }
  const one = await commandLine.run(['export', 'build', '--data', directory, '--worker', 'w1'])
  t.equal(one.stdout.trim().split('\n').length, events.filter((event) => event.worker === 'w1').length)
})

t.test('backup copies what a running hub has acknowledged, and a hub goes on from it', async (t) => {
  const data = join(folder, 'live')
  const serve = async (directory: string) => {
    const running = commandLine.start(['serve', '--port', '0', '--data', directory])
    t.teardown(() => running.process.kill('SIGKILL'))
    await running.says('Ctrl-C ends the hub')
    const url = /http:\/\/127\.0\.0\.1:\d+/.exec(running.output())?.[0] ?? ''
    const publish = async (first: number, count: number) => {
      const body = Array.from({ length: count }, (_, n) => `{"type":"note","data":${first + n}}\n`).join('')
      const headers = { 'content-type': 'application/x-ndjson' }
      const answer = await fetch(`${url}/api/sessions/s/events`, { method: 'POST', headers, body })
      return (await answer.json()) as { last: number }
    }
    return { running, url, publish }
  }
  const hub = await serve(data)
  await hub.publish(1, 1_000)
  let going = true
  const busy = (async () => {
    for (let first = 1_001; going; first += 100) await hub.publish(first, 100)
  })()
  const copy = join(folder, 'copy')
  const made = await commandLine.run(['backup', copy, '--data', data])
  going = false
  await busy
  t.equal(made.code, 0, made.stderr)
  t.match(made.stdout, /copy: 1 session, [\d,]+ events in /)
  const last = (await hub.publish(0, 1)).last
  const again = await commandLine.run(['backup', copy, '--data', data])
  t.match(again, { code: 1, stderr: /already has hub data: .*\n$/ })
  const nothing = await commandLine.run(['backup', join(folder, 'c'), '--data', join(folder, 'nowhere')])
  t.match(nothing, { code: 1, stderr: /nowhere has no hub data\n$/ })
  const inspected = await commandLine.run(['inspect', copy])
  t.equal(inspected.code, 0, inspected.stderr)
  const kept = Number(/([\d,]+) events/.exec(inspected.stdout)?.[1]?.replaceAll(',', ''))
  t.ok(kept >= 1_000 && kept < last, `${kept} of ${last}`)

  const next = await serve(copy)
  const after = await next.publish(0, 1)
  t.ok(after.last > last, 'what was published after the copy has offsets that are not given out again')
  const page = await fetch(`${next.url}/api/sessions/s/history?limit=1000`)
  const { events } = (await page.json()) as { events: { data: number }[] }
  t.same(
    events.map(({ data }) => data),
    Array.from({ length: 1_000 }, (_, n) => n + 1),
  )

  hub.running.process.kill('SIGTERM')
  await hub.running.finished
  const stopped = await commandLine.run(['backup', join(folder, 'stopped'), '--data', data])
  t.equal(stopped.code, 0, 'and a hub need not be running')
  t.match((await commandLine.run(['inspect', join(folder, 'stopped')])).stdout, /not closed cleanly/)
})

t.test('export and inspect ask a running hub, with the rights of the token', async (t) => {
  const { hub, url } = await served(t, { serve: { auth: { secrets: [secret] } } })
  const session = hub.session('s')
  session.publish({ type: 'note', data: 'the session itself' })
  for (const id of ['a', 'b']) {
    const notes = Array.from({ length: 700 }, (_, n) => ({ type: 'note', data: `${id} ${n} \u2028` }))
    session.worker(id).publish(notes)
  }
  hub.session('other').publish({ type: 'note' })
  const env = { RUNCAST_TOKEN: await mint({ subscribe: ['sessions/s/**', 'sessions/s'] }) }
  const exported = await commandLine.run(['export', 's', '--hub', url], env)
  t.equal(exported.code, 0, exported.stderr)
  const lines = exported.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { data: string })
  t.equal(lines.length, 1_401)
  t.match(lines[0], { type: 'note', data: 'the session itself' })
  const one = await commandLine.run(['export', 's', '--worker', 'b'], { ...env, RUNCAST_HUB: url })
  t.equal(one.stdout.trim().split('\n').length, 700)
  t.match(await commandLine.run(['export', 'other', '--hub', url], env), { code: 76, stderr: /refused/ })
  t.match(
    await commandLine.run(['export', 'none', '--hub', url], {
      RUNCAST_TOKEN: await mint({ subscribe: ['**'] }),
    }),
    {
      code: 1,
      stderr: /has no session none\n$/,
    },
  )
  t.match(await commandLine.run(['export', 's', '--hub', url]), { code: 76 })
  t.match(await commandLine.run(['export', 's', '--hub', url, '--data', directory]), { code: 2 })
  t.match(await commandLine.run(['export', 's', '--hub', 'http://127.0.0.1:1']), { code: 69 })

  const listed = await commandLine.run(['inspect', '--hub', url], env)
  t.equal(listed.code, 0, listed.stderr)
  t.match(
    listed.stdout,
    /^s {2}running {2}2 workers {2}1,400 events of workers {2}up to .+:1401 .*\n.*: 1 session; .*nothing was checked\n$/,
  )
  const rows = (await commandLine.run(['inspect', '--hub', url, '--json'], env)).stdout
  t.match(JSON.parse(rows), { id: 's', workers: [{ id: 'a', events: 700 }, { id: 'b' }] })
  t.match(await commandLine.run(['inspect', '--hub', url]), { code: 76 })
  t.match(await commandLine.run(['inspect', '--hub', url, '--repair']), { code: 2 })
})

t.test('whoever reads no more of the output ends the command, without a stack trace', async (t) => {
  const running = commandLine.start(['export', '--help'])
  running.process.stdout.destroy()
  const { code, stderr } = await running.finished
  t.strictSame([code, stderr], [128 + constants.signals.SIGPIPE, ''])
})

t.test('what is not there, in use or damaged is told in a sentence', async (t) => {
  const missing = await commandLine.run(['inspect', join(folder, 'nowhere')])
  t.match(missing, { code: 1, stderr: /nowhere has no hub data\n$/ })
  const unknown = await commandLine.run(['export', 'unknown', '--data', directory])
  t.match(unknown, { code: 1, stderr: /has no session unknown\n$/ })
  const store = openLmdb({ directory })
  const used = await commandLine.run(['inspect', directory])
  await store.close()
  t.match(used, {
    code: 1,
    stderr: /is in use by the process \d+: stop it, or ask its hub with --hub URL\n$/,
  })

  const root = open<Buffer>({ path: join(directory, 'data.lmdb'), encoding: 'binary' })
  const table = root.openDB<Buffer>({ name: 'events', encoding: 'binary' })
  await table.remove([...table.getKeys()][1] ?? '')
  await root.close()
  const damaged = await commandLine.run(['inspect', directory])
  t.equal(damaged.code, 1)
  t.match(damaged.stderr, /build: it says that there are 2502 events, and there are 2246/)
  t.match(damaged.stdout, /1 fault$/m)
})
