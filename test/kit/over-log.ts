import root from 'tap'
import { createHub, type Hub } from '../../src/hub/hub.js'
import type { HubOptions } from '../../src/hub/hub-options.js'
import { systemClock } from '../../src/lib/clock.js'
import { systemRandom } from '../../src/lib/random.js'
import { MemoryLog } from '../../src/log/memory-log.js'
import type { SharedLog } from '../../src/log/shared-log.js'
import { type TopicName, topicNameOf } from '../../src/protocol/topic.js'
import { redisLog } from '../../src/redis/open.js'
import { RedisServer } from './redis.js'

const kind = process.env.RUNCAST_LOG

/** Whether the hubs that tests serve are over a log, in memory or in Redis: for a whole run, what the environment says. */
export const overLog = kind === 'memory' || kind === 'redis'

/** One for all tests of a file; each hub has a database of its own. */
let redis: Promise<RedisServer> | undefined
let databases = 0
const databasesMax = 1_000

async function openLog({ clock = systemClock, random = systemRandom }: HubOptions): Promise<SharedLog> {
  if (kind === 'memory') return new MemoryLog(clock, random).link()
  redis ??= RedisServer.start(root, ['--databases', String(databasesMax)])
  const { url } = await redis
  // Redis keeps its own time, whatever the hub's clock is.
  return redisLog({ url: `${url}/${databases++}` })
}

/**
 * A hub over a log of its own. What tests do to it within the process without waiting is submitted: it is there before
 * what is asked of the hub over a socket afterwards, and `settled` of the hub waits for it. What it answers at once is
 * nothing that a test may go by.
 */
export async function hubOverLog(options: HubOptions): Promise<Hub> {
  const hub = createHub({ ...options, log: await openLog(options) })
  const report = options.report ?? ((error) => console.error(error))
  const underWay = new Set<Promise<unknown>>()
  function later<Answer>(submitted: Promise<unknown>, answer: Answer): Answer {
    const settled = submitted
      .catch((error: unknown) => report(error, 'a test'))
      .finally(() => underWay.delete(settled))
    underWay.add(settled)
    return answer
  }
  /** What is opened or read comes after what was submitted before, as in a hub without a log. */
  const inOrder = (open: () => Promise<void> | undefined): Promise<void> | undefined =>
    underWay.size === 0 ? open() : Promise.all(underWay).then(open)
  const { open, openAll, catchUp } = hub
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
    open: (topic, after) => inOrder(() => open.call(hub, topic, after)),
    openAll: (topics) => inOrder(() => openAll.call(hub, topics)),
    catchUp: (topic) => inOrder(() => catchUp.call(hub, topic)),
    committed: async () => void (await Promise.all(underWay)),
  }
  return Object.assign(hub, instead)
}

/** @returns a pattern of an offset: exact, but over a log, where each batch has offsets that no event takes */
export function exact(offset: number): number | NumberConstructor {
  return overLog ? Number : offset
}
