import type { Test } from 'tap'
import type { Delivered } from '../../src/log/shared-log.js'
import { until } from '../kit/wait.js'
import {
  append,
  appended,
  batchesOf,
  bytes,
  type LogUnderTest,
  named,
  offset,
  opened,
  spans,
  Told,
} from './shared-log-kit.js'

/** What every shared log does with whole sessions: lists, forks, rewriting, and the loss of a tail. */
export function sharedLogSessions(t: Test, setUp: (t: Test) => LogUnderTest | Promise<LogUnderTest>): void {
  t.test('lists the sessions that have something', async (t) => {
    const log = await setUp(t)
    const link = log.link()
    const ids = ['b', 'a', 'B', 'a.1', 'z-9', 'c']
    for (const session of ids) await append(link, (await link.open(session)).epoch, 1, { session })
    await link.open('only mentioned')
    const all = ids.toSorted()
    t.strictSame(await log.link().sessions('', 100), all)
    t.strictSame(await link.sessions('', 2), all.slice(0, 2))
    t.strictSame(await link.sessions(all[1] ?? '', 3), all.slice(2, 5))
    await link.remove('a')
    t.strictSame(await link.sessions('B', 2), ['a.1', 'b'])
    t.strictSame(await link.sessions('z-9', 2), [])
  })

  t.test('what hubs say of sessions is kept, and read on from where a reader was', async (t) => {
    const log = await setUp(t)
    const { link } = await opened(log)
    const say = async (session: string, about: string, at = 1) => {
      const { epoch } = await link.open(session)
      await link.describe(session, { epoch, offset: offset(at), about })
      return epoch
    }
    const nothing = await link.described(0, 10)
    t.match(nothing, { sessions: [], end: true, total: 0 })
    for (const session of ['a', 'b', 'c']) await say(session, `${session} 1 ü`)
    const first = await log.link().described(0, 2)
    t.match(first, { end: false, total: 3 })
    t.match(first.sessions, [
      { session: 'a', about: 'a 1 ü' },
      { session: 'b', about: 'b 1 ü' },
    ])
    const [{ at: one } = { at: 0 }, { at: two } = { at: 0 }] = first.sessions
    t.ok(one <= two && Math.abs(two - Date.now()) < 3_600_000, 'each has its time')
    const rest = await link.described(first.mark, 2)
    t.match(rest, { sessions: [{ session: 'c', about: 'c 1 ü' }], end: true })
    t.match(await link.described(rest.mark, 2), { sessions: [], mark: rest.mark, end: true })
    await say('a', 'a 3', 3)
    await say('a', 'a 2', 2)
    await link.remove('b')
    await link.remove('never described')
    const later = await link.described(rest.mark, 10)
    t.equal(later.sessions.length, 2)
    t.match(later.sessions, [
      { session: 'a', about: 'a 3' },
      { session: 'b', about: undefined },
    ])
    t.equal(later.total, 2)
    // Of another lifetime.
    await say('b', 'b anew', 0)
    t.match(await link.described(later.mark, 10), { sessions: [{ session: 'b', about: 'b anew' }], total: 3 })
    t.strictSame(
      (await link.described(0, 10)).sessions.map(({ session }) => session),
      ['c', 'a', 'b'],
      'who reads all is not told of removals',
    )
  })

  t.test('a session begins with a past, unless there is one', async (t) => {
    const log = await setUp(t)
    const { link, epoch } = await opened(log)
    await append(link, epoch, 2)
    await append(link, epoch, 1)
    const { batches } = await link.open('s')
    const past = (id: string) => ({
      checkpoint: { epoch: id, offset: offset(7), bytes: bytes('so far') },
      batches: batches.map((batch) => ({ ...batch, epoch: id })),
      whole: offset(0),
    })
    const other = log.link()
    const before = await other.open('f')
    const told = new Told()
    await other.follow('f', told)
    t.equal(await link.begin('f', past('first')), true)
    await until('who followed its name is told to ask', () => told.breaks > 0)
    t.match(await other.since('f', { epoch: before.epoch, offset: offset(0) }), { kind: 'behind' })
    const found = await other.open('f')
    t.match(found, { epoch: 'first', last: 7, whole: 0, batches: [] })
    t.equal(Buffer.from(found.checkpoint?.bytes ?? []).toString(), 'so far')
    t.strictSame(
      found.before.map(({ critical, droppable }) =>
        [critical, droppable].map((lane) => lane && Buffer.from(lane).toString()),
      ),
      batches.map(({ critical, droppable }) =>
        [critical, droppable].map((lane) => lane && Buffer.from(lane).toString()),
      ),
    )
    t.equal(await other.begin('f', past('second')), false)
    t.equal(await other.begin('s', past('second')), false)
    t.equal(appended(await append(other, 'first', 1, { session: 'f' })).from, 7)
    t.strictSame(await other.sessions('', 10), ['f', 's'])
  })

  t.test('what there is may be rewritten, and what was appended meanwhile stays', async (t) => {
    const log = await setUp(t)
    const { link, epoch } = await opened(log)
    const other = log.link()
    const told = new Told()
    await other.follow('s', told)
    await append(link, epoch, 2, { critical: bytes('secret c'), droppable: bytes('secret d') })
    await append(link, epoch, 1, { droppable: bytes('plain'), ids: named('/a') })
    const { batches, last, rewrites } = await link.open('s')
    await append(other, epoch, 1, { droppable: bytes('later') })
    const marked = batches.map((batch) =>
      batch.critical === undefined
        ? batch
        : { ...batch, critical: bytes('mark c'), droppable: bytes('mark d') },
    )
    const checkpoint = { epoch, offset: last, bytes: bytes('image') }
    const past = { checkpoint, batches: marked, rewrites, isTold: true }
    t.equal(await link.rewrite('s', { ...past, rewrites: rewrites + 1 }), false)
    t.equal(await link.rewrite('other', past), false)
    t.equal(await link.rewrite('s', past), true)
    t.equal(await other.rewrite('s', past), false, 'the same again is of what there was before')
    const now = await other.open('s')
    const textsOf = (all: readonly Delivered[]) =>
      all.map(({ critical, droppable }) =>
        [critical, droppable].map((lane) => lane && Buffer.from(lane).toString()),
      )
    t.strictSame(textsOf(now.before), [
      ['mark c', 'mark d'],
      [undefined, 'plain'],
    ])
    t.strictSame(textsOf(now.batches), [[undefined, 'later']])
    t.equal(Buffer.from(now.checkpoint?.bytes ?? []).toString(), 'image')
    t.strictSame(textsOf(batchesOf(await other.since('s', { epoch, offset: offset(0) }))).length, 3)
    t.match(await append(link, epoch, 1, { ids: named('/a') }), {
      from: now.last,
      to: now.last,
      known: [{ place: 0 }],
    })
    await link.checkpoint('s', { epoch, offset: offset(4), bytes: bytes('of before') })
    t.equal(Buffer.from((await link.open('s')).checkpoint?.bytes ?? []).toString(), 'image')

    const whole = await link.open('s')
    const all = [...whole.before, ...whole.batches]
    const end = { epoch, offset: whole.last, bytes: bytes('image 2') }
    const breaks = told.breaks
    t.equal(
      await link.rewrite('s', { checkpoint: end, batches: all, rewrites: whole.rewrites, isTold: false }),
      true,
    )
    await until('the follower is told', () => told.breaks > breaks)
    t.strictSame(await other.since('s', { epoch, offset: whole.last }), { kind: 'behind' })
    const ended = await other.open('s')
    t.equal(ended.last, whole.last + 1)
    t.match(await other.since('s', { epoch, offset: ended.last }), { kind: 'batches', batches: [] })
    t.strictSame(spans(ended.before), spans(all))
  })

  t.test('a log that was closed takes nothing more', async (t) => {
    const log = await setUp(t)
    const { link, epoch } = await opened(log)
    await link.close()
    await link.close()
    const isClosed = { name: 'StoreError', kind: 'closed' }
    await t.rejects(append(link, epoch, 1), isClosed)
    await t.rejects(link.open('s'), isClosed)
    await t.rejects(link.since('s', { epoch, offset: offset(0) }), isClosed)
    await t.rejects(link.follow('s', new Told()), isClosed)
    await t.rejects(link.remove('s'), isClosed)
    t.match(await append(log.link(), epoch, 1), { kind: 'appended' }, 'other hubs go on')
  })

  t.test('where a tail is lost, no offset is given twice, and who had seen it is told', async (t) => {
    const log = await setUp(t)
    const { failover } = log
    if (failover === undefined) return void t.pass('this log cannot be made to lose what it has answered')
    const { link, epoch } = await opened(log)
    await append(link, epoch, 1, { ids: named('/a') })
    await failover.mark()
    const lost = appended(await append(link, epoch, 1, { ids: named('/b') }))
    await link.checkpoint('s', { epoch, offset: lost.to, bytes: bytes('lost') })
    await failover.failOver()
    const next = appended(await append(log.link(), epoch, 1, { ids: named('/b') }))
    t.strictSame(next.known, [], 'what was lost is new')
    t.ok(next.from > lost.to + 1_000_000)
    const { checkpoint, lost: ranges } = await link.open('s')
    t.equal(checkpoint, undefined)
    t.strictSame(ranges, [{ after: 3, until: next.from }])
    const since = (after: number) => link.since('s', { epoch, offset: offset(after) })
    for (const after of [4, lost.to, next.from - 1]) {
      t.strictSame(await since(after), { kind: 'lost', range: { after: 3, until: next.from } })
    }
    t.strictSame(spans(batchesOf(await since(0))), ['0-3', `${next.from}-${next.to}`])
    t.strictSame(spans(batchesOf(await since(3))), [`${next.from}-${next.to}`])
    t.strictSame(spans(batchesOf(await since(next.from))), [`${next.from}-${next.to}`])
    await link.checkpoint('s', { epoch, offset: lost.to, bytes: bytes('of what did not happen') })
    t.equal((await link.open('s')).checkpoint, undefined)

    await failover.failOver()
    const after = appended(await append(link, epoch, 1))
    t.ok(after.from > next.to, 'also where the era before is lost')
    t.match(await since(next.to), { kind: 'lost' })
  })
}
