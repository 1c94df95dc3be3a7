import type { StreamChange } from '../../log/entries.js'
import { ProtocolError } from '../../protocol/codes.js'
import type { StreamProducer, StreamRecord } from '../../store/store.js'
import type { Request } from '../../transport/transport.js'
import { refusal } from '../http/problem.js'

/** The longest `Producer-Id`, `Stream-Seq` and content type of a durable stream. Characters */
export const streamFieldMax = 256

const integer = /^(?:0|[1-9]\d{0,15})$/

/** @returns the producer of a request; undefined if there is none. @throws ProtocolError `badFrame` */
export function producerOf({ headers }: Request): StreamProducer | undefined {
  const [id, epoch, seq] = ['producer-id', 'producer-epoch', 'producer-seq'].map((name) => headers.get(name))
  if (id === undefined && epoch === undefined && seq === undefined) return undefined
  if (id === undefined || epoch === undefined || seq === undefined) {
    throw new ProtocolError(
      'badFrame',
      'producer: expected Producer-Id, Producer-Epoch and Producer-Seq together, or none of them',
    )
  }
  if (id === '') throw refusal('producer-id', 'a text', id)
  return {
    id: short(id, 'producer-id'),
    epoch: integerOf(epoch, 'producer-epoch'),
    seq: integerOf(seq, 'producer-seq'),
  }
}

/** @returns the `Stream-Seq` of a request. @throws ProtocolError `badFrame` */
export function seqOf({ headers }: Request): string | undefined {
  const seq = headers.get('stream-seq')
  return seq === undefined ? undefined : short(seq, 'stream-seq')
}

/** @returns whether a request closes the stream; only the value `true` does */
export function closes({ headers }: Request): boolean {
  return headers.get('stream-closed')?.toLowerCase() === 'true'
}

/** @returns the content type as given; undefined if there is none. @throws ProtocolError `badFrame` */
export function givenType({ headers }: Request): string | undefined {
  const given = headers.get('content-type')?.trim()
  return given ? short(given, 'content-type') : undefined
}

/** @returns the lifetime of a new stream. @throws ProtocolError `badFrame` */
export function lifetimeOf({
  headers,
}: Request): Pick<Extract<StreamChange, { kind: 'create' }>, 'ttlSeconds' | 'expiresAt'> {
  const [ttl, expiresAt] = [headers.get('stream-ttl'), headers.get('stream-expires-at')]
  if (ttl !== undefined && expiresAt !== undefined) {
    throw new ProtocolError('badFrame', 'stream-ttl: expected it without Stream-Expires-At')
  }
  if (ttl !== undefined) return { ttlSeconds: integerOf(ttl, 'stream-ttl', ttlSecondsMax) }
  if (expiresAt === undefined) return {}
  if (!rfc3339.test(expiresAt) || Number.isNaN(Date.parse(expiresAt))) {
    throw refusal('stream-expires-at', 'a date of RFC 3339, such as 2026-01-31T10:00:00Z', expiresAt)
  }
  return { expiresAt }
}

/** The longest time to live: a hundred years. Seconds */
const ttlSecondsMax = 3_155_760_000

const rfc3339 = /^\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:[Zz]|[+-]\d{2}:\d{2})$/

function integerOf(text: string, name: string, max = Number.MAX_SAFE_INTEGER): number {
  const value = integer.test(text) ? Number(text) : Number.NaN
  if (value <= max) return value
  throw refusal(name, `an integer from 0 to ${max}`, text)
}

function short(text: string, name: string): string {
  if (text.length <= streamFieldMax) return text
  throw refusal(name, `at most ${streamFieldMax} characters`, text)
}

/** @returns the settings of a stream, for HEAD and PUT */
export function settingsOf({ ttlSeconds, expiresAt }: StreamRecord): Record<string, string> {
  return {
    ...(ttlSeconds !== undefined && { 'stream-ttl': String(ttlSeconds) }),
    ...(expiresAt !== undefined && { 'stream-expires-at': expiresAt }),
  }
}
