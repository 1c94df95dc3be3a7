import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { JsonValue } from '../../src/lib/json.js'
import { benchSession, benchTopic, benchType, topicOf, typeOf } from '../harness/event.js'
import type { Round } from '../harness/messages.js'
import { answerToken, answerType } from './answer.js'
import { benchSlice, dataFor, firstPlan, nextPlan, type Plan, tokenType } from './content.js'
import { compete } from './contestant.js'

// What users run: `dist/`. Under tsx the same source would be slower.
const root = process.env.RUNCAST_BENCH_DIST ?? fileURLToPath(new URL('../../dist/', import.meta.url))
const dist = (path: string) => import(pathToFileURL(resolve(root, path)).href)
const { createHub } = (await dist('hub/hub.js')) as typeof import('../../src/hub/hub.js')
const { serve } = (await dist('server/serve.js')) as typeof import('../../src/server/serve.js')

/** Runcast itself, with its defaults. @param storeName where events go beside the history */
export async function competeAsRuncast(storeName: 'memory' | 'lmdb'): Promise<void> {
  const hub = createHub(storeName === 'lmdb' ? { store: await openStore() } : {})
  const transport = process.env.RUNCAST_BENCH_TRANSPORT === 'node' ? 'node' : undefined
  const server = await serve(hub, { port: 0, ...(transport && { transport }) })
  let publish: (number: number, stamp: number) => void
  let plan: Plan | undefined

  compete({
    port: server.port,
    prepare(round) {
      publish = round.content === 'patch' ? statePublisher(round.bytes) : eventPublisher(round)
    },
    publish(first, events, stamp) {
      for (let index = 0; index < events; index += 1) publish(first + index, stamp)
    },
  })

  function eventPublisher(round: Round): typeof publish {
    const { spread, content } = round
    if (content === 'answer') {
      return (number) =>
        void hub.publish(benchTopic, [{ type: answerType, data: { content: answerToken(number) } }])
    }
    const type = content === 'tokens' ? tokenType : (round.type ?? benchType)
    const data = dataFor(round) as (number: number, stamp: number) => JsonValue
    if (spread === undefined) {
      return (number, stamp) => void hub.publish(benchTopic, [{ type, data: data(number, stamp) }])
    }
    return (number, stamp) => {
      const spreadType = spread.kind === 'types' ? typeOf(number, spread) : type
      hub.publish(topicOf(number, spread), [{ type: spreadType, data: data(number, stamp) }])
    }
  }

  function statePublisher(bytes: number): typeof publish {
    const session = hub.session(benchSession)
    if (plan === undefined) {
      plan = firstPlan(bytes)
      session.setState(benchSlice, plan as unknown as JsonValue)
    }
    return (number, stamp) => {
      plan = nextPlan(plan as Plan, number, stamp)
      session.setState(benchSlice, plan as unknown as JsonValue)
    }
  }
}

async function openStore() {
  const { openLmdb } = (await dist('store/lmdb.js')) as typeof import('../../src/store/lmdb.js')
  const directory = mkdtempSync(join(tmpdir(), 'runcast-bench-'))
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }))
  return openLmdb({ directory })
}
