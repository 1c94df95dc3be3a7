import type { Clock, Timer } from '../../lib/clock.js'
import type { JsonObject } from '../../lib/json.js'
import type { SharedLog } from '../../log/shared-log.js'
import { expiryOf } from '../../session/durable-stream.js'
import { aboutSession } from '../../session/reserved-slices.js'
import type { Session } from '../../session/session.js'
import type { Listed } from '../lists/attention.js'

/** How long changes of a session's description are gathered. Milliseconds. */
const describeMs = 100
/** How often the descriptions of other hubs are read while a list is followed. Milliseconds. */
const readEveryMs = 1_000
/** How often a hub reads which sessions expire as durable streams, so that they do even if the hubs that had them are gone. */
const expiriesEveryMs = 30_000
/** Maximum of descriptions per read. */
const pageSessions = 500

export interface LogListsParts {
  readonly log: SharedLog
  readonly clock: Clock
  /** The sessions in memory. */
  readonly held: ReadonlyMap<string, Session>
  /** Called with the log's description of a session that is not in memory; `about` is absent if it was removed. */
  readonly found: (session: string, about: JsonObject | undefined) => void
  /** Called with the time when a session expires as a durable stream. Milliseconds since 1970 */
  readonly expires: (session: string, at: number) => void
  /** Called before all descriptions are read again. */
  readonly begun: () => void
  /** Whether somebody follows a list. */
  readonly isFollowed: () => boolean
}

/** Exchanges descriptions of sessions with the other hubs of a log, for the lists of all hubs. */
export class LogLists {
  readonly #parts: LogListsParts
  readonly #changed = new Set<string>()
  #timer: Timer | undefined = undefined
  /** The last written descriptions. */
  readonly #described = new WeakMap<Session, string>()
  #mark = 0
  #total = 0
  #reading: Promise<void> | undefined = undefined
  #next: Timer | undefined = undefined
  /** The mark up to which `expires` was told. */
  #expiriesMark = 0
  #expiriesTimer: Timer | undefined = undefined
  #closed = false

  constructor(parts: LogListsParts) {
    this.#parts = parts
    this.#awaitExpiries()
  }

  /** The number of sessions of all hubs, as of the last reading. */
  get total(): number {
    return this.#total
  }

  /** Notes that this hub has changed a session, which is then described again. */
  changed(session: string): void {
    if (this.#closed) return
    this.#changed.add(session)
    this.#timer ??= this.#parts.clock.after(describeMs, () => this.#describeAll())
  }

  #describeAll(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    for (const id of this.#changed) this.#describe(id)
    this.#changed.clear()
  }

  #describe(id: string): void {
    const { held, log } = this.#parts
    const session = held.get(id)
    if (session === undefined || session.status === 'waiting') return
    const about = JSON.stringify(aboutSession(session))
    if (this.#described.get(session) === about) return
    this.#described.set(session, about)
    const { epoch, offset, stream } = session
    const expiresAt = stream && expiryOf(stream)
    // The time may be out of date when it is read: then the stream itself says when it expires.
    // If writing fails, the description is written again with the next change.
    log
      .describe(id, { epoch, offset, about: withExpiry(about, expiresAt) })
      .catch(() => this.#described.delete(session))
  }

  /** @returns once the lists contain what the hubs have written. They are kept up to date while a list is followed. */
  read(): Promise<void> {
    this.#reading ??= this.#read().finally(() => {
      this.#reading = undefined
      if (!this.#closed) this.#next ??= this.#parts.clock.after(readEveryMs, () => this.#again())
    })
    return this.#reading
  }

  #again(): void {
    this.#next = undefined
    // The next follower begins with a full read, because removals are only remembered for some time.
    if (!this.#parts.isFollowed()) this.#mark = 0
    else void this.read().catch(() => undefined)
  }

  async #read(): Promise<void> {
    const { log, held, found, begun } = this.#parts
    if (this.#mark === 0) begun()
    for (let end = false; !end; ) {
      const page = await log.described(this.#mark, pageSessions)
      for (const { session, about } of page.sessions) {
        if (!held.has(session)) found(session, about === undefined ? undefined : read(about).about)
      }
      this.#mark = page.mark
      this.#total = page.total
      end = page.end
    }
  }

  /** @returns all described sessions, in pages */
  async *all(): AsyncGenerator<Listed[]> {
    for (let mark = 0, end = false; !end; ) {
      const page = await this.#parts.log.described(mark, pageSessions)
      yield page.sessions.flatMap(({ session, about }): Listed[] =>
        about === undefined ? [] : [[session, read(about).about]],
      )
      mark = page.mark
      end = page.end
    }
  }

  #awaitExpiries(): void {
    this.#expiriesTimer = this.#parts.clock.after(expiriesEveryMs, () => {
      // If the log is away, the next reading goes on from the same mark.
      void this.#readExpiries()
        .catch(() => undefined)
        .finally(() => {
          if (!this.#closed) this.#awaitExpiries()
        })
    })
  }

  async #readExpiries(): Promise<void> {
    const { log, expires } = this.#parts
    for (let end = false; !end && !this.#closed; ) {
      const page = await log.described(this.#expiriesMark, pageSessions)
      for (const { session, about } of page.sessions) {
        const { expiresAt } = about === undefined ? {} : read(about)
        if (expiresAt !== undefined) expires(session, expiresAt)
      }
      this.#expiriesMark = page.mark
      end = page.end
    }
  }

  /** Writes the pending descriptions. The log waits for them when it is closed. */
  close(): void {
    this.#closed = true
    this.#next?.cancel()
    this.#expiriesTimer?.cancel()
    this.#describeAll()
  }
}

/** @returns what the log keeps of a session: its description, and when it expires, which lists do not show */
function withExpiry(about: string, expiresAt: number | undefined): string {
  return expiresAt === undefined ? about : `${about.slice(0, -1)},"expiresAt":${expiresAt}}`
}

function read(text: string): { readonly about: JsonObject; readonly expiresAt?: number } {
  const { expiresAt, ...about } = JSON.parse(text) as JsonObject
  return typeof expiresAt === 'number' ? { about, expiresAt } : { about }
}
