import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { cpSync, existsSync, mkdtempSync, renameSync, rmSync, statSync, truncateSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { inspectFile } from '../../src/store/inspect-file.js'
import { openLmdb } from '../../src/store/lmdb.js'
import { offsetsAhead, type StoreError } from '../../src/store/store.js'
import { aSession, at, offset, readAll, someEvents } from '../conformance/store-kit.js'
import { typescript } from '../kit/typescript.js'
import { until } from '../kit/wait.js'
import { breakValues } from './break-values.js'
import { aDirectory, withStore } from './lmdb-kit.js'

t.test('a file that was cut is refused in a sentence, and what is whole of it can be kept', async (t) => {
  const whole = aDirectory(t)
  await withStore(whole, async (store) => {
    for (let first = 1; first <= 4_001; first += 500) {
      await store.commit({
        at,
        sessions: [
          first === 1
            ? aSession('s', someEvents(1, 500))
            : { session: 's', last: offset(first + 499), events: someEvents(first, 500) },
        ],
      })
    }
  })
  const { size } = statSync(join(whole, 'data.lmdb'))
  for (const bytes of [0, 100, 4_096, 8_192, Math.floor(size / 2)]) {
    const directory = aDirectory(t)
    cpSync(whole, directory, { recursive: true })
    truncateSync(join(directory, 'data.lmdb'), bytes)
    const refusal = {
      kind: 'refused',
      message: /data\.lmdb is damaged \(page \d+: .*\): restore a backup/,
    }
    t.throws(
      () => openLmdb({ directory, onRepair: () => t.fail('nobody asked for it') }),
      refusal,
      `${bytes} bytes`,
    )
    t.equal(statSync(join(directory, 'data.lmdb')).size, bytes, 'and left as it is')
    t.notOk(existsSync(join(directory, 'lock')))
  }
  const directory = aDirectory(t)
  cpSync(whole, directory, { recursive: true })
  truncateSync(join(directory, 'data.lmdb'), Math.floor(size * 0.6))
  const repaired = inspectFile(directory, true)
  t.ok(repaired?.isCut && repaired.aside !== undefined)
  await withStore(directory, async (store) => {
    const events = await readAll(store, 's')
    t.equal(events.length, repaired?.kept.events)
    const known = new Set(someEvents(1, 4_500).map((event) => JSON.stringify(event)))
    t.ok(events.every((event) => known.has(JSON.stringify(event))))
  })
})

t.test('a page that breaks while the store is in use is a fault of its session alone', async (t) => {
  const directory = aDirectory(t)
  const store = openLmdb({ directory })
  t.teardown(() => store.close())
  const large = (first: number) =>
    someEvents(first, 1).map((event) => ({ ...event, data: 'x'.repeat(9_000) }))
  for (const session of ['bad', 'good']) await store.commit({ at, sessions: [aSession(session, large(1))] })
  breakValues(join(directory, 'data.lmdb'), 1)
  const bad = {
    kind: 'damaged',
    session: 'bad',
    message: /Session bad is damaged in .*: events after 0 up to/,
  }
  for (let time = 0; time < 3; time++) {
    await t.rejects(store.read('bad', offset(0)), bad)
    t.strictSame((await store.newest('bad')).events, [], 'what is newer than the damage is all there is')
    t.equal((await store.load('bad'))?.last, 1)
    t.strictSame(await readAll(store, 'good'), large(1))
    t.strictSame(store.now?.newest('good').events, large(1))
    t.equal((await store.sessions('', 10)).sessions.length, 2)
  }
  await store.commit({ at, sessions: [{ session: 'good', last: offset(2), events: large(2) }] })
  await store.commit({ at, sessions: [{ session: 'bad', last: offset(2), events: large(2) }] })
  t.strictSame(await readAll(store, 'bad', offset(1)), large(2), 'what follows the damage is read')
  t.equal((await readAll(store, 'good')).length, 2)
})

t.test('a directory that is taken away is noticed, and nothing is told to be kept', async (t) => {
  const directory = aDirectory(t)
  const store = openLmdb({ directory })
  t.teardown(() => store.close())
  const told: (StoreError | undefined)[] = []
  store.onFault?.((fault) => told.push(fault))
  await store.commit({ at, sessions: [aSession('s', someEvents(1, 1))] })
  renameSync(directory, `${directory}-away`)
  await until('it is noticed', () => told.length === 1)
  t.match(told[0], { kind: 'failed', message: /data\.lmdb was removed or replaced while it was in use/ })
  const next = { session: 's', last: offset(2), events: someEvents(2, 1) }
  await t.rejects(store.commit({ at, sessions: [next] }), { kind: 'failed', message: /was removed/ })
  renameSync(`${directory}-away`, directory)
  await until('it is there again', () => told.length === 2)
  t.equal(told[1], undefined)
  await store.commit({ at, sessions: [next] })
  t.equal((await readAll(store, 's')).length, 2)
})

const child = fileURLToPath(new URL('crash-child.ts', import.meta.url))

function startChild(
  directory: string,
  { durability = 'process', mode = '', before = '' } = {},
): ChildProcess {
  const command = `${before} exec "$0" "$@"`
  const args = ['-c', command, process.execPath, ...typescript, child, directory, durability, mode]
  return spawn('sh', args, { stdio: ['ignore', 'pipe', 'inherit'] })
}

async function* linesOf({ stdout }: ChildProcess): AsyncGenerator<string> {
  if (stdout === null) throw new TypeError('expected a pipe')
  yield* createInterface({ input: stdout })
}

t.test(
  'kill -9 in the middle of writing loses nothing that was kept, and no offset comes twice',
  async (t) => {
    for (const [durability, lives] of [
      ['process', 6],
      ['power', 3],
    ] as const) {
      const directory = aDirectory(t)
      const kept: number[][] = []
      let given = [0, 0, 0]
      for (let life = 0; life < lives; life++) {
        const process = startChild(directory, { durability })
        const exit = new Promise((resolve) => process.once('exit', resolve))
        let until = 5 + life * 13
        let first = true
        for await (const line of linesOf(process)) {
          const [what, ...numbers] = line.split(' ')
          const lasts = numbers.map(Number)
          if (what === 'given') {
            if (first)
              t.ok(
                lasts.every((last, index) => last > (given[index] ?? 0)),
                `${lasts.join()} is above ${given.join()}`,
              )
            first = false
            given = lasts
          } else if (what === 'kept') kept.push(lasts)
          if (--until === 0) process.kill('SIGKILL')
        }
        await exit
      }
      await withStore(directory, async (store) => {
        t.notOk(store.found.clean)
        const rounds: number[] = []
        for (const [index, session] of ['a', 'b', 'c'].entries()) {
          const events = await readAll(store, session)
          const offsets = new Set(events.map((event) => event.offset))
          t.equal(offsets.size, events.length, 'no offset is there twice')
          const missing = kept.filter((lasts) => !offsets.has(offset(lasts[index] ?? 0)))
          t.strictSame(missing, [], `${kept.length} commits that were told are there`)
          const stored = await store.load(session)
          t.equal(stored?.events, events.length)
          t.ok((stored?.last ?? 0) > (given[index] ?? 0))
          rounds.push(
            new Set(
              events.map(
                ({ offset: place, data }) =>
                  `${Math.floor(place / offsetsAhead)} ${(data as { round: number }).round}`,
              ),
            ).size,
          )
        }
        t.equal(new Set(rounds).size, 1, 'every batch is there in all of its sessions or in none')
      })
    }
  },
)

/** Lets a child write until it has failed three times, makes room, and kills it after twenty more commits. */
async function fill(t: Test, directory: string, { before = '', makeRoom }: Filling): Promise<string[]> {
  const process = startChild(directory, { mode: 'fill', before })
  const exit = new Promise((resolve) => process.once('exit', resolve))
  const kept: number[][] = []
  const failures: string[] = []
  let after = 0
  for await (const line of linesOf(process)) {
    const [what = '', ...numbers] = line.split(' ')
    if (what === 'failed') {
      failures.push(line)
      if (failures.length === 3) makeRoom(process.pid ?? 0)
    } else if (what === 'kept') {
      kept.push(numbers.map(Number))
      if (failures.length >= 3 && ++after === 20) process.kill('SIGKILL')
    }
  }
  await exit
  // It may tell of more before the signal reaches it.
  t.ok(after >= 20, 'it has recovered')
  await withStore(directory, async (store) => {
    for (const [index, session] of ['a', 'b', 'c'].entries()) {
      const offsets = (await readAll(store, session)).map((event) => event.offset)
      const last = kept.at(-1)?.[index] ?? 0
      const expected = Array.from({ length: last }, (_, place) => place + 1)
      t.strictSame(offsets.slice(0, last), expected)
    }
  })
  return failures
}

interface Filling {
  readonly before?: string
  readonly makeRoom: (pid: number) => void
}

t.test('a disk that takes no more costs nothing that was kept, and the store recovers', async (t) => {
  if (!existsSync('/usr/bin/prlimit')) {
    t.comment('SKIPPED: prlimit, which limits the size of a file, is not there')
    return
  }
  const failures = await fill(t, aDirectory(t), {
    before: "trap '' XFSZ; ulimit -S -f 4096;",
    makeRoom: (pid) => execFileSync('prlimit', ['--pid', `${pid}`, '--fsize=unlimited']),
  })
  t.ok(failures.length >= 3)
})

t.test('a full disk is told as such', async (t) => {
  const disk = mkdtempSync(join(tmpdir(), 'runcast-disk-'))
  t.teardown(() => rmSync(disk, { recursive: true, force: true }))
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=3m', 'tmpfs', disk], { stdio: 'ignore' })
  } catch {
    t.comment('SKIPPED: a small disk can only be mounted by root')
    return
  }
  t.teardown(() => execFileSync('umount', [disk]))
  const failures = await fill(t, join(disk, 'data'), {
    makeRoom: () => execFileSync('mount', ['-o', 'remount,size=64m', disk]),
  })
  t.strictSame(
    failures.filter((line) => !line.startsWith('failed full The disk of')),
    [],
  )
})
