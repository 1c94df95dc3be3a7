import t from 'tap'
import type { StateChange } from '../../src/hub/state-change.js'
import type { JsonValue } from '../../src/lib/json.js'
import type { StateUpdate } from '../../src/protocol/frames.js'
import { inTurns } from '../../src/server/state-turns.js'
import { CheckedEdit, CheckedValue } from '../../src/state/checked-change.js'
import { setUp } from '../hub/hub-kit.js'
import { randomOf, secretsOf } from '../kit/secrets.js'

const token = secretsOf(randomOf(1)).find(({ kind }) => kind === 'anthropic-key')?.secret as string
const topic = { kind: 'session', session: 's' } as const
const steps = Array.from({ length: 4_000 }, (_, n) => ({ name: `step ${n}`, done: n % 2 === 0 }))
const named = Object.fromEntries(steps.map(({ name }, n) => [name, n]))

type Given = Parameters<typeof inTurns>[2]['change']

/** Changes in a number of ways the same value of the same slice. */
const changes: Readonly<Record<string, Given>> = {
  'the same value': { value: { steps } },
  'another value': { value: { steps: steps.slice(1), token } },
  'a value that has nothing in common': { value: named },
  'a value under a name that tells a secret': { value: { steps, password: 'a-long-password-that-is-none' } },
  'a value that is nested too deeply': {
    value: JSON.parse(`${'['.repeat(70)}${']'.repeat(70)}`) as JsonValue,
  },
  'a number that JSON does not have': { value: [-0, 'x'] },
  'a patch': { patch: steps.map((_, n) => ({ op: 'replace', path: `/steps/${n}/done`, value: n })) },
  'a patch with a secret': { patch: [{ op: 'add', path: '/more', value: `uses ${token}` }] },
  'a patch with a secret in a name': {
    patch: [{ op: 'add', path: '/https:~1~1user:a-password@example.com', value: 1 }],
  },
  'a patch that does not fit': { patch: [{ op: 'remove', path: '/steps/5000' }] },
  'a merge': { merge: { steps: null, more: { a: 1 } } },
  'a merge that changes nothing': { merge: {} },
}

/** @returns a hub with a value, whose update of the next change is taken */
function begin() {
  const { hub, clock, client } = setUp({ masking: { mode: 'shapes' } })
  hub.setState('sessions/s', 'plan', { steps })
  const one = client()
  one.subscribe('sessions/s', { slices: ['plan'] })
  clock.runTurn()
  one.frames.length = 0
  const outcome = (make: () => unknown): unknown => {
    try {
      const result = make()
      clock.runTurn()
      const updates = one.frames.flatMap((frame) =>
        frame.type === 'events' ? frame.events.map(({ data }) => data as unknown as StateUpdate) : [],
      )
      return { result, updates, value: hub.state('sessions/s', ['plan']).slices['plan'] }
    } catch (error) {
      const { code, message, place } = error as { code?: string; message: string; place?: object }
      return { code, message, place }
    }
  }
  let turns = 0
  const workTurns = { take: async () => void (turns += 1) }
  const context = { hub, limits: hub.limits, clock, report: t.fail, workTurns } as unknown as Parameters<
    typeof inTurns
  >[0]
  const prepare = (change: Given, bytes = 100_000): Promise<StateChange> =>
    inTurns(context, 'sender', {
      topic,
      slice: 'plan',
      change,
      bytes,
      json: Buffer.from(JSON.stringify('value' in change ? change.value : Object.values(change)[0])),
    })
  return { hub, outcome, prepare, turns: () => turns }
}

for (const [name, change] of Object.entries(changes)) {
  t.test(`${name} does the same in one turn and in several`, async (t) => {
    const [one, other] = [begin(), begin()]
    const prepared = await other.prepare(change)
    const [at, after] = [one, other].map(({ hub, outcome }, index) =>
      outcome(() => hub.changeState('sessions/s', 'plan', index === 0 ? change : prepared)),
    )
    t.strictSame(after, at)
    t.notMatch(JSON.stringify(after), token.slice(10, 30))
    t.notMatch(JSON.stringify(after), 'a-password')
  })

  t.test(`${name} is made of what is there, if another change came first`, async (t) => {
    const [one, other] = [begin(), begin()]
    const prepared = await other.prepare(change)
    const [at, after] = [one, other].map(({ hub, outcome }, index) => {
      hub.setState('sessions/s', 'plan', { steps: steps.slice(0, 100), other: true })
      return outcome(() => hub.changeState('sessions/s', 'plan', index === 0 ? change : prepared))
    })
    t.strictSame(after, at)
  })
}

t.test('what is small, or cannot be prepared, is left as it is', async (t) => {
  const { prepare, hub, turns } = begin()
  const small: Given = { value: { steps } }
  t.equal(await prepare(small, 60_000), small)
  t.equal(turns(), 0)
  t.type(await prepare({ value: { steps } }), CheckedValue)
  t.type(await prepare({ merge: { a: 1 } }), CheckedEdit)
  for (const name of ['a patch that does not fit', 'a value that is nested too deeply'] as const)
    t.equal(await prepare(changes[name] as Given), changes[name])
  hub.removeState('sessions/s', 'plan')
  const patch: Given = { patch: [{ op: 'add', path: '/a', value: 1 }] }
  t.equal(await prepare(patch), patch, 'there is nothing to apply it to')
  const first = await prepare({ value: { steps } })
  t.strictSame(hub.changeState('sessions/s', 'plan', first).changed, true)
  t.strictSame(hub.state('sessions/s', ['plan']).slices['plan'], { steps })
})

t.test('a large change takes a turn for each of its steps', async (t) => {
  for (const [name, expected] of [
    ['another value', 4],
    ['a patch', 6],
    ['a merge', 6],
  ] as const) {
    const { prepare, turns } = begin()
    await prepare(changes[name] as Given)
    t.equal(turns(), expected, name)
  }
})
