import type { Catalog } from '../../catalog/catalog.js'
import type { JsonValue } from '../../lib/json.js'
import { type LogEntry, unpackEntries } from '../../log/entries.js'
import type { Opened, RewrittenPast, SharedLog } from '../../log/shared-log.js'
import type { Redacted, Redaction } from '../../mask/redaction.js'
import { Values } from '../../mask/values.js'
import { ProtocolError } from '../../protocol/codes.js'
import type { Offset } from '../../protocol/cursor.js'
import { storedEvent } from '../../session/journal.js'
import { aboutSession } from '../../session/reserved-slices.js'
import { Session } from '../../session/session.js'
import type { SessionSetting } from '../../session/session-setting.js'
import { unpack } from '../../store/block.js'
import { applyBatch, imageOf, restoreImage } from '../log/log-batch.js'
import { answerOf } from '../log/log-sessions.js'
import { nobody } from '../log/read-logged.js'
import type { Submitting } from '../log/submitting.js'
import { hashedSecrets } from '../secrets.js'
import type { Sessions } from '../sessions.js'
import { EventRedaction } from './event-redaction.js'
import { redactBatches } from './redact-batches.js'
import { type Change, entriesOf, rangesMax, rangesOf, redactEntries, setOrRemove } from './redact-memory.js'

/** Maximum of attempts while others change the session. Each takes as long as reading the session. */
const attemptsMax = 10

export interface LogRedactingParts {
  readonly log: SharedLog
  readonly sessions: Sessions
  readonly submitting: Submitting
  readonly catalog: Catalog
  /** Whether the hub masks what is published. */
  readonly isMasking: boolean
  /** The setting of temporary sessions, which are not listed and not counted. */
  readonly aside: SessionSetting
}

/** What a log has of a session, redacted. */
interface Rewriting {
  /** Absent if there is nothing to redact. */
  readonly past: RewrittenPast | undefined
  readonly changed: ReadonlySet<Offset>
  readonly examined: number
}

/**
 * Redacts the sessions of a log. First slices are changed as by a producer. Then an entry of the log makes every hub redact
 * what it has in memory, by hashes of the values. Then the log gets a checkpoint of the redacted session, and the retained
 * batches with marks, in one step. After a failure in between another call does the rest.
 */
export class LogRedacting {
  readonly #parts: LogRedactingParts

  constructor(parts: LogRedactingParts) {
    this.#parts = parts
  }

  /**
   * @returns the offsets of the changed events, and the number of events that the log has
   * @throws ProtocolError `notFound`; `conflict` if the session has too many secrets; `unavailable` if the log fails, or others
   *   change the session too fast
   */
  async redact(
    id: string,
    redacted: Redacted,
    redaction: Redaction,
  ): Promise<{ readonly changed: ReadonlySet<Offset>; readonly examined: number }> {
    const { log } = this.#parts
    const changed = new Set<Offset>()
    await this.#opened(id)
    await this.#parts.submitting.release(id, { isAll: true, change: (value) => redaction.value(value) })
    for (let attempt = 0; attempt < attemptsMax; attempt++) {
      const session = await this.#opened(id)
      let made = this.#rewriting(id, await answerOf(log.open(id)), redaction)
      // The first time hubs may have in memory what the log has no longer.
      if (made.past === undefined && attempt > 0) {
        await this.#describe(session)
        return { changed, examined: made.examined }
      }
      for (const offset of made.changed) changed.add(offset)
      if (session.status !== 'ended') {
        await this.#redactSlices(id, redaction)
        const inMemory = await this.#tellHubs(id, redacted, redaction, made.changed)
        for (const offset of inMemory) changed.add(offset)
        made = this.#rewriting(id, await answerOf(log.open(id)), redaction)
      }
      if (made.past !== undefined) await answerOf(log.rewrite(id, made.past))
    }
    throw new ProtocolError('unavailable', 'others change the session too fast: redact it again')
  }

  /** @returns the session, as far as the log was */
  async #opened(id: string): Promise<Session> {
    const { sessions } = this.#parts
    await sessions.open([{ id, fresh: true }])
    return sessions.started(id)
  }

  /** Lists of sessions show the title and the reason of an end. */
  async #describe(session: Session): Promise<void> {
    const { id, epoch, offset } = session
    const about = JSON.stringify(aboutSession(session))
    await answerOf(this.#parts.log.describe(id, { epoch, offset, about }))
  }

  /** By updates with full values, because a patch may not fit values that are redacted in the log. */
  async #redactSlices(id: string, redaction: Redaction): Promise<void> {
    const session = await this.#opened(id)
    const found = session
      .topics()
      .flatMap(({ name, state }) =>
        [...state.kept()].flatMap(([slice, value]) =>
          redaction.value(value) === value ? [] : [{ name, slice }],
        ),
      )
    for (const { name, slice } of found) {
      await this.#parts.submitting.change(name, slice, {}, (state, moment) => {
        const value = state.get(slice)
        if (value === undefined) return { kind: 'unchanged', offset: state.offsetOf(slice) }
        return setOrRemove(state, slice, redaction.value(value), { ...moment, isWhole: true })
      })
    }
  }

  /** @returns the offsets of changed events in this hub's memory */
  async #tellHubs(
    id: string,
    { values, patterns }: Redacted,
    redaction: Redaction,
    changed: ReadonlySet<Offset>,
  ): Promise<ReadonlySet<Offset>> {
    const { submitting, catalog, isMasking } = this.#parts
    let inMemory: ReadonlySet<Offset> = new Set()
    await submitting.own(id, (session) => {
      const secrets = isMasking
        ? hashedSecrets(values, session)
        : values.flatMap((value) => hashing(session).hashed(value))
      inMemory = foundIn(session, redaction, catalog)
      const ranges = rangesOf(new Set([...changed, ...inMemory]))
      const entries: LogEntry[] = [{ kind: 'redact', secrets, patterns, offsets: ranges.slice(0, rangesMax) }]
      for (let from = rangesMax; from < ranges.length; from += rangesMax) {
        const offsets = ranges.slice(from, from + rangesMax)
        entries.push({ kind: 'redact', secrets: [], patterns: [], offsets })
      }
      return entries
    })
    return inMemory
  }

  #rewriting(id: string, opened: Opened, redaction: Redaction): Rewriting {
    const { catalog, aside } = this.#parts
    const { epoch, checkpoint, before, batches, last, rewrites } = opened
    const lanes = redactBatches([...before, ...batches], redaction, catalog)
    const session = new Session(id, epoch, aside)
    if (checkpoint !== undefined) restoreImage(session, checkpoint, before, catalog)
    for (const batch of batches) applyBatch(session, batch, unpackEntries(batch), { ...nobody, catalog })
    session.goTo(last)
    const changed = new Set([...lanes.changed, ...redactedAside(session, redaction, catalog)])
    const { examined } = lanes
    const isImageChanged = checkpoint !== undefined && hasSecret(checkpoint.bytes, redaction)
    if (!lanes.isChanged && !isImageChanged) return { past: undefined, changed, examined }
    const past = {
      checkpoint: { epoch, offset: last, bytes: imageOf(session, catalog) },
      batches: lanes.batches,
      rewrites,
      isTold: session.status !== 'ended',
    }
    return { past, changed, examined }
  }
}

function hashing({ masks, epoch }: Session): Values {
  return new Values(masks?.key ?? epoch)
}

/** @returns the offsets of the events in memory that have a secret */
function foundIn(session: Session, redaction: Redaction, catalog: Catalog): ReadonlySet<Offset> {
  const events = new EventRedaction(redaction, catalog)
  return new Set(
    entriesOf(session).flatMap((entry) => events.add(storedEvent(entry)).map(({ offset }) => offset)),
  )
}

/**
 * Redacts a session of which a checkpoint is made. The slices of a session that goes on are left, because they are changed by
 * entries of the log.
 *
 * @returns the offsets of the changed events
 */
function redactedAside(session: Session, redaction: Redaction, catalog: Catalog): ReadonlySet<Offset> {
  const change: Change = (value) => redaction.value(value)
  for (const { state } of session.topics()) {
    state.replaceCauses(change)
    state.replace('$commands', change)
    if (session.status === 'ended') for (const [slice] of state.kept()) state.replace(slice, change)
  }
  session.replaceTexts(change)
  return redactEntries(session, redaction, catalog)
}

function hasSecret(image: Uint8Array, redaction: Redaction): boolean {
  const value = unpack<JsonValue>(Buffer.from(image))
  return redaction.value(value) !== value
}
