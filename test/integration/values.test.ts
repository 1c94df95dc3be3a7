import { PassThrough } from 'node:stream'
import { text } from 'node:stream/consumers'
import { isDeepStrictEqual } from 'node:util'
import t, { type Test } from 'tap'
import { exportSession } from '../../src/cli/export.js'
import { createHub } from '../../src/hub/hub.js'
import type { JsonObject, JsonValue } from '../../src/lib/json.js'
import { serve } from '../../src/server/serve.js'
import { openStore } from '../../src/store/open.js'
import { type Door, type House, type Outcome, openDoors } from '../conformance/value-doors.js'
import { followers, pagers, type Reader, type Reading, stateDialect } from '../conformance/value-readers.js'
import {
  cutText,
  noIds,
  ownTypes,
  packr,
  refused,
  type Taken,
  taken,
  wholeText,
} from '../conformance/values.js'
import { until } from '../kit/wait.js'

async function open(t: Test, directory: string): Promise<House & { close(): Promise<void> }> {
  const report = (error: unknown) => t.error(error, 'nothing is reported')
  const hub = createHub({ report, store: await openStore({ directory }) })
  const server = await serve(hub, { port: 0, report })
  return {
    hub,
    url: server.url,
    async close() {
      await server.close({ graceMs: 1_000 })
      await hub.closeStore()
    },
  }
}

const note = 'data-note'
const delta = 'data-text-delta'

const takenBy = (door: Door) => taken.filter((value) => value[door.form] !== undefined)

/** What a reader has got of what a door took: the values, and the text that was cut into pieces. */
function seen({ events }: Pick<Reading, 'events'>): { values: (JsonValue | undefined)[]; text: string } {
  return {
    values: events.filter(({ type }) => type === note).map(({ data }) => data.value),
    text: events
      .filter(({ type }) => type === delta)
      .map(({ data }) => data.delta as string)
      .join(''),
  }
}

/** Says which values differ, and how; most would be too long to be shown. */
function differences(values: readonly (JsonValue | undefined)[], expected: readonly Taken[]): string[] {
  const short = (value: unknown) => (JSON.stringify(value) ?? String(value)).slice(0, 80)
  return expected.flatMap(({ name, becomes }, at) =>
    isDeepStrictEqual(values[at], becomes)
      ? []
      : [`${name}: expected ${short(becomes)}, got ${short(values[at])}`],
  )
}

async function check(t: Test, reader: Reader, reading: Reading, door: Door): Promise<void> {
  const expected = takenBy(door)
  const isComplete = () => {
    const { values, text } = seen(reading)
    return values.length >= expected.length && text.length >= wholeText.length
  }
  await until(`${reader.name} has all that came by ${door.name}`, isComplete).catch(() => {
    // What is missing is shown by the comparison.
  })
  const { values, text } = seen(reading)
  t.strictSame(
    [...differences(values, expected), values.length, text],
    [expected.length, wholeText],
    `${door.name} → ${reader.name}`,
  )
}

/** The slices that a door has set, by name, and what they must be. */
type Slices = Map<string, Taken>

function checkState(
  t: Test,
  reader: Reader,
  state: JsonObject,
  { door, slices }: { door: Door; slices: Slices },
): void {
  const found = [...slices.keys()].map((name) => (state[name] as JsonObject | undefined)?.value)
  t.strictSame(differences(found, [...slices.values()]), [], `state: ${door.name} → ${reader.name}`)
}

// Some ten thousand values on their way, on a machine that may do other things as well.
t.setTimeout(300_000)

t.test('what goes in by any door comes out the same by every other, live and after a restart', async (t) => {
  const directory = t.testdir()
  const first = await open(t, directory)
  const doors = await openDoors(t, first)
  const sessionOf = (door: Door) => `s${doors.indexOf(door)}`
  const states = new Map<Door, Slices>()

  for (const door of doors) {
    const session = sessionOf(door)
    const topic = `sessions/${session}`
    const live = await Promise.all(
      followers.map(async (reader) =>
        // Dialects of sessions that have not begun refuse, or wait.
        reader.name === 'dialect session-bus' ? undefined : reader.read(first, session, { replay: 'all' }),
      ),
    )
    for (const value of takenBy(door)) {
      t.same(await door.publish(topic, note, value), { kind: 'taken' }, `${door.name} takes ${value.name}`)
    }
    for (const piece of cutText) {
      const given = { name: '', js: piece, text: JSON.stringify(piece), packed: packr.pack(piece) }
      t.same(await door.publish(topic, delta, given, 'delta'), { kind: 'taken' })
    }
    const slices: Slices = new Map()
    for (const [kind, change] of Object.entries(door.state ?? {})) {
      for (const [at, value] of takenBy(door).entries()) {
        // A merge patch removes what is null (RFC 7386).
        if (kind === 'merge' && JSON.stringify(value.becomes).includes('null')) continue
        const slice = `${kind}-${at}`
        t.same(
          await change(topic, slice, value),
          { kind: 'taken' },
          `${door.name} takes ${kind} ${value.name}`,
        )
        slices.set(slice, value)
      }
    }
    states.set(door, slices)
    for (const [at, reader] of followers.entries()) {
      const reading = live[at]
      if (reading === undefined) continue
      await check(t, reader, reading, door)
      if (slices.size > 0 && /^client|^in process/.test(reader.name)) {
        await until(`${reader.name} has the slices`, () =>
          [...slices.keys()].every((slice) => slice in reading.state()),
        )
        const last = [...slices.keys()].at(-1) as string
        await until(
          'the last change has come',
          () => (reading.state()[last] as JsonObject).value !== 'before',
        )
        checkState(t, reader, reading.state(), { door, slices })
      }
      reading.close()
    }
  }

  const readAll = async (t: Test, house: House) => {
    for (const door of doors) {
      const session = sessionOf(door)
      const slices = states.get(door) as Slices
      const epoch = house.hub.find(session)?.epoch
      for (const reader of [...followers, ...pagers]) {
        for (const beginning of [{ replay: 'all' }, { after: `${epoch}:0` }] as const) {
          const reading = await reader.read(house, session, beginning)
          await check(t, reader, reading, door)
          const hasState = 'replay' in beginning && !reader.name.startsWith('dialect')
          if (hasState) checkState(t, reader, reading.state(), { door, slices })
          reading.close()
        }
      }
      const snapshot = await stateDialect.read(house, session, { replay: 'all' })
      checkState(t, stateDialect, snapshot.state(), { door, slices })
      snapshot.close()
    }
  }

  await t.test('joined, resumed and read page by page', (t) => readAll(t, first))
  for (const door of doors) door.close()
  await first.close()

  await t.test('exported', async (t) => {
    const store = await openStore({ directory })
    for (const door of doors) {
      const output = new PassThrough()
      const lines = text(output)
      await exportSession(store, sessionOf(door), { directory: directory }, output)
      output.end()
      const events = (await lines)
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line))
      const reading = { events, state: () => ({}), close: () => undefined }
      await check(t, { name: 'export', read: async () => reading }, reading, door)
    }
    await store.close()
  })

  const second = await open(t, directory)
  await t.test('after a restart', (t) => readAll(t, second))
  await second.close()
})

t.test('what one door refuses all refuse, in the same words, and take what follows', async (t) => {
  const house = await open(t, t.testdir())
  t.teardown(() => house.close())
  const doors = await openDoors(t, house)
  for (const door of doors) {
    const topic = `sessions/s${doors.indexOf(door)}`
    const isRefused = (
      outcome: Outcome,
      { name, says, pointer }: (typeof refused)[number],
      around: string,
    ) => {
      t.match(outcome, { kind: 'refused', code: 'badFrame', message: says }, `${door.name} refuses ${name}`)
      const place = outcome.kind === 'refused' ? outcome.pointer : undefined
      if (place === undefined || name === 'a circle' || name === 'too deep') return
      t.ok(place.endsWith(`${around}/value${pointer}`), `${door.name}, ${name}: the place is ${place}`)
    }
    for (const value of refused) {
      if (value[door.form] === undefined) continue
      isRefused(await door.publish(topic, note, value), value, '/data')
      for (const [kind, change] of Object.entries(door.state ?? {})) {
        isRefused(await change(topic, kind, value), value, '')
      }
    }
    const fine = taken.find(({ name }) => name === 'true') as Taken
    t.same(await door.publish(topic, note, fine), { kind: 'taken' }, `${door.name} takes the next`)
    t.equal(house.hub.history(topic).events.length, 1, `${door.name}: nothing of it was published`)

    for (const id of noIds) {
      for (const bad of [`sessions/${id}`, `sessions/s/workers/${id}`]) {
        t.match(await door.publish(bad, note, fine), { kind: 'refused' }, `${door.name} refuses ${bad}`)
        for (const change of Object.values(door.state ?? {}))
          t.match(await change(bad, 'x', fine), { kind: 'refused' })
      }
      for (const change of Object.values(door.state ?? {})) {
        t.match(await change(topic, id, fine), { kind: 'refused' }, `${door.name} refuses the slice ${id}`)
      }
    }
    for (const type of ownTypes) {
      const outcome = await door.publish(topic, type, fine)
      t.match(outcome, { kind: 'refused', code: 'badFrame' }, `${door.name} refuses ${type}`)
      if (door.name !== 'dialect stream-event') {
        t.match(outcome, { message: new RegExp(`type: ${type} is the hub's own and cannot be published`) })
      }
    }
  }
  t.same(
    house.hub
      .sessions()
      .map(({ id }) => id)
      .toSorted(),
    doors.map((_, at) => `s${at}`).toSorted(),
  )
  t.equal(house.hub.session('s').id, 's')
})
