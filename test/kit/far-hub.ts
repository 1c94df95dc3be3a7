import assert from 'node:assert/strict'
import type { Test } from 'tap'
import { createHub } from '../../src/hub/hub.js'
import { serve } from '../../src/server/serve.js'
import type { Far } from '../conformance/client.js'
import { freePort } from './free-port.js'
import { Proxy } from './proxy.js'

export interface FarHub extends Far {
  /** Another hub, that knows nothing of the one before, listens in its place. */
  replaceHub(): Promise<void>
}

/** A hub behind a proxy, for the suite of clients. When the test ends nothing may be left of it. */
export async function farHub(t: Test): Promise<{ readonly url: string; readonly far: FarHub }> {
  let hub = createHub()
  const port = await freePort()
  let server = await serve(hub, { port, report: (error) => t.error(error, 'nothing is reported') })
  const proxy = await Proxy.open(port)
  t.teardown(async () => {
    await proxy.close()
    await server.close({ graceMs: 1_000 })
    const { connections, subscriptions, feeds } = hub.stats()
    assert.deepEqual({ connections, subscriptions, feeds }, { connections: 0, subscriptions: 0, feeds: 0 })
  })
  const far: FarHub = {
    async publish(topic, events) {
      hub.publish(topic, events)
      // The next ones are another flush.
      await new Promise((resolve) => setImmediate(resolve))
    },
    async setState(topic, slice, value) {
      hub.setState(topic, slice, value)
    },
    async endSession(session, outcome) {
      hub.endSession(session, outcome)
    },
    retained: async (topic) => hub.history(topic, { limit: 1_000 }).events.map(({ data }) => data),
    async stats() {
      const { connections, feeds, subscriptions } = hub.stats()
      return { connections, feeds, subscriptions }
    },
    async cut(how) {
      if (how === 'hard') return proxy.cut()
      for (const link of proxy.links) link.cutGently()
    },
    async restart(topic, meanwhile) {
      await server.close()
      hub.publish(topic, [{ type: 'a', data: meanwhile }])
      server = await serve(hub, { port })
    },
    async replaceHub() {
      await server.close()
      hub = createHub()
      server = await serve(hub, { port })
    },
    accepted: async () => proxy.accepted,
  }
  return { url: `http://127.0.0.1:${proxy.port}`, far }
}
