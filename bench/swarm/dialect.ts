import { Packr } from 'msgpackr'
import { parseMark } from '../harness/event.js'
import type { Reading, Received } from './tally.js'
import { clientFrame, opcodes } from './websocket.js'

/** How the bytes of a response are cut into frames. */
export type Framing = 'websocket' | 'chunked'

/** What a connection says to one kind of server, and how it reads what comes. */
export interface Dialect {
  readonly framing: Framing
  /** The request that opens the connection, without its closing blank line. */
  readonly request: readonly string[]
  /** Sent once the connection is open. */
  readonly opening: readonly Buffer[]
  /**
   * Reads one WebSocket message, or one or more whole SSE blocks.
   *
   * @throws Error when it cannot be read
   */
  read(payload: Buffer): Reading
}

/** Which dialect, in a form that can be sent to another process. */
export type DialectChoice =
  | { readonly kind: 'runcast-ws'; readonly topic: string; readonly types?: readonly string[] }
  | { readonly kind: 'runcast-sse'; readonly path: string }

export function dialectOf(choice: DialectChoice): Dialect {
  switch (choice.kind) {
    case 'runcast-ws':
      return runcastWebSocket(choice.topic, choice.types)
    case 'runcast-sse':
      return runcastSse(choice.path)
  }
}

interface WireEvent {
  readonly offset: number
  readonly data: { readonly mark: string }
}

interface WireFrame {
  readonly type: string
  readonly after?: number
  readonly last?: number
  readonly events?: readonly WireEvent[]
  readonly message?: string
}

const packr = new Packr({ useRecords: false })

function runcastWebSocket(topic: string, types: readonly string[] | undefined): Dialect {
  const subscribe = packr.pack({ type: 'subscribe', sub: 1, topic, ...(types && { types }) })
  return {
    framing: 'websocket',
    request: [
      'GET /api/ws HTTP/1.1',
      'Upgrade: websocket',
      'Connection: Upgrade',
      'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
      'Sec-WebSocket-Version: 13',
      'Sec-WebSocket-Protocol: runcast.v1.msgpack',
    ],
    opening: [clientFrame(opcodes.binary, subscribe)],
    read(payload) {
      const frame = packr.unpack(payload) as WireFrame
      if (frame.type === 'live') return { events: [], live: true }
      if (frame.type === 'error') throw new Error(frame.message)
      if (frame.type !== 'events') return { events: [] }
      return {
        events: (frame.events ?? []).map(received),
        ...(frame.after !== undefined && { after: frame.after }),
        ...(frame.last !== undefined && { last: frame.last }),
      }
    },
  }
}

function runcastSse(path: string): Dialect {
  return {
    framing: 'chunked',
    request: [`GET ${path} HTTP/1.1`, 'Accept: text/event-stream'],
    opening: [],
    read(payload) {
      const blocks = payload.toString('utf8').split('\n\n')
      const events: Received[] = []
      let live = false
      for (const block of blocks) {
        const fields = sseFields(block)
        if (fields.event === 'hub.live') live = true
        if (fields.event?.startsWith('hub.') || fields.data === undefined) continue
        events.push(received(JSON.parse(fields.data) as WireEvent))
      }
      return { events, live }
    },
  }
}

/** Enough of the event-stream format for what the servers of the bench write: one line a field. */
function sseFields(block: string): { event?: string; data?: string } {
  const fields: { event?: string; data?: string } = {}
  for (const line of block.split('\n')) {
    if (line.startsWith('event: ')) fields.event = line.slice(7)
    else if (line.startsWith('data: ')) fields.data = line.slice(6)
  }
  return fields
}

function received(event: WireEvent): Received {
  return { ...parseMark(event.data.mark), offset: event.offset }
}
