import t from 'tap'
import { systemClock } from '../../src/lib/clock.js'
import { systemRandom } from '../../src/lib/random.js'
import { MemoryLog } from '../../src/log/memory-log.js'
import { sharedLogConformance } from '../conformance/shared-log.js'

t.test('memory', (t) => {
  sharedLogConformance(t, (t) => {
    const log = new MemoryLog(systemClock, systemRandom)
    let image = log.image()
    return {
      link: () => {
        const link = log.link()
        t.teardown(() => link.close())
        return link
      },
      failover: { mark: () => void (image = log.image()), failOver: () => log.failOver(image) },
    }
  })
  t.end()
})
