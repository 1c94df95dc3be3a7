import type { JsonObject } from '../../lib/json.js'
import type { KeptMasks } from '../../mask/masks.js'
import { ProtocolError, quote } from '../../protocol/codes.js'
import { type Epoch, formatCursor, type Offset } from '../../protocol/cursor.js'
import type { Mode } from '../../protocol/frames.js'
import { storedEvent } from '../../session/journal.js'
import type { Session } from '../../session/session.js'
import type { Fork, ForkOrigin, Latest, SessionRecord, SliceChange } from '../../store/store.js'

export const forkStates = ['exact', 'known'] as const
export type ForkState = (typeof forkStates)[number]

export interface ForkTo {
  readonly id: string
  readonly epoch: Epoch
  /** Milliseconds since 1970. */
  readonly now: number
}

/** A part that a fork may lack, because it is not known as of the cursor. */
export type Unknown = NonNullable<ForkOrigin['without']>[number]

/** The data of the source session as of the turn in which the fork is requested. */
export interface ForkSource {
  readonly id: string
  readonly epoch: Epoch
  /** The offset up to which the fork has everything. */
  readonly last: Offset
  readonly without: readonly Unknown[]
  readonly mode: Mode
  readonly metadata: JsonObject
  readonly masks: KeptMasks | undefined
  /** The slices that have not changed after `last`. */
  readonly slices: readonly SliceChange[]
  readonly slicesRemovedAt: Offset
  readonly startedAt: number
  /** The beginning of each worker, in this order. Milliseconds since 1970. */
  readonly workersStartedAt: ReadonlyMap<string, number>
}

/** @param without the parts that are not known, apart from slices that have changed after `last` */
export function forkSourceOf(session: Session, last: Offset, without: readonly Unknown[]): ForkSource {
  const all = slicesOf(session)
  const slices = all.filter(({ offset }) => offset <= last)
  const isChanged = slices.length < all.length || session.slicesRemovedAt > last
  const { id, epoch, mode, metadata, slicesRemovedAt } = session
  const begun = [...session.workers.values()].flatMap(({ id: worker, startedAt }) =>
    startedAt === undefined ? [] : [[worker, startedAt] as const],
  )
  return {
    id,
    epoch,
    last,
    without: isChanged ? [...without, 'slices'] : without,
    mode,
    metadata,
    masks: session.masks?.kept(),
    slices,
    slicesRemovedAt,
    startedAt: session.startedAt ?? 0,
    workersStartedAt: new Map(begun),
  }
}

function slicesOf(session: Session): SliceChange[] {
  return session.topics().flatMap(({ worker, state, hasState }) => {
    if (!hasState) return []
    const of = worker !== undefined && { worker }
    return [...state.kept()].map(([slice, value, offset]) => ({ ...of, slice, offset, value }))
  })
}

export type Past = Fork['batch']

/**
 * @param session the session as of the source's `last`; its slices are not used
 * @param to the fork, and the time at which it is made
 */
export function pastOf(
  session: Session,
  source: ForkSource,
  { id, epoch, now }: ForkTo,
): Past & Required<Pick<Past, 'workers' | 'slices' | 'latest'>> {
  const record = forkRecord(session.record(), source, { id, epoch, now })
  // In the order in which they began.
  const workers = [...source.workersStartedAt].flatMap(([worker, startedAt]) => {
    const kept = session.workers.get(worker)?.record()
    if (kept === undefined) return []
    const { commands: _, stalled: __, ...rest } = kept
    return [{ ...rest, startedAt }]
  })
  return { session: id, last: source.last, record, workers, slices: source.slices, latest: latestOf(session) }
}

/** Leases, commands and published ids are left out, because they belong to the producers of the source. */
export function forkRecord(
  before: SessionRecord,
  source: Pick<
    ForkSource,
    'id' | 'epoch' | 'last' | 'without' | 'mode' | 'metadata' | 'masks' | 'slicesRemovedAt'
  >,
  { id, epoch, now }: ForkTo,
): SessionRecord {
  const { status, result, reason, parent, lastAt, needs, usage, attempts, calls, run, paused } = before
  const { needsTotal, failed } = before
  const { masks, last, without, slicesRemovedAt } = source
  return {
    session: id,
    epoch,
    status,
    mode: source.mode,
    metadata: source.metadata,
    startedAt: now,
    forkedFrom: {
      session: source.id,
      at: formatCursor(source.epoch, last),
      ...(without.length > 0 && { without }),
    },
    ...(masks && { masks: { ...masks, key: masks.key ?? source.epoch } }),
    ...(slicesRemovedAt > 0 && slicesRemovedAt <= last && { slicesRemovedAt }),
    ...(result !== undefined && { result }),
    ...(reason !== undefined && { reason }),
    ...(parent !== undefined && { parent }),
    ...(lastAt !== undefined && { lastAt }),
    ...(needs !== undefined && { needs }),
    ...(usage !== undefined && { usage }),
    ...(attempts !== undefined && { attempts }),
    ...(calls !== undefined && { calls }),
    ...(run !== undefined && { run }),
    ...(paused !== undefined && { paused }),
    ...(needsTotal !== undefined && { needsTotal }),
    ...(failed !== undefined && { failed }),
  }
}

/** @returns the pinned events: the newest of each type and key. Commands are left out, as they are not for the fork's agents. */
function latestOf(session: Session): Latest[] {
  const pinned = new Map<Offset, Latest>()
  for (const history of session.histories()) {
    for (const entry of history.pinned()) {
      const { worker, type, key = '' } = entry.event
      if (entry.traits.command === 'request') continue
      const of = worker !== undefined && { worker }
      pinned.set(entry.offset, { ...of, type, key, event: storedEvent(entry) })
    }
  }
  return [...pinned.values()]
}

/**
 * @returns the offset up to which a session is forked. It is before the session's end, because a fork has not ended.
 * @throws ProtocolError `conflict` for a cursor of another epoch, `badFrame` for one after the session's last offset
 */
export function forkOffset(
  { id, epoch, offset, completion }: Pick<Session, 'id' | 'epoch' | 'offset' | 'completion'>,
  position: { readonly epoch: Epoch; readonly offset: Offset } | undefined,
): Offset {
  const end = completion === undefined ? offset : ((completion.offset - 1) as Offset)
  if (position === undefined) return end
  if (position.epoch !== epoch) {
    throw new ProtocolError(
      'conflict',
      `at: the session's epoch is ${epoch}, got a cursor of ${position.epoch}`,
    )
  }
  if (position.offset > offset) {
    throw new ProtocolError(
      'badFrame',
      `at: expected a cursor of session ${quote(id)} up to ${formatCursor(epoch, offset)}, got ${position.offset}`,
    )
  }
  return Math.min(position.offset, end) as Offset
}

/** @throws ProtocolError `conflict` if the fork would lack something, and `state` is not `known` */
export function expectKnown({ id, without }: Pick<ForkSource, 'id' | 'without'>, state: ForkState): void {
  if (state === 'known' || without.length === 0) return
  const reasons: Record<Unknown, string> = {
    workers: 'not all events before it are kept, so the workers at that point are not known',
    slices: 'slices have changed since, and their former values are not stored',
  }
  throw new ProtocolError(
    'conflict',
    `at: session ${quote(id)} cannot be forked there exactly: ${without.map((one) => reasons[one]).join('; ')}. ` +
      'Fork it at its end, or give state "known" for a fork with what is known',
  )
}
