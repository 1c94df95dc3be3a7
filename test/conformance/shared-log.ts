import type { Test } from 'tap'
import type {
  Append,
  Appended,
  Delivered,
  LogFeed,
  Opened,
  SharedLog,
  Since,
} from '../../src/log/shared-log.js'
import type { Epoch, Offset } from '../../src/protocol/cursor.js'
import { settle } from '../kit/clock.js'
import { until } from '../kit/wait.js'

const at = Date.UTC(2025, 5, 1)
const bytes = (text: string) => new TextEncoder().encode(text)
const offset = (value: number) => value as Offset

/** A log that is being tested. */
export interface LogUnderTest {
  /** @returns a further hub's way to it */
  link(): SharedLog
  /** Remembers what the log holds. `failOver` brings it back: what was appended since is lost. Absent where nothing can. */
  readonly failover?: { mark(): void | Promise<void>; failOver(): void | Promise<void> }
}

/** What a hub is told. */
class Told implements LogFeed {
  readonly batches: Delivered[] = []
  readonly removals: Epoch[] = []
  breaks = 0

  batch(batch: Delivered): void {
    this.batches.push(batch)
  }

  broken(): void {
    this.breaks++
  }

  removed(epoch: Epoch): void {
    this.removals.push(epoch)
  }

  /** Offsets of what came, without repeats. */
  get spans(): string[] {
    return [...new Set(this.batches.map(({ from, to }) => `${from}-${to}`))]
  }
}

let number = 0

async function append(
  log: SharedLog,
  epoch: Epoch,
  width: number,
  more: Partial<Append> = {},
): Promise<Appended> {
  return log.append({
    session: 's',
    hub: 'h',
    number: ++number,
    epoch,
    at,
    width,
    droppable: bytes(`${number}`),
    ...more,
  })
}

/** What was appended, or a failure of the test. */
function appended(answer: Appended): Extract<Appended, { kind: 'appended' }> {
  if (answer.kind === 'appended') return answer
  throw new Error(`expected a batch to be appended, got ${JSON.stringify(answer)}`)
}

function batchesOf(since: Since): readonly Delivered[] {
  if (since.kind === 'batches') return since.batches
  throw new Error(`expected batches, got ${JSON.stringify(since)}`)
}

const named = (...names: string[]) => names.map((name, place) => ({ place, name }))
const spans = (batches: readonly Delivered[]) => batches.map(({ from, to }) => `${from}-${to}`)

/** What every shared log does, whatever it is made of. */
export function sharedLogConformance(
  t: Test,
  setUp: (t: Test) => LogUnderTest | Promise<LogUnderTest>,
): void {
  const opened = async (log: LogUnderTest): Promise<{ link: SharedLog; epoch: Epoch; open: Opened }> => {
    const link = log.link()
    const open = await link.open('s')
    return { link, epoch: open.epoch, open }
  }

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
