import { readFileSync } from 'node:fs'
import { pack } from 'msgpackr'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { MsgpackCodec } from '../../src/codec/msgpack.js'
import type { JsonValue } from '../../src/lib/json.js'
import { closeCodes, requestCodes } from '../../src/protocol/codes.js'
import { parseDialogues } from '../kit/dialogue.js'
import { mutateBytes, mutateValue } from '../kit/mutate.js'
import { SeededRandom } from '../kit/random.js'
import { overTransports, type Served, served } from '../kit/served.js'

/**
 * What clients may send, changed at random. Only documented errors may come back, and none that says that the hub made
 * a mistake. Each part runs for some seconds, or for `RUNCAST_FUZZ_MINUTES`; `RUNCAST_FUZZ_SEED` repeats a run.
 */
const seed = Number(process.env.RUNCAST_FUZZ_SEED ?? Math.floor(Math.random() * 1e9))
const partMs = Number(process.env.RUNCAST_FUZZ_MINUTES ?? 0) * 20_000 || 2_500
const timesMin = 80
const timeout = partMs + 90_000

const expectedCodes = new Set<unknown>(Object.keys(requestCodes).filter((code) => code !== 'internalError'))
const expectedStatuses = new Set<number>([200, 201, 204, 304, ...Object.values(requestCodes)])
expectedStatuses.delete(500)
/** Text that is no UTF-8: uWebSockets.js cuts the link, Node's closes it with 1007. */
const expectedCloses = new Set<number>([closeCodes.badFrame, closeCodes.frameTooLarge, 1006, 1007])

/** The frames of clients in the examples of the protocol. */
const golden = parseDialogues(readFileSync(new URL('../../docs/protocol.md', import.meta.url), 'utf8'))
  .flatMap(({ lines }) => lines)
  .filter(({ from }) => from === 'client')
  .map(({ frame }) => frame as JsonValue)

type Part = (t: Test, random: SeededRandom, done: (times: number) => boolean) => Promise<number>

const parts = new Map<string, Part>()

// Frames

for (const protocol of ['runcast.v1.json', 'runcast.v1.msgpack'] as const) {
  parts.set(
    `${protocol}: frames changed at random are answered with what is documented`,
    async (t, random, done) => {
      const hub = await served(t)
      const isBinary = protocol === 'runcast.v1.msgpack'
      const encode = (frame: JsonValue) => (isBinary ? pack(frame) : Buffer.from(JSON.stringify(frame)))
      let times = 0
      while (!done(times)) {
        const client = await FuzzClient.open(hub, protocol)
        while (client.open && !done(times)) {
          const frames = Array.from({ length: 40 }, () => {
            const frame = random.pick(golden)
            if (random.chance(0.02)) return mutateBytes(encode(frame), random)
            return encode(random.chance(0.9) ? mutateValue(frame, random) : frame)
          })
          times += frames.length
          for (const frame of frames) client.socket.send(frame, { binary: isBinary })
          await client.settled(encode({ type: 'ping', ref: 'fence' }), isBinary)
        }
        const { code } = await client.close()
        if (!client.closedByUs && !expectedCloses.has(code)) t.fail(`closed with ${code}`)
        for (const frame of client.errors) {
          if (!expectedCodes.has(frame.code) || String(frame.message).length > 1_000)
            t.same(frame, 'a documented error')
        }
      }
      return times
    },
  )
}

/** A client that keeps the errors, and waits for the answer to a fence of its own. */
class FuzzClient {
  readonly socket: WebSocket
  readonly errors: Record<string, unknown>[] = []
  readonly #closed: Promise<{ readonly code: number }>
  readonly #codec = new MsgpackCodec({ depthMax: 10_000, namesMax: Number.POSITIVE_INFINITY })
  #fenced: (() => void) | undefined = undefined
  open = true
  closedByUs = false

  private constructor(socket: WebSocket) {
    this.socket = socket
    this.#closed = new Promise((resolve) => {
      socket.on('close', (code) => {
        this.open = false
        this.#fenced?.()
        resolve({ code })
      })
    })
    socket.on('error', () => undefined)
    socket.on('message', (data: Buffer, binary) => this.#hear(data, binary))
  }

  static async open({ url }: Served, protocol: string): Promise<FuzzClient> {
    const client = new FuzzClient(new WebSocket(`${url.replace('http', 'ws')}/api/ws`, [protocol]))
    await new Promise((resolve) => client.socket.once('open', resolve))
    return client
  }

  #hear(data: Buffer, binary: boolean): void {
    // What the hub says must be readable, whatever it was told.
    const frame = (binary ? this.#codec.decode(data) : JSON.parse(data.toString())) as Record<string, unknown>
    if (frame.type === 'error') this.errors.push(frame)
    if (frame.type === 'pong' && frame.ref === 'fence') this.#fenced?.()
  }

  /** @returns once all that was sent has been answered, or the link has closed */
  async settled(fence: Uint8Array, binary: boolean): Promise<void> {
    const fenced = new Promise<void>((resolve) => {
      this.#fenced = resolve
    })
    this.socket.send(fence, { binary })
    if (this.open) await fenced
  }

  close(): Promise<{ readonly code: number }> {
    this.closedByUs = this.open
    this.socket.close()
    return this.#closed
  }
}

// HTTP

const event = { type: 'note', data: { text: 'grüße' }, id: 'a', key: 'k', time: 1, force: true }
const patch = [
  { op: 'add', path: '/list/0', value: { a: 1 } },
  { op: 'move', from: '/list/0', path: '/list/1' },
  { op: 'copy', from: '/list', path: '/other' },
  { op: 'test', path: '/n', value: 1 },
  { op: 'replace', path: '/n', value: 2 },
  { op: 'remove', path: '/list/0' },
]

interface Question {
  readonly method: string
  readonly path: string
  readonly type?: string
  readonly body?: JsonValue
  readonly headers?: Readonly<Record<string, string>>
}

const questions: readonly Question[] = [
  { method: 'POST', path: '/api/sessions/s/events', type: 'application/json', body: event },
  { method: 'POST', path: '/api/sessions/s/events', type: 'application/json', body: [event, event] },
  { method: 'POST', path: '/api/sessions/s/workers/w/events', type: 'application/x-ndjson', body: event },
  { method: 'POST', path: '/api/sessions/s/events', type: 'application/msgpack', body: [event, event] },
  {
    method: 'PUT',
    path: '/api/sessions/s',
    type: 'application/json',
    body: { mode: 'full', metadata: { a: 1 } },
  },
  {
    method: 'PUT',
    path: '/api/sessions/s/state/plan',
    type: 'application/json',
    body: { n: 1, list: [1, 2] },
  },
  { method: 'PATCH', path: '/api/sessions/s/state/plan', type: 'application/json-patch+json', body: patch },
  {
    method: 'PATCH',
    path: '/api/sessions/s/state/plan',
    type: 'application/merge-patch+json',
    body: { n: null },
  },
  {
    method: 'DELETE',
    path: '/api/sessions/s/state/plan',
    headers: { 'x-cause': '{"type":"a"}', 'if-match': '"e:1"' },
  },
  { method: 'GET', path: '/api/sessions?limit=5&after=s' },
  { method: 'GET', path: '/api/sessions/s/history?after=epoch:5&limit=3&types=a,b*,!c&all=1' },
  {
    method: 'GET',
    path: '/api/sessions/s/state?slices=plan,a*&all=1',
    headers: { 'if-none-match': '"e:1"' },
  },
  {
    method: 'GET',
    path: '/api/sessions/s/events?types=a,b*,!c&mode=summary&slices=*&replay=all&after=epoch:1',
  },
  {
    method: 'GET',
    path: '/api/sessions/s/events?framing=data&all=1',
    headers: { 'last-event-id': 'epoch:1' },
  },
  { method: 'GET', path: '/api/stream?topic=sessions/s/**&topic=sessions/t&after=s=epoch:1,t=epoch:2' },
  { method: 'POST', path: '/api/stream/nobody', type: 'application/json', body: golden.slice(0, 3) },
]

function bodyOf({ type, body }: Question, random: SeededRandom): Buffer | undefined {
  if (body === undefined) return undefined
  const value = random.chance(0.7) ? mutateValue(body, random) : body
  const bytes =
    type === 'application/msgpack'
      ? pack(value)
      : Buffer.from(
          type === 'application/x-ndjson'
            ? `${JSON.stringify(event)}\n`.repeat(3) + JSON.stringify(value)
            : JSON.stringify(value),
        )
  return random.chance(0.3) ? mutateBytes(bytes, random) : bytes
}

/** Changes a text that has to be one of a header or an address. */
function mutateText(text: string, random: SeededRandom): string {
  const bytes = mutateBytes(Buffer.from(text), random)
  return bytes.toString('latin1').replaceAll(/[^\x21-\x7e]/g, (character) => encodeURIComponent(character))
}

parts.set('requests changed at random are answered with what is documented', async (t, random, done) => {
  const hub = await served(t)
  const ask = async (question: Question) => {
    const [path = '', query] = question.path.split('?')
    const changedPath = random.chance(0.2) ? `/api/${mutateText(path.slice(5), random)}` : path
    const changedQuery = query && random.chance(0.6) ? mutateText(query, random) : query
    const body = bodyOf(question, random)
    const abort = new AbortController()
    const response = await fetch(`${hub.url}${changedPath}${changedQuery ? `?${changedQuery}` : ''}`, {
      method: question.method,
      signal: abort.signal,
      ...(body !== undefined && { body }),
      headers: {
        ...(question.type && {
          'content-type': random.chance(0.05) ? mutateText(question.type, random) : question.type,
        }),
        ...Object.fromEntries(
          Object.entries(question.headers ?? {}).map(([name, text]) => [name, mutateText(text, random)]),
        ),
      },
    })
    if (response.headers.get('content-type') === 'text/event-stream') return abort.abort()
    const text = await response.text()
    const place = `${question.method} ${changedPath}?${changedQuery ?? ''}: ${response.status} ${text.slice(0, 300)}`
    if (!expectedStatuses.has(response.status)) t.fail(place)
    if (response.status < 400) return
    const { type, status, detail } = JSON.parse(text) as Record<string, unknown>
    const code = String(type).replace('urn:runcast:', '')
    if (!expectedCodes.has(code) || status !== response.status || String(detail).length > 1_000) t.fail(place)
  }
  let times = 0
  while (!done(times)) {
    await Promise.all(Array.from({ length: 8 }, () => ask(random.pick(questions))))
    times += 8
  }
  const { status } = await fetch(`${hub.url}/healthz`)
  t.equal(status, 200)
  return times
})

overTransports(t, (t) => {
  for (const [name, run] of parts) {
    t.test(name, { timeout }, async (t) => {
      t.comment(`seed ${seed}`)
      const end = performance.now() + partMs
      // A busy machine does less in its time, but never nothing.
      const times = await run(
        t,
        new SeededRandom(seed),
        (done) => done >= timesMin && performance.now() > end,
      )
      t.comment(`${times} times`)
      t.ok(times >= timesMin)
      t.equal(({} as { polluted?: boolean }).polluted, undefined, 'no prototype was changed')
    })
  }
})
