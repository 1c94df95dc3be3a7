import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createParser } from 'eventsource-parser'
import t from 'tap'
import { WebSocket } from 'ws'
import type { HubEvent } from '../../src/protocol/frames.js'
import { buildCommandLine, type Running } from '../cli/command-line.js'
import { freePort } from '../kit/free-port.js'
import { missingRedis, RedisServer } from '../kit/redis.js'
import { until } from '../kit/wait.js'

// RUNCAST_KILLS=120 for the long run: 100 hubs and 20 times Redis.
const kills = Number(process.env['RUNCAST_KILLS'] ?? 6)
t.setTimeout(120_000 + 30_000 * kills)
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

const nginxProgram = 'nginx'

function missingNginx(): string | false {
  try {
    execFileSync(nginxProgram, ['-v'], { stdio: 'ignore' })
    return false
  } catch {
    return 'nginx is not installed'
  }
}

/** A hub of the cluster, which is started again after it was killed. */
interface Member {
  readonly port: number
  hub: Running
}

/** What one client got of one session, over all of its connections to whatever hub. */
class Seen {
  readonly events = new Map<number, string>()
  readonly faults: string[] = []
  gaps = 0
  isLive = false
  #last = 0

  take(offset: number, id: string | undefined): void {
    if (offset <= this.#last) this.faults.push(`${offset} follows ${this.#last}`)
    this.#last = offset
    if (id !== undefined) this.events.set(offset, id)
  }
}

/** Publishes one batch after the other with ids, each at any hub until it is acknowledged. */
async function produce(
  { session, name, port }: { session: string; name: string; port: () => number },
  acknowledged: Map<string, number>,
  isOver: () => boolean,
  isFull: () => boolean,
): Promise<void> {
  for (let n = 0; !isOver(); n++) {
    while (isFull() && !isOver()) await pause(10)
    const count = 1 + (n % 5)
    const events = Array.from({ length: count }, (_, index) => ({
      type: 'note',
      id: `${name}-${n}-${index}`,
      data: {},
    }))
    const body = events.map((event) => `${JSON.stringify(event)}\n`).join('')
    for (;;) {
      try {
        const answer = await fetch(`http://127.0.0.1:${port()}/api/sessions/${session}/events`, {
          method: 'POST',
          headers: { 'content-type': 'application/x-ndjson' },
          body,
          // Under load, Node's fetch has waited for ever for a hub that was killed just after it began to listen.
          signal: AbortSignal.timeout(10_000),
        })
        const said = (await answer.json()) as { accepted: number; duplicates: number; last: number }
        if (answer.status === 200 && said.accepted + said.duplicates === count) {
          acknowledged.set(events.at(-1)?.id ?? '', said.last)
          for (const { id } of events.slice(0, -1)) acknowledged.set(id, 0)
          break
        }
      } catch {
        // That hub was killed: the same batch goes to another one.
      }
      await pause(10)
    }
    await pause(2)
  }
}

async function watchWebSocket(
  session: string,
  port: () => number,
  seen: Seen,
  signal: AbortSignal,
): Promise<void> {
  let after: string | undefined
  let epoch = ''
  while (!signal.aborted) {
    await new Promise<void>((resolve) => {
      const socket = new WebSocket(`ws://127.0.0.1:${port()}/api/ws`, 'runcast.v1.json')
      const close = () => socket.terminate()
      signal.addEventListener('abort', close)
      socket.on('error', () => undefined)
      socket.on('close', () => {
        signal.removeEventListener('abort', close)
        resolve()
      })
      socket.on('open', () => {
        const subscribe = { type: 'subscribe', sub: 1, topic: `sessions/${session}`, ...(after && { after }) }
        socket.send(JSON.stringify(subscribe))
      })
      socket.on('message', (text: Buffer) => {
        const frame = JSON.parse(text.toString())
        if (frame.type === 'subscribed') epoch = frame.epoch
        if (frame.type === 'gap' || frame.gap !== undefined) seen.gaps++
        if (frame.type === 'live') {
          after = `${epoch}:${frame.offset}`
          seen.isLive = true
        }
        if (frame.type !== 'events') return
        for (const { offset, id } of frame.events as HubEvent[]) seen.take(offset, id)
        after = `${epoch}:${frame.last}`
      })
    })
    await pause(10)
  }
}

async function watchSse(session: string, port: () => number, seen: Seen, signal: AbortSignal): Promise<void> {
  let last = ''
  while (!signal.aborted) {
    try {
      const headers = last === '' ? undefined : { 'last-event-id': last }
      const url = `http://127.0.0.1:${port()}/api/sessions/${session}/events?all=1`
      const answer = await fetch(url, { signal, ...(headers && { headers }) })
      const parser = createParser({
        onEvent({ id, event, data }) {
          if (id !== undefined && id !== '') last = id
          if (event === 'hub.live') seen.isLive = true
          if (event === 'hub.gap') seen.gaps++
          if (event === 'note') seen.take(Number(id?.split(':')[1]), (JSON.parse(data) as HubEvent).id)
        },
      })
      const decoder = new TextDecoder()
      for await (const chunk of answer.body ?? []) parser.feed(decoder.decode(chunk, { stream: true }))
    } catch {
      // Killed, or over.
    }
    await pause(10)
  }
}

t.test('three hubs over one Redis', { skip: missingRedis() ?? false }, async (t) => {
  const commandLine = await buildCommandLine()
  t.teardown(() => commandLine.remove())
  // With everysec Redis holds writes back for up to two seconds while the disk is busy, and a kill loses them.
  const redis = await RedisServer.start(t, ['--appendonly', 'yes', '--appendfsync', 'always'])
  const start = async (port: number): Promise<Running> => {
    const hub = commandLine.start(['serve', '--port', `${port}`, '--log', redis.url, '--log-level', 'error'])
    await hub.says('listens on')
    await until(
      'it is ready',
      async () => (await fetch(`http://127.0.0.1:${port}/readyz`).catch(() => undefined))?.ok === true,
    )
    return hub
  }
  const members: Member[] = []
  for (let i = 0; i < 3; i++) {
    const port = await freePort()
    members.push({ port, hub: await start(port) })
  }
  let seed = 7
  const any = (count: number) => {
    seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31
    return Math.floor((seed / 2 ** 31) * count)
  }
  const anyPort = () => (members[any(3)] as Member).port

  for (let kill = 0; kill < kills; kill++) {
    const isOfRedis = kill % 6 === 5
    await t.test(
      `nothing is lost or doubled when ${isOfRedis ? 'Redis' : 'a hub'} is killed (${kill})`,
      async (t) => {
        const session = `round-${kill}`
        const acknowledged = new Map<string, number>()
        const watching = new AbortController()
        const clients = { webSocket: new Seen(), sse: new Seen() }
        const watches = [
          watchWebSocket(session, anyPort, clients.webSocket, watching.signal),
          watchSse(session, anyPort, clients.sse, watching.signal),
        ]
        await until(
          'both follow a session that does not exist yet',
          () => clients.webSocket.isLive && clients.sse.isLive,
        )
        let over = false
        // A hub retains a thousand events in memory, however long the start of another one takes.
        let most = 600
        const producers = ['a', 'b'].map((name) =>
          produce(
            { session, name, port: anyPort },
            acknowledged,
            () => over,
            () => acknowledged.size >= most,
          ),
        )
        await until('there is load', () => acknowledged.size >= 40 + any(100))
        if (isOfRedis) {
          await redis.kill()
          await redis.restart()
        } else {
          const member = members[any(3)] as Member
          member.hub.process.kill('SIGKILL')
          await member.hub.finished
          member.hub = await start(member.port)
        }
        const { size } = acknowledged
        most = size + 100
        await until('it goes on', () => acknowledged.size >= size + 40)
        over = true
        await Promise.all(producers)

        // Each hub says the same, and every write that was acknowledged anywhere.
        const histories = await Promise.all(
          members.map(async ({ port }) => {
            const answer = await fetch(
              `http://127.0.0.1:${port}/api/sessions/${session}/history?all=1&limit=1000`,
            )
            const { events } = (await answer.json()) as { events: HubEvent[] }
            return events.flatMap(({ type, offset, id = '' }) => (type === 'note' ? [{ offset, id }] : []))
          }),
        )
        const [history = []] = histories
        for (const other of histories) t.strictSame(other, history, 'all hubs say the same')
        t.ok(history.length < 1_000, 'all of it is there')
        const offsetOf = new Map(history.map(({ offset, id }) => [id, offset]))
        t.equal(offsetOf.size, history.length, 'none is there twice')
        const lost = [...acknowledged].filter(([id, offset]) =>
          offset === 0 ? !offsetOf.has(id) : offsetOf.get(id) !== offset,
        )
        t.strictSame(lost, [], `${acknowledged.size} acknowledged events stand where it was said`)
        const newest = history.at(-1)?.offset ?? 0
        await until('the clients have all', () =>
          Object.values(clients).every(({ events }) => events.has(newest)),
        )
        watching.abort()
        await Promise.all(watches)
        for (const [name, { events, faults, gaps }] of Object.entries(clients)) {
          t.strictSame(faults, [], `${name} got each offset once, in order`)
          t.strictSame(
            [...events.keys()].toSorted((a, b) => a - b),
            history.map(({ offset }) => offset),
            name,
          )
          t.equal(gaps, 0, `${name} was told of no gap, for nothing was lost`)
        }
      },
    )
  }
  await t.test('each hub lists the sessions of all', async (t) => {
    const sessions = Array.from({ length: kills }, (_, kill) => `round-${kill}`).toSorted()
    for (const { port } of members) {
      const listed: string[] = []
      for (let next: string | undefined = ''; next !== undefined; ) {
        const answer = await fetch(`http://127.0.0.1:${port}/api/sessions?after=${next}`)
        const page = (await answer.json()) as { sessions: { id: string }[]; next?: string }
        listed.push(...page.sessions.map(({ id }) => id))
        next = page.next
      }
      t.strictSame(listed, sessions)
    }
  })
  await t.test(
    'nginx as the manual has it goes on when a hub is gone',
    { skip: missingNginx() },
    async (t) => {
      const folder = mkdtempSync(join(tmpdir(), 'runcast-nginx-'))
      const listen = await freePort()
      const ports = [listen, ...members.map(({ port }) => port)]
      const manual = new URL('../../docs/operations/nginx-cluster.conf', import.meta.url)
      const text = readFileSync(manual, 'utf8').replaceAll(
        /127\.0\.0\.1:460(\d)/g,
        (_, n) => `127.0.0.1:${ports[n]}`,
      )
      writeFileSync(join(folder, 'nginx-cluster.conf'), text)
      const nginx = spawn(nginxProgram, ['-p', folder, '-c', 'nginx-cluster.conf'], { stdio: 'ignore' })
      const ended = new Promise((resolve) => nginx.on('exit', resolve))
      t.teardown(async () => {
        nginx.kill('SIGTERM')
        await ended
        rmSync(folder, { recursive: true, force: true })
      })
      const url = `http://127.0.0.1:${listen}`
      const status = (path: string) =>
        fetch(url + path).then(
          (answer) => answer.status,
          () => 0,
        )
      await until('nginx answers', async () => (await status('/readyz')) === 200)
      const acknowledged = new Map<string, number>()
      const seen = new Seen()
      const watching = new AbortController()
      const watch = watchWebSocket('proxied', () => listen, seen, watching.signal)
      // A join does not replay notes: one that was published before it would not be seen.
      await until('it follows a session that does not exist yet', () => seen.isLive)
      await redis.kill()
      await redis.restart()
      let over = false
      const producer = produce(
        { session: 'proxied', name: 'p', port: () => listen },
        acknowledged,
        () => over,
        () => false,
      )
      await until('it is published', () => acknowledged.size > 20)
      const gone = members.pop() as Member
      gone.hub.process.kill('SIGKILL')
      await gone.hub.finished
      for (let i = 0; i < 10; i++) t.equal(await status('/readyz'), 200)
      const { size } = acknowledged
      await until('it goes on', () => acknowledged.size > size + 20)
      over = true
      await producer
      await until('all is seen', () => new Set(seen.events.values()).size === acknowledged.size)
      watching.abort()
      await watch
      t.strictSame([seen.faults, seen.gaps, seen.events.size], [[], 0, acknowledged.size])
    },
  )
  for (const { hub } of members) {
    hub.process.kill('SIGINT')
    t.equal((await hub.finished).code, 0)
  }
})
