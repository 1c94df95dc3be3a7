import { WebSocket } from 'ws'
import { type ConnectOptions, connect } from '../../src/client.js'
import type { JsonObject, JsonValue } from '../../src/lib/json.js'
import { type House, Socket } from './value-doors.js'
import { packr, unpackr } from './values.js'

/** One event as a reader sees it. */
export interface Seen {
  readonly type: string
  readonly data: JsonObject
}

/** What has come to a reader so far; it grows. */
export interface Reading {
  readonly events: readonly Seen[]
  /** The slices as the reader has them now. */
  state(): JsonObject
  close(): void
}

/** How a reader begins: with all that is retained, or after a cursor. */
export type Beginning = { readonly replay: 'all' } | { readonly after: string }

/** A way out of the hub. */
export interface Reader {
  readonly name: string
  read(house: House, session: string, beginning: Beginning): Promise<Reading>
}

/** Takes `state.initial` and values of `state.update`, as a reader without patches does; for snapshots. */
class Book {
  readonly events: Seen[] = []
  slices: JsonObject = {}

  add(type: string, data: JsonValue): void {
    if (type === 'state.initial') this.slices = (data as { slices: JsonObject }).slices
    else if (typeof data === 'object' && data !== null) this.events.push({ type, data: data as JsonObject })
  }
}

function socketReader(codec: 'json' | 'msgpack'): Reader {
  return {
    name: `WebSocket, ${codec}`,
    async read({ url }, session, beginning) {
      const socket = new WebSocket(`${url.replace('http', 'ws')}/api/ws`, [`runcast.v1.${codec}`])
      const book = new Book()
      const subscribe = {
        type: 'subscribe',
        sub: 1,
        topic: `sessions/${session}`,
        slices: ['*'],
        ...beginning,
      }
      await new Promise<void>((resolve, reject) => {
        socket.on('error', reject)
        socket.on('open', () =>
          socket.send(codec === 'json' ? JSON.stringify(subscribe) : packr.pack(subscribe)),
        )
        socket.on('message', (bytes: Buffer) => {
          const frame = codec === 'json' ? JSON.parse(bytes.toString('utf8')) : unpackr.unpack(bytes)
          if (frame.type === 'subscribed') book.slices = frame.slices ?? {}
          if (frame.type === 'events') for (const { type, data } of frame.events) book.add(type, data)
          if (frame.type === 'error') reject(new Error(frame.message))
          if (frame.type === 'live') resolve()
        })
      })
      return { events: book.events, state: () => book.slices, close: () => socket.terminate() }
    },
  }
}

/** All that Python's `splitlines()` takes for the end of a line. */
const lineEnds = new RegExp(`\r\n|[${'\n\v\f\r\x1c\x1d\x1e\x85\u2028\u2029'}]`)

/** @param eventOf an event out of the object of a block */
function streamReader(
  name: string,
  path: (session: string, query: string) => string,
  eventOf: (object: JsonObject, event: string | undefined) => Seen | undefined,
  isLive: (line: string) => boolean = (line) => line === 'event: hub.live',
): Reader {
  return {
    name,
    async read({ url }, session, beginning) {
      const book = new Book()
      const abort = new AbortController()
      const query = new URLSearchParams(beginning).toString()
      const response = await fetch(`${url}${path(session, query)}`, { signal: abort.signal })
      if (response.status !== 200)
        throw new Error(`${name}: HTTP ${response.status}: ${await response.text()}`)
      await new Promise<void>((resolve, reject) => {
        const read = async () => {
          let rest = ''
          let event: string | undefined
          for await (const piece of (response.body as ReadableStream<Uint8Array>).pipeThrough(
            new TextDecoderStream(),
          )) {
            const lines = (rest + piece).split(lineEnds)
            rest = lines.pop() ?? ''
            for (const line of lines) {
              if (line.startsWith('event: ')) event = line.slice(7)
              if (line.startsWith('data: ') && event?.startsWith('hub.') !== true) {
                const seen = eventOf(JSON.parse(line.slice(6)) as JsonObject, event)
                if (seen !== undefined) book.add(seen.type, seen.data)
              }
              if (isLive(line)) resolve()
              if (line === '') event = undefined
            }
          }
        }
        read().catch((error: unknown) => {
          // Aborted by us, when all has come.
          if (!abort.signal.aborted) reject(error instanceof Error ? error : new Error(String(error)))
        })
      })
      return { events: book.events, state: () => book.slices, close: () => abort.abort() }
    },
  }
}

const native = ({ type, data }: JsonObject): Seen => ({ type: type as string, data: data as JsonObject })
const comment = (line: string) => line.startsWith(': hub.live')

function clientReader(name: string, options: ConnectOptions): Reader {
  return {
    name,
    async read({ url }, session, beginning) {
      const client = connect(url, { WebSocket: Socket, ...options })
      const book = new Book()
      const topic = `sessions/${session}`
      await new Promise<void>((resolve, reject) => {
        const subscription = client.subscribe(
          { topic, slices: ['*'], ...beginning },
          {
            onEvent: ({ type, data }) => book.add(type, data),
            onLive: resolve,
            onState(state) {
              book.slices = state
            },
            onEnd: ({ reason }) => reject(new Error(reason)),
          },
        )
        book.slices = subscription.state
      })
      return { events: book.events, state: () => book.slices, close: () => client.close() }
    },
  }
}

const inProcess: Reader = {
  name: 'in process',
  async read({ hub }, session, beginning) {
    const book = new Book()
    const subscription = hub.subscribe(`sessions/${session}`, beginning)
    const read = async () => {
      for await (const { type, data } of subscription) book.add(type, data)
    }
    void read()
    return {
      events: book.events,
      state: () => (hub.find(session) === undefined ? {} : hub.state(`sessions/${session}`).slices),
      close: () => subscription.close(),
    }
  },
}

const pages: Reader = {
  name: 'history and state over HTTP',
  async read({ url }, session) {
    const book = new Book()
    const api = `${url}/api/sessions/${session}`
    for (let after = ''; ; ) {
      const response = await fetch(`${api}/history?limit=1000&after=${after}`)
      const page = (await response.json()) as { events?: { type: string; data: JsonValue }[]; next?: string }
      for (const { type, data } of page.events ?? []) book.add(type, data)
      if (page.next === undefined) break
      after = page.next
    }
    const snapshot = (await (await fetch(`${api}/state`)).json()) as { slices?: JsonObject }
    book.slices = snapshot.slices ?? {}
    return { events: book.events, state: () => book.slices, close: () => undefined }
  },
}

/** The ways out that follow a session. */
export const followers: readonly Reader[] = [
  socketReader('json'),
  socketReader('msgpack'),
  streamReader('SSE', (session, query) => `/api/sessions/${session}/events?slices=*&${query}`, native),
  inProcess,
  clientReader('client, WebSocket with MessagePack', { transport: 'websocket' }),
  clientReader('client, WebSocket with JSON', { transport: 'websocket', codec: 'json' }),
  clientReader('client, SSE and POST', { transport: 'sse' }),
  streamReader(
    'dialect session-bus',
    (session, query) => `/api/sessions/${session}/events?dialect=session-bus&types=data-*&${query}`,
    native,
    comment,
  ),
  streamReader(
    'dialect stream-event',
    (session, query) => `/api/sessions/${session}/stream?${query}`,
    ({ type, ...data }) => ({ type: type as string, data }),
    comment,
  ),
]

/** The ways out that read what is retained. */
export const pagers: readonly Reader[] = [pages]

/** Its snapshot alone, for it passes over most types. */
export const stateDialect = streamReader(
  'dialect runtime-state',
  (session) => `/events?session=${session}`,
  ({ type, slices }) =>
    type === 'state.initial' ? { type, data: { slices: slices as JsonObject } } : undefined,
  comment,
)
