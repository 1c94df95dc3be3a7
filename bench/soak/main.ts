import { parseArgs } from 'node:util'
import { HubProcess, type Reading } from '../harness/hub-process.js'
import { formatTable } from '../harness/table.js'
import { Load, pause } from './load.js'

const help = `A soak: a real hub with its store under hours of life compressed into minutes. It ends with 1 when the hub
has more memory, files, timers or connections at the end than after warming up, or when something was refused that
should not have been.

Usage: npm run soak -- [options]

  --minutes N    a quarter of them, 3 at most, for warming up: 2
  --every N      seconds from one line of figures to the next: 10
  --producers N  who publish at once: 6
  --followers N  who follow at once, and come and go: 60
  --seed N       of what is left to chance; one of its own, which it tells, unless given
  --help         this text`

const { values } = parseArgs({
  options: {
    help: { type: 'boolean', default: false },
    minutes: { type: 'string', default: '2' },
    every: { type: 'string', default: '10' },
    producers: { type: 'string', default: '6' },
    followers: { type: 'string', default: '60' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
  },
})
if (values.help) {
  console.log(help)
  process.exit()
}
const minutes = Number(values.minutes)
const everyMs = Number(values.every) * 1_000
const seed = Number(values.seed)

/** Small bounds, so that within the warming up all of them are reached that let memory grow at first. */
const limits = {
  idleSessionsMax: 20,
  laneEventsMax: 200,
  backpressureBytesMax: 65_536,
  stalledMs: 3_000,
  heartbeatMs: 2_000,
}
const words = Object.entries(limits).flatMap(([name, value]) => ['--limit', `${name}=${value}`])
words.push('--retain-bytes', '32m')

const columns = [
  'min',
  'rss',
  'anon',
  'heap',
  'files',
  'timers',
  'conn',
  'subs',
  'feeds',
  'sess',
  'pub/s',
  'del/s',
  'gaps',
  'closed',
] as const

function line(minute: number, now: Reading, before: Reading | undefined): string {
  const perSecond = (name: 'published' | 'delivered') =>
    before === undefined ? 0 : ((now[name] - before[name]) * 1_000) / everyMs
  const cells = [
    minute.toFixed(1),
    ...[now.rssMib, now.anonMib, now.heapMib].map((mib) => mib.toFixed(1)),
    now.files,
    now.timers,
    now.connections,
    now.subscriptions,
    now.feeds,
    now.sessions,
    ...[perSecond('published'), perSecond('delivered')].map(Math.round),
    now.gaps,
    now.closed,
  ]
  return cells
    .map((cell, index) => String(cell).padStart(Math.max(7, (columns[index] ?? '').length)))
    .join('')
}

/** Runs the load for so long. */
async function run(hub: HubProcess, name: string, ms: number): Promise<string[]> {
  console.log(`\n${name}, ${(ms / 60_000).toFixed(1)} min`)
  console.log(columns.map((column) => column.padStart(Math.max(7, column.length))).join(''))
  const load = await Load.start({
    url: hub.url,
    port: hub.port,
    seed,
    prefix: name.replaceAll(' ', '-'),
    producers: Number(values.producers),
    followers: Number(values.followers),
  })
  const began = Date.now()
  let before: Reading | undefined
  while (Date.now() - began < ms) {
    await pause(Math.min(everyMs, Math.max(0, ms - (Date.now() - began))))
    await hub.collect()
    const now = await hub.read()
    console.log(line((Date.now() - began) / 60_000, now, before))
    before = now
  }
  await load.stop()
  console.log(
    Object.entries(load.counts)
      .map(([what, count]) => `${count} ${what}`)
      .join(', '),
  )
  return load.faults
}

/** Of what histories hold, which is left to chance, nothing should be in what is compared. */
async function removeSessions({ url }: HubProcess): Promise<void> {
  for (;;) {
    const response = await fetch(`${url}/api/sessions`)
    const { sessions } = (await response.json()) as { sessions: readonly { readonly id: string }[] }
    if (sessions.length === 0) return
    for (const { id } of sessions) {
      const { status } = await fetch(`${url}/api/sessions/${id}`, { method: 'DELETE' })
      // Retention may have been there before.
      if (status !== 204 && status !== 404) throw new Error(`DELETE ${id}: ${status}`)
    }
  }
}

/** @returns what is there once nobody is, no session is left, and garbage is collected */
async function quiet(hub: HubProcess): Promise<Reading> {
  const deadline = Date.now() + 60_000
  for (;;) {
    await hub.collect()
    const reading = await hub.read()
    if (reading.connections === 0 && reading.subscriptions === 0 && reading.feeds === 0) break
    if (Date.now() > deadline) throw new Error(`connections are left: ${JSON.stringify(reading)}`)
    await pause(500)
  }
  await removeSessions(hub)
  // Keep-alive links of the soak itself end meanwhile, and what was finalized is freed.
  await pause(12_000)
  await hub.collect()
  return hub.read()
}

/** What may be more at the end: what the allocator keeps in hand, and chance. */
const tolerances = {
  anonMib: (start: number) => start * 1.1 + 16,
  heapMib: (start: number) => start * 1.05 + 3,
  files: (start: number) => start + 2,
  timers: (start: number) => start + 3,
  connections: (start: number) => start,
  subscriptions: (start: number) => start,
  feeds: (start: number) => start,
  sessions: (start: number) => start,
} as const

console.log(`seed ${seed}`)
const hub = await HubProcess.start(words)
try {
  const totalMs = minutes * 60_000
  const warmMs = Math.min(180_000, totalMs / 4)
  const faults = await run(hub, 'warming up', warmMs)
  const start = await quiet(hub)
  faults.push(...(await run(hub, 'soaking', totalMs - warmMs)))
  const end = await quiet(hub)

  const rows = Object.entries(tolerances).map(([name, most]) => {
    const key = name as keyof typeof tolerances
    return {
      figure: name,
      start: start[key],
      end: end[key],
      most: most(start[key]),
      ok: end[key] <= most(start[key]),
    }
  })
  console.log(
    `\n${formatTable(
      [
        { name: 'figure' },
        { name: 'start', digits: 1 },
        { name: 'end', digits: 1 },
        { name: 'most', digits: 1 },
        { name: 'outcome' },
      ],
      rows.map(({ ok, ...row }) => ({ ...row, outcome: ok ? 'ok' : 'GROWN' })),
    )}`,
  )
  const published = end.published - start.published
  console.log(
    `${published} events published, ${end.delivered - start.delivered} delivered, RSS ${end.rssMib.toFixed(0)} MiB`,
  )
  for (const fault of new Set(faults)) console.log(`fault: ${fault}`)
  if (faults.length > 0 || rows.some(({ ok }) => !ok)) process.exitCode = 1
} finally {
  const code = await hub.stop()
  if (code !== 0) process.exitCode = 1
  console.log(`the hub ended with ${code}`)
}
