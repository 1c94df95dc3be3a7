// The process that plays the clients. It is started by the bench and ends with it.
import { answerCalls, tell } from '../harness/answering.js'
import type { SwarmCalls } from '../harness/messages.js'
import { produce } from './produce.js'
import { Swarm } from './swarm.js'

const swarm = new Swarm((deliveries) => tell({ kind: 'progress', deliveries }))

answerCalls<SwarmCalls>({
  connect: async (options) => {
    await swarm.connect(options)
    return null
  },
  expect: (expected) => {
    swarm.expect(expected)
    return null
  },
  settled: () => swarm.settled(),
  pause: () => {
    swarm.pause()
    return null
  },
  resume: () => {
    swarm.resume()
    return null
  },
  close: () => {
    swarm.close()
    return null
  },
  produce,
})
tell({ kind: 'ready', port: 0 })
