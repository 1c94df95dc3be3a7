import t from 'tap'
import { openLmdb } from '../../src/store/lmdb.js'
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
