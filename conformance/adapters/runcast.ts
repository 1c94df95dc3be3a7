import { createHub, openStore, type Server, serve } from '../../src/index.js'
import { EventStream } from '../event-stream.js'
import type { Adapter, Reading, ReadOptions, Received, Started } from '../suite.js'

interface Sent {
  readonly type?: string
  readonly data?: { readonly text?: string }
  readonly worker?: string
}

function read({ channel, port, after, only }: ReadOptions): Reading {
  const query = new URLSearchParams({ replay: 'all' })
  if (typeof after === 'string') query.set('after', after)
  if (only !== undefined) query.set('types', [...only, 'session.*', 'worker.*'].join())
  const received: Received[] = []
  let position: unknown = after
  const url = `http://127.0.0.1:${port}/api/sessions/${channel}/events?${query}`
  const stream = new EventStream(url, {}, ({ id, event, data }) => {
    if (id !== undefined) position = id
    if (data === undefined) return
    const { data: body } = JSON.parse(data) as Sent
    if (event === 'hub.gap') received.push({ kind: 'gap' })
    else if (event === 'complete') received.push({ kind: 'ended', failed: isFailed(received) })
    else if (event === 'execution_failed') received.push({ kind: 'ended', failed: true })
    else if (body?.text !== undefined) received.push({ kind: 'message', text: body.text })
  })
  return {
    received,
    get position() {
      return position
    },
    closed: stream.closed,
    pause: () => stream.pause(),
    resume: () => stream.resume(),
    close: () => stream.close(),
  }
}

const isFailed = (received: readonly Received[]): boolean =>
  received.some((one) => one.kind === 'ended' && one.failed)

/** Events of the type of their first letter, so that filters have something to choose by. */
const typeOf = (text: string): string => (/^[a-z]\d/.test(text) ? text.slice(0, 1) : 'note')

/** Runcast over SSE, with its store on disk. */
export const runcast: Adapter = {
  name: 'Runcast (SSE)',
  promises: 'Within what is retained no loss and no repetition; outside it the stream itself says so.',
  canEvict: true,
  canFilter: true,
  replays: true,
  async start({ directory, retain }): Promise<Started> {
    let port = 0
    let server: Server
    let hub: ReturnType<typeof createHub>
    const begin = async (): Promise<void> => {
      hub = createHub(
        retain === undefined
          ? { store: await openStore({ directory }) }
          : { limits: { laneEventsMax: retain } },
      )
      server = await serve(hub, { port })
      port = server.port
    }
    const end = async (): Promise<void> => {
      await server.close({ graceMs: 0 })
      await hub.closeStore()
    }
    await begin()
    return {
      get port() {
        return port
      },
      async publish(channel, text) {
        await hub.submit(`sessions/${channel}`, [{ type: typeOf(text), data: { text } }])
      },
      read,
      async fail(channel) {
        await hub.submit(`sessions/${channel}`, [{ type: 'execution_failed', data: { error: 'broken' } }])
        await hub.submitEnd(channel, undefined, { result: 'failed' })
      },
      async restart() {
        await end()
        await begin()
      },
      close: () => end(),
    }
  },
}
