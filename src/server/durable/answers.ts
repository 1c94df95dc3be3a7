import { ProtocolError, type RequestCode } from '../../protocol/codes.js'
import { formatPlace, type StreamPlace } from '../../protocol/durable-stream.js'
import { type StreamOutcome, streamForksMax, streamProducersMax } from '../../session/durable-stream.js'
import type { StreamProducer } from '../../store/store.js'
import type { Answer } from '../../transport/transport.js'
import { problem } from '../http/problem.js'

type Refused = Extract<StreamOutcome, { kind: 'refused' }>

/** @returns the headers that tell the end of a stream */
export function endHeaders({
  lifetime,
  tail,
  closed,
}: {
  readonly lifetime: number
  readonly tail: StreamPlace['offset']
  readonly closed?: unknown
}): Record<string, string> {
  return {
    'stream-next-offset': formatPlace({ lifetime, offset: tail }),
    ...(closed !== undefined && closed !== false && { 'stream-closed': 'true' }),
  }
}

/** @returns the headers of an answer that says how a stream is now, which no cache may keep */
export function presentHeaders(
  stream: Parameters<typeof endHeaders>[0] & { readonly contentType: string },
): Record<string, string> {
  return { 'content-type': stream.contentType, 'cache-control': 'no-store', ...endHeaders(stream) }
}

/** @returns the headers that tell the last accepted request of a producer */
export function producerHeaders(producer: StreamProducer | undefined): Record<string, string> {
  if (producer === undefined) return {}
  return { 'producer-epoch': String(producer.epoch), 'producer-seq': String(producer.seq) }
}

/** @returns the answer (410) to a request for something that no longer exists */
export function goneAnswer(message: string): Answer {
  return problem(new ProtocolError('gone', message))
}

/** @returns the answer for a deleted stream that is kept for its forks */
export function deletedAnswer(): Answer {
  return goneAnswer('stream: it was deleted, and is kept for its forks alone')
}

/** @returns the answer to a refused request, as a problem (RFC 9457) */
export function refused(refusal: Refused): Answer {
  const [code, message, headers = {}] = reasonOf(refusal)
  const answer = problem(new ProtocolError(code, message))
  return { ...answer, headers: { ...answer.headers, ...headers } }
}

function reasonOf(refusal: Refused): readonly [RequestCode, string, Record<string, string>?] {
  switch (refusal.why) {
    case 'missing':
      return ['notFound', 'There is no such stream.']
    case 'deleted':
      return ['conflict', 'stream: it was deleted, and its path is in use until its forks are gone']
    case 'forks':
      return ['unavailable', `stream: fork limit reached (${streamForksMax})`]
    case 'taken':
      return [
        'conflict',
        'stream: a session has this id and is not a stream; read it at /v1/stream/sessions/{session}',
      ]
    case 'different':
      return ['conflict', 'stream: it already exists with other settings']
    case 'closed':
      return [
        'conflict',
        'stream: it is closed',
        refusal.stream === undefined ? {} : endHeaders(refusal.stream),
      ]
    case 'contentType':
      return ['conflict', `content-type: expected ${refusal.expected}, the stream's own`]
    case 'seq':
      return ['conflict', `stream-seq: expected one above ${JSON.stringify(refusal.last)}`]
    case 'fenced':
      return [
        'forbidden',
        `producer-epoch: expected at least ${refusal.epoch}`,
        { 'producer-epoch': String(refusal.epoch) },
      ]
    case 'epochStart':
      return ['badFrame', 'producer-seq: expected 0 in a new epoch']
    case 'gap':
      return [
        'conflict',
        `producer-seq: expected ${refusal.expected}, got ${refusal.received}`,
        {
          'producer-expected-seq': String(refusal.expected),
          'producer-received-seq': String(refusal.received),
        },
      ]
    case 'producers':
      return ['unavailable', `producer-id: producer limit of the stream reached (${streamProducersMax})`]
  }
}
