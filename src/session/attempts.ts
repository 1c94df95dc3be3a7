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
export function supersede(attempt: Attempt, history: History): readonly Offset[] {
  const found = takenPlaceOf(attempt, history)
  for (const entry of found) entry.superseded = true
  return offsetsOf(found)
}

/** @returns what `supersede` would */
export function supersededBy(attempt: Attempt, history: History): readonly Offset[] {
  return offsetsOf(takenPlaceOf(attempt, history))
}

function takenPlaceOf({ step, number }: Attempt, history: History): ReadonlySet<Entry> {
  const found = new Set<Entry>()
  const visit = (entry: Entry): void => {
    const { attempt } = entry.event
    if (attempt?.step === step && attempt.number < number && !entry.superseded) found.add(entry)
  }
  for (const lane of [history.critical, history.droppable]) {
    for (let index = 0; index < lane.length; index++) visit(lane.at(index))
  }
  for (const entry of history.pinned()) visit(entry)
  return found
}

function offsetsOf(entries: ReadonlySet<Entry>): readonly Offset[] {
  const offsets = new Set([...entries].map(({ offset }) => offset))
  return [...offsets].sort((one, other) => one - other).slice(-offsetsMax)
}
