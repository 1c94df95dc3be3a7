import { fileURLToPath } from 'node:url'
import { createHub, openStore, serve, signToken } from '../../src/index.js'
import type { Adapter, Reading, ReadOptions, Received, Started, StartOptions } from '../adapter.js'
import { readEvents } from '../event-stream.js'
import { freePort, Program } from '../program.js'

/** An event, as far as a reader looks at it. */
export interface Sent {
  readonly type: string
  readonly data?: { readonly text?: string } | null
}

/** What an event tells a reader that has received this. */
export function heard({ type, data }: Sent, received: readonly Received[]): Received[] {
  if (type === 'execution_failed') return [{ kind: 'ended', failed: true }]
  const failed = received.some((one) => one.kind === 'ended' && one.failed)
  if (type === 'complete') return [{ kind: 'ended', failed }]
  return data?.text === undefined ? [] : [{ kind: 'message', text: data.text }]
}

/** The filter for texts that begin with one of these, and for what ends a session. */
export const typesOf = (only: readonly string[]): string[] => [...only, 'session.*', 'worker.*']

/** Events of the type of their first letter, so that filters have something to choose by. */
const typeOf = (text: string): string => (/^[a-z]\d/.test(text) ? text.slice(0, 1) : 'note')

function read({ channel, port, after, only, token }: ReadOptions): Reading {
  const query = new URLSearchParams({ replay: 'all' })
  if (typeof after === 'string') query.set('after', after)
  if (only !== undefined) query.set('types', typesOf(only).join())
  const url = `http://127.0.0.1:${port}/api/sessions/${channel}/events?${query.toString()}`
  const headers = token !== undefined && { authorization: `Bearer ${token}` }
  return readEvents(url, { ...headers }, after, ({ id, event, data }, reading) => {
    if (id !== undefined) reading.position = id
    if (event === 'hub.gap') reading.received.push({ kind: 'gap' })
    else if (data !== undefined) {
      const { data: body } = JSON.parse(data) as Sent
      reading.received.push(...heard({ type: event, ...(body && { data: body }) }, reading.received))
    }
  })
}

/** A hub in this process. */
async function startHere({ directory, retain, tokens }: StartOptions, port = 0): Promise<Started> {
  const secret = 'of the suite, for these few seconds only'
  const hub = createHub(
    retain === undefined
      ? { store: await openStore({ directory }), limits: { tokenSkewMs: 0 } }
      : { limits: { laneEventsMax: retain } },
  )
  const server = await serve(hub, { port, ...(tokens === true && { auth: { secrets: [secret] } }) })
  return {
    port: server.port,
    async publish(channel, text) {
      await hub.submit(`sessions/${channel}`, [{ type: typeOf(text), data: { text } }])
    },
    read,
    async fail(channel) {
      await hub.submit(`sessions/${channel}`, [{ type: 'execution_failed', data: { error: 'broken' } }])
      await hub.submitEnd(channel, undefined, { result: 'failed' })
    },
    // Tokens expire at full seconds.
    token: (lifeMs) =>
      signToken(
        { subscribe: ['sessions/**'], expiresAt: Math.ceil((Date.now() + lifeMs) / 1_000) * 1_000 },
        secret,
      ),
    async close() {
      await server.close({ graceMs: 0 })
      await hub.closeStore()
    },
  }
}

/** A hub in a process of its own, as `runcast serve` starts it. After it was killed, one in this process takes its place. */
async function startProgram({ directory }: StartOptions): Promise<Started> {
  const port = await freePort()
  const cwd = fileURLToPath(new URL('../..', import.meta.url))
  const words = ['--import', 'tsx', 'src/cli/main.ts', 'serve', '--port', `${port}`, '--data', directory]
  const program = await Program.start(process.execPath, [...words, '--log-level', 'error'], {
    cwd,
    ready: /Runcast listens/,
  })
  let next: Started | undefined
  return {
    port,
    async publish(channel, text) {
      const answer = await fetch(`http://127.0.0.1:${port}/api/sessions/${channel}/events`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', connection: 'close' },
        body: JSON.stringify({ type: typeOf(text), data: { text } }),
      })
      if (!answer.ok) throw new Error(`publishing: ${answer.status} ${await answer.text()}`)
    },
    read,
    async restart() {
      await program.end('SIGKILL')
      next = await startHere({ directory }, port)
      return 'killed'
    },
    async close() {
      await next?.close()
      await program.end('SIGTERM')
    },
  }
}

/** Runcast over SSE, with its store on disk. */
export const runcast: Adapter = {
  name: 'Runcast (SSE)',
  promises: 'Within what is retained no loss and no repetition; outside it the stream itself says so.',
  canEvict: true,
  canFilter: true,
  resumes: true,
  replays: true,
  start: (options) => (options.restarts === true ? startProgram(options) : startHere(options)),
}
