import assert from 'node:assert/strict'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import { createHub, type Hub } from '../../src/hub/hub.js'
import type { HubOptions } from '../../src/hub/hub-options.js'
import { type ServeOptions, type Server, serve } from '../../src/server/serve.js'
import { chooseTransport, type TransportName, transportNames } from '../../src/transport/choice.js'
import { transportOptions } from '../conformance/transport-kit.js'
import { hubOverLog, overLog } from './over-log.js'

/** What the hubs of tests speak through, unless a test says otherwise: for a whole run, what the environment says. */
let transport: TransportName = transportNames.find((name) => name === process.env.RUNCAST_TRANSPORT) ?? 'auto'

/** @returns whether the transport loads here; where not, the test is skipped, and said to be. */
export async function loads(t: Test, name: TransportName): Promise<boolean> {
  try {
    await chooseTransport(name, transportOptions)
    return true
  } catch (error) {
    t.pass(name, { skip: String(error) })
    return false
  }
}

/**
 * Runs tests over each transport that loads here, or over the one that the environment names. One that does not load is
 * skipped, and said to be.
 */
export function overTransports(t: Test, tests: (t: Test) => void): void {
  const named = transport
  for (const name of ['uws', 'node'] as const) {
    if (named !== 'auto' && named !== name) continue
    t.test(`over ${name}`, async (t) => {
      if (!(await loads(t, name))) return
      transport = name
      t.teardown(() => {
        transport = named
      })
      tests(t)
    })
  }
}

/** @returns what the hubs of tests speak through now: within `overTransports` the one that has its turn */
export function transportNow(): TransportName {
  return transport
}

export interface Served {
  readonly hub: Hub
  readonly server: Server
  readonly url: string
}

/** A hub that listens on loopback. When the test ends it is closed, and nothing may be left of it. */
export async function served(
  t: Test,
  options: { readonly hub?: HubOptions; readonly serve?: ServeOptions } = {},
): Promise<Served> {
  const given: HubOptions = { report: (error) => t.error(error, 'nothing is reported'), ...options.hub }
  const isKept = given.store !== undefined || given.log !== undefined
  const hub = overLog && !isKept ? await hubOverLog(given) : createHub(given)
  const server = await serve(hub, {
    port: 0,
    transport,
    report: (error) => t.error(error, 'nothing is reported'),
    ...options.serve,
  })
  t.teardown(async () => {
    await server.close({ graceMs: 1_000 })
    // A link to a log that nobody closes would go on dialling the engine, and its test would not end.
    if (overLog || given.log !== undefined) await hub.closeStore()
    const { connections, subscriptions, feeds } = hub.stats()
    assert.deepEqual({ connections, subscriptions, feeds }, { connections: 0, subscriptions: 0, feeds: 0 })
  })
  return { hub, server, url: server.url }
}

/** A queue that is waited on. */
class Inbox<Item> {
  readonly #items: Item[] = []
  #ended = false
  #wake: (() => void) | undefined

  push(item: Item): void {
    this.#items.push(item)
    this.#wake?.()
  }

  end(): void {
    this.#ended = true
    this.#wake?.()
  }

  /** @returns the next item; nothing at the end */
  async next(): Promise<Item | undefined> {
    while (this.#items.length === 0 && !this.#ended) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    return this.#items.shift()
  }
}

/** One block of an event stream, with the fields that it has. A comment has only its text. */
export interface Block {
  readonly id?: string
  readonly event?: string
  readonly data?: string
  readonly retry?: string
  readonly comment?: string
}

export interface EventStream {
  readonly response: Response
  /** @returns the next block; nothing at the end */
  next(): Promise<Block | undefined>
  /** Skips what comes before the block that is meant; fails at the end. */
  until(meant: (block: Block) => boolean): Promise<Block>
  /** @returns all blocks up to the end of the response */
  rest(): Promise<Block[]>
  close(): void
}

/** Reads an event stream block by block, as it comes. Closed at the end of the test. */
export async function openStream(
  t: Test,
  url: string,
  headers: Record<string, string> = {},
): Promise<EventStream> {
  const abort = new AbortController()
  t.teardown(() => abort.abort())
  const response = await fetch(url, { headers, signal: abort.signal })
  const inbox = new Inbox<Block>()
  const read = async () => {
    let text = ''
    for await (const piece of (response.body ?? new ReadableStream()).pipeThrough(new TextDecoderStream())) {
      text += piece
      for (let end = text.indexOf('\n\n'); end !== -1; end = text.indexOf('\n\n')) {
        inbox.push(blockOf(text.slice(0, end)))
        text = text.slice(end + 2)
      }
    }
  }
  read()
    .catch(() => {
      // Cut by us or by the hub: either way the stream is at its end.
    })
    .finally(() => inbox.end())
  const stream: EventStream = {
    response,
    next: () => inbox.next(),
    async until(meant) {
      for (let block = await inbox.next(); block !== undefined; block = await inbox.next()) {
        if (meant(block)) return block
      }
      throw new Error('expected a block that did not come before the end of the stream')
    },
    async rest() {
      const blocks: Block[] = []
      for (let block = await inbox.next(); block !== undefined; block = await inbox.next()) blocks.push(block)
      return blocks
    },
    close: () => abort.abort(),
  }
  return stream
}

function blockOf(text: string): Block {
  const fields: Record<string, string> = {}
  for (const line of text.split('\n')) {
    const colon = line.indexOf(':')
    const name = colon === 0 ? 'comment' : line.slice(0, colon)
    fields[name] = line.slice(colon + 1).replace(/^ /, '')
  }
  return fields
}

export interface Dialogue {
  readonly socket: WebSocket
  send(frame: object | string): void
  /** @returns the next frame; nothing once the socket has closed */
  next(): Promise<Record<string, unknown> | undefined>
  /** @returns the next frame of that type; what comes before it is skipped */
  expect(type: string): Promise<Record<string, unknown>>
  /** @returns how it was closed */
  readonly closed: Promise<{ readonly code: number; readonly reason: string }>
}

/** Speaks `runcast.v1.json` with the hub. Closed at the end of the test. */
export async function dial(
  t: Test,
  url: string,
  protocols: string[] = ['runcast.v1.json'],
  headers: Record<string, string> = {},
  query = '',
): Promise<Dialogue> {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/api/ws${query}`, protocols, { headers })
  t.teardown(() => socket.terminate())
  const inbox = new Inbox<Record<string, unknown>>()
  socket.on('message', (data: Buffer) => inbox.push(JSON.parse(data.toString('utf8'))))
  const closed = new Promise<{ code: number; reason: string }>((resolve) => {
    socket.on('close', (code, reason) => {
      inbox.end()
      resolve({ code, reason: reason.toString('utf8') })
    })
  })
  await new Promise<void>((resolve, reject) => {
    socket.on('open', resolve)
    socket.on('error', reject)
  })
  return {
    socket,
    closed,
    send: (frame) => socket.send(typeof frame === 'string' ? frame : JSON.stringify(frame)),
    next: () => inbox.next(),
    async expect(type) {
      for (let frame = await inbox.next(); frame !== undefined; frame = await inbox.next()) {
        if (frame.type === type) return frame
      }
      throw new Error(`expected the frame ${type}; the socket closed`)
    },
  }
}
