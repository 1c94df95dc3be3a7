import type { Test } from 'tap'
import { settle } from '../kit/clock.js'
import { until } from '../kit/wait.js'
import {
  append,
  appended,
  at,
  batchesOf,
  bytes,
  type LogUnderTest,
  named,
  offset,
  opened,
  spans,
  Told,
} from './shared-log-kit.js'
import { sharedLogSessions } from './shared-log-sessions.js'

export type { LogUnderTest } from './shared-log-kit.js'

/** What every shared log does, whatever it is made of. */
export function sharedLogConformance(
  t: Test,
  setUp: (t: Test) => LogUnderTest | Promise<LogUnderTest>,
): void {
  t.test('a session that is mentioned begins an epoch, the same for all', async (t) => {
    const log = await setUp(t)
    const { epoch, open } = await opened(log)
    t.match(epoch, /^[\w-]{8,64}$/)
    const nothing = {
      last: 0,
      lost: [],
      checkpoint: undefined,
      before: [],
      batches: [],
      whole: 0,
      rewrites: 0,
    }
    const { held, ...rest } = open
    t.strictSame(rest, { epoch, ...nothing })
    t.match(held, { base: 0, bytes: { length: 0 } })
    t.equal((await opened(log)).epoch, epoch)
    t.not((await log.link().open('other')).epoch, epoch)
  })

  t.test('batches of all hubs are in one order, with two spare offsets each', async (t) => {
    const log = await setUp(t)
    const { link, epoch } = await opened(log)
    const other = log.link()
    t.match(await append(link, epoch, 3), { kind: 'appended', from: 0, to: 5, known: [] })
    t.match(await append(other, epoch, 1), { kind: 'appended', from: 5, to: 8 })
    const many = await Promise.all(
      Array.from({ length: 50 }, (_, i) => append(i % 2 ? link : other, epoch, 1)),
    )
    const froms = many.map((answer) => appended(answer).from).toSorted((a, b) => a - b)
    t.strictSame(
      froms,
      Array.from({ length: 50 }, (_, i) => 8 + 3 * i),
    )
    const { batches, last } = await other.open('s')
    t.equal(last, 158)
    t.strictSame(
      batches.map(({ from }) => from),
      [0, 5, ...froms],
    )
  })

  t.test('what a batch was given comes back as it was', async (t) => {
    const log = await setUp(t)
    const { link, epoch } = await opened(log)
    const every = Uint8Array.from({ length: 256 }, (_, i) => i)
    const given = { session: 's', hub: 'hub-1', number: 7, epoch, at: at + 0.5, width: 2 }
    await link.append({ ...given, critical: every, droppable: bytes('häuser 🏠') })
    await link.append({ ...given, number: 8, critical: bytes('only') })
    const [first, second] = (await log.link().open('s')).batches
    t.match(first, { hub: 'hub-1', number: 7, epoch, at: at + 0.5, from: 0, to: 4, known: [] })
    t.strictSame(new Uint8Array(first?.critical ?? []), every)
    t.strictSame(new Uint8Array(first?.droppable ?? []), bytes('häuser 🏠'))
    t.strictSame(new Uint8Array(second?.critical ?? []), bytes('only'))
    t.equal(second?.droppable, undefined)
  })

  t.test('an id that was published before stands where it stood', async (t) => {
    const log = await setUp(t)
    const { link, epoch } = await opened(log)
    const other = log.link()
    await append(link, epoch, 2, { ids: named('/a', '/b') })
    const again = await append(other, epoch, 3, { ids: named('/b', '/c', 'w/a') })
    t.match(again, { from: 4, to: 9, known: [{ place: 0, offset: 2 }] })
    t.strictSame(
      (await link.open('s')).batches.map(({ known }) => known),
      [[], [0]],
    )
    const twice = await append(link, epoch, 2, { ids: named('/d', '/d') })
    t.match(twice, { from: 9, known: [{ place: 1, offset: 10 }] }, 'also within a batch')
    const all = await append(other, epoch, 2, { ids: named('/a', '/d') })
    t.strictSame(appended(all).known, [
      { place: 0, offset: 1 },
      { place: 1, offset: 10 },
    ])
    t.equal((await link.open('s')).last, 13, 'a batch of nothing new is not appended')
    t.match(await append(link, epoch, 1, { session: 'other', epoch: (await link.open('other')).epoch }), {
      known: [],
    })
  })

  t.test('an id that has left the window is not new', async (t) => {
    const log = await setUp(t)
    const { link, epoch } = await opened(log)
    const run = (from: number, count: number) =>
      append(link, epoch, count, {
        ids: Array.from({ length: count }, (_, place) => ({ place, name: `/run-${from + place}` })),
      })
    for (let from = 0; from < 10_758; from += 100) await run(from, Math.min(100, 10_758 - from))
    const { last } = await link.open('s')
    t.strictSame(await run(0, 100), { kind: 'left', place: 0 })
    t.match(await run(700, 100), { kind: 'left', place: 0 })
    t.equal((await link.open('s')).last, last)
    t.equal(appended(await run(800, 100)).known.length, 100)
    t.equal(appended(await run(10_758, 1)).known.length, 0)
  })

  t.test('after its end a session takes only what it has', async (t) => {
    const log = await setUp(t)
    const { link, epoch } = await opened(log)
    await append(link, epoch, 2, { ids: named('/a', '/b') })
    await append(link, epoch, 3, { ends: true })
    t.strictSame(await append(log.link(), epoch, 2, { ids: named('/b', '/c') }), {
      kind: 'ended',
      known: [{ place: 0, offset: 2 }],
    })
    t.strictSame(await append(link, epoch, 1), { kind: 'ended', known: [] })
    t.equal((await link.open('s')).last, 9)
  })

  t.test('a session that was removed begins another epoch', async (t) => {
    const log = await setUp(t)
    const { link, epoch } = await opened(log)
    const told = new Told()
    await log.link().follow('s', told)
    await append(link, epoch, 1, { ids: named('/a') })
    const at = (await link.open('s')).last
    await append(link, epoch, 1)
    t.equal(await link.remove('s', { epoch, offset: at }), false, 'something was appended meanwhile')
    t.equal(await link.remove('s', { epoch: 'other', offset: (await link.open('s')).last }), false)
    t.equal(await link.remove('s', { epoch, offset: (await link.open('s')).last }), true)
    t.equal(await link.remove('s'), false, 'it is not there any more')
    t.strictSame(await append(link, epoch, 1), { kind: 'epoch' })
    t.strictSame(await link.since('s', { epoch, offset: offset(3) }), { kind: 'behind' })
    // A feed that was found dead meanwhile says so, and whoever follows asks `since`, as above.
    await until('the removal is told', () => told.removals.length + told.breaks > 0)
    if (told.breaks === 0) t.strictSame(told.removals, [epoch])
    const next = await link.open('s')
    t.match(next, { last: 0, batches: [], before: [] })
    t.not(next.epoch, epoch)
    t.strictSame(await append(link, epoch, 1), { kind: 'epoch' })
    t.strictSame(appended(await append(link, next.epoch, 1, { ids: named('/a') })).known, [])
    await link.describe('s', { epoch: next.epoch, offset: offset(1), about: '{}' })
    await link.remove('s', { epoch })
    t.equal((await link.open('s')).epoch, next.epoch, 'only the session that was named goes')
    t.match((await link.described(0, 10)).sessions, [{ session: 's', about: '{}' }])
    await link.remove('s', { epoch: next.epoch })
    t.not((await link.open('s')).epoch, next.epoch)
    t.strictSame((await link.described(0, 10)).sessions, [])
  })

  t.test('says what follows a position', async (t) => {
    const log = await setUp(t)
    const { link, epoch } = await opened(log)
    for (let i = 0; i < 3; i++) await append(link, epoch, 1)
    const since = async (after: number) => log.link().since('s', { epoch, offset: offset(after) })
    t.strictSame(spans(batchesOf(await since(0))), ['0-3', '3-6', '6-9'])
    t.match(await since(3), { kind: 'batches', last: 9, lost: [] })
    t.strictSame(spans(batchesOf(await since(3))), ['3-6', '6-9'])
    t.strictSame(spans(batchesOf(await since(9))), [])
    t.strictSame(await since(12), { kind: 'behind' }, 'what was never given out')
    t.strictSame(await link.since('s', { epoch: 'another', offset: offset(3) }), { kind: 'behind' })
    t.strictSame(await link.since('never', { epoch, offset: offset(0) }), { kind: 'behind' })
  })

  t.test('a checkpoint divides what there is', async (t) => {
    const log = await setUp(t)
    const { link, epoch } = await opened(log)
    let tail = 0
    for (let i = 0; i < 3; i++) {
      const { tailBytes } = appended(await append(link, epoch, 1, { droppable: new Uint8Array(100) }))
      t.ok(tailBytes >= tail + 100, 'what follows the checkpoint grows')
      tail = tailBytes
    }
    await link.checkpoint('s', { epoch, offset: offset(6), bytes: bytes('six') })
    t.ok(appended(await append(link, epoch, 1, { droppable: bytes('x') })).tailBytes < tail)
    const check = async (is: { offset: number; text: string }) => {
      const { checkpoint, before, batches } = await log.link().open('s')
      t.match(checkpoint, { epoch, offset: is.offset })
      t.equal(new TextDecoder().decode(checkpoint?.bytes), is.text)
      t.strictSame(spans(before), ['0-3', '3-6', '6-9', '9-12'].slice(0, is.offset / 3))
      t.strictSame(spans(batches), ['0-3', '3-6', '6-9', '9-12'].slice(is.offset / 3))
    }
    await check({ offset: 6, text: 'six' })
    await link.checkpoint('s', { epoch, offset: offset(3), bytes: bytes('older') })
    await link.checkpoint('s', { epoch: 'another', offset: offset(9), bytes: bytes('another epoch') })
    await link.checkpoint('s', { epoch, offset: offset(99), bytes: bytes('what is not there') })
    await check({ offset: 6, text: 'six' })
    await log.link().checkpoint('s', { epoch, offset: offset(12), bytes: bytes('twelve') })
    await check({ offset: 12, text: 'twelve' })
  })

  t.test('history up to the checkpoint is bounded, and chatter evicts nothing critical', async (t) => {
    const log = await setUp(t)
    const { link, epoch } = await opened(log)
    await append(link, epoch, 1, { critical: bytes('critical'), droppable: bytes('chatter') })
    for (let i = 0; i < 30; i++) await append(link, epoch, 100)
    const all = await link.open('s')
    t.equal(all.batches.length, 31, 'without a checkpoint nothing may be missing')
    await link.checkpoint('s', { epoch, offset: all.last, bytes: bytes('all') })
    const { before, batches, last, whole } = await link.open('s')
    t.strictSame(batches, [])
    t.ok(whole >= 3 && whole < last - 1_000 && before.some(({ to }) => to === whole) === false)
    t.ok(before.length >= 11 && before.length < 25, `${before.length} batches are left`)
    t.strictSame(new TextDecoder().decode(before[0]?.critical), 'critical')
    t.equal(before[0]?.droppable, undefined)
    t.strictSame(await link.since('s', { epoch, offset: offset(3) }), { kind: 'behind' })
    t.strictSame(batchesOf(await link.since('s', { epoch, offset: offset(last - 102) })).length, 1)
  })

  t.test('followers are told of each batch, the hub of its own too', async (t) => {
    const log = await setUp(t)
    const { link, epoch } = await opened(log)
    const [other, idle] = [log.link(), log.link()]
    const [told, mine, unfollowed] = [new Told(), new Told(), new Told()]
    await Promise.all([other.follow('s', told), link.follow('s', mine), idle.follow('s', unfollowed)])
    idle.unfollow('s')
    const appending = append(link, epoch, 2, { critical: bytes('critical'), ids: named('/a') })
    t.equal(told.batches.length, 0, 'nothing comes within a call; the feed may be sooner than its answer')
    await appending
    await append(other, epoch, 1, { ids: named('/b') })
    await append(other, epoch, 2, { ids: named('/a') })
    await append(link, (await link.open('elsewhere')).epoch, 1, { session: 'elsewhere' })
    await until('all is told', () => told.batches.length >= 3 && mine.batches.length >= 3)
    for (const { spans: came, batches } of [told, mine]) {
      t.strictSame(came, ['0-4', '4-7', '7-11'])
      t.strictSame(new TextDecoder().decode(batches[0]?.critical), 'critical')
      t.match(batches[2], { hub: 'h', epoch, at, known: [0] })
    }
    t.strictSame(unfollowed.batches, [])
  })

  t.test('what is held back of texts is beside the batches, for a hub that knows what was', async (t) => {
    const log = await setUp(t)
    const { link, epoch } = await opened(log)
    const told = new Told()
    await link.follow('s', told)
    const textOf = (from: Uint8Array | undefined) => new TextDecoder().decode(from)
    const heldOf = (of: { held: { base: number; bytes: Uint8Array } }) => [
      of.held.base,
      textOf(of.held.bytes),
    ]
    const held = (base: number, text?: string) => ({
      held: { base: offset(base), ...(text !== undefined && { bytes: bytes(text) }) },
    })
    const first = appended(await append(link, epoch, 1, { ids: named('/a'), ...held(0, 'one') }))
    t.strictSame(await append(link, epoch, 1, held(0, 'two')), { kind: 'held', known: [] })
    t.strictSame(await append(link, epoch, 1, held(0)), { kind: 'held', known: [] })
    t.strictSame(await append(link, epoch, 2, { ids: named('/b', '/a'), ...held(first.to, 'two') }), {
      kind: 'held',
      known: [{ place: 1, offset: 1 }],
    })
    t.strictSame(heldOf(await link.open('s')), [first.to, 'one'])
    // Without texts it is left as it is, and what was published before is not in the way.
    const second = appended(await append(link, epoch, 2, { ids: named('/b', '/a'), ...held(first.to) }))
    t.strictSame(second.known, [{ place: 1, offset: 1 }])
    await append(link, epoch, 1)
    const since = await log.link().since('s', { epoch, offset: offset(0) })
    if (since.kind === 'batches') t.strictSame(heldOf(since), [first.to, 'one'])
    else t.fail(since.kind)
    const last = appended(await append(link, epoch, 1, { droppable: bytes('d'), ...held(first.to, '') }))
    t.strictSame(heldOf(await link.open('s')), [last.to, ''])
    await until('all is told', () => told.batches.length >= 4)
    t.strictSame(
      told.batches.map(({ held: one }) => one && textOf(one)),
      ['one', undefined, undefined, ''],
    )
    t.equal(textOf(told.batches[3]?.droppable), 'd')
    t.notOk(batchesOf(since).some((batch) => 'held' in batch))
  })

  t.test('what one hub puts another takes, once, while there is time', async (t) => {
    const log = await setUp(t)
    const [one, other] = [log.link(), log.link()]
    const note = new Uint8Array([0, 255, 10])
    await one.put('a', note, 60_000)
    t.strictSame([...((await other.take('a')) ?? [])], [...note])
    t.equal(await one.take('a'), undefined)
    t.equal(await one.take('none'), undefined)
    let ms = 0
    await until('one is gone when its time is over', async () => {
      await one.put('b', note, 1)
      await new Promise<void>((resolve) => setTimeout(resolve, ++ms))
      return (await other.take('b')) === undefined
    })
  })

  t.test('a hub lives as long as it says', async (t) => {
    const log = await setUp(t)
    const [one, other] = [log.link(), log.link()]
    t.strictSame(await one.living('a', 60_000), ['a'])
    t.strictSame(new Set(await other.living('b', 60_000)), new Set(['a', 'b']))
    t.strictSame(await one.living('a', 0), ['b'])
    await one.living('a', 1)
    await until('one is gone when its time is over', async () => {
      const living = await other.living('b', 60_000)
      return living.length === 1 && living[0] === 'b'
    })
  })

  t.test('who follows first and opens then misses nothing', async (t) => {
    const log = await setUp(t)
    const { link, epoch } = await opened(log)
    let more = true
    const publishing = (async () => {
      while (more) {
        await append(link, epoch, 1)
        await settle()
      }
    })()
    for (let i = 0; i < 20; i++) {
      const other = log.link()
      const told = new Told()
      await other.follow('s', told)
      const { last } = await other.open('s')
      await append(other, epoch, 1)
      await until('the newest is told', () => told.batches.some(({ to }) => to > last))
      let position = last
      for (const { from, to } of told.batches) {
        if (to <= position) continue
        if (from !== position) t.equal(from, position, 'there is no hole')
        position = to
      }
      await other.close()
    }
    more = false
    await publishing
  })

  sharedLogSessions(t, setUp)
}
