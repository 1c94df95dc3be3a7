import type { Catalog } from '../../catalog/catalog.js'
import type { Clock } from '../../lib/clock.js'
import { unpackEntries } from '../../log/entries.js'
import type { SharedLog } from '../../log/shared-log.js'
import { ProtocolError, quote } from '../../protocol/codes.js'
import type { Offset } from '../../protocol/cursor.js'
import { Session } from '../../session/session.js'
import type { SessionSetting } from '../../session/session-setting.js'
import type { Topic } from '../../session/topic.js'
import { type ReadStored, type StoredPage, storedEventsMax, storedPageBytes } from '../stored/read-stored.js'
import { applyBatch, restoreImage } from './log-batch.js'
import { answerOf, type LogSessions } from './log-sessions.js'
import { nobody } from './read-logged.js'

/** Sessions whose past is kept after it was read: those who read page by page, or one after the other, find it. */
const keptMax = 8
const keptMs = 5_000
/** How many events one page examines. */
const looksMax = 2_000

export interface LoggedPastParts {
  readonly log: SharedLog
  readonly clock: Clock
  readonly catalog: Catalog
  readonly followed: LogSessions
  /** Of sessions that nobody sees. */
  readonly aside: SessionSetting
}

interface Past {
  readonly session: Session
  /** What the log no longer has ends here. */
  readonly trimmed: Offset
}

interface Kept {
  readonly past: Promise<Past>
  until: number
}

/** What the log has of sessions beyond what memory has: reads it at once, as one call of the log does, and gives it in pages. */
export class LoggedPast {
  readonly #parts: LoggedPastParts
  /** By session, in the order of their last use. */
  readonly #kept = new Map<string, Kept>()
  #isSweeping = false

  constructor(parts: LoggedPastParts) {
    this.#parts = parts
  }

  /**
   * A page of a topic's events in the log.
   *
   * @throws ProtocolError `unavailable` if the log cannot be read, or has another session now
   */
  readonly read: ReadStored = async (topic, filter, part) => {
    const { id, epoch } = topic.timeline
    const end = 'after' in part ? part.after : ((part.before - 2) as Offset)
    let { session, trimmed } = await this.#past(id)
    if (session.epoch === epoch && session.offset <= end) {
      this.#kept.delete(id)
      ;({ session, trimmed } = await this.#past(id))
    }
    if (session.epoch !== epoch)
      throw new ProtocolError('unavailable', `session ${quote(id)} was removed, and another one begun`)
    this.#parts.followed.get(id)?.trimmedTo(trimmed)
    const name = topic.parsedName
    const same: Topic | undefined = topic.isWhole
      ? session.all
      : name.kind === 'worker'
        ? session.workers.get(name.worker)?.topic
        : session.topic
    // What this hub has not applied yet comes later.
    const { offset: applied } = topic.timeline
    const accepts = {
      ...filter,
      accepts: (entry: Parameters<typeof filter.accepts>[0]) =>
        entry.offset <= applied && !topic.timeline.supersedes(entry.event) && filter.accepts(entry),
    }
    const bounds = { eventsMax: Math.min(part.limit, storedEventsMax), lookedAtMax: looksMax }
    const nothing = { entries: [], lookedAt: 0 }
    if ('after' in part) {
      const until = session.offset
      const page = cut(
        same?.readEvents(part.after, accepts, { ...bounds, until }) ?? { ...nothing, last: until },
      )
      const last = page.last < applied ? page.last : applied
      return { ...page, last, end: last === applied || last === until }
    }
    const last = (trimmed + 1) as Offset
    const page = cut(
      same?.readBefore(part.before, accepts, { ...bounds, after: trimmed }) ?? { ...nothing, last },
    )
    return { ...page, end: page.last <= trimmed + 1 }
  }

  /** Nothing that was read is given any more: something has been redacted. */
  forget(): void {
    this.#kept.clear()
  }

  #past(id: string): Promise<Past> {
    const { clock } = this.#parts
    const now = clock.elapsed()
    const known = this.#kept.get(id)
    const kept = known !== undefined && known.until > now ? known : { past: this.#read(id), until: 0 }
    kept.until = now + keptMs
    this.#kept.delete(id)
    this.#kept.set(id, kept)
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= keptMax) break
      this.#kept.delete(oldest)
    }
    kept.past.catch(() => {
      if (this.#kept.get(id) === kept) this.#kept.delete(id)
    })
    this.#sweepLater()
    return kept.past
  }

  async #read(id: string): Promise<Past> {
    const { log, catalog, aside } = this.#parts
    const { epoch, last, checkpoint, before, batches, whole } = await answerOf(log.open(id))
    const limits = {
      ...aside.limits,
      laneEventsMax: Number.MAX_SAFE_INTEGER,
      historyBytesMax: Number.MAX_SAFE_INTEGER,
    }
    const session = new Session(id, epoch, { ...aside, limits })
    if (checkpoint !== undefined) restoreImage(session, checkpoint, before, catalog)
    for (const batch of batches) applyBatch(session, batch, unpackEntries(batch), { ...nobody, catalog })
    session.goTo(last)
    return { session, trimmed: whole }
  }

  #sweepLater(): void {
    if (this.#isSweeping || this.#kept.size === 0) return
    this.#isSweeping = true
    this.#parts.clock.after(keptMs, () => {
      this.#isSweeping = false
      const now = this.#parts.clock.elapsed()
      for (const [id, { until }] of this.#kept) if (until <= now) this.#kept.delete(id)
      this.#sweepLater()
    })
  }
}

/** @returns the page up to the event that exceeds the size of a page */
function cut({ entries, last, lookedAt }: Omit<StoredPage, 'end'>): Omit<StoredPage, 'end'> {
  let bytes = 0
  for (const [index, entry] of entries.entries()) {
    bytes += entry.bytes
    if (bytes > storedPageBytes && index < entries.length - 1)
      return { entries: entries.slice(0, index + 1), last: entry.offset, lookedAt }
  }
  return { entries, last, lookedAt }
}
