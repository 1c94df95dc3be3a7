// Damages a store again and again, and tells before each time what it does: it may not live to tell how it went.
import { writeSync } from 'node:fs'
import { openLmdb } from '../../src/store/lmdb.js'
import { SeededRandom } from '../kit/random.js'
import { askAll, randomDamage, suffer } from './damage-cases.js'

const [sample = '', directory = '', pristine = '', seed, first, last] = process.argv.slice(2)
const say = (what: object) => void writeSync(1, `${JSON.stringify(what)}\n`)
const whole = openLmdb({ directory: pristine })
const truth = await askAll(whole)
await whole.close()
for (let number = Number(first); number <= Number(last); number++) {
  const damage = randomDamage(new SeededRandom(Number(seed) + number))
  say({ number, damage: damage.name })
  try {
    say({ number, ...(await suffer(sample, directory, damage, truth)) })
  } catch (error) {
    say({ number, wrong: error instanceof Error ? error.message : String(error) })
  }
}
say({ done: true })
