import { createHub, type Hub } from '../../src/hub/hub.js'
import type { HubOptions } from '../../src/hub/hub-options.js'
import { systemClock } from '../../src/lib/clock.js'
import { systemRandom } from '../../src/lib/random.js'
import { MemoryLog } from '../../src/log/memory-log.js'
import { type TopicName, topicNameOf } from '../../src/protocol/topic.js'

/** Whether the hubs that tests serve are over a log, which lies in memory: for a whole run, what the environment says. */
export const overLog = process.env.RUNCAST_LOG === 'memory'

/**
 * A hub over a log of its own. What tests do to it within the process without waiting is submitted: it is there before
 * the first request over a socket can be. What it answers at once is nothing that a test may go by.
 */
export function hubOverLog(options: HubOptions): Hub {
  const clock = options.clock ?? systemClock
  const hub = createHub({ ...options, log: new MemoryLog(clock, options.random ?? systemRandom).link() })
  const report = options.report ?? ((error) => console.error(error))
  const underWay = new Set<Promise<unknown>>()
  function later<Answer>(submitted: Promise<unknown>, answer: Answer): Answer {
    const settled = submitted
      .catch((error: unknown) => report(error, 'a test'))
      .finally(() => underWay.delete(settled))
    underWay.add(settled)
    return answer
  }
  const published = { first: 0, last: 0, accepted: 0, duplicates: 0 } as ReturnType<Hub['publish']>
  const changed = { epoch: '', offset: 0, changed: true } as unknown as ReturnType<Hub['setState']>
  const named = (topic: string | TopicName) => topicNameOf(topic, 'topic', hub.limits)
  const instead: Partial<Hub> = {
    publish: (topic, events) => later(hub.submit(topic, events), published),
    publishTo: (session, publisher, events) => later(hub.submitTo(session, publisher, events), published),
    setState: (topic, slice, value, more) =>
      later(hub.submitState(named(topic), slice, { value }, more), changed),
    patchState: (topic, slice, patch, more) =>
      later(hub.submitState(named(topic), slice, { patch }, more), changed),
    mergeState: (topic, slice, merge, more) =>
      later(hub.submitState(named(topic), slice, { merge }, more), changed),
    removeState: (topic, slice, more) =>
      later(hub.submitState(named(topic), slice, { removed: true }, more), changed),
    createSession: (id, more) => later(hub.submitSession(id, more), true),
    endSession: (id, outcome, said) => later(hub.submitEnd(id, outcome, said), undefined),
    lease: (topic, ms, holder) => later(hub.submitLease(topic, ms, holder), undefined),
    committed: async () => void (await Promise.all(underWay)),
  }
  return Object.assign(hub, instead)
}
