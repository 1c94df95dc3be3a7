import { WebSocket } from 'ws'
import type { Adapter, Reading, ReadOptions, Received } from '../adapter.js'
import { heard, runcast, type Sent, typesOf } from './runcast.js'

interface Event extends Sent {
  readonly offset: number
}

type Frame =
  | {
      readonly type: 'subscribed'
      readonly epoch: string
      readonly offset: number
      readonly resumed: boolean
      readonly gap?: unknown
    }
  | { readonly type: 'events'; readonly last: number; readonly replay?: false; readonly events: Event[] }
  | { readonly type: 'events'; readonly replay: true; readonly events: Event[] }
  | { readonly type: 'live' | 'gap' | 'welcome' | 'authorized' }

function read({ channel, port, after, only, token }: ReadOptions): Reading {
  const received: Received[] = []
  const headers = token !== undefined && { authorization: `Bearer ${token}` }
  const socket = new WebSocket(`ws://127.0.0.1:${port}/api/ws`, 'runcast.v1.json', {
    headers: { ...headers },
  })
  let position = after
  let epoch = ''
  let offset = 0
  const take = (frame: Frame): void => {
    if (frame.type === 'subscribed') {
      ;({ epoch, offset } = frame)
      // A join that was cut and starts again would bring twice what it has brought already.
      if (frame.gap !== undefined || (after !== undefined && !frame.resumed)) received.push({ kind: 'gap' })
      if (after === undefined) position = `${epoch}:${offset}~r0`
    } else if (frame.type === 'live') position = `${epoch}:${offset}`
    else if (frame.type === 'gap') received.push({ kind: 'gap' })
    else if (frame.type === 'events') {
      // docs/protocol.md, "What a client does with positions" and "Joins that were cut".
      if (frame.replay !== true && frame.last <= offset) return
      const events = frame.replay === true ? frame.events : frame.events.filter((one) => one.offset > offset)
      for (const event of events) received.push(...heard(event, received))
      if (frame.replay === true) position = `${epoch}:${offset}~r${events.at(-1)?.offset ?? 0}`
      else {
        offset = frame.last
        position = `${epoch}:${offset}`
      }
    }
  }
  socket.on('message', (data: Buffer) => take(JSON.parse(data.toString()) as Frame))
  socket.on('open', () => {
    // The rest of a join that was cut is replayed in the same way.
    const wanted = { topic: `sessions/${channel}`, replay: 'all', after, types: only && typesOf(only) }
    socket.send(JSON.stringify({ type: 'subscribe', sub: 1, ...wanted }))
  })
  socket.on('error', () => undefined)
  return {
    received,
    get position() {
      return position
    },
    closed: new Promise((resolve) => socket.on('close', () => resolve())),
    pause: () => socket.pause(),
    resume: () => socket.resume(),
    close: () => socket.terminate(),
  }
}

/** Runcast over WebSocket, in JSON. */
export const runcastWebSocket: Adapter = {
  ...runcast,
  name: 'Runcast (WebSocket)',
  start: async (options) => {
    const started = await runcast.start(options)
    return { ...started, read }
  },
}
