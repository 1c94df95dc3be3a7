import t from 'tap'
import type { Offset } from '../../src/protocol/cursor.js'
import { Commands } from '../../src/session/commands.js'
import { Publishers } from '../../src/session/publishers.js'
import { Session } from '../../src/session/session.js'
import { LivingHubs } from '../../src/sessions/log/living-hubs.js'
import { LogFollower } from '../../src/sessions/log/log-follower.js'
import { LogSessions } from '../../src/sessions/log/log-sessions.js'
import { TopicState } from '../../src/state/topic-state.js'
import type { Rules } from '../kit/faulty-log.js'
import { noCounts } from './log-publishers.js'
import { LogSimulation } from './log-simulation.js'

const seed = Number(process.env['RUNCAST_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
const rounds = Number(process.env['RUNCAST_ROUNDS'] ?? 2)
const stepsPerRound = Number(process.env['RUNCAST_STEPS'] ?? 1_500)

// Each mutation runs until it is found out.
t.setTimeout(300_000)

t.test(`hubs that share a log: nobody diverges, whatever happens (RUNCAST_SEED=${seed})`, async (t) => {
  const counts = noCounts()
  for (let round = 0; round < rounds; round++) {
    try {
      await new LogSimulation(seed + round, counts, {}).run(stepsPerRound)
    } catch (error) {
      t.comment(`RUNCAST_SEED=${seed + round} RUNCAST_ROUNDS=1 RUNCAST_STEPS=${stepsPerRound} repeats this`)
      throw error
    }
  }
  t.comment(JSON.stringify(counts))
  // The simulation must reach what it is there for; these do not come up in every round.
  const { evicted, unchanged, removed, ended, losses, superseded, masked, ...always } = counts
  const seldom = { evicted, unchanged, removed, ended, losses, superseded, masked }
  t.comment(JSON.stringify(seldom))
  for (const [name, count] of Object.entries(always)) t.ok(count > 0, name)
})

/** Takes a rule away, and says how to put it back. */
type Mutation = { readonly rules: Rules; readonly textOdds?: number } | { readonly patch: () => () => void }

function patched<Of extends object, Name extends keyof Of>(
  prototype: Of,
  name: Name,
  make: (original: Of[Name]) => Of[Name],
): () => () => void {
  return () => {
    const original = prototype[name]
    prototype[name] = make(original)
    return () => {
      prototype[name] = original
    }
  }
}

const mutations: Readonly<Record<string, Mutation>> = {
  'a log says which positions are lost': { rules: { lost: false } },
  'a log looks whether its feed lives': { rules: { canary: false } },
  'a log knows what was published': { rules: { ids: false } },
  'a batch of texts goes on with what is held back': { rules: { held: false }, textOdds: 0.2 },
  'eras go by time': { rules: { eras: false } },
  'a batch that leaves a hole is not applied': {
    patch: patched(
      LogFollower.prototype,
      'batch',
      (original) =>
        function (this: LogFollower, batch) {
          const { offset } = this.session
          return original.call(this, batch.from > offset ? { ...batch, from: offset } : batch)
        },
    ),
  },
  'a hub catches up with a cursor before it lets it join': {
    patch() {
      const ready = patched(
        LogSessions.prototype,
        'isReady',
        (original) =>
          function (this: LogSessions, id) {
            return original.call(this, id)
          },
      )()
      const open = patched(
        LogSessions.prototype,
        'open',
        (original) =>
          function (this: LogSessions, id) {
            return original.call(this, id)
          },
      )()
      return () => {
        ready()
        open()
      }
    },
  },
  'a cursor in a lost range gets a gap': {
    patch: patched(LogFollower.prototype, 'lostAt', () => () => undefined),
  },
  'a change means nothing when its slice has changed before it': {
    patch: patched(
      TopicState.prototype,
      'follow',
      (original) =>
        function (this: TopicState, update, moment) {
          return original.call(this, { ...update, base: this.offsetOf(update.slice) }, moment)
        },
    ),
  },
  'the first word on a command counts': {
    patch: patched(
      Commands.prototype,
      'isOpen',
      () =>
        function (this: Commands) {
          return true
        },
    ),
  },
  'who was heard of is not lost': {
    patch: patched(Publishers.prototype, 'heardOffset', () => () => 0 as Offset),
  },
  'who reads asks the log first': {
    patch: patched(
      LogSessions.prototype,
      'open',
      (original) =>
        function (this: LogSessions, id, { position } = {}) {
          return original.call(this, id, { position })
        },
    ),
  },
  'watchers at a hub that is gone are not counted': {
    patch: patched(LivingHubs.prototype, 'counted', () => () => undefined),
  },
  'what is retained no more is told': {
    patch: patched(
      Session.prototype,
      'setPast',
      (original) =>
        function (this: Session, past) {
          return original.call(this, { ...past, trimmed: 0 as Offset })
        },
    ),
  },
}

for (const [rule, mutation] of Object.entries(mutations)) {
  t.test(`${rule}: without it, the simulation fails`, async (t) => {
    const restore = 'patch' in mutation ? mutation.patch() : () => undefined
    const { rules, textOdds = 0 } = 'rules' in mutation ? mutation : { rules: {} }
    let found: unknown
    let round = 0
    try {
      // The same seeds each time: it is the rule that is tried, and not the luck of a seed.
      for (; round < 40 && found === undefined; round++) {
        await new LogSimulation(100 + round, noCounts(), rules, textOdds).run(500).catch((error: unknown) => {
          found = error
        })
      }
    } finally {
      restore()
    }
    t.ok(found instanceof Error, `found in round ${round}: ${String(found).slice(0, 200)}`)
  })
}
