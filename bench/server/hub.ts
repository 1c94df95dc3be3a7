import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { JsonValue } from '../../src/lib/json.js'
import type { NewEvent } from '../../src/protocol/frames.js'
import { benchSession, benchTopic, benchType, topicOf, typeOf } from '../harness/event.js'
import type { Round } from '../harness/messages.js'
import { answerToken, answerType } from './answer.js'
import { benchSlice, dataFor, firstPlan, nextPlan, type Plan, tokenType } from './content.js'
import { compete } from './contestant.js'
import { type Engine, otherHubs, startEngine } from './engine.js'

// What users run: `dist/`. Under tsx the same source would be slower.
const root = process.env.RUNCAST_BENCH_DIST ?? fileURLToPath(new URL('../../dist/', import.meta.url))
const dist = (path: string) => import(pathToFileURL(resolve(root, path)).href)
const { createHub } = (await dist('hub/hub.js')) as typeof import('../../src/hub/hub.js')
const { serve } = (await dist('server/serve.js')) as typeof import('../../src/server/serve.js')

/** Where events go beside the history: `redis`, one hub over it; a number, so many hubs, of which the first is published to. */
export type Kept = 'memory' | 'lmdb' | 'redis' | number

/** Runcast itself, with its defaults. */
export async function competeAsRuncast(kept: Kept): Promise<void> {
  const engine = kept === 'redis' || typeof kept === 'number' ? await startEngine() : undefined
  const starting = engine && typeof kept === 'number' ? otherHubs(engine, kept - 1) : undefined
  const hub = createHub({
    ...(engine !== undefined && { log: await openLog(engine) }),
    ...(kept === 'lmdb' && { store: await openStore() }),
    ...(process.env.RUNCAST_BENCH_MASKING === 'off' && { masking: { mode: 'off' } }),
  })
  const transport = process.env.RUNCAST_BENCH_TRANSPORT === 'node' ? 'node' : undefined
  const server = await serve(hub, { port: 0, ...(transport && { transport }) })
  const others = await starting
  let publish: (number: number, stamp: number) => void
  let plan: Plan | undefined

  compete({
    port: server.port,
    ...(others && { ports: [server.port, ...others.ports], others: others.pids }),
    ...(engine && { engine: engine.pid }),
    prepare(round) {
      publish = round.content === 'patch' ? statePublisher(round.bytes) : eventPublisher(round)
    },
    publish(first, events, stamp) {
      for (let index = 0; index < events; index += 1) publish(first + index, stamp)
    },
  })

  function send(topic: string, events: readonly NewEvent[]): void {
    if (engine === undefined) hub.publish(topic, events)
    else hub.submit(topic, events).catch(fail)
  }

  function set(value: Plan): void {
    const changed = value as unknown as JsonValue
    if (engine === undefined) hub.session(benchSession).setState(benchSlice, changed)
    else hub.submitState(benchTopic, benchSlice, { value: changed }).catch(fail)
  }

  function eventPublisher(round: Round): typeof publish {
    const { spread, content, ids = false } = round
    if (content === 'answer') {
      return (number) => send(benchTopic, [{ type: answerType, data: { content: answerToken(number) } }])
    }
    const type = content === 'tokens' ? tokenType : (round.type ?? benchType)
    const data = dataFor(round) as (number: number, stamp: number) => JsonValue
    if (spread === undefined) {
      return (number, stamp) => {
        const made = data(number, stamp)
        // No spread: V8 reads the fields of such an object so slowly that the event costs twice as much.
        send(benchTopic, [ids ? { type, id: `${number}`, data: made } : { type, data: made }])
      }
    }
    return (number, stamp) => {
      const spreadType = spread.kind === 'types' ? typeOf(number, spread) : type
      send(topicOf(number, spread), [{ type: spreadType, data: data(number, stamp) }])
    }
  }

  function statePublisher(bytes: number): typeof publish {
    if (plan === undefined) {
      plan = firstPlan(bytes)
      set(plan)
    }
    return (number, stamp) => {
      plan = nextPlan(plan as Plan, number, stamp)
      set(plan)
    }
  }
}

async function openLog({ url }: Engine) {
  const { redisLog } = (await dist('redis/open.js')) as typeof import('../../src/redis/open.js')
  return redisLog({ url })
}

/** An event that the log did not take is missing in the result. */
function fail(error: unknown): void {
  process.stderr.write(`bench: ${String(error)}\n`)
}

async function openStore() {
  const { openLmdb } = (await dist('store/lmdb.js')) as typeof import('../../src/store/lmdb.js')
  const directory = mkdtempSync(join(tmpdir(), 'runcast-bench-'))
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }))
  return openLmdb({ directory })
}
