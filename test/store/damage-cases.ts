import assert from 'node:assert/strict'
import {
  closeSync,
  copyFileSync,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { openLmdb } from '../../src/store/lmdb.js'
import { type SessionBatch, type Store, type StoredSession, StoreError } from '../../src/store/store.js'
import { aRecord, at, offset, readAll, someEvents } from '../conformance/store-kit.js'
import { SeededRandom } from '../kit/random.js'

/** Something that happens to a file: said in words, so that it can be repeated by hand. */
export interface Damage {
  readonly name: string
  readonly inflict: (fd: number, bytes: number) => void
}

const page = 4_096

/** @returns one of the ways in which a disk goes wrong */
export function randomDamage(random: SeededRandom): Damage {
  const dice = random.fraction()
  // What says where all else is takes little room in a file, and is believed most.
  if (dice < 0.25) return flipRoot(random.fraction(), random.integer(0, 7))
  if (dice < 0.75) return flip(random.fraction(), random.integer(0, 7))
  if (dice < 0.85) return cut(random.fraction())
  if (dice < 0.92) return write(random.fraction(), Buffer.alloc(page), page)
  const garbage = Buffer.from(Array.from({ length: random.integer(1, 64) }, () => random.integer(0, 255)))
  return write(random.fraction(), garbage, 1)
}

function flip(where: number, bit: number): Damage {
  return {
    name: `bit ${bit} at ${where}`,
    inflict: (fd, bytes) => flipAt(fd, Math.floor(where * bytes), bit),
  }
}

function flipAt(fd: number, place: number, bit: number): void {
  const byte = Buffer.alloc(1)
  readSync(fd, byte, 0, 1, place)
  byte[0] = (byte[0] as number) ^ (1 << bit)
  writeSync(fd, byte, 0, 1, place)
}

/** In the two meta pages, the flushed copy of one of them, and the page that names the tables. */
function flipRoot(where: number, bit: number): Damage {
  return {
    name: `bit ${bit} of the roots at ${where}`,
    inflict(fd) {
      const places = rootPlaces(fd)
      flipAt(fd, places[Math.floor(where * places.length)] as number, bit)
    },
  }
}

/** @returns the places of the bytes that say where all else is */
function rootPlaces(fd: number): readonly number[] {
  const bytes = (from: number, to: number) => Array.from({ length: to - from }, (_, at) => from + at)
  const read = (place: number, length: number) => {
    const buffer = Buffer.alloc(length)
    readSync(fd, buffer, 0, length, place)
    return buffer
  }
  const tables = [0, page].map((meta) => Number(read(meta + 24 + 72 + 40, 8).readBigUInt64LE()) * page)
  const used = [...new Set(tables)].flatMap((table) => {
    const head = read(table, 24)
    return [
      ...bytes(table, table + 24 + head.readUInt16LE(20)),
      ...bytes(table + 24 + head.readUInt16LE(22), table + page),
    ]
  })
  return [...metaPlaces.flatMap((meta) => bytes(meta, meta + 168)), ...used]
}

/** Of the two meta pages, and of the copy of one of them that has reached the disk. */
const metaPlaces = [0, page / 2, page]

/** Makes a file one that was written before the system was started again: then LMDB believes only what has reached the disk. */
export function restartSystem(directory: string): void {
  const fd = openSync(join(directory, 'data.lmdb'), 'r+')
  for (const meta of metaPlaces) flipAt(fd, meta + 24 + 136, 0)
  closeSync(fd)
}

function cut(where: number): Damage {
  return { name: `cut at ${where}`, inflict: (fd, bytes) => ftruncateSync(fd, Math.floor(where * bytes)) }
}

function write(where: number, what: Buffer, unit: number): Damage {
  return {
    name: `${what.length} bytes (${what[0]}) at ${where}`,
    inflict(fd, bytes) {
      writeSync(fd, what, 0, what.length, Math.floor((where * bytes) / unit) * unit)
    },
  }
}

/** What a session answers. */
type Answer = { readonly kind: 'whole'; readonly stored: StoredSession; readonly events: unknown[] } | Failure
interface Failure {
  readonly kind: 'error'
  readonly error: string
}

/** What a store answers: of each session that is there. */
export type Answers = ReadonlyMap<string, Answer>

export const sampleSessions = Array.from({ length: 14 }, (_, index) => `session-${index}`)

/** Fills a store with what there is: blocks of all sizes, slices with patches, ids, pins, workers, free pages. */
export async function fillSample(directory: string): Promise<Store> {
  const store = openLmdb({ directory })
  const last = new Map<string, number>()
  for (let round = 0; round < 24; round++) {
    const sessions = sampleSessions.filter((_, index) => round === 0 || (round + index) % 3 === 0)
    await store.commit({ at: at + round, sessions: sessions.map((session) => batchOf(session, round, last)) })
  }
  await store.commit({
    at,
    sessions: [{ session: 'gone', record: aRecord('gone'), last: offset(300), events: someEvents(1, 300) }],
  })
  await store.remove('gone')
  const ended = aRecord('session-3', { status: 'ended', endedAt: at + 50 })
  await store.commit({
    at: at + 50,
    sessions: [{ session: 'session-3', record: ended, last: offset(last.get('session-3') ?? 0) }],
  })
  while ((await store.trim({ sessionEvents: 900 }, at, () => false)).more);
  return store
}

function batchOf(session: string, round: number, lasts: Map<string, number>): SessionBatch {
  const first = (lasts.get(session) ?? 0) + 1
  const count = 1 + ((round * 37) % 90)
  const last = first + count - 1
  lasts.set(session, last)
  const events = someEvents(first, count).map((event) =>
    event.offset % 50 === 0 ? { ...event, data: { text: 'x'.repeat(3_000) } } : event,
  )
  const value = { steps: Array.from({ length: 1 + (round % 5) }, (_, step) => `${session} ${round} ${step}`) }
  return {
    session,
    last: offset(last),
    events,
    ids: [{ id: `${session}-${first}`, offset: offset(first) }],
    workers: [{ worker: `w${round % 2}`, startedAt: at, events: round }],
    latest: [
      {
        type: 'state',
        key: `${round % 3}`,
        event: { offset: offset(last), type: 'state', time: at, data: round },
      },
    ],
    slices: [
      {
        slice: 'plan',
        offset: offset(last),
        value,
        ...(round % 4 !== 0 && { patch: [{ op: 'replace', path: '/steps', value: value.steps }] }),
      },
    ],
    ...(round === 0 && { record: aRecord(session, { metadata: { title: session } }) }),
  }
}

/** Asks a store for all that it has. */
export async function askAll(store: Store): Promise<Answers> {
  const answers = new Map<string, Answer>()
  const ids = new Set(sampleSessions)
  for (let after = '', end = false; !end; ) {
    const listed = await store.sessions(after, 5)
    const found = [
      ...listed.sessions.map(({ record }) => record.session),
      ...(listed.damaged ?? []),
    ].toSorted()
    for (const id of found) ids.add(id)
    after = found.at(-1) ?? after
    end = listed.end
  }
  for (const id of ids) {
    try {
      const stored = await store.load(id)
      if (stored !== undefined) answers.set(id, { kind: 'whole', stored, events: await readAll(store, id) })
    } catch (error) {
      if (!(error instanceof StoreError && error.kind === 'damaged')) throw error
      answers.set(id, { kind: 'error', error: error.message })
    }
  }
  return answers
}

/** How a damaged store fared. */
export interface Outcome {
  /** It was not opened, for this reason. */
  readonly refused?: string
  readonly repaired: boolean
  /** Sessions that answer otherwise than before. */
  readonly hurt: readonly string[]
}

/**
 * Damages a copy of a store, opens it, reads all of it, writes to each session, and looks again.
 *
 * @throws AssertionError when an answer is wrong
 */
export async function suffer(
  sample: string,
  directory: string,
  damage: Damage,
  truth: Answers,
): Promise<Outcome> {
  rmSync(directory, { recursive: true, force: true })
  mkdirSync(directory)
  const path = join(directory, 'data.lmdb')
  copyFileSync(join(sample, 'data.lmdb'), path)
  const fd = openSync(path, 'r+')
  damage.inflict(fd, fstatSync(fd).size)
  closeSync(fd)
  let repaired = false
  const open = () => openLmdb({ directory, onRepair: () => void (repaired = true) })
  let store: Store
  try {
    store = open()
  } catch (error) {
    assert(
      error instanceof StoreError && (error.kind === 'refused' || error.kind === 'damaged'),
      String(error),
    )
    return { refused: error.message, repaired, hurt: [] }
  }
  try {
    const answers = await askAll(store)
    const hurt = compare(answers, truth)
    await writeOn(store, answers)
    const written = await askAll(store)
    await store.close()
    store = open()
    compare(await askAll(store), written)
    return { repaired, hurt }
  } finally {
    await store.close()
  }
}

/** Whatever can still be written to, is; then old events go. */
async function writeOn(store: Store, answers: Answers): Promise<void> {
  for (const [session, answer] of answers) {
    const next = answer.kind === 'whole' ? answer.stored.last + 1 : 10_000_000
    const batch = { session, last: offset(next), events: someEvents(next, 1) }
    try {
      await store.commit({ at: at + 100, sessions: [batch] })
    } catch (error) {
      assert(error instanceof StoreError && error.kind === 'damaged', String(error))
      assert.equal(error.session, session)
      assert(answer.kind === 'error', `${session} could be read, and not be written to: ${error.message}`)
      await store.remove(session)
    }
  }
  await store.commit({
    at,
    sessions: [{ session: 'new', record: aRecord('new'), last: offset(500), events: someEvents(1, 500) }],
  })
  while ((await store.trim({ sessionEvents: 200 }, at, () => false)).more);
}

/** @returns the sessions that have lost something; throws when one answers what it never was */
export function compare(answers: Answers, truth: Answers): string[] {
  const hurt: string[] = []
  for (const id of answers.keys()) assert(truth.has(id), `${id} was not there`)
  for (const [id, before] of truth) {
    const answer = answers.get(id)
    if (before.kind === 'error') continue
    assert(answer !== undefined, `${id} is not there`)
    if (answer.kind === 'error') {
      hurt.push(id)
      continue
    }
    const isSame = answer.stored.record.epoch === before.stored.record.epoch
    if (isSame) {
      const { last: _, ...stored } = answer.stored
      const { last: wasLast, ...was } = before.stored
      assert.deepEqual(stored, was, id)
      assert.deepEqual(answer.events, before.events, id)
      assert(answer.stored.last >= wasLast, `${id}: offsets go back`)
      continue
    }
    hurt.push(id)
    expectPart(id, answer, before)
  }
  return hurt
}

/** With another epoch, clients know that they have missed something; what is there must still be right. */
function expectPart(
  id: string,
  answer: Answer & { kind: 'whole' },
  before: Answer & { kind: 'whole' },
): void {
  const isPart = (some: readonly unknown[], all: readonly unknown[]): boolean => {
    const known = new Set(all.map((each) => JSON.stringify(each)))
    return some.every((each) => known.has(JSON.stringify(each)))
  }
  for (const part of ['workers', 'slices', 'latest', 'ids'] as const) {
    assert(isPart(answer.stored[part], before.stored[part]), `${id}: ${part} never were so`)
  }
  assert(isPart(answer.events, before.events), `${id}: events never were so`)
  assert.equal(answer.events.length, answer.stored.events)
}
