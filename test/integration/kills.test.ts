import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createParser } from 'eventsource-parser'
import t from 'tap'
import { WebSocket } from 'ws'
import type { HubEvent } from '../../src/protocol/frames.js'
import { buildCommandLine, type Running } from '../cli/command-line.js'
import { freePort } from '../kit/free-port.js'

// RUNCAST_KILLS=100 for the long run.
const kills = Number(process.env['RUNCAST_KILLS'] ?? 6)

const commandLine = await buildCommandLine()
t.teardown(() => commandLine.remove())
const directory = mkdtempSync(join(tmpdir(), 'runcast-kills-'))
t.teardown(() => rmSync(directory, { recursive: true, force: true }))

const port = await freePort()
const url = `http://127.0.0.1:${port}`
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

async function startHub(): Promise<Running> {
  const hub = commandLine.start(['serve', '--port', `${port}`, '--data', join(directory, 'data')])
  await hub.says('listens on')
  return hub
}

/** What one client got, over all of its connections. */
class Seen {
  readonly events = new Map<number, HubEvent>()
  readonly faults: string[] = []
  /** Resolves once it follows the session. */
  readonly live: Promise<void>
  isLive: () => void = () => undefined
  #last = 0

  constructor() {
    this.live = new Promise((resolve) => {
      this.isLive = resolve
    })
  }

  take(event: HubEvent): void {
    if (event.offset <= this.#last) this.faults.push(`${event.offset} follows ${this.#last}`)
    this.#last = event.offset
    this.events.set(event.offset, event)
  }
}

/** Publishes batches with ids, each until it is acknowledged. */
async function produce(name: string, acknowledged: Set<string>, isOver: () => boolean): Promise<void> {
  for (let n = 0; !isOver(); ) {
    const count = 1 + (n % 37)
    const events = Array.from({ length: count }, (_, index) => {
      const id = `${name}-${n + index}`
      return { type: 'note', id, data: { id } }
    })
    const body = events.map((event) => `${JSON.stringify(event)}\n`).join('')
    for (;;) {
      try {
        const answer = await fetch(`${url}/api/sessions/s/workers/${name}/events`, {
          method: 'POST',
          headers: { 'content-type': 'application/x-ndjson' },
          body,
          // Under load, Node's fetch has waited for ever for a hub that was killed just after it began to listen.
          signal: AbortSignal.timeout(10_000),
        })
        const { accepted, duplicates } = (await answer.json()) as { accepted: number; duplicates: number }
        if (answer.status === 200 && accepted + duplicates === count) break
      } catch {
        // The hub was killed: the same batch goes to the next one.
      }
      await pause(10)
    }
    for (const { id } of events) acknowledged.add(id)
    n += count
  }
}

async function watchWebSocket(seen: Seen, signal: AbortSignal): Promise<void> {
  let after: string | undefined
  let epoch = ''
  while (!signal.aborted) {
    await new Promise<void>((resolve) => {
      const socket = new WebSocket(`ws://127.0.0.1:${port}/api/ws`, 'runcast.v1.json')
      const close = () => socket.terminate()
      signal.addEventListener('abort', close)
      socket.on('error', () => undefined)
      socket.on('close', () => {
        signal.removeEventListener('abort', close)
        resolve()
      })
      socket.on('open', () => {
        socket.send(
          JSON.stringify({ type: 'subscribe', sub: 1, topic: 'sessions/s/**', ...(after && { after }) }),
        )
      })
      socket.on('message', (text: Buffer) => {
        const frame = JSON.parse(text.toString())
        if (frame.type === 'subscribed') epoch = frame.epoch
        if (frame.type === 'gap' || frame.gap !== undefined) seen.faults.push(`a gap: ${text.toString()}`)
        if (frame.type === 'live') {
          after = `${epoch}:${frame.offset}`
          seen.isLive()
        }
        if (frame.type !== 'events') return
        for (const event of frame.events) seen.take(event)
        after = `${epoch}:${frame.last}`
      })
    })
    await pause(10)
  }
}

async function watchSse(seen: Seen, signal: AbortSignal): Promise<void> {
  let last = ''
  while (!signal.aborted) {
    try {
      const headers = last === '' ? undefined : { 'last-event-id': last }
      const answer = await fetch(`${url}/api/sessions/s/events?all=1`, {
        signal,
        ...(headers && { headers }),
      })
      const parser = createParser({
        onEvent({ id, event, data }) {
          if (id !== undefined && id !== '') last = id
          if (event === 'hub.live') seen.isLive()
          if (event === 'hub.gap') seen.faults.push(`a gap: ${data}`)
          if (event !== 'note') return
          seen.take({ ...(JSON.parse(data) as HubEvent), offset: Number(id?.split(':')[1]) as never })
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

async function wholeHistory(): Promise<HubEvent[]> {
  const events: HubEvent[] = []
  let after = ''
  do {
    const page = (await (await fetch(`${url}/api/sessions/s/history?all=1&limit=1000${after}`)).json()) as {
      events: HubEvent[]
      next?: string
    }
    events.push(...page.events)
    after = page.next === undefined ? '' : `&after=${encodeURIComponent(page.next)}`
  } while (after !== '')
  return events
}

t.test('a hub killed under load loses nothing acknowledged, and its clients miss nothing', async (t) => {
  let hub = await startHub()
  const acknowledged = new Set<string>()
  let over = false
  const watching = new AbortController()
  const clients = { webSocket: new Seen(), sse: new Seen() }
  await fetch(`${url}/api/sessions/s`, { method: 'PUT' })
  const watches = [watchWebSocket(clients.webSocket, watching.signal), watchSse(clients.sse, watching.signal)]
  await Promise.all([clients.webSocket.live, clients.sse.live])
  const producers = ['a', 'b'].map((name) => produce(name, acknowledged, () => over))

  for (let kill = 0; kill < kills; kill++) {
    const enough = acknowledged.size + 50 + ((kill * 131) % 400)
    while (acknowledged.size < enough) await pause(5)
    hub.process.kill('SIGKILL')
    await hub.finished
    hub = await startHub()
  }
  const found = acknowledged.size + 200
  while (acknowledged.size < found) await pause(5)
  over = true
  await Promise.all(producers)

  const history = await wholeHistory()
  const offsets = history.map((event) => event.offset)
  const newest = offsets.at(-1) ?? 0
  while (!Object.values(clients).every(({ events }) => events.has(newest))) await pause(10)
  watching.abort()
  await Promise.all(watches)

  const ids = new Map<string, number>()
  for (const { id = '' } of history) ids.set(id, (ids.get(id) ?? 0) + 1)
  t.ok(acknowledged.size > 50 * kills, `${acknowledged.size} events were acknowledged`)
  t.strictSame(
    [...acknowledged].filter((id) => !ids.has(id)),
    [],
    'every acknowledged event is stored',
  )
  t.strictSame(
    [...ids].filter(([, count]) => count > 1),
    [],
    'none is stored twice',
  )
  t.strictSame(
    offsets,
    [...new Set(offsets)].toSorted((a, b) => a - b),
    'offsets ascend',
  )
  for (const [name, { events, faults }] of Object.entries(clients)) {
    t.strictSame(faults, [], `${name} got each offset once, in order, without a gap`)
    t.strictSame(
      offsets.filter((offset) => !events.has(offset)),
      [],
      `${name} got everything that is stored`,
    )
    const others = history.filter(({ offset, id }) => events.get(offset)?.id !== id)
    t.strictSame(others, [], `no offset means two events to ${name}`)
  }
  hub.process.kill('SIGINT')
  t.equal((await hub.finished).code, 0)
  const inspection = await commandLine.run(['inspect', join(directory, 'data')])
  t.equal(inspection.code, 0, inspection.stdout + inspection.stderr)
})
