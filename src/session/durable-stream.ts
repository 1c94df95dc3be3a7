import type { Catalog } from '../catalog/catalog.js'
import type { StreamChange, StreamMessage } from '../log/entries.js'
import type { ForkOrigin, StreamFork, StreamProducer, StreamRecord } from '../store/store.js'

/** Maximum of producers of a durable stream. Its record contains all of them and is stored with every append. */
export const streamProducersMax = 256

/** After this time without a request a producer may be replaced by a new one. Milliseconds */
export const producerIdleMs = 7 * 24 * 3_600_000

/** Maximum of existing forks of a durable stream. Its record contains all of them. */
export const streamForksMax = 256

/** Why a request to a durable stream is refused. */
export type StreamRefusal =
  /** There is no stream, or it has expired. */
  | { readonly why: 'missing' }
  /** It was deleted, and is kept only for its forks. */
  | { readonly why: 'deleted' }
  /** It has `streamForksMax` forks. */
  | { readonly why: 'forks' }
  /** A session has this id and is not a stream. */
  | { readonly why: 'taken' }
  /** The stream exists with other settings. */
  | { readonly why: 'different' }
  | { readonly why: 'closed' }
  | { readonly why: 'contentType'; readonly expected: string }
  | { readonly why: 'seq'; readonly last: string }
  /** A newer epoch of the producer has begun. */
  | { readonly why: 'fenced'; readonly epoch: number }
  /** A new epoch must begin with 0. */
  | { readonly why: 'epochStart' }
  | { readonly why: 'gap'; readonly expected: number; readonly received: number }
  /** It has `streamProducersMax` producers, none of them idle long enough. */
  | { readonly why: 'producers' }

/** The answer to a request to a durable stream. */
export type StreamOutcome =
  | ({ readonly kind: 'refused'; readonly stream: StreamRecord | undefined } & StreamRefusal)
  | {
      /** `exists`: it was created before with the same settings. `repeated`: the request was accepted before. */
      readonly kind: 'created' | 'exists' | 'appended' | 'repeated' | 'changed'
      readonly stream: StreamRecord
      /** The producer's last accepted request. */
      readonly producer?: StreamProducer
      /** The request closed the stream, which was open before. */
      readonly closedNow?: true
    }

/** What a decision depends on besides the stream and the request. */
export interface StreamMoment {
  /** Milliseconds since 1970. */
  readonly now: number
  /** Whether a session with this id has begun and is not a stream. */
  readonly isTaken: boolean
}

/** The answer to a request. `next` is the changed stream, before messages are appended; absent if nothing changes. */
export interface Decision {
  readonly outcome: StreamOutcome
  readonly next?: StreamRecord
}

/** The part of a session that `changeStream` needs. */
export interface StreamSession {
  readonly status: 'waiting' | 'running' | 'paused' | 'ended'
  readonly stream: StreamRecord | undefined
  readonly forkedFrom: ForkOrigin | undefined
  append(
    event: StreamMessage['event'],
    worker: undefined,
    facts: { traits: ReturnType<Catalog['traitsOf']>; bytes: number; now: number },
  ): StreamRecord['tail']
  setStream(stream: StreamRecord): void
}

/** The types of messages: a JSON value, a text, or bytes in base64. */
export const messageTypes: readonly string[] = ['stream.json', 'stream.text', 'stream.bytes']

export function isMessage(type: string): boolean {
  return type.startsWith('stream.') && messageTypes.includes(type)
}

/** @returns an estimate of the memory that a stream's record takes. Bytes */
export function weightOf({ contentType, seq = '', producers = [], forks = [] }: StreamRecord): number {
  const own = contentType.length + seq.length + 256
  const named = [...producers.map(({ id }) => id), ...forks]
  return named.reduce((sum, name) => sum + name.length + 64, own)
}

/** @returns when the stream expires, unless it is read or written before. Milliseconds since 1970; undefined for never */
export function expiryOf({ ttlSeconds, touchedAt = 0, expiresAt }: StreamRecord): number | undefined {
  if (ttlSeconds !== undefined) return touchedAt + ttlSeconds * 1_000
  return expiresAt === undefined ? undefined : Date.parse(expiresAt)
}

/** @returns whether the stream has expired. @param now milliseconds since 1970 */
export function isExpired(stream: StreamRecord, now: number): boolean {
  const at = expiryOf(stream)
  return at !== undefined && now >= at
}

/** @returns the media type without parameters, by which content types are compared */
export function mediaTypeOf(contentType: string): string {
  return (contentType.split(';', 1)[0] ?? '').trim().toLowerCase()
}

/**
 * Decides a request. The result depends only on the arguments, so all hubs of a log decide alike (PROTOCOL.md of Durable
 * Streams, sections 5.1 and 5.2).
 */
export function decide(
  stream: StreamRecord | undefined,
  change: StreamChange,
  moment: StreamMoment,
): Decision {
  switch (change.kind) {
    case 'create':
      return create(stream, change, moment)
    case 'release':
      return stream === undefined ? refuse(stream, { why: 'missing' }) : changed(without(stream, change.fork))
    default:
      if (stream === undefined) return refuse(stream, { why: 'missing' })
      return stream.isDeleted ? refuse(stream, { why: 'deleted' }) : decideLiving(stream, change, moment)
  }
}

function decideLiving(
  stream: StreamRecord,
  change: Exclude<StreamChange, { kind: 'create' | 'release' }>,
  moment: StreamMoment,
): Decision {
  switch (change.kind) {
    case 'append':
      return append(stream, change, moment)
    case 'touch':
      return changed(touched(stream, moment.now))
    case 'delete':
      return changed({ ...stream, isDeleted: true })
    case 'refer': {
      const { forks = [] } = without(stream, change.fork)
      if (forks.length >= streamForksMax) return refuse(stream, { why: 'forks' })
      return changed({ ...stream, forks: [...forks, change.fork] })
    }
  }
}

function changed(next: StreamRecord): Decision {
  return { outcome: { kind: 'changed', stream: next }, next }
}

function without({ forks = [], ...stream }: StreamRecord, fork: string): StreamRecord {
  const left = forks.filter((one) => one !== fork)
  return left.length === 0 ? stream : { ...stream, forks: left }
}

/** @returns whether the session has begun and is not a stream. A session that was forked for this stream does not count. */
export function isTaken(
  { stream, status, forkedFrom }: Pick<StreamSession, 'stream' | 'status' | 'forkedFrom'>,
  change: StreamChange,
): boolean {
  if (stream !== undefined || status === 'waiting') return false
  const fork = change.kind === 'create' ? change.fork : undefined
  return fork === undefined || forkedFrom?.session !== fork.source
}

export interface StreamChanging {
  readonly catalog: Catalog
  /** Milliseconds since 1970. */
  readonly now: number
  /** Begins the session of a new stream, if it has not begun. */
  readonly start?: () => void
}

/** Decides a request, and in the same turn appends its messages and sets the new state of the stream. */
export function changeStream(
  session: StreamSession,
  change: StreamChange,
  messages: readonly StreamMessage[],
  { catalog, now, start }: StreamChanging,
): StreamOutcome {
  const { outcome, next } = decide(session.stream, change, { now, isTaken: isTaken(session, change) })
  if (next === undefined || outcome.kind === 'refused') return outcome
  if (session.status === 'waiting') start?.()
  let { tail } = next
  for (const { event, bytes } of messages) {
    tail = session.append(event, undefined, { traits: catalog.traitsOf(event.type), bytes, now })
  }
  const stream = { ...next, tail }
  session.setStream(stream)
  return { ...outcome, stream }
}

type Create = Extract<StreamChange, { kind: 'create' }>
type Append = Extract<StreamChange, { kind: 'append' }>

function refuse(stream: StreamRecord | undefined, refusal: StreamRefusal): Decision {
  return { outcome: { kind: 'refused', stream, ...refusal } }
}

function touched(stream: StreamRecord, now: number): StreamRecord {
  return stream.ttlSeconds === undefined ? stream : { ...stream, touchedAt: now }
}

function create(stream: StreamRecord | undefined, change: Create, { now, isTaken }: StreamMoment): Decision {
  const { contentType, ttlSeconds, expiresAt, closes, fork } = change
  if (stream?.isDeleted) return refuse(stream, { why: 'deleted' })
  if (stream !== undefined) {
    const isSame =
      isSameFork(stream.fork, fork) &&
      mediaTypeOf(stream.contentType) === mediaTypeOf(contentType) &&
      stream.ttlSeconds === ttlSeconds &&
      stream.expiresAt === expiresAt &&
      (stream.closed !== undefined) === closes
    return isSame ? { outcome: { kind: 'exists', stream } } : refuse(stream, { why: 'different' })
  }
  if (isTaken) return refuse(undefined, { why: 'taken' })
  const next: StreamRecord = {
    contentType,
    lifetime: fork?.lifetime ?? now,
    tail: fork?.tail ?? (0 as StreamRecord['tail']),
    ...(fork && {
      fork: {
        source: fork.source,
        more: fork.more,
        ...(fork.offset !== undefined && { offset: fork.offset }),
      },
    }),
    ...(ttlSeconds !== undefined && { ttlSeconds, touchedAt: now }),
    ...(expiresAt !== undefined && { expiresAt }),
    ...(closes && { closed: {} }),
  }
  return { outcome: { kind: 'created', stream: next, ...(closes && { closedNow: true }) }, next }
}

function isSameFork(one: StreamFork | undefined, other: StreamFork | undefined): boolean {
  return one?.source === other?.source && one?.offset === other?.offset && one?.more === other?.more
}

function append(stream: StreamRecord, change: Append, { now }: StreamMoment): Decision {
  const { contentType, closes, seq, producer } = change
  if (stream.closed !== undefined) return appendToClosed(stream, change)
  if (contentType !== undefined && mediaTypeOf(contentType) !== mediaTypeOf(stream.contentType)) {
    return refuse(stream, { why: 'contentType', expected: stream.contentType })
  }
  const checked = producer && checkProducer(stream, producer, now)
  if (checked !== undefined && 'outcome' in checked) return checked
  if (seq !== undefined && stream.seq !== undefined && !isAfter(seq, stream.seq)) {
    return refuse(stream, { why: 'seq', last: stream.seq })
  }
  const next: StreamRecord = {
    ...touched(stream, now),
    ...(seq !== undefined && { seq }),
    ...(checked && { producers: checked.producers }),
    ...(closes && { closed: producer === undefined ? {} : { by: producer } }),
  }
  const answer = { kind: 'appended', stream: next, ...(producer && { producer }) } as const
  return { outcome: closes ? { ...answer, closedNow: true } : answer, next }
}

function appendToClosed(stream: StreamRecord, { contentType, closes, producer }: Append): Decision {
  const by = stream.closed?.by
  const isRepeated =
    by !== undefined && by.id === producer?.id && by.epoch === producer.epoch && by.seq === producer.seq
  if (isRepeated) return { outcome: { kind: 'repeated', stream, producer: by } }
  const onlyCloses = closes && contentType === undefined
  if (onlyCloses && producer === undefined) return { outcome: { kind: 'repeated', stream } }
  return refuse(stream, { why: 'closed' })
}

function checkProducer(
  stream: StreamRecord,
  producer: StreamProducer,
  now: number,
): Decision | { readonly producers: NonNullable<StreamRecord['producers']> } {
  const { producers = [] } = stream
  const { id, epoch, seq } = producer
  const known = producers.find((one) => one.id === id)
  const others = producers.filter((one) => one !== known)
  if (known !== undefined && epoch < known.epoch) return refuse(stream, { why: 'fenced', epoch: known.epoch })
  if (known?.epoch === epoch) {
    if (seq <= known.seq) {
      return { outcome: { kind: 'repeated', stream, producer: { id, epoch, seq: known.seq } } }
    }
    if (seq > known.seq + 1) return refuse(stream, { why: 'gap', expected: known.seq + 1, received: seq })
  } else if (seq !== 0) {
    return refuse(
      stream,
      known === undefined ? { why: 'gap', expected: 0, received: seq } : { why: 'epochStart' },
    )
  }
  const kept = roomFor(others, now)
  if (kept === undefined) return refuse(stream, { why: 'producers' })
  return { producers: [...kept, { id, epoch, seq, at: now }] }
}

/** @returns the producers that remain when a new one is added; undefined if there are too many */
function roomFor(
  others: NonNullable<StreamRecord['producers']>,
  now: number,
): NonNullable<StreamRecord['producers']> | undefined {
  if (others.length < streamProducersMax) return others
  const [oldest, ...rest] = others
  return oldest !== undefined && now - oldest.at >= producerIdleMs ? rest : undefined
}

/** Compares the UTF-8 bytes, as the protocol requires. */
function isAfter(seq: string, last: string): boolean {
  return Buffer.compare(Buffer.from(seq), Buffer.from(last)) > 0
}
