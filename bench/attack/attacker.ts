/**
 * Attacks while it is told to, in a process of its own: `attacker.ts <topic>`. Told `{ attack, url, perSecond }`
 * it begins, told `stop` it ends with the round that it is in, and says how many there were.
 */
import { type Attack, attacks, type Target } from '../../test/attack/attacks.js'
import { fairnessAttacks } from '../../test/attack/fairness-attacks.js'
import { SeededRandom } from '../../test/kit/random.js'
import type { AttackerWord } from './control.js'

const [topic = ''] = process.argv.slice(2)
const random = new SeededRandom(1)
let isTold = false

async function attackUntilTold(attack: Attack, target: Target, perSecond: number): Promise<number> {
  const begin = performance.now()
  let rounds = 0
  for (;;) {
    // A round that came late is not made up for.
    const due = Math.max(performance.now(), begin + (rounds * 1_000) / perSecond)
    await new Promise((resolve) => setTimeout(resolve, due - performance.now()))
    if (!isTold) return rounds
    try {
      await attack(target, random)
    } catch {
      // The hub has turned it away: that is one way for an attack to end.
    }
    rounds += 1
  }
}

process.on('message', (word: AttackerWord) => {
  isTold = word !== 'stop'
  if (word === 'stop') return
  const { url, perSecond } = word
  const attack = attacks[word.attack] ?? fairnessAttacks[word.attack]
  if (attack === undefined) throw new Error(`there is no attack ${word.attack}`)
  const target = { url, port: Number(new URL(url).port), topic }
  void attackUntilTold(attack, target, perSecond).then((rounds) => process.send?.(rounds))
})
// The bench has gone.
process.once('disconnect', () => process.exit())
process.send?.('ready')
