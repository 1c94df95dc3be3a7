import { unpackEntries } from '../../log/entries.js'
import type { Delivered, LogFeed } from '../../log/shared-log.js'
import { ProtocolError } from '../../protocol/codes.js'
import type { Epoch, Position } from '../../protocol/cursor.js'
import type { Session } from '../../session/session.js'
import { StoreError } from '../../store/store.js'
import { applyBatch, restoreImage } from './log-batch.js'
import { type FollowerParts, LogFollower } from './log-follower.js'

export interface LogSessionsParts extends FollowerParts {
  /** Creates a session whose offsets come from the log. */
  readonly make: (id: string, epoch: Epoch) => Session
  /** The session is in memory from now on. */
  readonly hold: (session: Session) => void
  /** The session is as far as the log was at the time of the request. */
  readonly opened: (session: Session) => void
}

/** The position that a session must reach. */
export interface OpenOptions {
  /** The position of a client that resumes. */
  readonly position?: Position | undefined
  /** The current end of the log, so that the session has everything that any hub has acknowledged. */
  readonly fresh?: boolean
}

/** Collects the batches of the feed while a session is being opened. */
class Gate implements LogFeed {
  #follower: LogFollower | undefined = undefined
  #batches: Delivered[] = []
  #isBroken = false
  #removed: Epoch | undefined = undefined

  batch(batch: Delivered): void {
    if (this.#follower === undefined) this.#batches.push(batch)
    else this.#follower.batch(batch)
  }

  broken(): void {
    this.#isBroken = true
    this.#follower?.broken()
  }

  removed(epoch: Epoch): void {
    this.#removed = epoch
    this.#follower?.removed(epoch)
  }

  open(follower: LogFollower): void {
    this.#follower = follower
    for (const batch of this.#batches) follower.batch(batch)
    this.#batches = []
    if (this.#isBroken) follower.broken()
    if (this.#removed !== undefined) follower.removed(this.#removed)
  }
}

/** The sessions that a hub follows in the log: opens and releases them. */
export class LogSessions {
  readonly #parts: LogSessionsParts
  readonly #followers = new Map<string, LogFollower>()
  readonly #opening = new Map<string, Promise<LogFollower>>()

  constructor(parts: LogSessionsParts) {
    this.#parts = parts
  }

  /** @returns the follower of a session in memory */
  get(id: string): LogFollower | undefined {
    return this.#followers.get(id)
  }

  /**
   * @param position of a client that resumes
   * @returns whether the session is in memory, and has reached the position
   */
  isReady(id: string, position?: Position): boolean {
    const follower = this.#followers.get(id)
    return follower?.live === true && !isAhead(position, follower.session)
  }

  /**
   * Loads a session into memory, and brings it up to the required position. A session that does not exist becomes a placeholder.
   *
   * @throws ProtocolError `unavailable` if the log cannot be read
   */
  async open(id: string, { position, fresh = false }: OpenOptions = {}): Promise<LogFollower> {
    try {
      // What another call loads may have been read from the log before something was acknowledged that this one must see.
      const isOld = fresh && (this.#followers.has(id) || this.#opening.has(id))
      let follower = this.#followers.get(id) ?? (await this.#load(id))
      if (isOld || !follower.live || isAhead(position, follower.session)) await follower.catchUp()
      // The log's answer may have ended the local session.
      if (follower.left) follower = this.#followers.get(id) ?? (await this.#load(id))
      return follower
    } catch (error) {
      throw unavailable(error)
    }
  }

  /** Removes a session, for all hubs. @throws ProtocolError `unavailable` when the outcome is unknown */
  async remove(id: string, epoch: Epoch): Promise<void> {
    try {
      await this.#parts.log.remove(id, { epoch })
    } catch (error) {
      throw unavailable(error)
    }
  }

  /** The session leaves memory. */
  leave(session: Session): void {
    const follower = this.#followers.get(session.id)
    if (follower?.session !== session) return
    this.#followers.delete(session.id)
    follower.leave()
    this.#parts.log.unfollow(session.id)
  }

  #load(id: string): Promise<LogFollower> {
    let opening = this.#opening.get(id)
    if (opening === undefined) {
      opening = this.#opened(id).finally(() => this.#opening.delete(id))
      this.#opening.set(id, opening)
    }
    return opening
  }

  async #opened(id: string): Promise<LogFollower> {
    const { log, catalog, make, hold, opened: seen } = this.#parts
    const gate = new Gate()
    await log.follow(id, gate)
    try {
      const opened = await log.open(id)
      const { epoch, last, checkpoint, before, batches } = opened
      const session = make(id, epoch)
      if (checkpoint !== undefined) restoreImage(session, checkpoint, before, catalog)
      const follower = new LogFollower(session, opened, this.#parts)
      follower.imageBytes = checkpoint?.bytes.length ?? 0
      hold(session)
      for (const batch of batches) applyBatch(session, batch, unpackEntries(batch), this.#parts)
      session.goTo(last)
      session.setPast(follower.past(last))
      this.#followers.set(id, follower)
      seen(session)
      gate.open(follower)
      return follower
    } catch (error) {
      log.unfollow(id)
      throw error
    }
  }
}

function isAhead(position: Position | undefined, { epoch, offset }: Session): boolean {
  // Another epoch may have begun since.
  return position !== undefined && (position.epoch !== epoch || position.offset > offset)
}

/** @throws ProtocolError `unavailable` when the log does not answer */
export async function answerOf<T>(answer: Promise<T>): Promise<T> {
  try {
    return await answer
  } catch (error) {
    throw unavailable(error)
  }
}

/** @returns the error for the client */
export function unavailable(error: unknown): unknown {
  return error instanceof StoreError ? new ProtocolError('unavailable', error.message) : error
}
