import t from 'tap'
import { createHub } from '../../src/hub/hub.js'
import { openLmdb } from '../../src/store/lmdb.js'
import { SimulatedClock } from '../kit/clock.js'
import { served } from '../kit/served.js'
import { aDirectory } from './committing-kit.js'

for (const place of ['memory', 'store'] as const) {
  t.test(`sessions are filtered, searched, ordered and paged (${place})`, async (t) => {
    const store = place === 'store' ? { store: openLmdb({ directory: aDirectory(t) }) } : {}
    const { hub, url } = await served(t, { hub: { ...store, limits: { idleSessionsMax: 1 } } })
    t.teardown(() => hub.closeStore())
    const end = (id: string, result: 'succeeded' | 'failed', reason?: string) => {
      hub.createSession(id, { metadata: { title: `Title of ${id}`, labels: ['nightly', id] } })
      hub.endSession(id, undefined, { result, ...(reason !== undefined && { reason }) })
    }
    for (let ended = 0; ended < 30; ended++) end(`ok-${ended}`, 'succeeded')
    end('bad', 'failed', 'timeout after 3 s')
    hub.publish('sessions/asks', [{ type: 'client_input_requested', data: { prompt: 'Go on?' } }])
    hub.publish('sessions/runs', [{ type: 'note' }])
    for (const id of ['bad', 'asks', 'runs', 'ok-0']) await hub.committed(id)
    const ids = async (query: string) => {
      const found: string[] = []
      for (let after = ''; ; ) {
        const response = await fetch(`${url}/api/sessions?limit=7&${query}${after}`)
        const page = (await response.json()) as {
          sessions?: { id: string }[]
          next?: string
          detail?: string
        }
        if (page.sessions === undefined) return `${response.status} ${page.detail}`
        t.ok(page.sessions.length <= 7)
        found.push(...page.sessions.map(({ id }) => id))
        if (page.next === undefined) return found
        after = `&after=${encodeURIComponent(page.next)}`
      }
    }
    const attention = await ids('order=attention')
    t.strictSame(attention.slice(0, 3), ['asks', 'bad', 'runs'])
    t.equal(attention.length, 33)
    t.equal(new Set(attention).size, 33, 'each of them once')
    t.strictSame([attention].flat().toSorted(), await ids(''))
    t.strictSame(await ids('status=running'), ['asks', 'runs'])
    t.strictSame(await ids('result=failed,lost'), ['bad'])
    t.strictSame(await ids('needs=1'), ['asks'])
    t.strictSame(await ids('label=nightly&label=ok-7'), ['ok-7'])
    t.strictSame(await ids('q=TIMEOUT'), ['bad'])
    t.strictSame(
      await ids(`q=${encodeURIComponent('/of ok-1\\d$/')}`),
      [await ids('')].flat().filter((id) => /^ok-1\d$/.test(id)),
    )
    t.match(await ids('status=gone'), /^400 status: expected some of running, paused, ended/)
    t.match(await ids('order=attention&after=x'), /^400 after: expected the next of a page in this order/)
    t.match(await ids('order=random'), /^400 order: expected one of/)
  })
}

t.test('a page of many sessions in memory is found over several turns, in the order of ids', async (t) => {
  const clock = new SimulatedClock()
  const hub = createHub({ clock })
  const count = 10_000
  // In another order than that of their ids.
  for (let at = 0; at < count; at += 1) {
    hub.publish(`sessions/s${String((at * 7_919) % count).padStart(5, '0')}`, [{ type: 'note' }])
  }
  const settled = () => new Promise<void>((resolve) => setImmediate(resolve))
  const read = async (after: string, limit: number) => {
    let found: Awaited<ReturnType<typeof hub.listSessions>> | undefined
    void hub.listSessions(after, limit).then((page) => (found = page))
    let turns = 0
    for (await settled(); found === undefined; await settled()) {
      clock.runTurn()
      turns += 1
    }
    return { ...found, turns }
  }
  const first = await read('', 1_000)
  t.ok(first.turns >= 4, `${first.turns} turns`)
  const ids: string[] = []
  for (let after = '', end = false; !end; ) {
    const page = await read(after, 1_000)
    ids.push(...page.sessions.map(({ id }) => id))
    after = ids.at(-1) as string
    end = page.end
  }
  t.same(
    ids,
    Array.from({ length: count }, (_, at) => `s${String(at).padStart(5, '0')}`),
  )
})
