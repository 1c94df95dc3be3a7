import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import type { HubEvent } from '../../src/protocol/frames.js'
import { inspectStore } from '../../src/store/inspect.js'
import { inspectFile } from '../../src/store/inspect-file.js'
import { openLmdb } from '../../src/store/lmdb.js'
import { freePort } from '../kit/free-port.js'
import { typescript } from '../kit/typescript.js'

// For the long run: RUNCAST_KILLS=100 node --import tsx test/integration/trim-kills.test.ts
const kills = Number(process.env['RUNCAST_KILLS'] ?? 4)
t.setTimeout(60_000 + 30_000 * kills)

const directory = mkdtempSync(join(tmpdir(), 'runcast-trim-kills-'))
t.teardown(() => rmSync(directory, { recursive: true, force: true }))
const port = await freePort()
const url = `http://127.0.0.1:${port}`
const child = fileURLToPath(new URL('kill-child.ts', import.meta.url))
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

class HubProcess {
  readonly process: ChildProcess
  readonly exited: Promise<unknown>
  readonly #lines: AsyncIterator<string>

  constructor() {
    const args = [...typescript, child, directory, `${port}`]
    const hub = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
    this.process = hub
    this.exited = new Promise((resolve) => hub.once('exit', resolve))
    this.#lines = createInterface({ input: hub.stdout })[Symbol.asyncIterator]()
  }

  /** @returns once it has said a line so many times */
  async says(line: string, times = 1): Promise<void> {
    for (let said = 0; said < times; ) {
      const { done, value } = await this.#lines.next()
      if (done === true) throw new Error(`the hub ended before it said ${line}`)
      if (value === line) said++
    }
  }
}

/** Asks until there is an answer: the hub may be killed meanwhile. */
async function ask(path: string, init: RequestInit = {}): Promise<{ status: number; body: unknown }> {
  for (;;) {
    try {
      // Under load, Node's fetch has waited for ever for a hub that was killed just after it began to listen.
      const answer = await fetch(`${url}${path}`, { ...init, signal: AbortSignal.timeout(10_000) })
      const body: unknown = await answer.json().catch(() => undefined)
      if (answer.status < 500) return { status: answer.status, body }
    } catch {
      // It was killed: once more, to the next one.
    }
    await pause(5)
  }
}

async function publish(path: string, events: readonly object[]): Promise<void> {
  const body = JSON.stringify(events)
  for (;;) {
    const answer = await ask(`/api/${path}/events`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body,
    })
    const { accepted = 0, duplicates = 0 } = answer.body as { accepted?: number; duplicates?: number }
    if (answer.status === 200 && accepted + duplicates === events.length) return
  }
}

/** Publishes with ids, each batch until it is acknowledged. @returns the ids in their order */
async function produce(session: string, worker: string, isOver: () => boolean): Promise<string[]> {
  const ids: string[] = []
  for (let n = 0; !isOver(); ) {
    const events = Array.from({ length: 1 + (n % 23) }, () => ({
      type: 'note',
      id: `${worker}-${n}`,
      data: { n: n++ },
    }))
    await publish(`sessions/${session}/workers/${worker}`, events)
    ids.push(...events.map(({ id }) => id))
  }
  return ids
}

/** Removes sessions as soon as they are there, and begins them anew. */
async function removeAgainAndAgain(isOver: () => boolean, faults: string[]): Promise<number> {
  let lives = 0
  for (; !isOver(); lives++) {
    await publish(
      'sessions/gone',
      Array.from({ length: 300 }, (_, n) => ({ type: 'note', id: `${lives}-${n}`, data: lives })),
    )
    const { status } = await ask('/api/sessions/gone', { method: 'DELETE' })
    // One that was killed after it had removed the session has not told so.
    if (status !== 204 && status !== 200 && status !== 404) faults.push(`DELETE answers ${status}`)
    const after = await ask('/api/sessions/gone')
    if (after.status !== 404) faults.push(`life ${lives} is there after its end: ${after.status}`)
  }
  return lives
}

async function historyOf(session: string): Promise<HubEvent[]> {
  const events: HubEvent[] = []
  for (let after: string | undefined = ''; after !== undefined; ) {
    const query: string = after === '' ? '' : `&after=${encodeURIComponent(after)}`
    const { body } = await ask(`/api/sessions/${session}/history?all=1&limit=1000${query}`)
    const page = body as { events: HubEvent[]; next?: string }
    events.push(...page.events)
    after = page.next
  }
  return events
}

t.test(
  'a hub killed while it trims and removes loses nothing acknowledged, and keeps nothing removed',
  async (t) => {
    let hub = new HubProcess()
    await hub.says('listens')
    let over = false
    const isOver = () => over
    const faults: string[] = []
    const producers = ['a', 'b'].flatMap((session) => ['w1', 'w2'].map((worker) => ({ session, worker })))
    const acknowledged = producers.map(({ session, worker }) => produce(session, worker, isOver))
    const removing = removeAgainAndAgain(isOver, faults)
    for (let kill = 0; kill < kills; kill++) {
      // In the middle of a step, now of one and now of the other.
      await hub.says(kill % 3 === 2 ? 'remove' : 'trim', 2 + ((kill * 7) % 11))
      hub.process.kill('SIGKILL')
      await hub.exited
      hub = new HubProcess()
      await hub.says('listens')
    }
    await hub.says('remove', 2)
    over = true
    const lives = await removing
    t.ok(lives > 2, `${lives} sessions were removed`)
    t.strictSame(faults, [])
    for (const [index, { session, worker }] of producers.entries()) {
      const ids = (await acknowledged[index]) as string[]
      const history = await historyOf(session)
      const offsets = history.map(({ offset }) => offset)
      t.strictSame(
        offsets,
        [...new Set(offsets)].toSorted((one, other) => one - other),
        `${session}: offsets ascend`,
      )
      const kept = history
        .filter((event) => event.worker === worker && event.id !== undefined)
        .map(({ id }) => id)
      t.ok(kept.length > 0, `${kept.length} of ${ids.length} are left of ${worker}`)
      // Retention takes the oldest: what is left is the end of what was acknowledged, each once.
      t.strictSame(kept, ids.slice(-kept.length), `${session} ${worker}`)
    }
    hub.process.kill('SIGKILL')
    await hub.exited
    t.equal(inspectFile(directory, false), undefined, 'every page is whole')
    const store = openLmdb({ directory })
    const findings = inspectStore(store)
    const wrong: unknown[] = []
    let step = await findings.next()
    for (; step.done !== true; step = await findings.next()) wrong.push(...step.value.faults)
    wrong.push(...step.value)
    await store.close()
    t.strictSame(wrong, [], 'and all that is there fits together')
  },
)
