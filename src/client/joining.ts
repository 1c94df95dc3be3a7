import type { JoinText, Position } from '../protocol/cursor.js'
import type { GapNotice, HubEvent } from '../protocol/frames.js'
import type { Assembly } from './assembly.js'

/**
 * An incomplete join. Nothing of it is shown before it is complete, so that an interruption repeats nothing. The received part
 * is kept across links, so that the join completes even if no link lasts long enough for all of it.
 */
export interface Joining {
  readonly position: Position
  readonly gap: GapNotice | undefined
  readonly replayed: HubEvent[]
  /** The snapshot, if it comes in parts. */
  readonly assembly: Assembly | undefined
}

/** @returns the progress of the join; undefined if nothing was received */
export function progressOf({ gap, replayed, assembly }: Joining): JoinText | undefined {
  if (gap !== undefined || (assembly !== undefined && assembly.left > 0)) return assembly?.progress(!!gap)
  const last = replayed.at(-1)
  return last || assembly ? `r${last?.offset ?? 0}` : undefined
}
