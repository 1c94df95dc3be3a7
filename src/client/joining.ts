import type { JoinText, Position } from '../protocol/cursor.js'
import type { GapNotice, HubEvent } from '../protocol/frames.js'
import type { Assembly } from './assembly.js'

/**
 * A join that is not complete: nothing of it is shown before it is, so that a cut in its middle shows nothing twice. What
 * has come of it is kept over links, so that it ends even where none lives long enough for all of it.
 */
export interface Joining {
  readonly position: Position
  readonly gap: GapNotice | undefined
  readonly replayed: HubEvent[]
  /** Of the snapshot, where it comes in parts. */
  readonly assembly: Assembly | undefined
}

/** @returns how far the join has come; nothing where nothing of it has */
export function progressOf({ gap, replayed, assembly }: Joining): JoinText | undefined {
  if (gap !== undefined || (assembly !== undefined && assembly.left > 0)) return assembly?.progress(!!gap)
  const last = replayed.at(-1)
  return last || assembly ? `r${last?.offset ?? 0}` : undefined
}
