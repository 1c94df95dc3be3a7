import t from 'tap'
import { down, heapOf } from '../../src/lib/heap.js'

t.test('the lowest of many is found in steps that grow with the logarithm of their number', (t) => {
  const count = 4_096
  let looked = 0
  const items = Array.from({ length: count }, (_, index) => {
    let offset = (index * 2_654_435_761) % 100_003
    return {
      get offset() {
        looked++
        return offset
      },
      set offset(next: number) {
        offset = next
      },
    }
  })
  heapOf(items)
  t.ok(looked < 8 * count, 'they are put in order')
  looked = 0
  const steps = 10_000
  let last = 0
  for (let step = 0; step < steps; step += 1) {
    const first = items[0] as { offset: number }
    const { offset } = first
    if (offset < last) t.fail(`${offset} comes after ${last}`)
    last = offset
    first.offset = offset + 1 + ((step * 7_919) % 5_000)
    down(items, 0)
  }
  t.ok(looked < 60 * steps, `${looked / steps} are looked at for each`)
  t.end()
})
