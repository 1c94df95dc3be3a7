import { Packr } from 'msgpackr'
import { parseMark } from '../harness/event.js'
import { mqtt } from './mqtt.js'
import { nats } from './nats.js'
import type { Reading, Received } from './tally.js'
import { clientFrame, opcodes, upgradeRequest } from './websocket.js'

/** How the bytes of a response are cut into frames. */
export type Framing = 'websocket' | 'event-stream'

/** What a connection says to one kind of server, and how it reads what comes. */
export interface Dialect {
  readonly framing: Framing
  /** The request that opens the connection, without its closing blank line. */
  readonly request: readonly string[]
  /** Sent once the connection is open. */
  readonly opening: readonly Buffer[]
  /** How many readings say `live` before all is subscribed: 1 unless given. 0: once it is open. */
  readonly lives?: number
  /**
   * Reads one WebSocket message, or one or more whole SSE blocks.
   *
   * @throws Error when it cannot be read
   */
  read(payload: Buffer): Reading
}

/** Which dialect, in a form that can be sent to another process. */
export type DialectChoice =
  | {
      readonly kind: 'runcast-ws'
      readonly topics: readonly string[]
      readonly types?: readonly string[]
      readonly slices?: readonly string[]
      /** Whether one batch begins where the last one ended; not where several topics have a position each. */
      readonly positions?: boolean
    }
  | { readonly kind: 'runcast-sse'; readonly path: string }
  /** A late joiner of an answer, which is as long as this over all events. Characters. */
  | { readonly kind: 'runcast-text'; readonly topic: string; readonly length: number }
  | { readonly kind: 'event-stream'; readonly path: string }
  | { readonly kind: 'durable-stream'; readonly path: string }
  | { readonly kind: 'plain-ws'; readonly path: string }
  | { readonly kind: 'socket.io'; readonly channels: readonly string[] }
  | { readonly kind: 'mqtt'; readonly channels: readonly string[] }
  | { readonly kind: 'nats'; readonly channels: readonly string[] }

export function dialectOf(choice: DialectChoice): Dialect {
  switch (choice.kind) {
    case 'runcast-ws':
      return runcastWebSocket(choice)
    case 'runcast-sse':
      return eventStream(choice.path, (data) => received(JSON.parse(data) as WireEvent))
    case 'runcast-text':
      return runcastText(choice)
    case 'event-stream':
      return eventStream(choice.path, (data) => parseMark((JSON.parse(data) as WireData).mark))
    case 'durable-stream':
      return durableStream(choice.path)
    case 'plain-ws':
      return plainWebSocket(choice.path)
    case 'socket.io':
      return socketIo(choice.channels)
    case 'mqtt':
      return mqtt(choice.channels)
    case 'nats':
      return nats(choice.channels)
  }
}

interface WireData {
  readonly mark: string
}

interface WireEvent {
  readonly offset: number
  readonly type: string
  readonly data: WireData & {
    readonly content?: string
    readonly patch?: readonly { readonly path: string; readonly value: string }[]
    readonly value?: WireData
  }
}

interface WireFrame {
  readonly type: string
  readonly after?: number
  readonly last?: number
  readonly events?: readonly WireEvent[]
  readonly message?: string
}

const packr = new Packr({ useRecords: false })

function runcastWebSocket({
  topics,
  types,
  slices,
  positions = topics.length === 1,
}: DialectChoice & { kind: 'runcast-ws' }): Dialect {
  return {
    framing: 'websocket',
    request: upgradeRequest('/api/ws', 'runcast.v1.msgpack'),
    opening: topics.map((topic, index) => {
      const frame = {
        type: 'subscribe',
        sub: index + 1,
        topic,
        ...(types && { types }),
        ...(slices && { slices }),
      }
      return clientFrame(opcodes.binary, packr.pack(frame))
    }),
    lives: topics.length,
    read(payload) {
      const frame = packr.unpack(payload) as WireFrame
      if (frame.type === 'live') return { events: [], live: true }
      if (frame.type === 'error') throw new Error(frame.message)
      if (frame.type !== 'events') return { events: [] }
      const events = (frame.events ?? []).map(received).filter(({ number }) => number > 0)
      if (!positions) return { events: events.map(({ number, stamp }) => ({ number, stamp })) }
      return {
        events,
        ...(frame.after !== undefined && { after: frame.after }),
        ...(frame.last !== undefined && { last: frame.last }),
      }
    },
  }
}

/** What is received as text counts as event 1 once all of it is there. */
function runcastText({ topic, length }: DialectChoice & { kind: 'runcast-text' }): Dialect {
  const inner = runcastWebSocket({ kind: 'runcast-ws', topics: [topic] })
  return {
    ...inner,
    read(payload) {
      const frame = packr.unpack(payload) as WireFrame
      if (frame.type !== 'events') return { events: [], live: frame.type === 'live' }
      const text = (frame.events ?? []).map(({ data }) => data.content ?? '').join('')
      if (text.length !== length) throw new Error(`${text.length} characters of ${length} came in one frame`)
      return { events: [{ number: 1, stamp: 0 }] }
    },
  }
}

/** @param read the `data` of one event; an event named `live` or a first comment says that it is subscribed */
function eventStream(path: string, read: (data: string) => Received): Dialect {
  return {
    framing: 'event-stream',
    request: [`GET ${path} HTTP/1.1`, 'Accept: text/event-stream'],
    opening: [],
    read(payload) {
      const events: Received[] = []
      let live = false
      for (const block of payload.toString('utf8').split('\n\n')) {
        const { event, data } = fieldsOf(block)
        if (event === 'live' || event === 'hub.live' || block === ': hi') live = true
        else if (data !== undefined && !event?.startsWith('hub.')) events.push(read(data))
      }
      return { events, live }
    },
  }
}

/** Several events may come in one block, as an array; blocks of control end each batch. */
function durableStream(path: string): Dialect {
  return {
    framing: 'event-stream',
    request: [`GET ${path} HTTP/1.1`, 'Accept: text/event-stream'],
    opening: [],
    read(payload) {
      const events: Received[] = []
      let live = false
      for (const block of payload.toString('utf8').split('\n\n')) {
        const { event, data } = fieldsOf(block)
        if (data === undefined) continue
        if (event === 'control') live = (JSON.parse(data) as { upToDate?: boolean }).upToDate === true
        else for (const item of JSON.parse(data) as WireData[]) events.push(parseMark(item.mark))
      }
      return { events, live }
    },
  }
}

/** Enough of the event-stream format for what the servers of the bench write: one line a field. */
function fieldsOf(block: string): { event?: string; data?: string } {
  const fields: { event?: string; data?: string } = {}
  for (const line of block.split('\n')) {
    const match = /^(event|data): ?(.*)$/.exec(line)
    if (match !== null) fields[match[1] as 'event' | 'data'] = match[2] ?? ''
  }
  return fields
}

/** A message is one event's JSON, and being open is being subscribed. */
function plainWebSocket(path: string): Dialect {
  return {
    framing: 'websocket',
    request: upgradeRequest(path),
    opening: [],
    lives: 0,
    read: (payload) => ({ events: [parseMark((JSON.parse(payload.toString('utf8')) as WireData).mark)] }),
  }
}

/** Engine.IO 4 without polling, the default namespace; packets are text. */
function socketIo(channels: readonly string[]): Dialect {
  const text = (packet: string) => clientFrame(opcodes.text, Buffer.from(packet))
  return {
    framing: 'websocket',
    request: upgradeRequest('/socket.io/?EIO=4&transport=websocket'),
    opening: [text(`40${JSON.stringify({ channels })}`)],
    read(payload) {
      const packet = payload.toString('utf8')
      if (packet === '2') return { events: [], reply: text('3') }
      if (packet.startsWith('40')) return { events: [], live: true }
      if (!packet.startsWith('42')) return { events: [] }
      const [, data] = JSON.parse(packet.slice(2)) as [string, WireData]
      return { events: [parseMark(data.mark)] }
    },
  }
}

function markIn(patch: WireEvent['data']['patch']): string | undefined {
  return patch?.find(({ path }) => path === '/mark')?.value
}

/** A change of state bears its mark in the patch or in the value. */
function received({ type, offset, data }: WireEvent): Received {
  const mark = type === 'state.update' ? (markIn(data.patch) ?? data.value?.mark ?? '') : data.mark
  return { ...parseMark(mark), offset, ...(data.content !== undefined && { isText: true }) }
}
