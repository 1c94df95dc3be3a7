import { isUtf8 } from 'node:buffer'
import { ProtocolError } from '../../protocol/codes.js'
import type { NewEvent } from '../../protocol/frames.js'
import type { Limits } from '../../protocol/limits.js'
import type { BodyContext } from '../context.js'
import { parseJson, readBody, utf8 } from '../http/body.js'
import { refusal } from '../http/problem.js'
import type { Call } from '../http/routes.js'
import { kindOf } from './readable.js'

/** Bytes become base64, a third longer, and an event has at most `frameBytesMax`. */
const pieceShare = 0.7

/** How much of a body that is too large is read and thrown away before the answer. Bytes */
const discardedBytesMax = 16 * 1024 * 1024

/**
 * `readBody`, which lets the client send its body before it is told that it is too large: otherwise many clients see only that
 * the connection has ended.
 */
export async function readMessages(context: BodyContext, call: Call): Promise<Buffer | undefined> {
  try {
    return await readBody(context, call)
  } catch (error) {
    if (error instanceof ProtocolError && error.code === 'frameTooLarge') await discard(context, call)
    throw error
  }
}

/** Only where the length was announced, because otherwise a part of the body has been read already. */
async function discard({ rateLimits }: BodyContext, { request, exchange, sender }: Call): Promise<void> {
  const announced = Number(request.headers.get('content-length') ?? Number.POSITIVE_INFINITY)
  if (announced > discardedBytesMax) return
  for await (const chunk of exchange.body()) rateLimits.bodies.count(sender, chunk.length)
}

/**
 * @param contentType of the stream
 * @returns the messages of a body as events: of JSON each element of an array, else the bytes in pieces
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

/** A character takes up to six bytes of JSON text. */
function fits(body: Buffer, { frameBytesMax }: Limits): boolean {
  return body.length * 6 <= frameBytesMax
}
