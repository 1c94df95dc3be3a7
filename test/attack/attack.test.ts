import t from 'tap'
import { CountedClock } from '../kit/clock.js'
import { SeededRandom } from '../kit/random.js'
import { openStream, overTransports, served, transportNow } from '../kit/served.js'
import { until } from '../kit/wait.js'
import { attacks } from './attacks.js'
import { fairnessAttacks } from './fairness-attacks.js'

const seed = Number(process.env.RUNCAST_FUZZ_SEED ?? Math.floor(Math.random() * 1e9))

/** Each attack is made over one of the two transports, by the seed, unless all are asked for. */
const isWhole = process.env.RUNCAST_ATTACKS === 'all' || process.env.RUNCAST_TRANSPORT !== undefined

t.comment(`seed ${seed}`)
overTransports(t, (t) => {
  const turn = transportNow() === 'uws' ? 0 : 1
  for (const [at, [name, attack]] of Object.entries({ ...attacks, ...fairnessAttacks }).entries()) {
    if (!isWhole && (at + seed) % 2 !== turn) continue
    t.test(`after ${name} the hub serves, and nothing is left`, { timeout: 120_000 }, async (t) => {
      const clock = new CountedClock()
      const { hub, server, url } = await served(t, { hub: { clock }, serve: { clock } })
      const topic = 'sessions/hot'
      hub.publish(topic, [{ type: 'note', data: 'before' }])
      const honest = await openStream(t, `${url}/api/${topic}/events?types=note`)
      await honest.until(({ event }) => event === 'hub.live')
      const { timers } = clock
      await attack({ url, port: server.port, topic }, new SeededRandom(seed))
      hub.publish(topic, [{ type: 'note', data: 'after' }])
      const { data } = await honest.until((block) => block.event === 'note')
      t.match(JSON.parse(data ?? ''), { data: 'after' })
      await until(
        'only the honest one is left',
        () => {
          const { connections, subscriptions, feeds, lagging, waitingBytes } = hub.stats()
          return (
            connections === 1 && subscriptions === 1 && feeds === 1 && lagging === 0 && waitingBytes === 0
          )
        },
        60_000,
      )
      await until('no timer is left but those from before', () => clock.timers <= timers)
      t.equal(hub.stats().faults, 0)
      t.equal(({} as { polluted?: number }).polluted, undefined)
      honest.close()
    })
  }
})
