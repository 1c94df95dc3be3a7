import type { Chunk } from '../../codec/codec.js'
import { type DurableStreamCodec, lost } from '../../codec/durable-stream.js'
import type { Timer } from '../../lib/clock.js'
import { formatCursor, type Offset } from '../../protocol/cursor.js'
import { streamCursor } from '../../protocol/durable-stream.js'
import { formatTopic } from '../../protocol/topic.js'
import type { Answer } from '../../transport/transport.js'
import type { StreamContext } from '../context.js'
import { shuttingDown } from '../http/problem.js'
import type { Call } from '../http/routes.js'
import { open, type Patience, StreamLink } from '../links/stream-link.js'
import { endHeaders } from './answers.js'
import { endOf, type Readable } from './readable.js'
import { expectFound, pageAnswer, readPage } from './reading.js'

/** Finds the stream of a request in its present state. */
export type Find = () => Promise<Readable | undefined>

/** @returns the client's cursor; undefined if it has none, or another server's */
export function cursorOf({ query }: Call): number | undefined {
  const text = query.get('cursor') ?? ''
  return /^\d{1,15}$/.test(text) ? Number(text) : undefined
}

/** Answers once there is a message after an offset, the stream is closed, or `longPollMs` have passed. */
export async function longPoll(
  context: StreamContext,
  call: Call,
  { readable, from, find }: { readonly readable: Readable; readonly from: Offset; readonly find: Find },
): Promise<Answer | undefined> {
  const { hub, clock } = context
  if (from >= readable.tail && !readable.closed) {
    await somethingAfter(context, call, readable, from)
    if (call.exchange.gone) return undefined
  }
  const end = expectFound(await find())
  const headers = { 'stream-cursor': String(streamCursor(clock.now(), cursorOf(call))) }
  if (from >= end.tail || end.epoch !== readable.epoch) {
    return {
      status: 204,
      headers: { 'cache-control': 'no-store', ...headers, ...endHeaders(end), 'stream-up-to-date': 'true' },
    }
  }
  const page = await readPage(hub, call, end, from)
  return pageAnswer(call, end, { from, page, end, headers })
}

async function somethingAfter(
  context: StreamContext,
  call: Call,
  readable: Readable,
  after: Offset,
): Promise<void> {
  const { hub, limits, clock, links, rateLimits, closing } = context
  if (closing()) throw shuttingDown()
  const address = rateLimits.addressOf(call.request)
  links.expectRoom(address)
  const { topic, epoch, types } = readable
  const following = call.use(() =>
    hub.subscribe(formatTopic(topic), {
      after: formatCursor(epoch, after),
      ...(types && { types }),
    }),
  )
  // The timer, the client and the server's shutdown all end the wait by closing the subscription.
  const over = { close: () => following.close() }
  const timer = clock.after(limits.longPollMs, over.close)
  call.exchange.onGone(over.close)
  links.add('sse', over, address)
  try {
    await following.next()
  } catch {
    // It lags or was closed. Then the answer is read from the history.
  } finally {
    timer.cancel()
    links.remove('sse', over, address)
    following.close()
  }
}

/** Streams messages as SSE. */
export async function streamSse(
  context: StreamContext,
  call: Call,
  { readable, from }: { readonly readable: Readable; readonly from: Offset },
): Promise<undefined> {
  const { topic, epoch, types, kind } = readable
  const { hub, clock } = context
  const cursor = cursorOf(call)
  const isAhead = cursor !== undefined && cursor >= streamCursor(clock.now())
  const findEnd = (name: string) => endOf(hub, name, kind)
  const codec = hub.codecs.durableStream(kind, findEnd, isAhead ? cursor : undefined)
  let link: DurableLink | undefined
  const makeLink = (patience: Patience): StreamLink => {
    link = new DurableLink(codec, context.limits, patience)
    return link
  }
  const connection = await open(context, call, makeLink, {
    subscribes: [
      {
        type: 'subscribe',
        sub: 1,
        topic,
        after: formatCursor(epoch, from),
        ...(types && { types }),
      },
    ],
    headers: {
      'cache-control': 'no-cache, no-transform',
      ...(kind === 'bytes' && { 'stream-sse-data-encoding': 'base64' }),
    },
  })
  if (connection !== undefined) link?.endAfter(context.limits.durableSseMs)
  return undefined
}

/** An SSE response that ends after `durableSseMs`, so that caches can share it (PROTOCOL.md, section 8.2). */
class DurableLink extends StreamLink {
  readonly #codec: DurableStreamCodec
  readonly #patience: Patience
  #hasBatch = false
  #timer: Timer | undefined

  constructor(codec: DurableStreamCodec, limits: StreamContext['limits'], patience: Patience) {
    super(codec, limits, patience)
    this.#codec = codec
    this.#patience = patience
  }

  endAfter(ms: number): void {
    this.#timer = this.#patience.clock.after(ms, () => this.end())
  }

  override write(chunk: Chunk): boolean {
    // The client reconnects and gets 410, because the next messages are lost.
    if (chunk === lost) this.end()
    else if (chunk instanceof Uint8Array && this.#codec.isLive(chunk)) {
      if (this.#hasBatch) return true
    } else this.#hasBatch = true
    return super.write(chunk)
  }

  override gone(): void {
    this.#timer?.cancel()
    super.gone()
  }
}
