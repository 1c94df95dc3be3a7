import t from 'tap'
import { down, heapOf } from '../../src/lib/heap.js'

t.test('the lowest of many is found in steps that grow with the logarithm of their number', (t) => {
  const count = 4_096
  let looked = 0
  const items = Array.from({ length: count }, (_, index) => {
    let place = (index * 2_654_435_761) % 100_003
    return {
      get place() {
        looked++
        return place
      },
      set place(next: number) {
        place = next
      },
    }
  })
  heapOf(items)
  t.ok(looked < 8 * count, 'they are put in order')
  looked = 0
  const steps = 10_000
  let last = 0
  for (let step = 0; step < steps; step += 1) {
    const first = items[0] as { place: number }
    const { place } = first
    if (place < last) t.fail(`${place} comes after ${last}`)
    last = place
    first.place = place + 1 + ((step * 7_919) % 5_000)
    down(items, 0)
  }
  t.ok(looked < 60 * steps, `${looked / steps} are looked at for each`)
  t.end()
})
