import { request } from 'node:http'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import { type Client, type ConnectOptions, connect, type SocketClass } from '../../src/client.js'
import type { Hub } from '../../src/hub/hub.js'
import type { JsonValue } from '../../src/lib/json.js'
import { type Given, packr, unpackr } from './values.js'

/** The hub and the way to it. */
export interface House {
  readonly hub: Hub
  readonly url: string
}

/** What a door answers. */
export type Outcome =
  | { readonly kind: 'taken' }
  /** `pointer`: where in what was sent, if the door says it. */
  | { readonly kind: 'refused'; readonly code: string; readonly message: string; readonly pointer?: string }

const done: Outcome = { kind: 'taken' }

/** A way into the hub, open for one test. */
export interface Door {
  readonly name: string
  /** In which form it takes values. */
  readonly form: keyof Pick<Given, 'js' | 'text' | 'packed'>
  /** Publishes an event with the data `{ value }`, or, with `key`, `{ [key]: value }`. */
  publish(topic: string, type: string, given: Given, key?: string): Promise<Outcome>
  /** Sets, merges or patches the slice so that it is `{ value }`; absent where the door has no state. */
  readonly state?: Readonly<
    Record<'set' | 'patch' | 'merge', (topic: string, slice: string, given: Given) => Promise<Outcome>>
  >
  close(): void
}

const encoder = new TextEncoder()
const bytes = (...parts: readonly (Uint8Array | string)[]) =>
  Buffer.concat(parts.map((part) => (typeof part === 'string' ? encoder.encode(part) : part)))

/** MessagePack of a map whose last field is bytes that are packed already. */
function packedMap(fields: object, name: string, value: Uint8Array): Buffer {
  const entries = Object.entries(fields).flatMap(([key, field]) => [packr.pack(key), packr.pack(field)])
  return bytes(Uint8Array.of(0x80 | (Object.keys(fields).length + 1)), ...entries, packr.pack(name), value)
}

const listOfOne = (value: Uint8Array) => bytes(Uint8Array.of(0x91), value)

// HTTP

/** As it is: `fetch` would take `..` out of a path. */
function ask(
  url: string,
  method: string,
  path: string,
  body: Uint8Array | string,
  type: string,
): Promise<{ status: number; body: Record<string, JsonValue> }> {
  const { hostname, port } = new URL(url)
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': type }
    const sent = request({ hostname, port, method, path, headers }, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('end', () => {
        resolve({
          status: response.statusCode ?? 0,
          body: JSON.parse(Buffer.concat(chunks).toString('utf8')),
        })
      })
    })
    sent.on('error', reject)
    sent.end(body)
  })
}

function http(
  { url }: House,
  name: string,
  type: string,
  {
    form = 'text',
    query = '',
    body,
  }: {
    readonly form?: 'text' | 'packed'
    readonly query?: string
    readonly body: (type: string, key: string, value: string & Uint8Array) => Uint8Array | string
  },
): Door {
  const outcome = async (
    method: string,
    path: string,
    sent: Uint8Array | string,
    sentAs: string,
  ): Promise<Outcome> => {
    const { status, body: answer } = await ask(url, method, path, sent, sentAs)
    if (status === 200) return done
    const { type, detail, pointer } = answer as { type: string; detail: string; pointer?: string }
    const code = type.slice('urn:runcast:'.length)
    return { kind: 'refused', code, message: detail, ...(pointer !== undefined && { pointer }) }
  }
  const slice = (topic: string, of: string) => `/api/${topic}/state/${of}`
  const state: Door['state'] = {
    set: (topic, of, { text = '' }) =>
      outcome('PUT', slice(topic, of), `{"value":${text}}`, 'application/json'),
    merge: (topic, of, { text = '' }) =>
      outcome('PATCH', slice(topic, of), `{"value":${text}}`, 'application/merge-patch+json'),
    async patch(topic, of, { text = '' }) {
      await outcome('PUT', slice(topic, of), '{"value":"before"}', 'application/json')
      const patch = `[{"op":"replace","path":"/value","value":${text}}]`
      return outcome('PATCH', slice(topic, of), patch, 'application/json-patch+json')
    },
  }
  return {
    name,
    form,
    publish: (topic, of, given, key = 'value') =>
      outcome('POST', `/api/${topic}/events${query}`, body(of, key, given[form] as never), type),
    ...(name === 'HTTP JSON' && { state }),
    close: () => undefined,
  }
}

// WebSocket

async function socketDoor({ url }: House, codec: 'json' | 'msgpack'): Promise<Door> {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/api/ws`, [`runcast.v1.${codec}`])
  const waiting = new Map<number, (frame: Record<string, unknown>) => void>()
  socket.on('message', (data: Buffer) => {
    const frame = (codec === 'json' ? JSON.parse(data.toString('utf8')) : unpackr.unpack(data)) as Record<
      string,
      unknown
    >
    waiting.get(frame.ref as number)?.(frame)
  })
  await new Promise((resolve, reject) => {
    socket.on('open', resolve)
    socket.on('error', reject)
  })
  let ref = 0
  const send = (make: (ref: number) => Uint8Array | string): Promise<Outcome> => {
    ref += 1
    const mark = ref
    return new Promise((resolve, reject) => {
      socket.on('close', (code, reason) =>
        reject(new Error(`closed with ${code}: ${reason.toString('utf8')}`)),
      )
      waiting.set(mark, ({ type, code, message }) => {
        waiting.delete(mark)
        resolve(
          type === 'error' ? { kind: 'refused', code: code as string, message: message as string } : done,
        )
      })
      socket.send(make(mark))
    })
  }
  const isText = codec === 'json'
  /** The frame whose field has a value inside `{ value }`, or what `around` makes of it. */
  const frameOf = (fields: object, field: string, given: Given, key = 'value') =>
    isText
      ? `${JSON.stringify(fields).slice(0, -1)},"${field}":{"${key}":${given.text}}}`
      : packedMap(fields, field, packedMap({}, key, given.packed as Uint8Array))
  return {
    name: `WebSocket, ${codec}`,
    form: isText ? 'text' : 'packed',
    publish: (topic, type, given, key) =>
      send((mark) => {
        const event = frameOf({ type }, 'data', given, key)
        const frame = { type: 'publish', ref: mark, topic }
        return isText
          ? `${JSON.stringify(frame).slice(0, -1)},"events":[${event.toString()}]}`
          : packedMap(frame, 'events', listOfOne(event as Uint8Array))
      }),
    state: {
      set: (topic, slice, given) =>
        send((mark) => frameOf({ type: 'set', ref: mark, topic, slice }, 'value', given)),
      merge: (topic, slice, given) =>
        send((mark) => frameOf({ type: 'merge', ref: mark, topic, slice }, 'merge', given)),
      async patch(topic, slice, given) {
        const before = { name: '', text: '"before"', packed: packr.pack('before') }
        await send((mark) => frameOf({ type: 'set', ref: mark, topic, slice }, 'value', before))
        const operation = { op: 'replace', path: '/value' }
        return send((mark) => {
          const frame = { type: 'patch', ref: mark, topic, slice }
          return isText
            ? `${JSON.stringify(frame).slice(0, -1)},"patch":[${JSON.stringify(operation).slice(0, -1)},"value":${given.text}}]}`
            : packedMap(frame, 'patch', listOfOne(packedMap(operation, 'value', given.packed as Uint8Array)))
        })
      },
    },
    close: () => socket.terminate(),
  }
}

// In process, and the client

async function outcomeOf(act: () => unknown): Promise<Outcome> {
  try {
    await act()
    return done
  } catch (error) {
    const { code, message, place } = error as { code: string; message: string; place?: { pointer?: string } }
    const pointer = place?.pointer
    return { kind: 'refused', code, message, ...(pointer !== undefined && { pointer }) }
  }
}

function inProcess({ hub }: House): Door {
  return {
    name: 'in process',
    form: 'js',
    publish: (topic, type, { js }, key = 'value') =>
      outcomeOf(() => hub.publish(topic, [{ type, data: { [key]: js } as JsonValue }])),
    state: {
      set: (topic, slice, { js }) => outcomeOf(() => hub.setState(topic, slice, { value: js as JsonValue })),
      merge: (topic, slice, { js }) =>
        outcomeOf(() => hub.mergeState(topic, slice, { value: js as JsonValue })),
      patch: (topic, slice, { js }) =>
        outcomeOf(() => {
          hub.setState(topic, slice, { value: 'before' })
          hub.patchState(topic, slice, [{ op: 'replace', path: '/value', value: js as JsonValue }])
        }),
    },
    close: () => undefined,
  }
}

export const Socket: SocketClass = WebSocket

function clientDoor({ url }: House, name: string, options: ConnectOptions): Door {
  const client: Client = connect(url, { WebSocket: Socket, ...options })
  return {
    name,
    form: 'js',
    publish: (topic, type, { js }, key = 'value') =>
      outcomeOf(() => client.publish(topic, { type, data: { [key]: js } as JsonValue })),
    state: {
      set: (topic, slice, { js }) =>
        outcomeOf(() => client.setState(topic, slice, { value: js as JsonValue })),
      merge: (topic, slice, { js }) =>
        outcomeOf(() => client.mergeState(topic, slice, { value: js as JsonValue })),
      patch: (topic, slice, { js }) =>
        outcomeOf(async () => {
          await client.setState(topic, slice, { value: 'before' })
          await client.patchState(topic, slice, [{ op: 'replace', path: '/value', value: js as JsonValue }])
        }),
    },
    close: () => client.close(),
  }
}

/** All ways into a hub; closed when the test ends. */
export async function openDoors(t: Test, house: House): Promise<readonly Door[]> {
  const event = (type: string, key: string, value: string) => `{"type":"${type}","data":{"${key}":${value}}}`
  const doors = [
    http(house, 'HTTP JSON', 'application/json', { body: event }),
    http(house, 'HTTP JSON, a list', 'application/json', {
      body: (type, key, value) => `\ufeff[${event(type, key, value)}]`,
    }),
    http(house, 'HTTP NDJSON', 'application/x-ndjson', {
      body: (type, key, value) => `\ufeff${event(type, key, value)}\n`,
    }),
    http(house, 'HTTP MessagePack', 'application/msgpack', {
      form: 'packed',
      body: (type, key, value) => packedMap({ type }, 'data', packedMap({}, key, value)),
    }),
    http(house, 'dialect session-bus', 'application/json', { query: '?dialect=session-bus', body: event }),
    http(house, 'dialect stream-event', 'application/x-ndjson', {
      query: '?dialect=stream-event',
      body: (type, key, value) => `{"type":"${type}","${key}":${value}}\n`,
    }),
    await socketDoor(house, 'json'),
    await socketDoor(house, 'msgpack'),
    inProcess(house),
    clientDoor(house, 'client, WebSocket with MessagePack', { transport: 'websocket' }),
    clientDoor(house, 'client, WebSocket with JSON', { transport: 'websocket', codec: 'json' }),
    clientDoor(house, 'client, SSE and POST', { transport: 'sse' }),
  ]
  t.teardown(() => doors.forEach((door) => door.close()))
  return doors
}
