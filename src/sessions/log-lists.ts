import type { Clock, Timer } from '../lib/clock.js'
import type { JsonObject } from '../lib/json.js'
import type { SharedLog } from '../log/shared-log.js'
import { aboutSession } from '../session/reserved-slices.js'
import type { Session } from '../session/session.js'
import type { Listed } from './attention.js'

/** How long changes of a session's description are gathered. Milliseconds. */
const describeMs = 100
/** How often the descriptions of other hubs are read while a list is followed. Milliseconds. */
const readEveryMs = 1_000
/** Descriptions that are read at once. */
const pageSessions = 500

export interface LogListsParts {
  readonly log: SharedLog
  readonly clock: Clock
  /** The sessions in memory. */
  readonly held: ReadonlyMap<string, Session>
  /** Called for what the log has of a session that is not in memory; absent: it was removed. */
  readonly found: (session: string, about: JsonObject | undefined) => void
  /** Called before all of it is read again. */
  readonly begun: () => void
  /** Whether somebody follows a list. */
  readonly isFollowed: () => boolean
}

/** What a hub says of its sessions to the lists of all hubs of a log, and what the others say of theirs. */
export class LogLists {
  readonly #parts: LogListsParts
  readonly #changed = new Set<string>()
  #timer: Timer | undefined = undefined
  /** What was said last. */
  readonly #said = new WeakMap<Session, string>()
  #mark = 0
  #total = 0
  #reading: Promise<void> | undefined = undefined
  #next: Timer | undefined = undefined
  #closed = false

  constructor(parts: LogListsParts) {
    this.#parts = parts
  }

  /** The number of sessions of all hubs, as of the last reading. */
  get total(): number {
    return this.#total
  }

  /** This hub has changed the session, so it describes it anew. */
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
    if (this.#said.get(session) === about) return
    this.#said.set(session, about)
    const { epoch, offset } = session
    // What was not taken is said again with the next change.
    log.describe(id, { epoch, offset, about }).catch(() => this.#said.delete(session))
  }

  /** @returns once the lists have what the hubs have said; they are kept up to date as long as one is followed */
  read(): Promise<void> {
    this.#reading ??= this.#read().finally(() => {
      this.#reading = undefined
      if (!this.#closed) this.#next ??= this.#parts.clock.after(readEveryMs, () => this.#again())
    })
    return this.#reading
  }

  #again(): void {
    this.#next = undefined
    // Who follows again later begins with all of it, as removals are not remembered for ever.
    if (!this.#parts.isFollowed()) this.#mark = 0
    else void this.read().catch(() => undefined)
  }

  async #read(): Promise<void> {
    const { log, held, found, begun } = this.#parts
    if (this.#mark === 0) begun()
    for (let end = false; !end; ) {
      const page = await log.described(this.#mark, pageSessions)
      for (const { session, about } of page.sessions) {
        if (!held.has(session)) found(session, about === undefined ? undefined : aboutOf(about))
      }
      this.#mark = page.mark
      this.#total = page.total
      end = page.end
    }
  }

  /** All sessions that were described, in parts. */
  async *all(): AsyncGenerator<Listed[]> {
    for (let mark = 0, end = false; !end; ) {
      const page = await this.#parts.log.described(mark, pageSessions)
      yield page.sessions.flatMap(({ session, about }): Listed[] =>
        about === undefined ? [] : [[session, aboutOf(about)]],
      )
      mark = page.mark
      end = page.end
    }
  }

  /** What is to be said is said; the log waits for it when it is closed. */
  close(): void {
    this.#closed = true
    this.#next?.cancel()
    this.#describeAll()
  }
}

function aboutOf(text: string): JsonObject {
  return JSON.parse(text) as JsonObject
}
