import type { Catalog } from '../../catalog/catalog.js'
import { type MergeText, mergeTextOf, withTextAt } from '../../catalog/merge.js'
import type { Traits } from '../../catalog/traits.js'
import type { Clock } from '../../lib/clock.js'
import { measure } from '../../lib/json.js'
import type { MaskedSession, Masking } from '../../mask/masking.js'
import { type Tail, TailedText } from '../../mask/tails.js'
import type { NewEvent } from '../../protocol/frames.js'
import { keyOf } from '../../session/hub-event.js'
import { pack, unpack } from '../../store/block.js'
import { isTextAlone, textStreamOf } from './text-streams.js'

/** How long a text waits for its next piece with what may be the beginning of a secret. Milliseconds. */
const pieceMs = 200
/** How long it waits in all, while pieces come. */
const heldMs = 2_000
/** How long what follows counts as a part of a secret that was masked before its end. */
const insideMs = 5_000
/** Texts of one session that may wait at the same time; of more, the oldest goes on. */
const streamsMax = 64

/** How far the clocks of two hubs may differ: what another hub keeps back counts as older than it says only beyond this. */
const skewMs = 10_000

/** A text that waits. */
interface Stream {
  readonly text: TailedText
  readonly worker: string | undefined
  /** What the rest of it is published as. */
  event: NewEvent
  path: readonly string[]
  /** When the oldest piece of what waits came, and the newest. Milliseconds, monotonic. */
  since: number
  last: number
}

/** `Stream` in bytes; ages in place of times, because each hub has its own clock. Absent values are empty. */
type Packed = readonly [
  name: string,
  worker: string,
  event: NewEvent,
  path: readonly string[],
  tail: Tail,
  sinceAgo: number,
  lastAgo: number,
]

/** Who publishes a piece of a text. */
export interface Piece {
  readonly session: MaskedSession
  readonly worker: string | undefined
  readonly traits: Traits
  /** Milliseconds, monotonic. */
  readonly now: number
}

/** An event of what was kept back. */
export interface Released {
  readonly event: NewEvent
  readonly worker: string | undefined
  readonly traits: Traits
  readonly bytes: number
}

/** Called with each event of what was kept back, in order. */
export type Release = (released: Released) => void

export interface HeldStreamsParts {
  readonly masking: Masking
  readonly catalog: Catalog
}

/**
 * The texts of one session whose ends may be the beginnings of secrets: each end is kept back until more of its text comes, or
 * until it is released.
 */
export class HeldStreams {
  readonly #parts: HeldStreamsParts
  readonly #streams: Map<string, Stream>
  #changes = 0

  constructor(parts: HeldStreamsParts, streams: Iterable<readonly [string, Stream]> = []) {
    this.#parts = parts
    this.#streams = new Map(streams)
  }

  /** @param bytes as `pack` has made them, just now or, where a session is opened, some time ago */
  static unpack(parts: HeldStreamsParts, bytes: Uint8Array, clock: Clock): HeldStreams {
    if (bytes.length === 0) return new HeldStreams(parts)
    const [at, packed] = unpack<readonly [at: number, readonly Packed[]]>(Buffer.from(bytes))
    const now = clock.elapsed() - Math.max(0, clock.now() - at - skewMs)
    const streams = packed.map(([name, worker, event, path, tail, sinceAgo, lastAgo]) => {
      const times = { since: now - sinceAgo, last: now - lastAgo }
      const stream = { text: new TailedText(tail), worker: worker || undefined, event, path, ...times }
      return [name, stream] as const
    })
    return new HeldStreams(parts, streams)
  }

  /** @returns all in bytes, for another hub; empty if nothing waits */
  pack(clock: Clock): Uint8Array {
    if (this.#streams.size === 0) return new Uint8Array()
    const now = clock.elapsed()
    const packed = [...this.#streams].map(
      ([name, { text, worker = '', event, path, since, last }]): Packed => {
        const { data = null } = event
        const bare = { ...event, data: withTextAt(data, path, '') }
        return [name, worker, bare, path, text.tail, Math.max(0, now - since), Math.max(0, now - last)]
      },
    )
    return pack([clock.now(), packed])
  }

  /** The number of texts whose next piece depends on what was before. */
  get size(): number {
    return this.#streams.size
  }

  /** Grows with each change of what waits; 0 in a copy. */
  get changes(): number {
    return this.#changes
  }

  /** Whether something is kept back, and not only remembered. */
  get isHolding(): boolean {
    for (const { text } of this.#streams.values()) if (text.heldLength > 0) return true
    return false
  }

  /** @returns an independent copy */
  copy(): HeldStreams {
    const streams = [...this.#streams].map(
      ([name, stream]) => [name, { ...stream, text: new TailedText(stream.text.tail) }] as const,
    )
    return new HeldStreams(this.#parts, streams)
  }

  /**
   * What waits for the same publisher is released before an event that is no text.
   *
   * @returns the event as it may be kept and sent
   */
  masked(event: NewEvent, piece: Piece, release: Release): NewEvent {
    const { masking } = this.#parts
    const { session, worker, traits } = piece
    const { data = null } = event
    const text = traits.merge && mergeTextOf(traits.merge, data)
    if (text === undefined) {
      if (this.size > 0 && traits.command === undefined) this.end(worker, session, release)
      const masked = masking.value(data, session)
      return masked === data ? event : { ...event, data: masked }
    }
    if (this.size === 0 && isTextAlone(data, text.path) && masking.isPlain(text.text, session)) return event
    return this.add(event, text, piece, release)
  }

  /** @returns the event with what may be sent of its text now, masked */
  add(event: NewEvent, { path, text }: MergeText, piece: Piece, release: Release): NewEvent {
    const { masking } = this.#parts
    const { session, now } = piece
    const { data = null } = event
    const bare = isTextAlone(data, path) ? data : withTextAt(data, path, '')
    const rest = bare === data ? data : masking.value(bare, session)
    const name = this.#streams.size === 0 ? undefined : streamOf(event, path, piece)
    const known = name === undefined ? undefined : this.#streams.get(name)
    const tailed = known?.text ?? new TailedText()
    const sent = tailed.add(text, masking, session)
    const masked = sent === text && rest === bare ? event : { ...event, data: withTextAt(rest, path, sent) }
    const kept = withoutId(masked)
    if (known !== undefined) {
      this.#changes++
      if (tailed.heldLength <= text.length) known.since = now
      Object.assign(known, { last: now, event: kept, path })
    }
    if (tailed.isSettled) {
      if (name !== undefined) this.#streams.delete(name)
    } else if (known === undefined) {
      const stream = { text: tailed, worker: piece.worker, event: kept, path, since: now, last: now }
      this.#hold(name ?? streamOf(event, path, piece), stream, session, release)
    }
    return masked
  }

  #hold(name: string, stream: Stream, session: MaskedSession, release: Release): void {
    this.#changes++
    this.#streams.set(name, stream)
    if (this.#streams.size <= streamsMax) return
    this.endOldest(session, release)
  }

  /** The oldest text ends. */
  endOldest(session: MaskedSession, release: Release): void {
    for (const [oldest, other] of this.#streams) {
      this.#changes++
      this.#release(other, session, release)
      this.#streams.delete(oldest)
      return
    }
  }

  /** The texts of one publisher end: of a worker, or of the session itself. */
  end(worker: string | undefined, session: MaskedSession, release: Release): void {
    for (const [name, stream] of this.#streams) {
      if (stream.worker !== worker) continue
      this.#changes++
      this.#streams.delete(name)
      this.#release(stream, session, release)
    }
  }

  endAll(session: MaskedSession, release: Release): void {
    this.#changes += this.#streams.size
    for (const stream of this.#streams.values()) this.#release(stream, session, release)
    this.#streams.clear()
  }

  /** Releases what has waited long enough. @param now milliseconds, monotonic */
  endDue(now: number, session: MaskedSession, release: Release): void {
    for (const [name, stream] of this.#streams) {
      if (dueAt(stream) > now) continue
      this.#changes++
      if (stream.text.heldLength > 0) this.#release(stream, session, release)
      if (stream.text.isSettled || dueAt(stream) <= now) this.#streams.delete(name)
    }
  }

  /** Forgets texts of which nothing is kept back, once they are too old to be continued. @param now milliseconds, monotonic */
  forgetOld(now: number): void {
    for (const [name, stream] of this.#streams) {
      if (stream.text.heldLength > 0 || dueAt(stream) > now) continue
      this.#changes++
      this.#streams.delete(name)
    }
  }

  /**
   * @param isHeld only what is kept back counts
   * @returns when `endDue` next has something to do; nothing if never
   */
  dueAt(isHeld = false): number | undefined {
    let next: number | undefined
    for (const stream of this.#streams.values()) {
      if (isHeld && stream.text.heldLength === 0) continue
      next = Math.min(next ?? Number.POSITIVE_INFINITY, dueAt(stream))
    }
    return next
  }

  #release({ text, worker, event, path }: Stream, session: MaskedSession, release: Release): void {
    const { masking, catalog } = this.#parts
    const isHeld = text.heldLength > 0
    const rest = text.release(masking, session)
    if (!isHeld) return
    const { data = null, type, key } = event
    const made = { ...event, data: withTextAt(data, path, rest) }
    const bytes = measure(made.data, Number.POSITIVE_INFINITY) + type.length + (key?.length ?? 0) + 64
    release({ event: made, worker, traits: catalog.traitsOf(type), bytes })
  }
}

/** @returns the fields of an event that the rest of its text has too; `time` because it is a part of what was published then */
function withoutId({ type, data = null, key, time, force, attempt }: NewEvent): NewEvent {
  return {
    type,
    data,
    ...(key !== undefined && { key }),
    ...(time !== undefined && { time }),
    ...(force !== undefined && { force }),
    ...(attempt !== undefined && { attempt }),
  }
}

function dueAt({ text, since, last }: Stream): number {
  return text.heldLength === 0 ? last + insideMs : Math.min(last + pieceMs, since + heldMs)
}

function streamOf(event: NewEvent, path: readonly string[], { worker, traits }: Piece): string {
  const { data = null, type, attempt } = event
  return textStreamOf({ worker, type, key: keyOf(event, traits), attempt, data }, path, traits)
}
