import { ProtocolError, quote } from './codes.js'

/** Integer place of an event in its session: 1 for the first, strictly increasing; 0 is before all. */
export type Offset = number & { readonly offset: unique symbol }

/** Random id of one lifetime of a session's offsets: letters, digits, `_` and `-`. */
export type Epoch = string

/** Text form of a position: `<epoch>:<offset>`. */
export type Cursor = string

/** Everything up to here has been received; with `join`, except for the rest of the join at this offset. */
export interface Position {
  readonly epoch: Epoch
  readonly offset: Offset
  readonly join?: JoinText
}

/**
 * The progress of an incomplete join, as in a cursor after `~`.
 *
 * `r<offset>`: the snapshot has been received, and the replay up to this offset. `s<units>.<slice>`: of the snapshot in parts,
 * the slices before this one have been received, in the order of their names, and this many UTF-16 units of its JSON text.
 * `g<units>.<slice>`: the same after a gap, where no replay follows.
 */
export type JoinText = string

export const start = 0 as Offset

const cursorPattern = /^([\w-]{1,64}):(0|[1-9]\d{0,15})(?:~(r\d{1,15}|[sg]\d{1,9}\.[\w.:~$/-]{1,300}))?$/

/** @returns `<epoch>:<offset>` */
export function formatCursor(epoch: Epoch, offset: Offset): Cursor {
  return `${epoch}:${offset}`
}

/** @returns the cursor of a position, with the progress of its join if that is incomplete */
export function formatPosition({ epoch, offset, join }: Position): Cursor {
  return formatCursor(epoch, offset) + (join === undefined ? '' : `~${join}`)
}

/** @returns undefined if it is not a cursor */
export function readCursor(text: string): Position | undefined {
  const match = cursorPattern.exec(text)
  const offset = Number(match?.[2])
  if (match === null || !Number.isSafeInteger(offset)) return undefined
  const join = match[3]
  return { epoch: match[1] as Epoch, offset: offset as Offset, ...(join !== undefined && { join }) }
}

/**
 * @param field where the text came from, for the message
 * @throws ProtocolError `badFrame` when it is not a cursor
 */
export function parseCursor(text: string, field: string): Position {
  const position = readCursor(text)
  if (position !== undefined) return position
  throw new ProtocolError('badFrame', `${field}: expected a cursor <epoch>:<offset>, got ${quote(text)}`)
}

/**
 * @param positions of sessions by their ids, or of topics by their names while one of the session is being joined
 * @returns `<session>=<epoch>:<offset>,…`
 */
export function formatCombinedCursor(positions: ReadonlyMap<string, Position>): Cursor {
  return [...positions].map(([session, position]) => `${session}=${formatPosition(position)}`).join(',')
}

/** @returns undefined if it is not a combined cursor, or has more than `sessionsMax` */
export function readCombinedCursor(text: string, sessionsMax: number): Map<string, Position> | undefined {
  const parts = text.split(',')
  if (parts.length > sessionsMax) return undefined
  const positions = new Map<string, Position>()
  for (const part of parts) {
    const at = part.indexOf('=')
    const position = at < 1 ? undefined : readCursor(part.slice(at + 1))
    if (position === undefined) return undefined
    positions.set(part.slice(0, at), position)
  }
  return positions
}
