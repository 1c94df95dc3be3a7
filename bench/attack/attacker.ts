/** One attack, round after round, in a process of its own: `attacker.ts <url> <topic> <name> <ms>`. */
import { attacks } from '../../test/attack/attacks.js'
import { SeededRandom } from '../../test/kit/random.js'

const [url = '', topic = '', name = '', ms = ''] = process.argv.slice(2)
const attack = attacks[name]
if (attack === undefined) throw new Error(`there is no attack ${name}`)
const target = { url, port: Number(new URL(url).port), topic }
const random = new SeededRandom(1)
const end = Date.now() + Number(ms)
let rounds = 0
while (Date.now() < end) {
  try {
    await attack(target, random)
  } catch {
    // The hub has turned it away: that is one way for an attack to end.
  }
  rounds += 1
}
process.send?.(rounds)
