import { deepEqual } from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import type { JsonValue } from '../../src/lib/json.js'
import { openLmdb } from '../../src/store/lmdb.js'
import { memoryStore } from '../../src/store/memory.js'
import type { SessionBatch, Store } from '../../src/store/store.js'
import { aRecord, at, offset, readAll, trimAll } from '../conformance/store-kit.js'

// MessagePack has no lone surrogates, and the decoder keeps `__proto__` from being set.
const jsonValue = fc
  .jsonValue({ maxDepth: 3 })
  .map((value) => JSON.parse(JSON.stringify(value).replaceAll('__proto__', 'proto')) as JsonValue)

type Step =
  | { readonly kind: 'commit'; readonly sessions: readonly Commit[] }
  | { readonly kind: 'remove'; readonly session: number }
  | { readonly kind: 'trim'; readonly keep: number; readonly ageMs: number }
  | { readonly kind: 'reopen' }

interface Commit {
  readonly session: number
  readonly ends: boolean
  readonly restarts: boolean
  readonly events: readonly JsonValue[]
  readonly skipped: number
  readonly slice: { readonly name: string; readonly value: JsonValue | undefined } | undefined
}

const aCommit = fc.record<Commit>({
  session: fc.nat(3),
  ends: fc.boolean(),
  restarts: fc.integer({ min: 0, max: 9 }).map((number) => number === 0),
  events: fc.array(jsonValue, { maxLength: 30 }),
  skipped: fc.nat(3),
  slice: fc.option(
    fc.record({ name: fc.constantFrom('a', 'ab', '$x'), value: fc.option(jsonValue, { nil: undefined }) }),
    { nil: undefined },
  ),
})

const aStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc
      .uniqueArray(aCommit, { minLength: 1, maxLength: 3, selector: ({ session }) => session })
      .map((sessions) => ({ kind: 'commit' as const, sessions })),
  },
  { weight: 1, arbitrary: fc.nat(3).map((session) => ({ kind: 'remove' as const, session })) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('trim' as const), keep: fc.nat(60), ageMs: fc.nat(20) }),
  },
  { weight: 1, arbitrary: fc.constant({ kind: 'reopen' as const }) },
)

interface Known {
  epoch: number
  last: number
  isNew: boolean
}

function batchOf(commit: Commit, known: Map<string, Known>, step: number): SessionBatch {
  const session = `s${commit.session}`
  let { epoch, last, isNew } = known.get(session) ?? { epoch: 0, last: 0, isNew: true }
  if (commit.restarts) {
    epoch += 1
    last = 0
    isNew = true
  }
  last += commit.skipped
  const events = commit.events.map((data, index) => ({
    offset: offset(last + index + 1),
    type: 'note',
    time: step,
    ...(index % 2 === 0 && { worker: 'w' }),
    data,
  }))
  last += events.length
  known.set(session, { epoch, last, isNew: false })
  const ended = commit.ends ? { status: 'ended' as const, endedAt: at + step } : {}
  const record = isNew || commit.ends ? { record: aRecord(session, { epoch: `${epoch}`, ...ended }) } : {}
  const { slice } = commit
  const slices =
    slice === undefined
      ? []
      : [
          {
            slice: slice.name,
            offset: offset(last),
            ...(slice.value !== undefined && { value: slice.value }),
          },
        ]
  const ids = events.slice(0, 2).map((event) => ({ id: `${epoch}-${event.offset}`, offset: event.offset }))
  const latest = events.slice(-1).map((event) => ({ type: 'note', key: `${event.offset % 3}`, event }))
  return { session, ...record, last: offset(last), events, slices, ids, latest }
}

/** All that can be asked of a store, but for sizes in bytes, which are its own. */
async function contentsOf(store: Store): Promise<unknown> {
  const { sessions } = await store.sessions('', 100)
  const contents: unknown[] = []
  for (const { record, extent } of sessions) {
    const stored = await store.load(record.session)
    const events = await readAll(store, record.session)
    const filter = ({ worker }: { worker?: string }) => worker === 'w'
    const page = await store.read(record.session, offset(3), { limit: 7, filter })
    const newest = await store.newest(record.session, { limit: 5 })
    contents.push({ ...extent, bytes: 0 }, { ...stored, bytes: 0 }, events, page, newest)
  }
  const { bytes: _, ...size } = store.size()
  return [contents, size]
}

t.test('memory and lmdb answer alike, whatever has happened', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'runcast-alike-'))
  t.teardown(() => rmSync(root, { recursive: true, force: true }))
  let run = 0
  const property = fc.asyncProperty(fc.array(aStep, { maxLength: 25 }), async (steps) => {
    run += 1
    const directory = join(root, `${run}`)
    const memory = memoryStore()
    let lmdb = openLmdb({ directory })
    try {
      const known = new Map<string, Known>()
      for (const [index, step] of steps.entries()) {
        if (step.kind === 'commit') {
          const sessions = step.sessions.map((commit) => batchOf(commit, known, index))
          await Promise.all([memory, lmdb].map((store) => store.commit({ at: at + index, sessions })))
        } else if (step.kind === 'remove') {
          const session = `s${step.session}`
          const before = known.get(session)
          if (before !== undefined) known.set(session, { epoch: before.epoch + 1, last: 0, isNew: true })
          await Promise.all([memory, lmdb].map((store) => store.remove(session)))
        } else if (step.kind === 'trim') {
          const retention = { sessionEvents: step.keep, ageMs: step.ageMs, events: 3 * step.keep }
          const trims = await Promise.all(
            [memory, lmdb].map((store) => trimAll(store, retention, at + index, ['s0'])),
          )
          deepEqual(trims[1]?.removed.toSorted(), trims[0]?.removed.toSorted())
          for (const session of trims[0]?.removed ?? []) {
            known.set(session, { epoch: (known.get(session)?.epoch ?? 0) + 1, last: 0, isNew: true })
          }
        } else {
          await lmdb.close()
          lmdb = openLmdb({ directory })
        }
        const [expected, found] = await Promise.all([contentsOf(memory), contentsOf(lmdb)])
        deepEqual(found, expected, `after step ${index}`)
      }
    } finally {
      await lmdb.close()
      rmSync(directory, { recursive: true, force: true })
    }
  })
  await fc.assert(property, { numRuns: 40 })
  t.pass(`${run} histories`)
})
