import type { Catalog } from '../../catalog/catalog.js'
import { type LogEntry, type PlacedEntry, packEntries, unpackEntries } from '../../log/entries.js'
import { type Delivered, lostAt, type Opened, type SharedLog, spareOffsets } from '../../log/shared-log.js'
import { ProtocolError, quote } from '../../protocol/codes.js'
import { type Epoch, type Offset, type Position, start } from '../../protocol/cursor.js'
import { Session } from '../../session/session.js'
import type { SessionSetting } from '../../session/session-setting.js'
import { applyBatch, imageOf, laneOf, restoreImage } from '../log/log-batch.js'
import { answerOf } from '../log/log-sessions.js'
import { nobody } from '../log/read-logged.js'
import {
  expectKnown,
  type ForkState,
  type ForkTo,
  forkOffset,
  forkSourceOf,
  pastOf,
  type Unknown,
} from './fork-past.js'

export interface LogForksParts {
  readonly log: SharedLog
  readonly catalog: Catalog
  /** The setting of temporary sessions, which are not listed and not counted. */
  readonly aside: SessionSetting
}

/**
 * Makes forks in a log. The session as of the cursor is computed from a checkpoint before it and the following batches, as every
 * hub does. The result is the fork's first checkpoint. The retained batches are copied.
 */
export class LogForks {
  readonly #parts: LogForksParts

  constructor(parts: LogForksParts) {
    this.#parts = parts
  }

  /** @throws ProtocolError as `Hub.forkSession` does */
  async fork(from: string, position: Position | undefined, state: ForkState, to: ForkTo): Promise<void> {
    const { log, catalog } = this.#parts
    const opened = await answerOf(log.open(from))
    const session = this.#made(from, opened.epoch)
    if (opened.last === start) throw new ProtocolError('notFound', `there is no session ${quote(from)}`)
    const whole = this.#whole(from, opened)
    const until = forkOffset(whole, position)
    const lost = lostAt(opened.lost, until)
    if (lost !== undefined) {
      throw new ProtocolError(
        'conflict',
        `at: offset ${until} belongs to a part of session ${quote(from)} that the log has lost`,
      )
    }
    const without = this.#compute(session, opened, until, to.now)
    const source = forkSourceOf(session, until, without)
    expectKnown(source, state)
    const image = imageOf(session, catalog, {
      parts: pastOf(session, source, to),
      last: until,
      from: whole,
    })
    const batches = retainedOf(opened, until, to.epoch, catalog)
    const past = {
      checkpoint: { epoch: to.epoch, offset: until, bytes: image },
      whole: Math.min(opened.whole, until) as Offset,
      batches,
    }
    if (await answerOf(log.begin(to.id, past))) return
    throw new ProtocolError('conflict', `there is a session ${quote(to.id)} already`)
  }

  /** Computes the session as of an offset, as far as it is known. @returns the parts that are not known */
  #compute(session: Session, opened: Opened, until: Offset, now: number): readonly Unknown[] {
    const { catalog } = this.#parts
    const { checkpoint, before, batches, whole } = opened
    const isBefore = checkpoint === undefined || checkpoint.offset > until
    if (checkpoint !== undefined && !isBefore) restoreImage(session, checkpoint, before, catalog)
    for (const batch of isBefore ? [...before, ...batches] : batches) {
      if (batch.from >= until) break
      applyBatch(session, batch, entriesUpTo(batch, until), { ...nobody, catalog })
    }
    session.goTo(until)
    if (session.status === 'waiting') session.start(now)
    return isBefore && whole > start ? ['workers', 'slices'] : []
  }

  /** @returns the present session */
  #whole(id: string, { checkpoint, before, batches, epoch, last }: Opened): Session {
    const session = this.#made(id, epoch)
    const { catalog } = this.#parts
    if (checkpoint !== undefined) restoreImage(session, checkpoint, before, catalog)
    for (const batch of batches) applyBatch(session, batch, unpackEntries(batch), { ...nobody, catalog })
    session.goTo(last)
    return session
  }

  #made(id: string, epoch: Epoch): Session {
    return new Session(id, epoch, this.#parts.aside)
  }
}

/** @returns the entries of a batch up to an offset, without the end of the session */
function entriesUpTo(batch: Delivered, until: Offset): readonly PlacedEntry[] {
  return unpackEntries(batch).flatMap(({ place, entry }) => {
    const width = until - batch.from - place
    if (width <= 0 || entry.kind === 'end') return []
    // A request to a durable stream may have messages on both sides of the offset.
    if (entry.kind !== 'stream' || entry.messages.length <= width) return { place, entry }
    return { place, entry: { ...entry, messages: entry.messages.slice(0, width) } }
  })
}

/** @returns the retained batches up to an offset, with the given epoch */
function retainedOf(
  { before, batches }: Opened,
  until: Offset,
  epoch: Epoch,
  catalog: Catalog,
): readonly Delivered[] {
  return [...before, ...batches].flatMap((batch) => {
    if (batch.from >= until) return []
    return batch.to <= until ? { ...batch, epoch } : cutBatch(batch, until, epoch, catalog)
  })
}

/** Cuts a batch. A batch ends with `spareOffsets` unused offsets, so its beginning moves by as many before its first entry. */
function cutBatch(batch: Delivered, until: Offset, epoch: Epoch, catalog: Catalog): Delivered | [] {
  const entries = entriesUpTo(batch, until).map(({ place, entry }) => ({
    place: place + spareOffsets,
    entry,
  }))
  if (entries.length === 0) return []
  const { critical: _, droppable: __, ...rest } = batch
  const known = batch.known.map((place) => place + spareOffsets)
  const lane = (entry: LogEntry) => laneOf(entry, catalog)
  return {
    ...rest,
    epoch,
    from: (batch.from - spareOffsets) as Offset,
    to: until,
    known,
    ...packEntries(entries, lane),
  }
}
