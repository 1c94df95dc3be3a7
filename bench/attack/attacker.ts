/**
 * One attack, round after round, in a process of its own: `attacker.ts <url> <topic> <name> <ms> <rounds a second>`.
 */
import { limitTable } from '../../src/protocol/limits.js'
import { type Attack, attacks } from '../../test/attack/attacks.js'
import { fairnessAttacks } from '../../test/attack/fairness-attacks.js'
import { SeededRandom } from '../../test/kit/random.js'
import { controlName } from './control.js'

/** Uses its core up, and leaves the hub alone. */
const workAlone: Attack = async () => {
  const until = performance.now() + 5
  while (performance.now() < until) JSON.parse(JSON.stringify(limitTable))
  await new Promise((resolve) => setImmediate(resolve))
}

const [url = '', topic = '', name = '', ms = '', perSecond = ''] = process.argv.slice(2)
const attack = name === controlName ? workAlone : (attacks[name] ?? fairnessAttacks[name])
if (attack === undefined) throw new Error(`there is no attack ${name}`)
const target = { url, port: Number(new URL(url).port), topic }
const random = new SeededRandom(1)
const begin = performance.now()
let rounds = 0
for (;;) {
  // A round that came late is not made up for.
  const due = Math.max(performance.now(), begin + (rounds * 1_000) / Number(perSecond))
  if (due >= begin + Number(ms)) break
  await new Promise((resolve) => setTimeout(resolve, due - performance.now()))
  try {
    await attack(target, random)
  } catch {
    // The hub has turned it away: that is one way for an attack to end.
  }
  rounds += 1
}
process.send?.(rounds)
