import { spawn } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { open } from 'lmdb'
import { Packr } from 'msgpackr'
import t, {} from 'tap'
import { type Clock, systemClock } from '../../src/lib/clock.js'
import { systemRandom } from '../../src/lib/random.js'
import { inspectFile } from '../../src/store/inspect-file.js'
import { openLmdb } from '../../src/store/lmdb.js'
import { keyOf, tableNames } from '../../src/store/lmdb-tables.js'
import { salvage } from '../../src/store/salvage.js'
import { isSealed } from '../../src/store/seal.js'
import { offsetsAhead, type Store, type StoreError } from '../../src/store/store.js'
import { aSession, at, offset, readAll, someEvents } from '../conformance/store-kit.js'
import { until } from '../kit/wait.js'
import { aDirectory, withStore } from './lmdb-kit.js'

t.test('after an end in good order everything is as it was, and offsets go on without a hole', async (t) => {
  const directory = aDirectory(t)
  const before = await withStore(directory, async (store) => {
    const slices = [{ slice: 'plan', offset: offset(1), value: { a: [1] } }]
    const ids = [{ id: 'x', offset: offset(2) }]
    await store.commit({ at, sessions: [{ ...aSession('s', someEvents(1, 1_000)), slices, ids }] })
    return store.load('s')
  })
  await withStore(directory, async (store) => {
    t.match(store.found, { sessions: 1, events: 1_000, clean: true })
    t.strictSame(await store.load('s'), before)
    t.equal(before?.last, 1_000)
    t.strictSame(await readAll(store, 's'), someEvents(1, 1_000))
    await store.commit({ at, sessions: [aSession('t', someEvents(1, 1))] })
    t.equal(store.size().events, 1_001)
  })
})

/** @returns the names of the tables in a file that nobody uses */
async function tablesIn(directory: string): Promise<unknown[]> {
  const root = open({ path: join(directory, 'data.lmdb') })
  const names = [...root.getKeys()]
  await root.close()
  return names
}

t.test('what has to be told is kept with the next commit, and in a repair', async (t) => {
  const directory = aDirectory(t)
  await withStore(directory, (store) => store.commit({ at, sessions: [aSession('s', someEvents(1, 10))] }))
  t.notOk((await tablesIn(directory)).includes('outbox'), 'it is not there before somebody asks')
  const store = openLmdb({ directory })
  const outbox = store.outbox
  if (outbox === undefined) throw new Error('expected an outbox')
  t.strictSame(outbox.entries(), [])
  for (const key of [1, 2, 10]) outbox.put(key, { key })
  // A session whose first commit has no record breaks the whole commit.
  await t.rejects(store.commit({ at, sessions: [{ session: 'new', last: offset(1) }] }))
  t.strictSame(outbox.entries(), [], 'and not before')
  await store.commit({ at, sessions: [{ session: 's', last: offset(11), events: someEvents(11, 1) }] })
  t.strictSame(
    outbox.entries().map(({ key }) => key),
    [1, 2, 10],
  )
  outbox.remove(2)
  await outbox.flush()
  t.strictSame(
    outbox.entries(),
    [1, 10].map((key) => ({ key, value: { key } })),
  )
  outbox.put(11, { key: 11 })
  await store.close()
  await withStore(directory, async (again) => {
    t.strictSame(
      again.outbox?.entries().map(({ key }) => key),
      [1, 10, 11],
      'also what waited at the end',
    )
  })
  const salvaged: unknown[] = []
  salvage(directory, false, systemRandom, (puts) => {
    for (const { table, key } of puts) if (table === 'outbox') salvaged.push(keyOf(key))
  })
  t.strictSame(salvaged, [1, 10, 11])
})

t.test('after each unclean end offsets go on above all that may have been given out', async (t) => {
  let directory = aDirectory(t)
  await withStore(directory, async (store) => {
    await store.commit({
      at,
      sessions: [aSession('s', someEvents(1, 10)), aSession('idle', someEvents(1, 5))],
    })
  })
  let last = 10
  for (let life = 1; life <= 3; life++) {
    const store = openLmdb({ directory })
    t.equal(store.found.clean, life === 1)
    t.equal((await store.load('s'))?.last, last)
    if (life === 2) {
      last += 1
      await store.commit({
        at,
        sessions: [{ session: 's', last: offset(last), events: someEvents(last, 1) }],
      })
    }
    // What a process that is killed leaves behind: the file as it is.
    const left = aDirectory(t)
    cpSync(directory, left, { recursive: true })
    rmSync(join(left, 'lock'))
    await store.close()
    directory = left
    last += offsetsAhead
  }
  await withStore(directory, async (store) => {
    t.equal((await store.load('s'))?.last, last)
    t.equal((await store.load('idle'))?.last, 5 + 3 * offsetsAhead)
    t.strictSame((await readAll(store, 's')).length, 11)
  })
  await withStore(directory, async (store) =>
    t.equal((await store.load('s'))?.last, last, 'a clean end adds none'),
  )
})

t.test('a directory is used by one process at a time', async (t) => {
  const directory = aDirectory(t)
  const store = openLmdb({ directory })
  t.throws(() => openLmdb({ directory }), {
    name: 'StoreError',
    kind: 'refused',
    message: `${directory} is in use by the process ${process.pid}: stop it, or use another directory.`,
  })
  await store.close()
  const gone = spawn(process.execPath, ['-e', ''])
  await new Promise((resolve) => gone.once('exit', resolve))
  const stale = [
    JSON.stringify({ pid: gone.pid, started: 'x' }),
    JSON.stringify({ pid: process.pid, started: 'another process had this pid before' }),
    '{"pid":12',
    '',
  ]
  for (const lock of stale) {
    writeFileSync(join(directory, 'lock'), lock)
    await openLmdb({ directory }).close()
  }
  t.strictSame(
    readdirSync(directory).filter((name) => name.startsWith('lock')),
    [],
    'no lock is left',
  )
})

t.test(
  'a directory that a container uses, which cannot be seen from here, is left alone while it is touched',
  async (t) => {
    const directory = aDirectory(t)
    mkdirSync(directory)
    const lock = join(directory, 'lock')
    writeFileSync(lock, JSON.stringify({ pid: 1, started: 'x', space: 'another' }))
    t.throws(() => openLmdb({ directory }), {
      kind: 'refused',
      message: `${directory} is in use by the process 1 of another container, or was until now: stop it, or use another directory.`,
    })
    try {
      openLmdb({ directory })
    } catch (error) {
      const { retryMs = 0 } = error as StoreError
      t.ok(retryMs > 0 && retryMs <= 15_000, `${retryMs} ms until it counts as gone`)
    }
    const longAgo = (Date.now() - 15_000) / 1_000
    utimesSync(lock, longAgo, longAgo)
    const tasks: (() => void)[] = []
    const clock: Clock = {
      ...systemClock,
      after(_, task) {
        tasks.push(task)
        return { cancel: () => void tasks.splice(0) }
      },
    }
    const store = openLmdb({ directory, clock })
    t.not(JSON.parse(readFileSync(lock, 'utf8')).space, 'another', 'taken over')
    for (let time = 1; time <= 3; time++) {
      utimesSync(lock, longAgo, longAgo)
      for (const task of tasks.splice(0)) task()
      await until('it is touched', () => statSync(lock).mtimeMs > Date.now() - 5_000)
    }
    await store.close()
    t.strictSame(tasks, [], 'and no more')
    t.notOk(existsSync(lock))
  },
)

t.test(
  'a process that was killed, and that nobody has waited for, uses nothing',
  { skip: existsSync('/proc/self/stat') ? false : 'there is no /proc' },
  async (t) => {
    const directory = aDirectory(t)
    mkdirSync(directory)
    // Becomes `sleep`, which waits for no child: the child stays as what is left of it. A shell may wait for it.
    const parent = spawn('sh', ['-c', 'sleep 60 & echo $!; exec sleep 60'])
    t.teardown(() => parent.kill('SIGKILL'))
    const pid = await new Promise<number>((resolve) => {
      parent.stdout.once('data', (line: Buffer) => resolve(Number(line.toString())))
    })
    const fields = () =>
      readFileSync(`/proc/${pid}/stat`, 'utf8')
        .replace(/^.*\) /s, '')
        .split(' ')
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
    writeFileSync(join(directory, 'lock'), JSON.stringify({ pid, started: `${boot}:${fields()[19]}` }))
    t.throws(() => openLmdb({ directory }), { name: 'StoreError', kind: 'refused' })
    await until('nobody waits', () => readFileSync(`/proc/${parent.pid}/comm`, 'utf8') === 'sleep\n')
    process.kill(pid, 'SIGKILL')
    await until('it is dead', () => fields()[0] === 'Z')
    await openLmdb({ directory }).close()
  },
)

t.test('a newer format is refused, and left as it is', async (t) => {
  const directory = aDirectory(t)
  await withStore(directory, async (store) =>
    store.commit({ at, sessions: [aSession('s', someEvents(1, 3))] }),
  )
  const setFormat = async (format: number) => {
    const root = open<Buffer>({ path: join(directory, 'data.lmdb'), encoding: 'binary' })
    await root
      .openDB<Buffer>({ name: 'meta', encoding: 'binary' })
      .put('format', new Packr().pack({ format }))
    await root.close()
  }
  await setFormat(3)
  t.throws(() => openLmdb({ directory }), {
    kind: 'refused',
    message: /written by a newer version of runcast, in format 3, and this one reads formats up to 2/,
  })
  await setFormat(2)
  await withStore(directory, async (store) => t.strictSame(await readAll(store, 's'), someEvents(1, 3)))
})

t.test('what the release before wrote is read, written on, and sealed by a repair', async (t) => {
  const directory = aDirectory(t)
  mkdirSync(directory)
  const fixture = new URL('fixtures/format-1.lmdb.gz', import.meta.url)
  writeFileSync(join(directory, 'data.lmdb'), gunzipSync(readFileSync(fixture)))
  t.equal(inspectFile(directory, false), undefined, 'nothing is wrong with it')
  const expectAll = async (store: Store, last: number) => {
    t.strictSame(await readAll(store, 'build'), someEvents(1, last))
    t.match(await store.load('build'), {
      record: { metadata: { title: 'build' } },
      last,
      slices: [{ slice: 'plan', offset: 2, value: { a: [1, 2] } }],
      ids: [{ id: 'x', offset: 2 }],
      workers: [{ worker: 'w0', events: 3 }],
      latest: [{ type: 'state', key: 'k', event: { data: 5 } }],
    })
    t.strictSame(await readAll(store, 'short'), someEvents(1, 2))
  }
  await withStore(directory, async (store) => {
    t.match(store.found, { sessions: 2, events: 402, clean: true })
    await expectAll(store, 400)
    await store.commit({
      at,
      sessions: [{ session: 'build', last: offset(410), events: someEvents(401, 10) }],
    })
    await expectAll(store, 410)
  })
  await withStore(directory, (store) => expectAll(store, 410))
  const repaired = inspectFile(directory, true)
  t.match(repaired, { faults: [], losses: [], kept: { sessions: 2, events: 412 }, aside: /data\.damaged-/ })
  t.equal(inspectFile(directory, true), undefined, 'once is enough')
  await withStore(directory, (store) => expectAll(store, 410))
  const root = open<Buffer>({ path: join(directory, 'data.lmdb'), encoding: 'binary' })
  for (const name of tableNames) {
    for (const { value } of root.openDB<Buffer>({ name, encoding: 'binary' }).getRange())
      t.ok(isSealed(value), name)
  }
  await root.close()
})

t.test('a large session is removed in steps, and leaves nothing behind', async (t) => {
  const directory = aDirectory(t)
  const store = openLmdb({ directory })
  t.teardown(() => store.close())
  for (let commit = 0; commit < 2_500; commit++) {
    const sessions = [
      { ...aSession('s', someEvents(commit + 1, 1)), ids: [{ id: `${commit}`, offset: offset(commit + 1) }] },
    ]
    const done = store.commit({ at, sessions })
    if (commit % 100 === 99) await done
  }
  await store.remove('s')
  let steps = 0
  while ((await store.trim({}, at, () => false)).more) steps += 1
  t.ok(steps >= 5, `${steps} steps`)
  await store.close()
  const root = open<Buffer>({ path: join(directory, 'data.lmdb'), encoding: 'binary' })
  for (const name of [
    'records',
    'extents',
    'events',
    'workers',
    'slices',
    'latest',
    'ids',
    'ended',
    'left',
  ]) {
    t.equal(root.openDB({ name }).getCount(), 0, name)
  }
  await root.close()
})
