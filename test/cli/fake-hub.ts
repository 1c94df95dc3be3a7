import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'

export interface Stored {
  readonly type: string
  readonly id?: string
  readonly time?: number
  readonly worker?: string
  readonly data: { readonly [name: string]: unknown }
}

export type Fault = 'cutBefore' | 'cutAfter' | 'unavailable' | 'refuse'

/** As much of a hub as publishing needs, with faults on demand. */
export interface FakeHub {
  readonly url: string
  readonly port: number
  /** Everything taken, in order of arrival, duplicates left out. */
  readonly events: Stored[]
  readonly duplicates: number
  /** How many events came in each request. */
  readonly batches: number[]
  readonly ended: ReadonlyMap<string, unknown>
  /** Sessions that are there already. */
  readonly open: Set<string>
  /** Decides what happens to the `n`th publish (from 1). */
  fault: (n: number) => Fault | undefined
  /** While set, publishes are not answered. */
  hold: Promise<void> | undefined
  /** Resolves once `when` holds; asked after every publish. */
  until(when: (hub: FakeHub) => boolean): Promise<void>
  texts(worker: string, stream?: string): string
  close(): Promise<void>
}

export async function startFakeHub(port = 0): Promise<FakeHub> {
  const ids = new Set<string>()
  const ended = new Map<string, unknown>()
  const waiting = new Set<() => void>()
  let publishes = 0
  let duplicates = 0

  const answer = (response: ServerResponse, status: number, value: unknown): void => {
    const type = status >= 400 ? 'application/problem+json' : 'application/json'
    response.writeHead(status, { 'content-type': type }).end(JSON.stringify(value))
  }

  const take = (
    text: string,
    worker: string | undefined,
  ): { line?: number; accepted: number; duplicates: number } => {
    const lines = text.split('\n').filter((line) => line !== '')
    hub.batches.push(lines.length)
    let known = 0
    for (const [index, line] of lines.entries()) {
      const event = JSON.parse(line) as Stored
      if (event.type === 'refused') return { line: index + 1, accepted: index, duplicates: known }
      if (event.id !== undefined && ids.has(event.id)) {
        known++
        continue
      }
      if (event.id !== undefined) ids.add(event.id)
      hub.events.push({ ...event, ...(worker !== undefined && { worker }) })
    }
    duplicates += known
    return { accepted: lines.length, duplicates: known }
  }

  const publish = async (
    request: IncomingMessage,
    response: ServerResponse,
    worker?: string,
  ): Promise<void> => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const fault = hub.fault(++publishes)
    await hub.hold
    if (fault === 'cutBefore') return void response.destroy()
    if (fault === 'unavailable') return answer(response, 503, { detail: 'starting' })
    if (fault === 'refuse') return answer(response, 403, { detail: 'not allowed here' })
    const taken = take(Buffer.concat(chunks).toString('utf8'), worker)
    for (const look of waiting) look()
    if (fault === 'cutAfter') return void response.destroy()
    if (taken.line !== undefined) answer(response, 400, { detail: 'a bad event', ...taken })
    else answer(response, 200, { first: 1, last: hub.events.length, ...taken })
  }

  const server = createServer((request, response) => {
    const [, , , session = '', what, worker] = (request.url ?? '').split('/')
    if (request.method === 'GET') {
      if (ended.has(session)) answer(response, 200, { id: session, status: 'ended' })
      else if (hub.open.has(session)) answer(response, 200, { id: session, status: 'running' })
      else answer(response, 404, { detail: 'no such session' })
    } else if (request.method === 'DELETE') {
      ended.delete(session)
      response.writeHead(204).end()
    } else if (request.method === 'PUT') {
      request.resume()
      answer(response, 200, { ms: 0 })
    } else if (what === 'end') {
      const chunks: Buffer[] = []
      request.on('data', (chunk: Buffer) => chunks.push(chunk))
      request.on('end', () => {
        ended.set(session, (JSON.parse(Buffer.concat(chunks).toString()) as { outcome: unknown }).outcome)
        answer(response, 200, {})
      })
    } else {
      // The peer may cut the request.
      publish(request, response, worker).catch(() => response.destroy())
    }
  })
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  const taken = (server.address() as AddressInfo).port
  const hub: FakeHub = {
    url: `http://127.0.0.1:${taken}`,
    port: taken,
    events: [],
    open: new Set(),
    batches: [],
    ended,
    fault: () => undefined,
    hold: undefined,
    get duplicates() {
      return duplicates
    },
    until(when) {
      return new Promise((resolve) => {
        const look = (): void => {
          if (!when(hub)) return
          waiting.delete(look)
          resolve()
        }
        waiting.add(look)
        look()
      })
    },
    texts(worker, stream) {
      return hub.events
        .filter((event) => event.type === 'process.output' && event.worker === worker)
        .filter((event) => stream === undefined || event.data['stream'] === stream)
        .map((event) => event.data['text'])
        .join('')
    },
    close() {
      server.closeAllConnections()
      return new Promise((resolve) => server.close(() => resolve()))
    },
  }
  return hub
}

/** Listens until the test ends. */
export async function fakeHub(t: Test, port?: number): Promise<FakeHub> {
  const hub = await startFakeHub(port)
  t.teardown(() => hub.close())
  return hub
}
