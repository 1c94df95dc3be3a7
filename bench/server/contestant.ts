import { writeFileSync } from 'node:fs'
import { Session } from 'node:inspector'
import { answerCalls, tell } from '../harness/answering.js'
import type { Round, ServerCalls } from '../harness/messages.js'
import { monotonicMicros } from '../harness/monotonic.js'
import { type Spent, spentBy } from '../harness/spent.js'

/** What takes part in a benchmark: a server that broadcasts, started in its own process. */
export interface Contestant {
  readonly port: number
  /** The process that serves, where it is another one: its CPU and its memory count, not this one's. */
  readonly pid?: number
  /** Several servers that are one contestant, this one's port among them: clients are spread over them. */
  readonly ports?: readonly number[]
  /** Processes that serve beside this one: their CPU and memory count as well. */
  readonly others?: readonly number[]
  /** The process of the engine behind it; its CPU is told apart. */
  readonly engine?: number
  /** Makes ready for the turns of a round. */
  prepare(round: Round): void
  /** Publishes one turn's events, numbered from `first`, stamped with the microsecond `stamp`. */
  publish(first: number, events: number, stamp: number): void
}

/** Profiles from the first round on, and writes the profile when the process ends. */
function profileTo(file: string): void {
  const session = new Session()
  session.connect()
  session.post('Profiler.enable')
  session.post('Profiler.start')
  process.once('exit', () => {
    // Within one process the answer comes before `post` returns.
    session.post('Profiler.stop', (_error, { profile }) => writeFileSync(file, JSON.stringify(profile)))
  })
}

function sumOf(all: readonly Spent[]): Spent {
  const sum = { cpuMicros: 0, userMicros: 0, rssBytes: 0 }
  for (const { cpuMicros, userMicros, rssBytes } of all) {
    sum.cpuMicros += cpuMicros
    sum.userMicros += userMicros
    sum.rssBytes += rssBytes
  }
  return sum
}

/** Publishes when the bench asks for it, in turns, and tells what that cost. */
export function compete(contestant: Contestant): void {
  const { engine } = contestant
  const spentNow = (): Spent => sumOf([contestant.pid, ...(contestant.others ?? [])].map(spentBy))
  const engineNow = () => (engine === undefined ? 0 : spentBy(engine).cpuMicros)
  let next = 1
  let received = 0
  let wake: (() => void) | undefined
  let spent = spentNow()
  let engineSpent = engineNow()
  let begun = monotonicMicros()
  let profileFile = process.argv[2]

  answerCalls<ServerCalls>({
    async run(round) {
      contestant.prepare(round)
      profileOnce()
      const first = next
      received = 0
      begun = monotonicMicros()
      spent = spentNow()
      engineSpent = engineNow()
      await publishRound(round)
      return { first, last: next - 1 }
    },
    begin() {
      profileOnce()
      begun = monotonicMicros()
      spent = spentNow()
      engineSpent = engineNow()
      return null
    },
    usage() {
      const { cpuMicros, userMicros, rssBytes } = spentNow()
      return {
        cpuMicros: cpuMicros - spent.cpuMicros,
        userMicros: userMicros - spent.userMicros,
        rssBytes,
        wallMicros: monotonicMicros() - begun,
        ...(engine !== undefined && { engineMicros: engineNow() - engineSpent }),
      }
    },
    received({ turns }) {
      received = turns
      wake?.()
      return null
    },
  })
  const { port, ports } = contestant
  tell({ kind: 'ready', port, ...(ports && { ports }) })

  function profileOnce(): void {
    if (profileFile !== undefined) profileTo(profileFile)
    profileFile = undefined
  }

  function publishRound(round: Round): Promise<void> {
    return new Promise((resolve) => {
      let published = 0
      let inTick = 0
      let tickAt = performance.now()
      const begunAt = tickAt
      const begunMicros = monotonicMicros()
      const turn = () => {
        // Timers may fire a millisecond early; an event that is stamped with its time must not be.
        if (round.stampDue && performance.now() < tickAt) return void setImmediate(turn)
        if (published === round.turns) return resolve()
        if (published - received >= round.aheadMax) {
          wake = () => {
            wake = undefined
            turn()
          }
          return
        }
        const stamp = round.stampDue ? begunMicros + (tickAt - begunAt) * 1e3 : monotonicMicros()
        contestant.publish(next, round.events, stamp)
        next += round.events
        published += 1
        inTick += 1
        if (round.turnsPerTick === 0 || inTick < round.turnsPerTick) return void setImmediate(turn)
        inTick = 0
        // Ticks keep their rate: one that was late does not delay those after it.
        tickAt += round.tickMs
        setTimeout(turn, Math.max(1, tickAt - performance.now()))
      }
      turn()
    })
  }
}
