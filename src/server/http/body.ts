import type { JsonValue } from '../../lib/json.js'
import { expectWithinBounds, parseJsonText } from '../../lib/json-text.js'
import { ProtocolError } from '../../protocol/codes.js'
import type { Limits } from '../../protocol/limits.js'
import type { Request } from '../../transport/transport.js'
import type { BodyContext } from '../context.js'
import type { Call } from './routes.js'

/**
 * Reads a whole body.
 *
 * @returns the bytes, in a turn of their own if they are many; undefined if the peer has gone
 * @throws ProtocolError `frameTooLarge` as soon as it exceeds `frameBytesMax`; `rateExceeded` when the sender has sent too much
 */
export async function readBody(
  context: Pick<BodyContext, 'limits' | 'bodyBudget' | 'rateLimits' | 'workTurns'>,
  { request, exchange, sender }: Pick<Call, 'request' | 'exchange' | 'sender'>,
): Promise<Buffer | undefined> {
  const { bodyBudget, rateLimits } = context
  const { frameBytesMax } = context.limits
  const announced = Number(request.headers.get('content-length') ?? 0)
  if (announced > frameBytesMax) throw tooLarge(frameBytesMax)
  await rateLimits.enterBody(sender, () => exchange.gone)
  let evicted: ProtocolError | undefined
  const body = exchange.body()[Symbol.asyncIterator]()
  const share = bodyBudget.take(sender, (error) => {
    evicted = error
    void body.return?.()
  })
  const chunks: Uint8Array[] = []
  let bytes = 0
  try {
    for await (const chunk of { [Symbol.asyncIterator]: () => body }) {
      bytes += chunk.length
      rateLimits.bodies.count(sender, chunk.length)
      if (bytes > frameBytesMax) throw tooLarge(frameBytesMax)
      share.hold(bytes)
      chunks.push(chunk)
    }
    await turnFor(context, sender, bytes)
  } finally {
    share.release()
  }
  if (evicted !== undefined) throw evicted
  if (exchange.gone) return undefined
  const whole = Buffer.concat(chunks)
  for (const chunk of chunks) exchange.giveBack?.(chunk)
  return whole
}

function tooLarge(bytesMax: number): ProtocolError {
  return new ProtocolError('frameTooLarge', `body: expected at most ${bytesMax} bytes`)
}

/** Parsing or using a body of this size takes so long that it has a turn of its own. */
export const largeBytes = 64 * 1024

/** @returns in a turn of its own if there are many bytes; for each step that is done with them */
export async function turnFor(
  { workTurns }: Pick<BodyContext, 'workTurns'>,
  sender: string,
  bytes: number,
): Promise<void> {
  if (bytes >= largeBytes) await workTurns.take(sender)
}

/** The content type of a body. */
export type BodyKind = 'json' | 'ndjson' | 'msgpack' | 'event-stream'

const kinds: Readonly<Record<string, BodyKind>> = {
  '': 'json',
  'application/json': 'json',
  // The default type of `curl --data` and `fetch` for any text. A page cannot misuse it, because its origin is checked.
  'application/x-www-form-urlencoded': 'json',
  'text/plain': 'json',
  'application/x-ndjson': 'ndjson',
  'application/ndjson': 'ndjson',
  'application/jsonl': 'ndjson',
  'text/event-stream': 'event-stream',
  'application/msgpack': 'msgpack',
  'application/x-msgpack': 'msgpack',
  'application/vnd.msgpack': 'msgpack',
}

/** @returns the content type without parameters, in lower case; empty if there is none */
export function contentType(request: Request): string {
  return (request.headers.get('content-type') ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? ''
}

/** @throws ProtocolError `unsupportedMediaType` */
export function bodyKind(request: Request, supported: readonly BodyKind[]): BodyKind {
  const type = contentType(request)
  const kind = Object.hasOwn(kinds, type) ? kinds[type] : undefined
  if (kind !== undefined && supported.includes(kind)) return kind
  const known = Object.keys(kinds).filter(
    (name) => name !== '' && supported.includes(kinds[name] as BodyKind),
  )
  throw new ProtocolError('unsupportedMediaType', `content-type: expected one of ${known.join(', ')}`)
}

/**
 * @param name of the text, for the error message
 * @param hint for the error message: what to try
 * @throws ProtocolError `badFrame`
 */
export function parseJson(text: string, limits: Limits, name: string, hint = ''): unknown {
  return readJson(() => parseJsonText(text, limits), name, hint)
}

/**
 * `parseJson` for a whole body. A large one is looked through in one turn and parsed in the next; what follows has its own.
 *
 * @throws ProtocolError `badFrame`
 */
export async function parseBody(
  context: Pick<BodyContext, 'limits' | 'workTurns'>,
  { sender }: Pick<Call, 'sender'>,
  body: Buffer,
  hint = '',
): Promise<JsonValue> {
  const text = utf8(body, 'body')
  readJson(() => expectWithinBounds(text, context.limits), 'body', hint)
  await turnFor(context, sender, body.length)
  const value = readJson(() => JSON.parse(text) as JsonValue, 'body', hint)
  await turnFor(context, sender, body.length)
  return value
}

function readJson<T>(read: () => T, name: string, hint: string): T {
  try {
    return read()
  } catch (error) {
    const reason = error instanceof SyntaxError ? error.message.slice(0, 200) : 'not JSON'
    throw new ProtocolError('badFrame', `${name}: ${reason}${hint}`)
  }
}

/** @throws ProtocolError `badFrame` */
export function utf8(bytes: Buffer, name: string): string {
  try {
    return decoder.decode(bytes)
  } catch {
    throw new ProtocolError('badFrame', `${name}: expected UTF-8`)
  }
}

const decoder = new TextDecoder('utf-8', { fatal: true })
