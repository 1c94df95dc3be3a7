import type { Catalog } from '../../catalog/catalog.js'
import { mergeTextOf } from '../../catalog/merge.js'
import type { Traits } from '../../catalog/traits.js'
import type { Clock, Timer } from '../../lib/clock.js'
import type { Masking } from '../../mask/masking.js'
import { ProtocolError } from '../../protocol/codes.js'
import type { Epoch } from '../../protocol/cursor.js'
import type { NewEvent } from '../../protocol/frames.js'
import type { Session } from '../../session/session.js'
import type { Timeline } from '../../session/timeline.js'
import type { Worker } from '../../session/worker.js'
import type { Sessions } from '../sessions.js'
import { HeldStreams, type Release } from './held-streams.js'
import { isTextAlone } from './text-streams.js'

interface Held {
  readonly epoch: Epoch
  readonly streams: HeldStreams
  timer: Timer | undefined
  /** When the timer fires. Milliseconds, monotonic. */
  timerAt: number
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
    const held = this.#heldOf(session)
    const piece = { session, worker: worker?.id, traits, now: this.#parts.clock.elapsed() }
    const masked = held.streams.add(event, text, piece, this.#releaseTo(session))
    this.#keep(session.id, held)
    return masked
  }

  #heldOf({ id, epoch }: Session): Held {
    const held = this.#held.get(id)
    if (held?.epoch === epoch) return held
    held?.timer?.cancel()
    this.#held.delete(id)
    return { epoch, streams: new HeldStreams(this.#parts), timer: undefined, timerAt: 0 }
  }

  #keep(id: string, held: Held): void {
    const due = held.streams.dueAt()
    if (due === undefined) return this.#drop(id)
    this.#held.set(id, held)
    // A text that was only remembered may have something to send soon.
    if (held.timer !== undefined && held.timerAt <= due) return
    held.timer?.cancel()
    const { clock } = this.#parts
    held.timer = clock.after(Math.max(0, due - clock.elapsed()), () => this.#due(id))
    held.timerAt = due
  }

  /** The texts of a session end, or of one publisher. */
  #end(session: Session, worker: Worker | undefined): void {
    const held = this.#held.get(session.id)
    if (held === undefined || held.epoch !== session.epoch) return
    held.streams.end(worker?.id, session, this.#releaseTo(session))
    if (held.streams.size === 0) this.#drop(session.id)
  }

  /** All texts of a session end. */
  endAll(session: Session): void {
    const held = this.#held.get(session.id)
    if (held === undefined) return
    this.#drop(session.id)
    if (held.epoch === session.epoch) held.streams.endAll(session, this.#releaseTo(session))
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

  #due(id: string): void {
    const held = this.#held.get(id)
    if (held === undefined) return
    held.timer = undefined
    const session = this.#session(id, held)
    if (session === undefined) return this.#drop(id)
    held.streams.endDue(this.#parts.clock.elapsed(), session, this.#releaseTo(session))
    if (session.followed) this.#parts.onDirty(session)
    this.#keep(id, held)
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

  /** @returns a function that publishes what was kept back */
  #releaseTo(session: Session): Release {
    return ({ event, worker: id, traits, bytes }) => {
      const worker = id === undefined ? undefined : session.worker(id)
      this.published++
      session.append(event, worker, { traits, bytes, now: this.#parts.clock.now(), isHub: true })
    }
  }
}

interface Published {
  readonly session: Session
  readonly worker: Worker | undefined
  readonly traits: Traits
  /** As in `Publishing.publish`. */
  readonly isPlain: boolean
}
