import { test } from 'tap'
import { IdleTimers } from '../../../src/server/links/idle-timers.js'
import { SimulatedClock } from '../../kit/clock.js'

const began = Date.UTC(2025, 0, 1)

function quiet() {
  const clock = new SimulatedClock(began)
  const errors: unknown[] = []
  const silences = new IdleTimers(clock, 100, (error) => errors.push(error))
  const told: string[] = []
  const begin = (name: string) =>
    silences.begin({
      silent(times) {
        told.push(`${name} ${times} at ${clock.now() - began}`)
      },
    })
  return { clock, silences, errors, told, begin }
}

test('tells of each of many silences at its time, with one timer', async (t) => {
  const { clock, told, begin } = quiet()
  const a = begin('a')
  clock.advance(30)
  const b = begin('b')
  t.equal(clock.timers, 1)
  clock.advance(30)
  a.broken()
  clock.advance(200)
  t.strictSame(told, ['b 1 at 130', 'a 1 at 160', 'b 2 at 230', 'a 2 at 260'])
  b.broken()
  clock.advance(100)
  t.strictSame(told.slice(4).sort(), ['a 3 at 360', 'b 1 at 360'], 'counts anew')
  a.end()
  b.end()
  t.equal(clock.timers, 0, 'leaves no timer')
})

test('tells all of their time though thousands begin, break and end', async (t) => {
  const { clock, silences } = quiet()
  let late = 0
  const heard = new Map<number, number>()
  const all = Array.from({ length: 2_000 }, (_, at) => {
    heard.set(at, clock.now())
    clock.advance(at % 3 === 0 ? 1 : 0)
    heard.set(at, clock.now())
    return silences.begin({
      silent(times) {
        if (clock.now() !== (heard.get(at) ?? 0) + times * 100) late += 1
      },
    })
  })
  for (let round = 0; round < 50; round += 1) {
    for (let at = round; at < all.length; at += 17) {
      all[at]?.broken()
      heard.set(at, clock.now())
    }
    clock.advance(7)
  }
  t.equal(late, 0)
  for (const silence of all) {
    silence.end()
    silence.end()
  }
  t.equal(clock.timers, 0)
})

test('may be ended by whoever is told, and tells the others when one throws', async (t) => {
  const { clock, silences, errors, told, begin } = quiet()
  const ends = silences.begin({
    silent() {
      ends.end()
      last.end()
    },
  })
  silences.begin({
    silent() {
      throw new Error('told')
    },
  })
  const last = begin('last')
  begin('other')
  clock.advance(100)
  t.strictSame(told, ['other 1 at 100'])
  t.equal(errors.length, 1)
})

test('is not told by a wall clock that is set', (t) => {
  const { clock, told, begin } = quiet()
  const silence = begin('a')
  clock.jump(3 * 86_400_000)
  clock.advance(99)
  silence.broken()
  t.strictSame(told, [])
  clock.jump(-6 * 86_400_000)
  clock.advance(99)
  t.strictSame(told, [])
  clock.advance(1)
  t.equal(told.length, 1)
  t.end()
})
