import { isUtf8 } from 'node:buffer'
import { ProtocolError } from '../../protocol/codes.js'
import type { NewEvent } from '../../protocol/frames.js'
import type { Limits } from '../../protocol/limits.js'
import type { BodyContext } from '../context.js'
import { parseJson, readBody, utf8 } from '../http/body.js'
import { refusal } from '../http/problem.js'
import type { Call } from '../http/routes.js'
import { kindOf } from './readable.js'

/** The size of a piece as a share of `frameBytesMax`, the limit of an event: base64 makes bytes a third longer. */
const pieceShare = 0.7

/** Maximum size of a body that is read and discarded before the answer that it is too large. Bytes */
const discardedBytesMax = 16 * 1024 * 1024

/**
 * Reads a body as `readBody` does, but reads a body that is too large to its end before it answers. Many clients read no
 * answer while they send, and would only see that the connection was closed.
 */
export async function readMessages(context: BodyContext, call: Call): Promise<Buffer | undefined> {
  try {
    return await readBody(context, call)
  } catch (error) {
    if (error instanceof ProtocolError && error.code === 'frameTooLarge') await discard(context, call)
    throw error
  }
}

/** Reads the body only if its length was announced; otherwise a part of it has been read already. */
async function discard({ rateLimits }: BodyContext, { request, exchange, sender }: Call): Promise<void> {
  const announced = Number(request.headers.get('content-length') ?? Number.POSITIVE_INFINITY)
  if (announced > discardedBytesMax) return
  for await (const chunk of exchange.body()) rateLimits.bodies.count(sender, chunk.length)
}

/**
 * @param contentType of the stream
 * @returns the messages of a body as events. JSON: one for each element of an array; other types: the bytes in pieces
 * @throws ProtocolError `badFrame`
 */
export function messagesOf(body: Buffer, contentType: string, limits: Limits): NewEvent[] {
  if (body.length === 0) return []
  const kind = kindOf(contentType)
  if (kind === 'json') {
    const value = parseJson(utf8(body, 'body'), limits, 'body') as NewEvent['data']
    const values = Array.isArray(value) ? value : [value]
    if (values.length > limits.publishEventsMax) {
      throw refusal('body', `at most ${limits.publishEventsMax} messages`, values.length)
    }
    return values.map((data) => ({ type: 'stream.json', data, force: true }))
  }
  // Text keeps its bytes only if it is UTF-8.
  if (kind === 'text' && isUtf8(body) && fits(body, limits)) {
    return [{ type: 'stream.text', data: body.toString('utf8'), force: true }]
  }
  const events: NewEvent[] = []
  const size = Math.max(1, Math.floor(limits.frameBytesMax * pieceShare))
  for (let at = 0; at < body.length; at += size) {
    const data = body.subarray(at, at + size).toString('base64')
    events.push({ type: 'stream.bytes', data, force: true })
  }
  return events
}

/** Whether a text fits into one event: a character takes up to six bytes in JSON. */
function fits(body: Buffer, { frameBytesMax }: Limits): boolean {
  return body.length * 6 <= frameBytesMax
}
