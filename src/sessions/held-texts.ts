import type { Catalog } from '../catalog/catalog.js'
import { type MergeText, mergeTextOf, withTextAt } from '../catalog/merge.js'
import type { Traits } from '../catalog/traits.js'
import type { Clock, Timer } from '../lib/clock.js'
import { type JsonObject, type JsonValue, measure } from '../lib/json.js'
import type { Masking } from '../mask/masking.js'
import { TailedText } from '../mask/tails.js'
import { ProtocolError } from '../protocol/codes.js'
import type { Epoch } from '../protocol/cursor.js'
import type { NewEvent } from '../protocol/frames.js'
import { keyOf } from '../session/hub-event.js'
import type { Session } from '../session/session.js'
import type { Timeline } from '../session/timeline.js'
import type { Worker } from '../session/worker.js'
import type { Sessions } from './sessions.js'
import { textStreamOf } from './text-streams.js'

/** How long a text waits for its next piece with what may be the beginning of a secret. Milliseconds. */
const pieceMs = 200
/** How long it waits in all, while pieces come. */
const heldMs = 2_000
/** How long what follows counts as a part of a secret that was masked before its end. */
const insideMs = 5_000
/** Texts of one session that may wait at the same time; of more, the oldest goes on. */
const streamsMax = 64

/** A text that waits. */
interface Stream {
  readonly text: TailedText
  readonly worker: string | undefined
  /** What the rest of it is published as. */
  event: NewEvent
  path: readonly string[]
  /** When the oldest piece of what waits came, and the newest, on the monotonic clock. */
  since: number
  last: number
}

interface Held {
  readonly epoch: Epoch
  readonly streams: Map<string, Stream>
  timer: Timer | undefined
}

export interface HeldTextsParts {
  readonly masking: Masking
  readonly catalog: Catalog
  readonly clock: Clock
  readonly sessions: Sessions
  readonly onDirty: (timeline: Timeline) => void
}

/**
 * Masks what is published, and keeps the end of a mergeable text back as long as it may be the beginning of a secret: an
 * event has its offset at once, and its text comes with the next piece, or in an event of its own.
 */
export class HeldTexts {
  readonly #parts: HeldTextsParts
  readonly #held = new Map<string, Held>()
  /** Events that the hub published with what was kept back. */
  published = 0

  constructor(parts: HeldTextsParts) {
    this.#parts = parts
  }

  /**
   * What waits for the same publisher is published before an event that is no text.
   *
   * @returns the event as it may be kept and sent
   */
  masked(event: NewEvent, { session, worker, traits, isPlain }: Published): NewEvent {
    const { data = null } = event
    const text = traits.merge && mergeTextOf(traits.merge, data)
    if (text === undefined) {
      if (this.#held.size > 0 && traits.command === undefined) this.#end(session, worker)
      const { masking } = this.#parts
      if (isPlain && masking.isPlainValue(data, session)) return event
      const masked = masking.value(data, session)
      return masked === data ? event : { ...event, data: masked }
    }
    const isAlone = this.#held.size === 0 || !this.#held.has(session.id)
    if (isAlone && isTextAlone(data, text.path) && this.#parts.masking.isPlain(text.text, session))
      return event
    return this.#piece(event, text, { session, worker, traits, isPlain })
  }

  #piece(event: NewEvent, { path, text }: MergeText, published: Published): NewEvent {
    const { masking } = this.#parts
    const { session } = published
    // The wall clock may be set while a part of a secret waits.
    const now = this.#parts.clock.elapsed()
    const { data = null } = event
    const bare = isTextAlone(data, path) ? data : withTextAt(data, path, '')
    const rest = bare === data ? data : masking.value(bare, session)
    const held = this.#held.get(session.id)
    const name = held && streamOf(event, path, published)
    const known = name === undefined ? undefined : held?.streams.get(name)
    const tailed = known?.text ?? new TailedText()
    const sent = tailed.add(text, masking, session)
    const masked = sent === text && rest === bare ? event : { ...event, data: withTextAt(rest, path, sent) }
    if (known !== undefined) {
      if (tailed.heldLength <= text.length) known.since = now
      Object.assign(known, { last: now, event: masked, path })
    }
    if (tailed.isSettled) {
      if (held !== undefined && name !== undefined && held.streams.delete(name) && held.streams.size === 0)
        this.#drop(session.id)
    } else if (known === undefined) {
      const stream = {
        text: tailed,
        worker: published.worker?.id,
        event: masked,
        path,
        since: now,
        last: now,
      }
      this.#hold(name ?? streamOf(event, path, published), stream, session)
    }
    return masked
  }

  #hold(name: string, stream: Stream, session: Session): void {
    let held = this.#held.get(session.id)
    if (held?.epoch !== session.epoch) {
      held?.timer?.cancel()
      held = { epoch: session.epoch, streams: new Map(), timer: undefined }
      this.#held.set(session.id, held)
    }
    held.streams.set(name, stream)
    held.timer ??= this.#wait(session.id, pieceMs)
    if (held.streams.size <= streamsMax) return
    for (const [oldest, other] of held.streams) {
      this.#release(other, session)
      held.streams.delete(oldest)
      return
    }
  }

  /** The texts of a session end, or of one publisher. */
  #end(session: Session, worker: Worker | undefined): void {
    const held = this.#held.get(session.id)
    if (held === undefined || held.epoch !== session.epoch) return
    for (const [name, stream] of held.streams) {
      if (stream.worker !== worker?.id) continue
      held.streams.delete(name)
      this.#release(stream, session)
    }
    if (held.streams.size === 0) this.#drop(session.id)
  }

  /** All texts of a session end. */
  endAll(session: Session): void {
    const held = this.#held.get(session.id)
    if (held === undefined) return
    this.#drop(session.id)
    if (held.epoch !== session.epoch) return
    for (const stream of held.streams.values()) this.#release(stream, session)
  }

  /** Nothing is to wait any more: the hub is about to close. */
  close(): void {
    for (const [id, held] of this.#held) {
      const session = this.#session(id, held)
      if (session === undefined) this.#drop(id)
      else this.endAll(session)
      if (session?.followed === true) this.#parts.onDirty(session)
    }
  }

  #drop(id: string): void {
    this.#held.get(id)?.timer?.cancel()
    this.#held.delete(id)
  }

  #wait(id: string, ms: number): Timer {
    return this.#parts.clock.after(ms, () => this.#due(id))
  }

  #due(id: string): void {
    const held = this.#held.get(id)
    if (held === undefined) return
    held.timer = undefined
    const session = this.#session(id, held)
    if (session === undefined) return this.#drop(id)
    const now = this.#parts.clock.elapsed()
    let next = Number.POSITIVE_INFINITY
    for (const [name, stream] of held.streams) {
      if (stream.text.heldLength > 0 && dueAt(stream) <= now) this.#release(stream, session)
      if (stream.text.isSettled || dueAt(stream) <= now) held.streams.delete(name)
      else next = Math.min(next, dueAt(stream))
    }
    if (session.followed) this.#parts.onDirty(session)
    if (held.streams.size === 0) this.#drop(id)
    else held.timer = this.#wait(id, next - now)
  }

  /** @returns the session, as long as something can be published to it */
  #session(id: string, { epoch }: Held): Session | undefined {
    try {
      const session = this.#parts.sessions.known(id)
      return session?.epoch === epoch && session.status !== 'ended' ? session : undefined
    } catch (error) {
      if (error instanceof ProtocolError) return undefined
      throw error
    }
  }

  /** Publishes what waits of a text. */
  #release({ text, worker: id, event, path }: Stream, session: Session): void {
    const { masking, catalog, clock } = this.#parts
    const isHeld = text.heldLength > 0
    const rest = text.release(masking, session)
    if (!isHeld) return
    const { type, key, time, force, attempt, data = null } = event
    const made: NewEvent = {
      type,
      data: withTextAt(data, path, rest),
      ...(key !== undefined && { key }),
      // It is a part of what was published then.
      ...(time !== undefined && { time }),
      ...(force !== undefined && { force }),
      ...(attempt !== undefined && { attempt }),
    }
    const bytes = measure(made.data ?? null, Number.POSITIVE_INFINITY) + type.length + (key?.length ?? 0) + 64
    const worker = id === undefined ? undefined : session.worker(id)
    this.published++
    session.append(made, worker, { traits: catalog.traitsOf(type), bytes, now: clock.now(), isHub: true })
  }
}

interface Published {
  readonly session: Session
  readonly worker: Worker | undefined
  readonly traits: Traits
  /** As in `Publishing.publish`. */
  readonly isPlain: boolean
}

function dueAt({ text, since, last }: Stream): number {
  return text.heldLength === 0 ? last + insideMs : Math.min(last + pieceMs, since + heldMs)
}

function streamOf(event: NewEvent, path: readonly string[], { worker, traits }: Published): string {
  const { data = null, type, attempt } = event
  return textStreamOf({ worker: worker?.id, type, key: keyOf(event, traits), attempt, data }, path, traits)
}

/** Whether the text is all that there is. */
function isTextAlone(data: JsonValue, path: readonly string[]): boolean {
  if (path.length > 1) return false
  let fields = 0
  for (const _ in data as JsonObject) if (++fields > 1) return false
  return true
}
