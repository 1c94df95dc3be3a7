import type { Catalog } from '../../catalog/catalog.js'
import type { Clock, Timer } from '../../lib/clock.js'
import type { Random } from '../../lib/random.js'
import type { HeldBack } from '../../log/shared-log.js'
import type { Masking } from '../../mask/masking.js'
import { isSealed } from '../../mask/masking-key.js'
import { ProtocolError } from '../../protocol/codes.js'
import type { Offset } from '../../protocol/cursor.js'
import type { Session } from '../../session/session.js'
import { HeldStreams } from '../texts/held-streams.js'

/** How long the hub that holds a text back has to publish it, before another one does. */
const takeoverMs = 1_000
/** A random delay beyond that, so that of several hubs one is first. */
const spreadMs = 400
/** The delay before a failed release is repeated. */
const retryMs = 1_000

export interface LogTextsParts {
  readonly masking: Masking
  readonly catalog: Catalog
  readonly clock: Clock
  readonly random: Random
  /** Publishes what is held back and due; all of it if `isAll`. */
  readonly release: (session: string, isAll: boolean) => Promise<number>
}

interface Held {
  readonly base: Offset
  readonly streams: HeldStreams
  /** This hub has held it back, so it publishes it in time; others only if this hub does not. */
  readonly isOwn: boolean
  timer: Timer | undefined
}

/**
 * The texts that the sessions of a log hold back. They are in the log with what was acknowledged, so that no text is lost with a
 * hub, and any hub can join the next piece to them.
 */
export class LogTexts {
  readonly #parts: LogTextsParts
  readonly #held = new Map<string, Held>()
  #isClosed = false

  constructor(parts: LogTextsParts) {
    this.#parts = parts
  }

  /** The number of sessions of which something is known. */
  get size(): number {
    return this.#held.size
  }

  /**
   * What a session holds back has changed in the log.
   *
   * @param back undefined if the session leaves memory
   * @param isOwn this hub has changed it
   */
  changed(session: Pick<Session, 'id' | 'epoch'>, back: HeldBack | undefined, isOwn: boolean): void {
    const { id } = session
    const former = this.#held.get(id)
    // What is still to be published stays.
    if (back === undefined && former?.streams.isHolding === true) return
    former?.timer?.cancel()
    this.#held.delete(id)
    if (back === undefined || back.bytes.length === 0) return
    const { base } = back
    const { clock } = this.#parts
    const streams = this.#unpacked(session, back)
    const held: Held = { base, streams, isOwn, timer: undefined }
    this.#held.set(id, held)
    const due = streams.dueAt(true)
    if (due !== undefined) this.#wait(id, held, Math.max(0, due - clock.elapsed()) + this.#extra(isOwn))
  }

  #extra(isOwn: boolean): number {
    return isOwn ? 0 : takeoverMs + Math.round(this.#parts.random.fraction() * spreadMs)
  }

  /** @returns a copy of what a session holds back, for a batch */
  of(session: Pick<Session, 'id' | 'epoch'>, back: HeldBack): HeldStreams {
    const held = this.#held.get(session.id)
    const streams = held?.base === back.base ? held.streams.copy() : this.#unpacked(session, back)
    streams.forgetOld(this.#parts.clock.elapsed())
    return streams
  }

  /** What a hub with another key has held back is lost; the log does not let such a hub start. */
  #unpacked({ epoch }: Pick<Session, 'epoch'>, { bytes }: HeldBack): HeldStreams {
    const { masking, clock } = this.#parts
    const opened = isSealed(bytes) ? masking.key?.open(bytes, epoch) : bytes
    return HeldStreams.unpack(this.#parts, opened ?? new Uint8Array(), clock)
  }

  /** @returns what the log gets of texts */
  packed({ epoch }: Pick<Session, 'epoch'>, streams: HeldStreams): Uint8Array {
    const { masking, clock, random } = this.#parts
    const bytes = streams.pack(clock)
    return masking.key?.seal(bytes, epoch, random) ?? bytes
  }

  #wait(id: string, held: Held, ms: number): void {
    if (this.#isClosed) return
    held.timer = this.#parts.clock.after(ms, () => void this.#release(id, held))
  }

  async #release(id: string, held: Held): Promise<void> {
    try {
      await this.#parts.release(id, this.#isClosed)
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error
      if (this.#held.get(id) !== held) return
      if (error.code === 'unavailable') this.#wait(id, held, retryMs)
      // The session has ended or is gone, and its texts with it.
      else this.#held.delete(id)
      return
    }
    // It has changed, except if nothing was due yet.
    if (this.#held.get(id) !== held || !held.streams.isHolding) return
    const leftMs = (held.streams.dueAt(true) ?? 0) - this.#parts.clock.elapsed()
    this.#wait(id, held, leftMs > 0 ? leftMs : retryMs)
  }

  /** The hub is about to close: what it holds back is submitted now. */
  close(): void {
    this.#isClosed = true
    for (const [id, held] of this.#held) {
      held.timer?.cancel()
      if (held.isOwn && held.streams.isHolding) void this.#release(id, held)
    }
  }
}
