import t from 'tap'
import { WebSocket } from 'ws'
import { connect } from '../../src/client.js'
import { fieldsOf } from '../../src/lib/json.js'
import { Proxy } from '../kit/proxy.js'
import { SeededRandom } from '../kit/random.js'
import { overTransports, served } from '../kit/served.js'
import { until } from '../kit/wait.js'

const seed = Number(process.env['RUNCAST_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
const topic = 'sessions/s/workers/agent'

/** Every `command.done` of the topic, by the offset of its command. */
async function finals(hub: Awaited<ReturnType<typeof served>>['hub']): Promise<Map<number, unknown[]>> {
  const found = new Map<number, unknown[]>()
  let after: string | undefined
  do {
    const page = await hub.readHistory(topic, {
      types: ['command.done'],
      limit: 1_000,
      ...(after && { after: after }),
    })
    for (const { data } of page.events) {
      const { offset, state } = fieldsOf(data)
      found.set(Number(offset), [...(found.get(Number(offset)) ?? []), state])
    }
    after = page.next
  } while (after !== undefined)
  return found
}

overTransports(t, (t) => {
  for (const transport of ['websocket', 'sse'] as const) {
    t.test(
      `an agent that is cut off 50 times over ${transport} obeys each of 200 commands once, in order`,
      async (t) => {
        t.comment(`RUNCAST_SEED=${seed}`)
        const random = new SeededRandom(seed)
        const { hub, server, url } = await served(t)
        hub.session('s').worker('agent').publish({ type: 'execution_started' })
        const proxy = await Proxy.open(server.port)
        t.teardown(() => proxy.close())
        const agent = connect(`http://127.0.0.1:${proxy.port}`, {
          transport,
          WebSocket: WebSocket,
          backoff: { firstMs: 1, mostMs: 5 },
        })
        t.teardown(() => agent.close())
        const obeyed: number[] = []
        const receipts: Promise<void>[] = []
        let said = 0
        const working = (async () => {
          for await (const command of agent.commands(topic)) {
            obeyed.push(Number(command.data['n']))
            const receipt = command.data['n'] === 7 ? command.refused('not seven') : command.applied()
            receipts.push(receipt.then(() => void said++))
            if (obeyed.length === 200) return
          }
        })()
        const watcher = connect(url, { transport, WebSocket: WebSocket })
        t.teardown(() => watcher.close())
        let cuts = 0
        for (let n = 0; n < 200; n++) {
          await watcher.command(topic, 'input', { text: 'go', n })
          // At most as many are under way as a topic may have.
          await until('the agent has obeyed', () => n - said < 50)
          if (cuts < 50 && (random.fraction() < 0.4 || 200 - n <= 50 - cuts)) {
            await until('the agent is there', () => proxy.links.length > 0)
            proxy.cut()
            cuts += 1
          }
        }
        await working
        await Promise.all(receipts)
        t.equal(cuts, 50)
        t.strictSame(
          obeyed,
          Array.from({ length: 200 }, (_, n) => n),
        )
        const found = await finals(hub)
        t.equal(found.size, 200)
        t.ok(
          [...found.values()].every((states) => states.length === 1),
          'each has exactly one final state',
        )
        t.equal([...found.values()].filter(([state]) => state === 'refused').length, 1)
      },
    )
  }
})

t.test('a watcher learns what became of its command, whenever it asks', async (t) => {
  const { hub, url } = await served(t)
  hub.session('s').worker('agent').publish({ type: 'execution_started' })
  const client = connect(url, { transport: 'sse' })
  t.teardown(() => client.close())
  const first = await client.command(topic, 'cancel', { reason: 'enough' })
  const early = first.outcome()
  const agent = connect(url, { transport: 'sse' })
  t.teardown(() => agent.close())
  const commands = agent.commands(topic)
  const { value: cancel } = await commands.next()
  t.match(cancel, {
    name: 'cancel',
    type: 'command.cancel',
    data: { reason: 'enough' },
    offset: first.offset,
  })
  await cancel?.refused('not now')
  t.strictSame(await early, { state: 'refused', reason: 'not now' })
  t.strictSame(await first.outcome(), { state: 'refused', reason: 'not now' }, 'later too')
  await cancel?.applied()
  t.strictSame(await first.outcome(), { state: 'refused', reason: 'not now' }, 'the first word counts')
  const last = await client.command(topic, 'pause')
  hub.endSession('s')
  t.match(await last.outcome(), { state: 'expired' })
  const { value: pause } = await commands.next()
  await pause?.applied()
  t.equal((await commands.next()).done, true)
  await t.rejects(client.command('sessions/none', 'cancel'), { code: 'notFound' })
})
