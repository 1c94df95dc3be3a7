import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { typescript } from '../kit/typescript.js'

// RUNCAST_KILLS=50 for the long run.
const kills = Number(process.env['RUNCAST_KILLS'] ?? 3)
const child = fileURLToPath(new URL('stream-child.ts', import.meta.url))

/** The hub that runs now. */
interface Running {
  readonly url: string
  readonly process: ChildProcess
}

async function start(directory: string): Promise<Running> {
  const running = spawn(process.execPath, [...typescript, child, directory], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  for await (const line of createInterface({ input: running.stdout })) {
    return { url: line.replace(/\/$/, ''), process: running }
  }
  throw new Error('the hub has said nothing')
}

async function kill({ process }: Running): Promise<void> {
  if (process.exitCode !== null || process.signalCode !== null) return
  const gone = once(process, 'exit')
  process.kill('SIGKILL')
  await gone
}

interface Producer {
  readonly id: string
  epoch: number
  seq: number
}

const headersOf = ({ id, epoch, seq }: Producer, more: Record<string, string> = {}) => ({
  'content-type': 'application/json',
  'producer-id': id,
  'producer-epoch': String(epoch),
  'producer-seq': String(seq),
  ...more,
})

// The root has a time limit as well as the test.
t.setTimeout(60_000 + 30_000 * kills)

t.test('a hub that is killed during appends with producers loses and doubles nothing', async (t) => {
  t.setTimeout(60_000 + 30_000 * kills)
  const directory = t.testdir()
  let hub = await start(directory)
  t.teardown(() => kill(hub))
  await fetch(`${hub.url}/v1/stream/runs/1`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
  })
  const acknowledged: string[] = []
  let isOver = false
  let count = 0
  let awaited = { count: 0, reached: () => {} }
  const wake = new Set<() => void>()

  /** Sends one request after the other, each again until it is answered. */
  const produce = async (producer: Producer): Promise<void> => {
    let isUnanswered = false
    while (!isOver || isUnanswered) {
      const messages = [0, 1, 2].map((n) => `${producer.id}/${producer.epoch}/${producer.seq}/${n}`)
      const { url } = hub
      const request = { method: 'POST', headers: headersOf(producer), body: JSON.stringify(messages) }
      const answer = await fetch(`${url}/v1/stream/runs/1`, request).catch(() => undefined)
      isUnanswered = answer === undefined
      if (answer === undefined) {
        // The hub was killed: the same request goes to the next one.
        await new Promise<void>((resolve) => void (url === hub.url ? wake.add(resolve) : resolve()))
        continue
      }
      t.ok(answer.status === 200 || answer.status === 204, `${messages[0]}: ${answer.status}`)
      acknowledged.push(...messages)
      count += 1
      if (count >= awaited.count) awaited.reached()
      producer.seq += 1
      if (producer.seq === 40) Object.assign(producer, { epoch: producer.epoch + 1, seq: 0 })
    }
  }

  const producers = ['a', 'b', 'c'].map((id): Producer => ({ id, epoch: 0, seq: 0 }))
  const all = producers.map(produce)
  for (let n = 0; n < kills; n++) {
    await new Promise<void>((reached) => void (awaited = { count: count + 20, reached }))
    await kill(hub)
    hub = await start(directory)
    for (const go of wake) go()
    wake.clear()
  }
  isOver = true
  await Promise.all(all)

  const kept = (await readAll(`${hub.url}/v1/stream/runs/1`)).map(String)
  t.equal(new Set(kept).size, kept.length, 'nothing is doubled')
  t.strictSame(kept.toSorted(), acknowledged.toSorted(), 'what was acknowledged is there, and nothing else')
  await fenced(t, () => hub, {
    restart: async () => {
      await kill(hub)
      hub = await start(directory)
    },
  })
})

/** What a stream says of a zombie and of a repeated close, before and after the hub was killed. */
async function fenced(
  t: Test,
  hub: () => Running,
  { restart }: { readonly restart: () => Promise<void> },
): Promise<void> {
  const send = (producer: Producer, body: string | undefined, more: Record<string, string> = {}) =>
    fetch(`${hub().url}/v1/stream/fenced`, {
      method: 'POST',
      headers: headersOf(producer, more),
      ...(body !== undefined && { body }),
    })
  await fetch(`${hub().url}/v1/stream/fenced`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json', 'stream-ttl': '3600' },
  })
  const [old, fresh] = [
    { id: 'p', epoch: 0, seq: 0 },
    { id: 'p', epoch: 1, seq: 0 },
  ]
  t.equal((await send(old, '1')).status, 200)
  t.equal((await send(fresh, '2', { 'stream-seq': 'b' })).status, 200)
  await restart()
  const zombie = await send({ ...old, seq: 1 }, '3')
  t.equal(zombie.status, 403)
  t.equal(zombie.headers.get('producer-epoch'), '1')
  t.equal((await send({ ...fresh, seq: 1 }, '4', { 'stream-seq': 'a' })).status, 409, 'Stream-Seq is kept')
  t.equal((await send({ ...fresh, seq: 3 }, '4')).headers.get('producer-expected-seq'), '1')
  const head = await fetch(`${hub().url}/v1/stream/fenced`, { method: 'HEAD' })
  t.equal(head.headers.get('stream-ttl'), '3600')
  const last = { ...fresh, seq: 1 }
  const closing = await send(last, '"end"', { 'stream-closed': 'true' })
  t.equal(closing.status, 200)
  await restart()
  const again = await send(last, '"end"', { 'stream-closed': 'true' })
  t.equal(again.status, 204, 'the repeated close is known')
  for (const name of ['stream-next-offset', 'stream-closed', 'producer-epoch', 'producer-seq']) {
    t.equal(again.headers.get(name), closing.headers.get(name), name)
  }
  t.equal((await send({ ...last, seq: 2 }, '5')).status, 409)
  t.strictSame(await readAll(`${hub().url}/v1/stream/fenced`), [1, 2, 'end'])
  const to = (method: string, name: string, headers: Record<string, string> = {}) =>
    fetch(`${hub().url}/v1/stream/${name}`, { method, headers })
  t.equal((await to('PUT', 'fork', { 'stream-forked-from': '/v1/stream/fenced' })).status, 201)
  t.equal((await to('DELETE', 'fenced')).status, 204)
  await restart()
  t.equal((await to('GET', 'fenced')).status, 410, 'what has forks is deleted and not gone')
  t.equal((await to('PUT', 'fenced')).status, 409)
  t.strictSame(await readAll(`${hub().url}/v1/stream/fork`), [1, 2, 'end'])
  t.equal((await to('DELETE', 'fork')).status, 204)
  t.equal((await to('GET', 'fenced')).status, 404, 'and goes with the last of them')
}

async function readAll(url: string): Promise<unknown[]> {
  const messages: unknown[] = []
  for (let offset = '-1'; ; ) {
    const answer = await fetch(`${url}?offset=${offset}`)
    messages.push(...((await answer.json()) as unknown[]))
    if (answer.headers.get('stream-up-to-date') === 'true') return messages
    offset = answer.headers.get('stream-next-offset') ?? ''
  }
}
