import type { Entry } from '../history/entry.js'
import type { History } from '../history/history.js'
import type { Offset } from '../protocol/cursor.js'
import type { Attempt } from '../protocol/frames.js'
import type { Progress } from './progress.js'

/** The maximum of offsets in one `attempt.superseded`: the newest ones. */
const offsetsMax = 1_000

/** @returns whether a newer attempt at the step has begun, so that events of this one are not delivered */
export function isOver({ step, number }: Attempt, progress: Progress): boolean {
  return number < (progress.attemptAt(step) ?? number)
}

/** @returns whether the attempt is the first one at its step; undefined if it has begun before, or is over */
export function begin(attempt: Attempt, progress: Progress): { readonly isFirst: boolean } | undefined {
  const before = progress.attemptAt(attempt.step)
  if (before !== undefined && attempt.number <= before) return undefined
  progress.beginAttempt(attempt)
  return { isFirst: before === undefined }
}

/**
 * Marks the events of former attempts at a step, so that they are not delivered to later joins.
 *
 * @returns the offsets of these events in the history, in order
 */
export function supersede({ step, number }: Attempt, history: History): readonly Offset[] {
  const found = new Set<Offset>()
  const visit = (entry: Entry): void => {
    const { attempt } = entry.event
    if (attempt?.step !== step || attempt.number >= number || entry.superseded) return
    entry.superseded = true
    found.add(entry.offset)
  }
  for (const lane of [history.critical, history.droppable]) {
    for (let index = 0; index < lane.length; index++) visit(lane.at(index))
  }
  for (const entry of history.pinned()) visit(entry)
  return [...found].sort((one, other) => one - other).slice(-offsetsMax)
}
